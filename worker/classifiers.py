"""The model that a worker is told to use, on the engine that its machine has: fetched and verified."""

import contextlib
import fcntl
import uuid
from collections.abc import Iterator
from pathlib import Path
from typing import IO

import structlog

from shared.announcements import Announcement, ModelRecordError, shown
from shared.broker import Broker
from shared.checkpoint import Checkpoint
from shared.errors import ConfigError
from shared.images import ImageStore
from shared.model_files import FOLDER, Library
from shared.routing import Routing
from shared.settings import Settings
from worker.batches import Classifier
from worker.decoders import Decoders
from worker.engines import make_engine

log = structlog.get_logger()

DEATHS_ALLOWED = 2
"""Workers of this machine that may die while they start one announced model."""


class Classifiers:
    """Makes classifiers of the announced model, and of the one that this worker is configured with."""

    def __init__(
        self,
        settings: Settings,
        routing: Routing,
        store: ImageStore,
        decoders: Decoders | None = None,
        announcement: Announcement | None = None,
    ) -> None:
        """Nothing is loaded yet.

        Args:
            settings: say the configured checkpoint, the engine, and where models are kept.
            routing: what every class of a model must have a route in.
            store: of pictures, and of announced models.
            decoders: of pictures.
            announcement: what was announced as this worker started.
        """
        self._settings, self._routing, self._store, self._decoders = settings, routing, store, decoders
        self._library = Library(store, settings.state_dir)
        self._marks = settings.state_dir / FOLDER
        self.announcement = announcement or Announcement()
        self.fault: Exception | None = None
        """Why the first model is not the announced one."""

    def load(self, announcement: Announcement) -> Classifier:
        """The announced model on its engine, verified, not yet warm.

        Raises:
            AlmenaraError: it can't be had, is no checkpoint, has a class without a route, or no engine.
            Exception: what an engine raises, such as for want of memory.
        """
        model = announcement.model
        checkpoint = self._library.checkpoint(model) if model else Checkpoint.load(self._settings.checkpoint)
        self._routing.check_classes(checkpoint.classes)
        settings = self._settings
        engine = make_engine(settings.engine, checkpoint, settings.threads, state_dir=settings.state_dir)
        return Classifier(
            checkpoint,
            engine,
            self._store,
            settings.max_pixels,
            self._decoders,
            patience_s=settings.batch_timeout_s / 2,
        )

    def first(self) -> Classifier:
        """The announced model; where that can't be had, the configured one, which is said loudly.

        Raises:
            ConfigError: the configured one can't be used.
        """
        if self.announcement.model is not None:
            try:
                with self.trying(self.announcement):
                    return self.load(self.announcement)
            # An engine raises whatever it likes, and a worker with some model is better than none.
            except Exception as error:
                self.fault = error
        return self.load(Announcement())

    @contextlib.contextmanager
    def trying(self, announcement: Announcement) -> Iterator[None]:
        """Between the first byte of an announced model and its first scores.

        A model may end the process that loads it: the system's memory is not enough, a driver fails. Whoever
        starts in its place would die of the same, and so would all workers.

        Raises:
            ConfigError: it has ended that many already.
        """
        if announcement.model is None:
            yield
            return
        prefix = f"trying-{announcement.model.fingerprint}-{announcement.generation}-"
        dead = [each for each in self._marks.glob(f"{prefix}*") if _is_left(each)]
        if len(dead) >= DEATHS_ALLOWED:
            raise ConfigError(
                f"{len(dead)} workers of this machine died while they started {shown(announcement.model)}",
                reason="model_kills",
                remedy="look for why in the system's log (memory?), then announce it again or roll back",
            )
        mark = _leave(self._marks, prefix)
        try:
            yield
            for each in dead:
                each.unlink(missing_ok=True)
        finally:
            if mark is not None:
                place, file = mark
                place.unlink(missing_ok=True)
                file.close()

    def forget_others(self, announcement: Announcement) -> None:
        """Remove from this machine's disk models that neither decide nor are one step back."""
        with contextlib.suppress(OSError):
            self._library.forget([each for each in (announcement.model, *announcement.previous[:1]) if each])


def announcement_at_start(broker: Broker) -> Announcement:
    """What is announced as a worker starts; a damaged announcement is said, and is none.

    Raises:
        RedisError: the broker is away.
    """
    try:
        return Announcement.fetch(broker)
    except ModelRecordError as error:
        log.error("the announcement of the model can't be read", error=str(error))
        return Announcement()


def _leave(folder: Path, prefix: str) -> tuple[Path, IO[bytes]] | None:
    """A file that stays if this process dies, and is locked until then; None where it can't be made."""
    place = folder / f"{prefix}{uuid.uuid4().hex[:8]}"
    try:
        folder.mkdir(parents=True, exist_ok=True)
        file = place.with_name(f".{place.name}").open("xb")
        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        Path(file.name).rename(place)  # locked before others see it
    except OSError:
        return None  # a full disk must not keep a model from deciding
    return place, file


def _is_left(mark: Path) -> bool:
    """Whether the process that made a mark has died: its lock went with it, whatever its number was."""
    try:
        with mark.open("rb") as file:
            fcntl.flock(file, fcntl.LOCK_SH | fcntl.LOCK_NB)  # shared: others may be looking at this moment
    except OSError:
        return False
    return True
