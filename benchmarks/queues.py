"""The peers that take their work from a folder, or from the same broker."""

import sys
import time
from collections.abc import Sequence

from rq import Queue
from rq.serializers import JSONSerializer

from benchmarks.contenders import ContenderError, Ground, QueueContender
from benchmarks.peers import CELERY_TASK, RQ_QUEUE

EAGER = "torch-cpu"


class Script(QueueContender):
    """The original script: a folder, one picture after the other."""

    def __init__(self, sleep_s: float | None = None) -> None:
        pause = "10 ms" if sleep_s is None else f"the original {sleep_s:g} s"
        super().__init__(
            "original script" if sleep_s is None else f"original script, sleeping {sleep_s:g} s",
            EAGER,
            f"looks into a folder, {pause} between looks; its own transforms, a batch of one",
        )
        self.floods = sleep_s is None
        self._pause = [] if sleep_s is None else [str(sleep_s)]

    def commands(self, ground: Ground) -> list[list[str]]:
        """See `QueueContender.commands`."""
        self._folder = ground.folder / "looked-into"
        self._folder.mkdir()
        return [[sys.executable, "-m", "benchmarks.peers.script", str(self._folder), *self._pause]]

    def enqueue(self, numbers: Sequence[int]) -> list[str]:
        """See `QueueContender.enqueue`: files, whole at once."""
        for number in numbers:
            aside = self._folder / f"{number:06d}.part"
            aside.write_bytes(self._ground.album.picture(number))
            aside.rename(aside.with_suffix(".jpeg"))
        return [f"script:{number:06d}.jpeg" for number in numbers]

    def send(self, number: int) -> tuple[str, float]:
        """See `QueueContender.send`: the clock starts as the file is there."""
        return self.enqueue([number])[0], time.perf_counter()


class StockRQ(QueueContender):
    """RQ's own workers."""

    def __init__(self, kind: str) -> None:
        super().__init__(
            {"fork": "RQ Worker (a fork a job)", "simple": "RQ SimpleWorker"}[kind],
            EAGER,
            "model loaded before the work loop; a job is a path, its result what it returns, both JSON",
        )
        self._kind = kind

    def commands(self, ground: Ground) -> list[list[str]]:
        """See `QueueContender.commands`."""
        self._queue = Queue(RQ_QUEUE, connection=self._client, serializer=JSONSerializer)
        return [[sys.executable, "-m", "benchmarks.peers.rq_worker", self._kind]]

    def enqueue(self, numbers: Sequence[int]) -> list[str]:
        """See `QueueContender.enqueue`: in one pipeline."""
        jobs = [
            Queue.prepare_data("benchmarks.peers.rq_worker.classify", [str(self._ground.album.path(number))])
            for number in numbers
        ]
        return [f"rq:results:{job.id}" for job in self._queue.enqueue_many(jobs)]

    def check(self) -> None:
        """See `QueueContender.check`."""
        registry = self._queue.failed_job_registry
        if failed := registry.get_job_ids():
            job = self._queue.fetch_job(failed[0])
            result = job.latest_result() if job else None
            lines = (result.exc_string or "").strip().splitlines() if result else []
            raise ContenderError(f"{len(failed)} jobs failed: {lines[-1] if lines else 'no reason given'}")


class CeleryBatches(QueueContender):
    """Celery with celery-batches."""

    def __init__(self) -> None:
        super().__init__(
            "Celery with celery-batches",
            EAGER,
            "prefork, one child with the model; flush_every 16, flush_interval 0.05 s, prefetch 32; "
            "a task is a path, its result goes to the Redis backend (mark_as_done)",
        )

    def commands(self, ground: Ground) -> list[list[str]]:
        """See `QueueContender.commands`."""
        try:
            from celery import Celery
        except ImportError as error:
            raise ContenderError(f"not installed: {error}") from error
        url = ground.settings.redis_url.replace("unix://", "redis+socket://")
        self._app = Celery("benchmark", broker=url, backend=url)
        program = [sys.executable, "-m", "celery", "-A", "benchmarks.peers.celery_app", "worker"]
        return [[*program, "--pool=prefork", "--concurrency=1", "--loglevel=WARNING"]]

    def enqueue(self, numbers: Sequence[int]) -> list[str]:
        """See `QueueContender.enqueue`: Celery sends one by one, over one connection."""
        with self._app.producer_pool.acquire(block=True) as producer:
            sent = [
                self._app.send_task(CELERY_TASK, [str(self._ground.album.path(number))], producer=producer)
                for number in numbers
            ]
        return [f"celery-task-meta-{each.id}" for each in sent]
