"""What our worker leaves in the broker is what RQ's SimpleWorker leaves, but for the differences listed."""

import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from dataclasses import replace
from typing import Any

import pytest
from redis import Redis
from rq import Queue, Retry, SimpleWorker, Worker
from rq.job import Job
from rq.results import Result
from rq.serializers import JSONSerializer
from rq.timeouts import TimerDeathPenalty
from worker_parts import DURING_GLANCE, ColourEngine, admit_pictures, classifier, picture, routing

from shared.broker import Broker, words
from shared.images import ImageStore
from shared.settings import Settings
from worker.executions import RESULT_KEEP_S
from worker.service import BatchWorker

Shape = dict[str, tuple[frozenset[str], bool]]
"""Of each of RQ's keys, ids replaced: the fields or members in it, and whether it expires."""

ALLOWED = {
    "queued": {
        "- rq:job:<job> retry_intervals": "RQ's default is ours: a retry is queued at once",
    },
    "in flight": {
        "- rq:job:<job> retry_intervals": "as above",
        "+ rq:worker:<worker> model": "which model decides, for `almenara status`",
        "+ rq:worker:<worker> model_generation": "which announcement it follows, for `almenara status`",
        "+ rq:worker:<worker> model_refused": "why it does not, if so",
        "- rq:clean_groups": "RQ's lock for cleaning groups, which no job of ours is in",
    },
    "finished": {
        "- rq:job:<job> retry_intervals": "as above",
        "+ rq:worker:<worker> model": "as above",
        "+ rq:worker:<worker> model_generation": "which announcement it follows, for `almenara status`",
        "+ rq:worker:<worker> model_refused": "why it does not, if so",
        "- rq:clean_groups": "as above",
    },
    "failed": {
        "+ rq:job:<job> exc_info": "the reason in words, for tools that read only the job's hash",
        "+ rq:job:<job> retries_left": "the stock job had no retries, or it would not have failed at once",
        "+ rq:results:<job> expires": "RQ keeps the result of a failure longer than its job, that is forever",
        "+ rq:worker:<worker> model": "as above",
        "+ rq:worker:<worker> model_generation": "which announcement it follows, for `almenara status`",
        "+ rq:worker:<worker> model_refused": "why it does not, if so",
        "- rq:clean_groups": "as above",
    },
    "gone": {
        "- rq:job:<job> retry_intervals": "as above",
        "+ rq:worker:<worker> model": "as above, for the minute that RQ remembers a dead worker",
        "+ rq:worker:<worker> model_generation": "which announcement it follows, for `almenara status`",
        "+ rq:worker:<worker> model_refused": "why it does not, if so",
        "- rq:clean_groups": "as above",
    },
}
"""At each moment, what ours has more (+) or less (-) than RQ's own, and why. The tests want exactly these."""

COUNTER = {False: "successful_job_count", True: "failed_job_count"}
"""RQ's counter by whether the job failed."""


def shape(client: Broker, **ids: str) -> Shape:
    """What RQ has in the broker now.

    Args:
        client: where.
        ids: what is different each time; the value gives way to the name in angle brackets.
    """

    def plain(raw: bytes) -> str:
        text = raw.decode("utf-8", "replace")
        for name, value in ids.items():
            text = text.replace(value, f"<{name}>")
        return text

    found = {}
    for key in client.scan_iter("rq:*"):
        found[plain(key)] = (frozenset(map(plain, _parts(client, key))), client.ttl(key) != -1)
    return found


def _parts(client: Broker, key: bytes) -> list[bytes]:
    kind = client.type(key)
    parts: Any
    if kind == b"hash":
        parts = client.hkeys(key)
    elif kind == b"zset":
        parts = client.zrange(key, 0, -1)
    elif kind == b"set":
        parts = client.smembers(key)
    elif kind == b"stream":
        entries: Any = client.xrange(key)
        parts = [name for _, fields in entries for name in fields]
    elif kind == b"list":
        parts = client.lrange(key, 0, -1)
    else:
        parts = []
    return list(parts)


def differences(ours: Shape, stock: Shape) -> set[str]:
    """What ours has more (+) or less (-)."""
    found = {f"+ {key}" for key in ours.keys() - stock.keys()}
    found |= {f"- {key}" for key in stock.keys() - ours.keys()}
    for key in ours.keys() & stock.keys():
        found |= {f"+ {key} {part}" for part in ours[key][0] - stock[key][0]}
        found |= {f"- {key} {part}" for part in stock[key][0] - ours[key][0]}
        if ours[key][1] != stock[key][1]:
            found.add(f"{'+' if ours[key][1] else '-'} {key} expires")
    return found


class Stock(SimpleWorker):
    """RQ's own worker, that says what it left before it goes."""

    death_penalty_class = TimerDeathPenalty  # the signal is the test runner's
    before_it_goes: Callable[[], None]

    def _install_signal_handlers(self) -> None:
        pass

    def teardown(self) -> None:
        """Look, then go."""
        self.before_it_goes()
        super().teardown()  # type: ignore[no-untyped-call]


class Ours(BatchWorker):
    """Our worker, that goes after its first batch and says what it left before it does."""

    before_it_goes: Callable[[], None]

    def _install_signal_handlers(self) -> None:
        pass

    def _turn(self) -> None:
        super()._turn()
        self._stop_requested = self._stop_requested or bool(self._publisher.counts)

    def _leave(self) -> None:
        self.before_it_goes()
        super()._leave()


class Trace:
    """What was in the broker at each moment of one worker's life with one job."""

    def __init__(self, client: Broker, job_id: str) -> None:
        self.shapes: dict[str, Shape] = {}
        self.counters: dict[str, str] = {}
        self.result: Any = None
        self.worker = ""
        self.member = ""
        self._client = client
        self._job_id = job_id

    def look(self, moment: str, worker: str) -> None:
        """Note what there is now."""
        self.worker = worker
        running: Any = self._client.zrange(f"rq:executions:{self._job_id}", 0, -1)
        execution = running[0].decode() if running else "none"
        if running:
            self.member = f"{self._job_id}:{execution}"
        self.shapes[moment] = shape(self._client, job=self._job_id, worker=worker, execution=execution)
        about = words(self._client.hgetall(f"rq:worker:{worker}"))
        self.counters = {name: number for name, number in about.items() if name.endswith(("_count", "_time"))}
        self.result = fetch(self._client, [self._job_id])[0].latest_result()


def fetch(client: Broker, job_ids: list[str]) -> list[Job]:
    """RQ's jobs with these ids."""
    return [Job.fetch(each, connection=client, serializer=JSONSerializer) for each in job_ids]


@pytest.fixture
def settings(settings: Settings) -> Settings:
    """Workers that are in this process have time: one that hangs would end it."""
    return replace(settings, lease_s=60.0, batch_timeout_s=600.0)


@pytest.fixture
def stock_client(settings: Settings) -> Iterator[Broker]:
    """Another database of the same broker."""
    client: Broker = Redis.from_url(settings.redis_url, db=1)
    yield client
    client.close()


def trace_stock(client: Broker, job_id: str, *, fails: bool) -> Trace:
    """One job through RQ's own worker."""
    queue = Queue("classify", connection=client, serializer=JSONSerializer)
    queue.enqueue(
        "worker_parts.glance",
        job_id=job_id,
        incident_id=job_id,
        job_timeout=180,
        retry=None if fails else Retry(max=3),
        description=f"classify {job_id}",
    )
    worker = Stock([queue], connection=client, serializer=JSONSerializer, default_result_ttl=RESULT_KEEP_S)
    trace = Trace(client, job_id)
    trace.look("queued", worker.name)

    def during() -> None:
        trace.look("in flight", worker.name)
        if fails:
            raise ValueError("this one fails")

    DURING_GLANCE[0] = during
    worker.before_it_goes = lambda: trace.look("ended", worker.name)
    worker.work(burst=True, logging_level="CRITICAL")
    trace.look("gone", worker.name)
    return trace


def trace_ours(client: Broker, settings: Settings, store: ImageStore, data: bytes) -> tuple[Trace, str]:
    """One photograph through our worker; also its id."""
    (job_id,) = admit_pictures(client, store, [data])
    trace = Trace(client, job_id)
    engine = ColourEngine(lambda: trace.look("in flight", worker.name))
    worker = Ours(settings, client, classifier(store, engine), routing())
    trace.look("queued", worker.name)
    worker.before_it_goes = lambda: trace.look("ended", worker.name)
    worker.work()
    trace.look("gone", worker.name)
    return trace, job_id


def rq_info(url: str) -> list[str]:
    """What `rq info` prints for scripts."""
    command = [sys.executable, "-m", "rq.cli", "info", "--url", url, "--serializer", "json", "--raw"]
    done = subprocess.run(command, capture_output=True, text=True, check=True, timeout=120)
    return done.stdout.splitlines()


def test_a_finished_job_leaves_what_rq_leaves(
    broker: Broker, stock_client: Broker, settings: Settings, store: ImageStore
) -> None:
    """The same keys, fields, members and expiries: queued, in flight, finished, and after the worker went."""
    ours, job_id = trace_ours(broker, settings, store, picture("fire"))
    stock = trace_stock(stock_client, job_id, fails=False)
    found = {moment: differences(ours.shapes[moment], stock.shapes[moment]) for moment in ours.shapes}
    assert found["queued"] == set(ALLOWED["queued"])
    assert found["in flight"] == set(ALLOWED["in flight"])
    assert found["ended"] == set(ALLOWED["finished"])
    assert found["gone"] == set(ALLOWED["gone"])


def test_a_failed_job_leaves_what_rq_leaves(
    broker: Broker, stock_client: Broker, settings: Settings, store: ImageStore
) -> None:
    """The same of a job that fails, so that `rq requeue`, dashboards and exporters find it."""
    ours, job_id = trace_ours(broker, settings, store, b"not a picture")
    stock = trace_stock(stock_client, job_id, fails=True)
    assert differences(ours.shapes["ended"], stock.shapes["ended"]) == set(ALLOWED["failed"])


def test_results_read_back_as_rq_writes_them(
    broker: Broker, stock_client: Broker, settings: Settings, store: ImageStore
) -> None:
    """Type, value, worker, execution and times of the result are where RQ's own reader looks."""
    ours, job_id = trace_ours(broker, settings, store, picture("fire"))
    stock = trace_stock(stock_client, job_id, fails=False)
    for trace in (ours, stock):
        result = trace.result
        assert (result.type, result.return_value) == (Result.Type.SUCCESSFUL, {"verdict": "dispatched"})
        assert f"{job_id}:{result.execution_id}" == trace.member
        assert result.worker_name == trace.worker
        assert result.execution_started_at <= result.execution_ended_at


def test_the_result_of_a_failure_says_why(broker: Broker, settings: Settings, store: ImageStore) -> None:
    """RQ's tools show the reason where they show tracebacks."""
    ours, _ = trace_ours(broker, settings, store, b"not a picture")
    assert ours.result.type is Result.Type.FAILED
    assert ours.result.exc_string.startswith("undecodable: ")


@pytest.mark.parametrize("fails", [False, True])
def test_workers_count_what_rq_counts(
    broker: Broker, stock_client: Broker, settings: Settings, store: ImageStore, fails: bool
) -> None:
    """Jobs by how they ended, and seconds at work, for `rq info` and exporters."""
    began_s = time.monotonic()
    ours, job_id = trace_ours(broker, settings, store, b"not a picture" if fails else picture("fire"))
    took_s = time.monotonic() - began_s
    stock = trace_stock(stock_client, job_id, fails=fails)
    assert ours.counters.keys() == stock.counters.keys() == {COUNTER[fails], "total_working_time"}
    assert ours.counters[COUNTER[fails]] == stock.counters[COUNTER[fails]] == "1"
    assert 0 < float(ours.counters["total_working_time"]) <= took_s


def test_a_batch_shows_as_so_many_executions(
    broker: Broker, stock_client: Broker, settings: Settings, store: ImageStore
) -> None:
    """While a batch runs, RQ's own tools see its worker busy with each of its jobs."""
    job_ids = admit_pictures(broker, store, [picture("fire", seed) for seed in range(3)])
    seen: dict[str, Any] = {}

    def look() -> None:
        (seen["worker"],) = Worker.all(connection=broker, serializer=JSONSerializer)
        seen["executions"] = seen["worker"].get_current_executions()
        seen["count"] = seen["worker"].current_execution_count
        seen["statuses"] = {each.get_status() for each in fetch(broker, job_ids)}
        seen["info"] = rq_info(settings.redis_url)

    worker = Ours(replace(settings, max_batch=8), broker, classifier(store, ColourEngine(look)), routing())
    worker.before_it_goes = lambda: None
    worker.work()
    assert (seen["worker"].name, seen["worker"].get_state()) == (worker.name, "busy")
    assert sorted(each.job_id for each in seen["executions"]) == sorted(job_ids)
    assert {each.worker_name for each in seen["executions"]} == {worker.name}
    assert (seen["count"], seen["statuses"]) == (3, {"started"})
    assert "queue classify 0, 3 executing, 0 finished, 0 failed" in seen["info"]
    assert [line.split()[1] for line in seen["info"] if line.startswith("worker")] == [worker.name]


def test_nothing_executes_after_a_batch(broker: Broker, settings: Settings, store: ImageStore) -> None:
    """`rq info` counts the batch as finished and failed, and no execution is left behind."""
    job_ids = admit_pictures(broker, store, [picture("fire", 1), b"not a picture", picture("fire", 2)])
    seen: dict[str, Any] = {}

    def look() -> None:
        (found,) = Worker.all(connection=broker, serializer=JSONSerializer)
        seen["executions"] = (found.get_current_executions(), found.current_execution_count)

    worker = Ours(replace(settings, max_batch=8), broker, classifier(store), routing())
    worker.before_it_goes = look
    worker.work()
    assert seen["executions"] == ([], 0)
    assert "queue classify 0, 0 executing, 2 finished, 1 failed" in rq_info(settings.redis_url)
    assert [each.get_status() for each in fetch(broker, job_ids)] == ["finished", "failed", "finished"]


def test_registries_expire_jobs_when_rq_would(
    broker: Broker, stock_client: Broker, settings: Settings, store: ImageStore
) -> None:
    """The finished registry's scores are RQ's: seconds since the epoch at which the result is forgotten."""
    began_s = int(time.time())  # RQ counts whole seconds
    _, job_id = trace_ours(broker, settings, store, picture("fire"))
    trace_stock(stock_client, job_id, fails=False)
    for client in (broker, stock_client):
        expires_s = client.zscore("rq:finished:classify", job_id) or 0.0
        assert began_s <= expires_s - RESULT_KEEP_S <= time.time()
