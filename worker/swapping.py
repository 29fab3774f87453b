"""Another model without a pause: made ready beside the one that decides, and taken over between two batches.

A model that can't be used changes nothing but what this worker says of itself.
"""

import threading
import time
from collections.abc import Callable
from dataclasses import dataclass

import structlog
from redis.exceptions import RedisError

from shared import metrics
from shared.announcements import Announcement, Model, ModelRecordError, note, shown
from shared.broker import Broker, is_broker_fault
from shared.errors import AlmenaraError, TransientError
from worker.batches import Classifier
from worker.classifiers import Classifiers

log = structlog.get_logger()

LOOK_EVERY_S = 2.0
AGAIN_S = 15.0
"""Between tries while the image store is away."""
STOP_S = 5.0
"""To end what is being loaded; a driver may take longer."""


@dataclass(frozen=True)
class Fresh:
    """A model that is ready to decide.

    Attributes:
        classifier: verified and warm.
        seconds_an_image: of its engine.
        announcement: that asked for it.
        took_s: to load and warm it.
    """

    classifier: Classifier
    seconds_an_image: float
    announcement: Announcement
    took_s: float


class Swapper:
    """Looks for another announced model in a thread of its own, and makes it ready."""

    def __init__(
        self,
        broker: Broker,
        worker: str,
        classifiers: Classifiers | None,
        warm: Callable[[Callable[[], float]], float],
    ) -> None:
        """Nothing is started yet.

        Args:
            broker: where models are announced.
            worker: its name in RQ.
            classifiers: make one of a model; know what was announced as the worker started. None: no other.
            warm: runs an engine's warm-up where its batches will run, between two of them.
        """
        self._broker, self._worker, self._classifiers, self._warm = broker, worker, classifiers, warm
        self._heard = classifiers.announcement if classifiers else Announcement()
        self._follows = self._heard.generation
        self._ready: Fresh | None = None
        self._notes: list[tuple[str, Model | None, dict[str, str]]] = []
        self._lock = threading.Lock()
        self._stopping = threading.Event()
        self._thread = threading.Thread(target=self._run, name="models", daemon=True)
        self._store_away = self._unreadable = False
        self._again_at_s = 0.0
        self.refusal = ""
        """Why this worker does not run the announced model, in words, or an empty string."""

    def warm_first(self, classifier: Classifier) -> tuple[Classifier, float]:
        """Warm what `Classifiers.first` gave, or where that fails the configured model; seconds an image.

        Raises:
            Exception: the configured model can't be used.
        """
        if self._classifiers is None:
            return classifier, self._warm(classifier.engine.warm_up)
        announcement, fault = self._classifiers.announcement, self._classifiers.fault
        if fault is None and announcement.model is not None:
            try:
                with self._classifiers.trying(announcement):
                    return classifier, self._warm(classifier.engine.warm_up)
            # A worker with some model is better than none.
            except Exception as error:
                fault, classifier = error, self._classifiers.load(Announcement())
        seconds = self._warm(classifier.engine.warm_up)
        if isinstance(fault, TransientError):
            self._heard, self._follows = Announcement(), 0  # tried again as soon as the image store is back
            self.refusal = f"{shown(announcement.model)}: {fault}"
            log.error("announced model can't be had, the configured one decides", error=str(fault))
        elif fault is not None:
            self.refused(announcement, fault)
        return classifier, seconds

    def about(self) -> dict[str, str]:
        """What RQ's hash of this worker says of it."""
        return {"model_generation": str(self._follows), "model_refused": self.refusal[:500]}

    def start(self) -> None:
        """Begin to look."""
        if self._classifiers is not None:
            self._thread.start()

    def stop(self) -> None:
        """Look no more; what is being loaded is not waited for to its end."""
        self._stopping.set()
        if self._thread.is_alive():
            self._thread.join(timeout=STOP_S)

    def take(self, before: str) -> Fresh | None:
        """The model that is to decide from the next batch on, once; `before` has decided until now."""
        if self._ready is None:  # the usual case, without a lock
            return None
        with self._lock:
            fresh, self._ready = self._ready, None
        if fresh is not None:
            after = fresh.classifier.model
            log.info("model swapped", before=before, after=after, took_s=round(fresh.took_s, 1))
            metrics.WORKER_SWAPS.labels("swapped").inc()
            self.refusal, self._follows = "", fresh.announcement.generation
            self._note("swapped", fresh.announcement.model, detail=after, seconds=f"{fresh.took_s:.1f}")
        return fresh

    def refused(self, announcement: Announcement, error: Exception) -> None:
        """Say why the announced model does not decide here, wherever somebody may look."""
        self._heard, self._follows = announcement, announcement.generation
        reason = error.reason if isinstance(error, AlmenaraError) else "engine"
        self.refusal = f"{shown(announcement.model)}: {str(error) or type(error).__name__}"
        log.error(
            "announced model refused, another one decides",
            model=shown(announcement.model),
            reason=reason,
            error=str(error) or repr(error),
        )
        metrics.WORKER_SWAPS.labels("refused").inc()
        self._note("refused", announcement.model, detail=str(error)[:500], reason=reason)

    def _run(self) -> None:
        while not self._stopping.wait(LOOK_EVERY_S):
            self._look()
            self._tell()

    def _look(self) -> None:
        try:
            announcement = Announcement.fetch(self._broker)
        except (RedisError, ModelRecordError) as error:
            # That the broker is away the main loop says.
            if not is_broker_fault(error) and not self._unreadable:
                self._unreadable = True
                log.error("the announcement of the model can't be read", error=str(error))
            return
        self._unreadable = False
        # Without any, a broker has lost its data: what decides goes on. It may also count anew from 1.
        if announcement.generation and not announcement.is_same(self._heard):
            self._follow(announcement)

    def _follow(self, announcement: Announcement) -> None:
        assert self._classifiers is not None
        if time.monotonic() < self._again_at_s:
            return
        began_s = time.monotonic()
        if not self._store_away:
            log.info("another model is announced", model=shown(announcement.model), by=announcement.by)
        try:
            with self._classifiers.trying(announcement):
                classifier = self._classifiers.load(announcement)
                seconds = self._warm(classifier.engine.warm_up)
        except TransientError as error:
            self._again_at_s = time.monotonic() + AGAIN_S
            if not self._store_away:
                log.error("announced model can't be had, trying again", error=str(error))
            self._store_away = True
            self.refusal = f"{shown(announcement.model)}: {error}"
            return
        # An engine raises whatever it likes; nothing that a model does may end a worker that has another.
        except Exception as error:
            if not self._stopping.is_set():
                self.refused(announcement, error)
            return
        self._store_away, self._heard = False, announcement
        with self._lock:
            self._ready = Fresh(classifier, seconds, announcement, time.monotonic() - began_s)
        self._classifiers.forget_others(announcement)

    def _note(self, what: str, model: Model | None, **more: str) -> None:
        self._notes.append((what, model, more))

    def _tell(self) -> None:
        """Add to the history; while the broker is away it waits, and the log has it."""
        try:
            while self._notes:
                what, model, more = self._notes[0]
                note(self._broker, what, model, self._worker, **more)
                self._notes.pop(0)
        except RedisError as error:
            if not is_broker_fault(error):
                self._notes.clear()
                log.warning("what became of the model can't be told", error=str(error))
