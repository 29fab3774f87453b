"""Model files by their digest: in the image store, where every worker gets them, and kept on this machine."""

import contextlib
import hashlib
import shutil
from collections.abc import Collection
from pathlib import Path

from shared.announcements import Model, fingerprint_of, is_name
from shared.checkpoint import Checkpoint
from shared.durable import write_durably
from shared.errors import ConfigError, TransientError
from shared.images import ImageMissingError, ImageStore

FOLDER = "models"


class Library:
    """Checkpoints of announced models. A file is what its digest says, or it is refused.

    Kept as ``STATE_DIR/models/<digest>/<name>.safetensors``, a copy spares the image store, and serves while
    that is away.
    """

    def __init__(self, store: ImageStore, state_dir: Path) -> None:
        """Nothing is read or made yet."""
        self._store, self._folder = store, state_dir / FOLDER

    def put(self, content: bytes, model: Model) -> None:
        """Put a checkpoint file where every worker finds it.

        Raises:
            StoreAwayError: the image store does not take it.
        """
        self._store.put_model(content, model.digest)

    def holds(self, model: Model) -> bool:
        """Whether the image store has the file of a model; its bytes are not looked at.

        Raises:
            StoreAwayError: the image store does not say.
        """
        return self._store.has(self._store.model_place(model.digest))

    def find(self, model: str) -> Model | None:
        """The model that a record names (``street6@0123456789ab openvino-bf16``), if it was announced.

        Raises:
            StoreAwayError: the image store does not say.
        """
        name, fingerprint = model.rpartition("@")[0], fingerprint_of(model)
        digests = [each for each in self._store.models() if fingerprint and each.startswith(fingerprint)]
        return Model(digests[0], name) if len(digests) == 1 and is_name(name) else None

    def checkpoint(self, model: Model) -> Checkpoint:
        """The model, verified.

        Raises:
            ConfigError: there is no such file, its bytes are others, or they are no checkpoint.
            StoreAwayError: it is not kept here, and the image store is away.
        """
        return Checkpoint.parse(self._content(model), self.place(model))

    def file(self, model: Model) -> Path:
        """Where the verified file is kept here.

        Raises:
            ConfigError: as `checkpoint`, or it can't be kept.
            StoreAwayError: as `checkpoint`.
        """
        self._content(model)
        if not self.place(model).is_file():
            raise ConfigError(
                f"the model {model.model_id} can't be kept in {self._folder}",
                remedy="make room, or let this user write there",
            )
        return self.place(model)

    def place(self, model: Model) -> Path:
        """Where its file is kept here, if it is."""
        return self._folder / model.digest / f"{model.name}.safetensors"

    def forget(self, keep: Collection[Model]) -> None:
        """Remove what is kept here of other models; the image store has them still."""
        if not self._folder.is_dir():
            return
        kept = {each.digest for each in keep}
        for folder in self._folder.iterdir():
            if folder.name not in kept:
                shutil.rmtree(folder, ignore_errors=True)

    def _content(self, model: Model) -> bytes:
        path = self.place(model)
        with contextlib.suppress(OSError):  # not kept yet: the image store has it
            if _is(content := path.read_bytes(), model):
                return content
        content = self._fetched(model)
        # A full disk must not keep a model from deciding: it is fetched again the next time.
        with contextlib.suppress(OSError):
            path.parent.mkdir(parents=True, exist_ok=True)
            write_durably(path, content)
        return content

    def _fetched(self, model: Model) -> bytes:
        place = self._store.model_place(model.digest)
        again = "announce it again with `almenara model use CHECKPOINT`"
        try:
            content = self._store.get(place)
        except TransientError:
            raise
        except ImageMissingError as error:
            raise ConfigError(
                f"the image store has no file of the model {model.model_id}",
                reason="model_missing",
                remedy=again,
            ) from error
        if not _is(content, model):
            raise ConfigError(
                f"the file of the model {model.model_id} in the image store ({place}) has other bytes than "
                "were announced",
                reason="model_damaged",
                remedy=again,
            )
        return content


def _is(content: bytes, model: Model) -> bool:
    return hashlib.sha256(content).hexdigest() == model.digest
