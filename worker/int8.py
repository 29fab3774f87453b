"""The quantised network that `almenara optimise` accepted for a checkpoint: a file in the state folder."""

import json
import os
import tempfile
import zipfile
import zlib
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from shared.checkpoint import Checkpoint
from shared.errors import ConfigError
from worker.openvino_engine import load_openvino

if TYPE_CHECKING:
    import openvino

FOLDER = "engines"
_NETWORK, _WEIGHTS, _MEASURED = "network.xml", "network.bin", "measured.json"
_AGAIN = "make it again with `almenara optimise`, or remove it"
_DAMAGE = (
    OSError,
    EOFError,
    zipfile.BadZipFile,
    zlib.error,
    LookupError,
    ValueError,
    TypeError,
    AttributeError,
    RuntimeError,
)


@dataclass(frozen=True, kw_only=True, slots=True)
class Measured:
    """What a quantised network was accepted for.

    Attributes:
        model: the checkpoint's name and fingerprint.
        pictures: how many it was judged on; none of those that it was calibrated on.
        agreement: share of them for which int8 and f32 find the same class.
        accuracy: of int8, or None where nothing says what the pictures show.
        accuracy_f32: the same of f32.
        processor: on which; on another kind int8 may round otherwise.
        made_at: UTC, ISO 8601.
        made_with: versions by package.
    """

    model: str
    pictures: int
    agreement: float
    accuracy: float | None
    accuracy_f32: float | None
    processor: str
    made_at: str
    made_with: dict[str, str]


def place(state_dir: Path, checkpoint: Checkpoint) -> Path:
    """Where the quantised network of exactly this checkpoint is, if there is one."""
    return state_dir / FOLDER / f"{checkpoint.fingerprint}-int8.zip"


def save(network: "openvino.Model", measured: Measured, path: Path) -> None:
    """Write a network all at once: a worker that starts meanwhile finds all of it or nothing.

    Raises:
        ConfigError: it can't be written.
    """
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryDirectory(dir=path.parent, prefix=f".{path.name}.") as aside:
            folder = Path(aside)
            load_openvino().serialize(network, folder / _NETWORK, folder / _WEIGHTS)
            (folder / _MEASURED).write_text(json.dumps(asdict(measured), indent=2) + "\n", encoding="utf-8")
            whole = folder / path.name
            with whole.open("wb") as file:
                with zipfile.ZipFile(file, "w") as archive:
                    for name in (_MEASURED, _NETWORK, _WEIGHTS):
                        archive.write(folder / name, name)
                file.flush()
                os.fsync(file.fileno())
            whole.replace(path)
    except OSError as error:
        raise ConfigError(
            f"the quantised network can't be kept in {path.parent}: {error.strerror or error}",
            remedy="make room, or set ALMENARA_STATE_DIR to a folder that this user may write to",
        ) from error


def measured(path: Path, checkpoint: Checkpoint) -> Measured:
    """What was measured of the network in a file.

    Raises:
        ConfigError: the file is damaged, or made of another checkpoint.
    """
    try:
        with zipfile.ZipFile(path) as archive:  # compares the content's checksums
            found = Measured(**json.loads(archive.read(_MEASURED)))
    except _DAMAGE as error:
        raise _unreadable(path, error) from error
    if found.model.rpartition("@")[2] != checkpoint.fingerprint:
        raise ConfigError(
            f"the quantised network {path} is of {found.model}, not of {checkpoint.model_id}", remedy=_AGAIN
        )
    return found


def load(path: Path, checkpoint: Checkpoint) -> "openvino.Model":
    """Read the network in a file.

    Raises:
        ConfigError: the file is damaged, or made of another checkpoint.
        ImportError: OpenVINO can't be loaded.
    """
    measured(path, checkpoint)
    openvino = load_openvino()
    try:
        with zipfile.ZipFile(path) as archive:
            return openvino.Core().read_model(archive.read(_NETWORK), archive.read(_WEIGHTS))
    except _DAMAGE as error:
        raise _unreadable(path, error) from error


def _unreadable(path: Path, error: Exception) -> ConfigError:
    return ConfigError(f"the quantised network {path} can't be read: {error}", remedy=_AGAIN)
