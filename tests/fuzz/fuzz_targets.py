"""What is fuzzed: our own functions that read what strangers write, each with what may come of it.

A target returns a word for the outcome. Whatever it raises is a finding.
"""

import json
import tempfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import fuzz_seeds
import numpy as np

import shared.checkpoint
from console.pictures import WIDTHS_PX
from console.thumbnails import request_for
from console.userfile import UserFile
from ingest.names import FileNameError, format_name, parse_name
from ingest.pictures import PictureError, check_picture, looks_complete
from ingest.rates import label_of
from ingest.watching import is_candidate
from shared import board
from shared.broker import connect
from shared.checkpoint import Checkpoint
from shared.confinement import Confinement, DecoderKilledError
from shared.decoding import ImageError
from shared.dispatches import Dispatch, DispatchError
from shared.errors import ConfigError, PermanentError
from shared.images import ImageStore, sidecar_place
from shared.labels import LABEL_MAX_CHARACTERS, clean_label, escape_label
from shared.moves import Move, MoveError
from shared.preprocessing import Preprocessing, decode
from shared.routing import Routing
from shared.settings import PREFIX, Settings

MAX_PIXELS = Settings().max_pixels
MAX_BYTES = Settings().max_file_bytes
_ANSWER_S = 200.0  # by the clock, and this machine may be busy; its CPU is what tells
_SHAPE = Preprocessing(size_px=224, mean=(0.5, 0.5, 0.5), std=(0.5, 0.5, 0.5))

ACCEPTED, REFUSED, LATER = "accepted", "refused", "refused by the worker"
"""`LATER`: the ingester takes it in and the worker does not, so a person looks at it."""


class Targets:
    """All targets, with what they need: a folder for files, and a process for thumbnails."""

    def __init__(self) -> None:
        self._scratch = tempfile.TemporaryDirectory(prefix="almenara-fuzz-")
        self._folder = Path(self._scratch.name)
        self._store = ImageStore(str(self._folder / "images"))
        self._thumbnails = Confinement("console.thumbnails", str(MAX_PIXELS), answer_s=_ANSWER_S)
        self._of_kind: dict[str, Callable[[bytes], str]] = {
            "sidecar": self._sidecar,
            "move": self._move,
            "dispatch": self._dispatch,
            "row": self._row,
            "users": self._users,
            "routing": self._routing,
            "checkpoint": self._checkpoint,
        }

    def close(self) -> None:
        """End the process, and remove the folder."""
        self._thumbnails.close()
        self._scratch.cleanup()

    def record(self, kind: str, content: bytes) -> str:
        """Read a record of that kind."""
        return self._of_kind[kind](content)

    def picture(self, data: bytes) -> str:
        """Everything done with a picture's file: the look, the check, the worker's pixels, a thumbnail."""
        assert looks_complete(data[:32], data[-64:], len(data)) in (True, False)
        taken = self._taken_in(data)
        try:
            pixels = decode(data, _SHAPE, max_pixels=MAX_PIXELS)
        except ImageError:
            judged = False
        else:
            judged = True
            assert pixels.shape == (224, 224, 3)
            assert pixels.dtype == np.dtype(np.uint8)
        self._thumbnail(data)
        if taken:
            return ACCEPTED if judged else LATER
        return REFUSED

    def _taken_in(self, data: bytes) -> bool:
        try:
            found = check_picture(data, max_bytes=MAX_BYTES, max_pixels=MAX_PIXELS)
        except PictureError as error:
            assert error.detail.isprintable(), "a stranger's bytes in words for people"
            return False
        assert 1 <= found.width_px * found.height_px <= MAX_PIXELS
        assert found.taken_at is None or clean_label(found.taken_at) == found.taken_at
        return True

    def _thumbnail(self, data: bytes) -> None:
        try:
            small = self._thumbnails.ask(request_for(data, WIDTHS_PX[0]))
        except DecoderKilledError:
            raise
        except PermanentError as error:
            assert error.detail.isprintable(), "a stranger's bytes in words for people"
            return
        assert small.startswith(b"\xff\xd8") and b"Exif" not in small and b"ICC_PROFILE" not in small

    def name(self, name: str) -> str:
        """A file's name: what is read is written and read back the same; a label is clean."""
        label = label_of(name, name[:20])
        assert is_candidate(name) in (True, False)
        assert clean_label(label) == label and len(label) <= LABEL_MAX_CHARACTERS
        assert escape_label(name).isprintable()
        try:
            parsed = parse_name(name)
        except FileNameError as error:
            assert str(error)
            return REFUSED
        if parsed.coordinates is None:
            return "no place"
        written = format_name(parsed.coordinates, parsed.label)
        again = parse_name(written)
        assert again.coordinates is not None and str(again.coordinates) == str(parsed.coordinates)
        assert format_name(again.coordinates, again.label) == written, (written, again)
        assert len(written.encode("utf-8", "surrogateescape")) <= 255
        return ACCEPTED

    def settings(self, variable: str, text: str) -> str:
        """A setting: taken, or refused with its name, and what is secret of it never shown."""
        secret = Settings.__dataclass_fields__[variable.removeprefix(PREFIX).lower()].metadata.get("secret")
        if secret and fuzz_seeds.MARK not in text:
            text += fuzz_seeds.MARK
        try:
            taken = Settings.from_env({variable: text})
            connect(taken).close()
        except ConfigError as error:
            said = f"{error} {error.remedy}"
            assert variable in said
            assert not secret or fuzz_seeds.MARK not in said
            return REFUSED
        assert not secret or fuzz_seeds.MARK not in repr(taken)
        return ACCEPTED

    def _sidecar(self, content: bytes) -> str:
        place = sidecar_place("0" * 32)
        path = self._folder / "images" / place
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(content)
        ((_, found),) = self._store.sidecars()
        return REFUSED if found is None else ACCEPTED

    def _move(self, content: bytes) -> str:
        try:
            move = Move.decode("firefighters", content)
        except MoveError:
            return REFUSED
        assert Move.decode("firefighters", move.encode()) == move
        assert move.digest()
        return ACCEPTED

    def _dispatch(self, content: bytes) -> str:
        try:
            Dispatch.decode(content)
        except DispatchError:
            return REFUSED
        return ACCEPTED

    def _row(self, content: bytes) -> str:
        try:
            board._change((b"1-0", {b"row": content, b"outcomes": content}))
        except board.BoardError:
            return REFUSED
        return ACCEPTED

    def _users(self, content: bytes) -> str:
        path = self._folder / "users.json"
        path.write_bytes(content)
        path.chmod(0o600)
        try:
            UserFile(path).read()
        except ConfigError:
            return REFUSED
        return ACCEPTED

    def _routing(self, content: bytes) -> str:
        path = self._folder / "routing.toml"
        path.write_bytes(content)
        try:
            Routing.load(path)
        except ConfigError:
            return REFUSED
        return ACCEPTED

    def _checkpoint(self, content: bytes) -> str:
        try:
            with _four_weights():
                Checkpoint.parse(content, self._folder / "model.safetensors")
        except ConfigError:
            return REFUSED
        return ACCEPTED


@contextmanager
def _four_weights() -> Iterator[None]:
    """Sound checkpoints have 43 MB, too much to mutate: the same checks of a network of four weights."""
    names, whole = vars(shared.checkpoint), shared.checkpoint.resnet34_shapes
    names["resnet34_shapes"] = fuzz_seeds.few_shapes
    try:
        yield
    finally:
        names["resnet34_shapes"] = whole


def printable(thing: object) -> str:
    """Any thing in one line of ASCII, not too long."""
    return json.dumps(repr(thing))[:300]
