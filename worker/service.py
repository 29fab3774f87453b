"""The batch worker: RQ's worker with batches, leases, stages that overlap, and a broker that may be away."""

import os
import threading
import time
from types import FrameType
from typing import Any

import redis
import structlog
from redis.exceptions import RedisError
from rq import worker_registration
from rq.queue import Queue
from rq.serializers import JSONSerializer
from rq.suspension import is_suspended
from rq.utils import now as rq_now
from rq.worker.base import BaseWorker, WorkerStatus

from shared import metrics
from shared.broker import Broker, BrokerAwayError, is_broker_fault, patiently
from shared.errors import AlmenaraError
from shared.keys import QUEUE
from shared.liveness import Liveness
from shared.routing import Routing
from shared.settings import Settings
from worker.batches import Classifier, DeviceLostError, Outcome, largest_batch
from worker.classifiers import Classifiers
from worker.executions import (
    WORKER_TTL_S,
    Execution,
    Terms,
    new_ids,
    release,
    start,
    sweep,
)
from worker.keeper import EXIT_HUNG, Keeper
from worker.publishing import Publisher
from worker.stages import Stages
from worker.swapping import Swapper
from worker.tallies import count_batch

log = structlog.get_logger()

POP_TIMEOUT_S = 1
SWEEP_EVERY_S = 2.0
MAINTAIN_EVERY_S = 30.0
EXIT_LEFT = 1
"""Of a worker that a second signal made leave."""


class BatchWorker(BaseWorker):
    """Takes what is queued up to a maximum, classifies it in one pass, publishes it, and begins again.

    A batch is fetched and decoded in this thread while the one before it is in the model's, and published in
    a third. No more is taken than keeps the model busy: what waits in the queue can go to another worker.

    A subclass of RQ's worker, so that RQ's own tools see it, suspend it and stop it. The loop is ours: RQ's
    ends at faults of the broker that ours waits out, and does its bookkeeping job by job.
    """

    def __init__(
        self,
        settings: Settings,
        broker: Broker,
        classifier: Classifier,
        routing: Routing,
        *,
        liveness: Liveness | None = None,
        classifiers: Classifiers | None = None,
    ) -> None:
        """Register nothing yet; asks the broker for this connection's address.

        Args:
            settings: say how much, how long.
            broker: where the queue is.
            classifier: decides at first.
            routing: who is told.
            liveness: is told that the loop turns.
            classifiers: makes other announced models; None stays with the first one.

        Raises:
            RedisError: the broker is away or refuses.
        """
        queue = Queue(QUEUE, connection=broker, serializer=JSONSerializer)
        super().__init__(
            [queue],
            connection=broker,
            serializer=JSONSerializer,
            worker_ttl=WORKER_TTL_S,
            log_job_description=False,
        )
        self._settings = settings
        self._classifier = classifier
        self._routing = routing
        self._queue = queue
        self._limit = settings.max_batch or 1
        self._keep_s = int(settings.retention_days * 86400)
        self._swept_at_s = 0.0
        self._maintained_at_s = time.monotonic()
        self._leaving = False
        self._stages = Stages(far=not classifier.store.is_local)
        self._swapper = Swapper(broker, self.name, classifiers, self._stages.warm)
        self._liveness = liveness or Liveness()
        self.keeper = Keeper(
            broker,
            self.name,
            self.about,
            lease_s=settings.lease_s,
            batch_timeout_s=settings.batch_timeout_s,
            in_time=self._liveness.turn,
        )
        self._publisher = Publisher(broker, self.keeper, self._told_to_stop)

    def warm_up(self) -> None:
        """Run the model once before saying ready, and size the batches by what it takes."""
        classifier, seconds = self._swapper.warm_first(self._classifier)
        self._decide_with(classifier, seconds)
        log.info(
            "model ready",
            model=self._classifier.model,
            images_per_s=round(1 / max(seconds, 1e-6), 1),
            max_batch=self._limit,
        )

    def _decide_with(self, classifier: Classifier, seconds_an_image: float) -> None:
        self._classifier = classifier
        if self._settings.max_batch is None:
            self._limit = largest_batch(seconds_an_image)
        metrics.WORKER_MODEL.info({"model": classifier.checkpoint.model_id, "engine": classifier.engine.name})

    def about(self) -> dict[str, Any]:
        """What RQ's hash of this worker says, but for its counters."""
        self.last_heartbeat = rq_now()
        return self.serialize() | {
            "state": str(WorkerStatus(self._state).value),
            "model": self._classifier.model,
            **self._swapper.about(),
        }

    def work(self, *_: Any, **__: Any) -> bool:
        """Work until a signal says stop; whether any photograph was decided.

        A first SIGTERM or SIGINT finishes what was taken, a second one gives it back to the queue.
        """
        self._install_signal_handlers()  # type: ignore[no-untyped-call]
        leave_now = False
        try:
            patiently(self._register, stop=self._told_to_stop)
            self.keeper.start()
            self._swapper.start()
            log.info("worker ready", worker=self.name, queue=QUEUE)
            while not self._told_to_stop():
                self._turn()
            self._stages.settle(leave=0)
        except BrokerAwayError:
            log.warning("stopping while the broker is away; what was in hand is taken over in seconds")
        except SystemExit:
            log.warning("leaving now")
            leave_now = True
        finally:
            self._leave()
        if leave_now:
            # A thread can't be interrupted in a decoder or a driver, and Python's own exit waits for all.
            os._exit(EXIT_LEFT)
        return bool(self._publisher.counts)

    def _turn(self) -> None:
        patiently(self._sweep_if_due, stop=self._told_to_stop)
        self._stages.settle(leave=1)
        if self._stop_requested:
            return
        if (fresh := self._swapper.take(self._classifier.model)) is not None:
            # Batches that are on their way end with the model that they began with.
            self._decide_with(fresh.classifier, fresh.seconds_an_image)
        ids = new_ids(self._limit)
        batch = patiently(lambda: self._next_batch(ids), stop=self._told_to_stop)
        if batch:
            self.keeper.hold(batch)
            self._run_batch(batch)
        if self._publisher.pause_s and not self._stop_requested:
            time.sleep(self._publisher.pause_s)

    def _next_batch(self, ids: list[str]) -> list[Execution]:
        lease_s = self._settings.lease_s
        batch = start(self.connection, self.name, ids, lease_s)
        if not batch:
            if is_suspended(self.connection):
                self._become(WorkerStatus.SUSPENDED)
                time.sleep(POP_TIMEOUT_S)
                return []
            if not self._stages.busy:
                self._become(WorkerStatus.IDLE)
            # Short, so that signals and sweeps need not break into it; a job popped here by a worker that
            # dies at once lies in the intermediate queue, where a sweep finds it.
            popped: Any = self.connection.blmove(
                self._queue.key, self._queue.intermediate_queue_key, POP_TIMEOUT_S, "LEFT", "RIGHT"
            )
            if popped is None:
                return []
            # Told to stop meanwhile or not: left where it is, it would wait for some other worker's sweeps.
            batch = start(self.connection, self.name, ids, lease_s, first=popped.decode())
            if not batch:
                self._stages.settle(leave=0)  # a suspect has to run alone, or to be alone to its end
        if batch:
            self._state = WorkerStatus.BUSY
        return batch

    def _run_batch(self, batch: list[Execution]) -> None:
        began_s = time.monotonic()
        ours = [execution for execution in batch if execution.refusal is None]
        classifier = self._classifier
        fetched = classifier.fetch(ours, self._stages.fetchers, self.keeper.moved)
        fetch_s = time.monotonic() - began_s

        def judge() -> tuple[list[Outcome], float]:
            began_s = time.monotonic()
            try:
                outcomes = classifier.judge(fetched)
            except DeviceLostError as error:
                # Given back, a picture that breaks the device would break the next; a crash is counted.
                log.critical("the device that runs the model is lost; ending this worker", error=str(error))
                os._exit(EXIT_HUNG)
            self.keeper.judged(batch)
            return outcomes, time.monotonic() - began_s

        def publish(judged: tuple[list[Outcome], float]) -> None:
            outcomes, judge_s = judged
            began_s = time.monotonic()
            terms = Terms(self._routing, self._keep_s, (fetch_s + judge_s) / len(batch))
            self._publisher.publish(batch, list(zip(ours, outcomes, strict=True)), classifier.review, terms)
            publish_s = time.monotonic() - began_s
            count_batch(len(batch), fetch_s=fetch_s, judge_s=judge_s, publish_s=publish_s)

        self._stages.send(judge, publish)
        if all(isinstance(each, AlmenaraError) for each in fetched):
            self._stages.settle(leave=0)  # where the store is away, know it before more is taken

    def _sweep_if_due(self) -> None:
        now_s = time.monotonic()
        if now_s - self._swept_at_s < SWEEP_EVERY_S:
            return
        recovered, killers = sweep(self.connection, self._settings.lease_s)
        self._swept_at_s = now_s
        if recovered:
            metrics.WORKER_RECOVERED.inc(recovered)
            log.warning("took back jobs of a worker that fell silent", jobs=recovered)
        for execution in killers:
            self._publisher.quarantine(execution, self._classifier.review, Terms(self._routing, self._keep_s))
        if now_s - self._maintained_at_s >= MAINTAIN_EVERY_S:
            self._maintained_at_s = now_s
            self._queue.finished_job_registry.cleanup()
            self._queue.failed_job_registry.cleanup()
            worker_registration.clean_worker_registry(self._queue)

    def _become(self, state: WorkerStatus) -> None:
        if self._state != state:
            self.set_state(state)

    def _told_to_stop(self) -> bool:
        """Asked in each round, and at each try of whoever waits for the broker: all of that is living."""
        self._liveness.turn()
        return self._stop_requested

    def _register(self) -> None:
        self.birth_date = self.birth_date or rq_now()
        self._state = WorkerStatus.STARTED
        self.keeper.renew()
        if self.pubsub_thread is None:
            self.subscribe()  # type: ignore[no-untyped-call]

    def _leave(self) -> None:
        """Give back what is in hand, and say goodbye; without a broker the leases run out by themselves."""
        self._leaving = True
        self._stop_requested = True  # for a publisher that waits for the broker
        self._stages.close()
        self.keeper.stop()
        self._swapper.stop()
        try:
            if held := self.keeper.held():
                release(self.connection, held, spend=False)
                log.warning("gave jobs back to the queue", jobs=len(held))
            self.register_death()  # type: ignore[no-untyped-call]
            self.unsubscribe()
        except RedisError as error:
            log.warning("left without saying goodbye to the broker", error=str(error))
        log.info("worker stopped", worker=self.name, **self._publisher.counts)

    # RQ's hooks, adapted.

    def unsubscribe(self) -> None:
        """Hear no more commands. RQ tells its thread only afterwards, which may wait for another minute."""
        listener: Any = self.pubsub_thread  # RQ's type for it is None
        if listener is not None:
            listener.stop()
        super().unsubscribe()  # type: ignore[no-untyped-call]

    def _set_connection(self, connection: "redis.Redis") -> "redis.Redis":
        """RQ would lengthen the socket timeout to fit its 7-minute pop; ours is short and fits as it is."""
        return connection

    def _shutdown(self) -> None:
        """Only note it: the loop looks every second. RQ's raises here, which can lose a job just popped."""
        self._stop_requested = True

    def handle_warm_shutdown_request(self) -> None:
        """Say so, from a thread: a signal may come while this thread holds the lock of the log."""
        line = "stopping after what is in hand; a second signal gives its jobs back to the queue"
        threading.Thread(target=log.info, args=(line,)).start()

    def request_force_stop(self, signum: int, frame: FrameType | None) -> None:
        """A second signal, if it is not the first one delivered twice: leave at once, giving jobs back."""
        assert self._shutdown_requested_date is not None
        if self._leaving or (rq_now() - self._shutdown_requested_date).total_seconds() < 1:
            return
        raise SystemExit(EXIT_LEFT)

    def _pubsub_exception_handler(self, exc: Exception, pubsub: Any, pubsub_thread: Any) -> None:
        """RQ's commands come by pub/sub; a broker that is away only delays them."""
        if not is_broker_fault(exc):
            log.error("commands from `rq` can't be received", error=str(exc))
        time.sleep(1)
