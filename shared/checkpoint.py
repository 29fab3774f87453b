"""The one file that training hands to the worker: weights and everything needed to use them."""

import hashlib
import json
import math
import os
import re
import tempfile
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, Self

import numpy as np
import safetensors.numpy
from numpy.typing import NDArray
from safetensors import SafetensorError

from shared.errors import ConfigError
from shared.preprocessing import Preprocessing
from shared.routing import NORMAL
from shared.verdict import Thresholds

FORMAT_VERSION = 1
ARCHITECTURE = "resnet34"
METADATA_KEY = "almenara"
CLASS_NAME = re.compile(r"[a-z][a-z0-9]*(_[a-z0-9]+)*")
CLASS_NAME_CHARACTERS = 64
_RESNET34_BLOCKS = (3, 4, 6, 3)  # Source: He et al. 2015, table 1
_REMEDY = "use a checkpoint written by 'almenara train', or copy this one again"


@dataclass(frozen=True, kw_only=True, eq=False)
class Checkpoint:
    """A trained classifier.

    Attributes:
        weights: torchvision's ResNet-34 names, ``fc.weight`` (C, 512) and ``fc.bias`` (C,) included, float16.
        classes: C names in the order of the scores.
        preprocessing: what the model takes.
        temperature: divides the scores before the softmax.
        thresholds: what each verdict needs.
        metrics: what was measured when it was made, JSON values.
        data_fingerprint: names the photographs it was trained on.
        config: how it was made, JSON values.
        code_version: the Almenara that made it.
        path: where it was loaded from or saved to, or None.
        fingerprint: the first 12 hexadecimal digits of the file's SHA-256, or an empty string.
    """

    weights: Mapping[str, NDArray[Any]] = field(repr=False)
    classes: tuple[str, ...]
    preprocessing: Preprocessing
    temperature: float
    thresholds: Thresholds
    metrics: Mapping[str, Any] = field(default_factory=dict)
    data_fingerprint: str = ""
    config: Mapping[str, Any] = field(default_factory=dict)
    code_version: str = ""
    path: Path | None = None
    fingerprint: str = ""

    @property
    def name(self) -> str:
        """The file's name without its ending; ``unsaved`` before there is a file."""
        return self.path.stem if self.path else "unsaved"

    @property
    def model_id(self) -> str:
        """Name and fingerprint, for records: ``street6-resnet34@0123456789ab``."""
        return f"{self.name}@{self.fingerprint}"

    @classmethod
    def load(cls, path: Path) -> Self:
        """Read a checkpoint and check all of it; never runs anything that the file contains.

        Raises:
            ConfigError: the file is not there, not a checkpoint, or does not fit together.
        """
        try:
            content = path.read_bytes()
        except OSError as error:
            raise ConfigError(
                f"the checkpoint {path} can't be read: {error.strerror or error}",
                remedy="set ALMENARA_CHECKPOINT to a .safetensors file that this user may read",
            ) from error
        # One read for hash, header and weights: a file replaced meanwhile can't mix two models.
        return cls.parse(content, path)

    @classmethod
    def parse(cls, content: bytes, path: Path) -> Self:
        """The same from the bytes of a file at `path`, or to be there.

        Raises:
            ConfigError: they are no checkpoint, or do not fit together.
        """
        try:
            weights = safetensors.numpy.load(content)
            return cls(
                weights=weights,
                path=path,
                fingerprint=hashlib.sha256(content).hexdigest()[:12],
                **_parse(_metadata(content)),
            ).checked()
        except (SafetensorError, LookupError, TypeError, ValueError, OverflowError, RecursionError) as error:
            raise ConfigError(f"the checkpoint {path} is refused: {_words(error)}", remedy=_REMEDY) from error

    def save(self, path: Path) -> Self:
        """Write the file all at once: whoever reads ``path`` sees the old file or the new, never a part.

        Returns:
            The checkpoint as the file has it, with path and fingerprint.

        Raises:
            ConfigError: the checkpoint does not fit together, or the file can't be written.
        """
        try:
            saved = replace(self, weights=self._halves(), path=path).checked()
            content = safetensors.numpy.save(
                dict(saved.weights), metadata={METADATA_KEY: json.dumps(self._header(), allow_nan=False)}
            )
        except (TypeError, ValueError) as error:
            raise ConfigError(f"the checkpoint {path} is not written: {_words(error)}") from error
        try:
            _write_atomically(path, content)
        except OSError as error:
            raise ConfigError(
                f"the checkpoint {path} can't be written: {error.strerror or error}",
                remedy="choose a folder that this user may write to",
            ) from error
        return replace(saved, fingerprint=hashlib.sha256(content).hexdigest()[:12])

    def checked(self) -> Self:
        """Return itself if its parts fit together.

        Raises:
            ValueError: they don't; the message says which.
        """
        for name in self.classes:
            if (
                not isinstance(name, str)
                or len(name) > CLASS_NAME_CHARACTERS
                or not CLASS_NAME.fullmatch(name)
            ):
                raise ValueError(f"{name!r} is not a class name such as flood_risk")
        if len(set(self.classes)) != len(self.classes):
            raise ValueError(f"a class is named twice in {', '.join(self.classes)}")
        if len(self.classes) < 2 or not set(self.classes) - {NORMAL}:
            raise ValueError("fewer than two classes")
        if not (math.isfinite(self.temperature) and self.temperature > 0):
            raise ValueError(f"the temperature {self.temperature} is not above 0")
        expected = resnet34_shapes(len(self.classes))
        found = dict(self._floats())
        if missing := sorted(expected.keys() - found.keys()):
            raise ValueError(f"the weights lack {missing[0]} ({len(missing)} missing)")
        if unknown := sorted(found.keys() - expected.keys()):
            raise ValueError(f"the weights have {unknown[0]}, which ResNet-34 has not")
        for name, shape in expected.items():
            if found[name].shape != shape:
                raise ValueError(f"{name} has shape {found[name].shape}, not {shape}")
            if found[name].dtype.kind != "f" or not np.isfinite(found[name]).all():
                raise ValueError(f"{name} contains what is not a finite number")
        return self

    def _floats(self) -> list[tuple[str, NDArray[Any]]]:
        # Batch normalisation's counters of training steps; inference never reads them.
        return [(name, array) for name, array in self.weights.items() if "num_batches" not in name]

    def _halves(self) -> dict[str, NDArray[Any]]:
        with np.errstate(over="ignore"):  # what does not fit becomes infinite, and checked() names it
            return {name: np.ascontiguousarray(array, np.float16) for name, array in self._floats()}

    def _header(self) -> dict[str, Any]:
        return {
            "format_version": FORMAT_VERSION,
            "architecture": ARCHITECTURE,
            "classes": list(self.classes),
            "preprocessing": {
                "size_px": self.preprocessing.size_px,
                "mean": list(self.preprocessing.mean),
                "std": list(self.preprocessing.std),
            },
            "temperature": self.temperature,
            "thresholds": {
                "dispatch": self.thresholds.dispatch,
                "no_emergency": self.thresholds.no_emergency,
            },
            "metrics": dict(self.metrics),
            "data_fingerprint": self.data_fingerprint,
            "config": dict(self.config),
            "code_version": self.code_version,
        }


def resnet34_shapes(class_count: int) -> dict[str, tuple[int, ...]]:
    """Every floating-point tensor of torchvision's ResNet-34 by name, known without loading torch."""
    shapes: dict[str, tuple[int, ...]] = {"conv1.weight": (64, 3, 7, 7)}
    shapes |= _batch_norm("bn1", 64)
    before = 64
    for stage, blocks in enumerate(_RESNET34_BLOCKS, start=1):
        width = 64 * 2 ** (stage - 1)
        for block in range(blocks):
            prefix = f"layer{stage}.{block}"
            shapes[f"{prefix}.conv1.weight"] = (width, before, 3, 3)
            shapes[f"{prefix}.conv2.weight"] = (width, width, 3, 3)
            shapes |= _batch_norm(f"{prefix}.bn1", width) | _batch_norm(f"{prefix}.bn2", width)
            if before != width:
                shapes[f"{prefix}.downsample.0.weight"] = (width, before, 1, 1)
                shapes |= _batch_norm(f"{prefix}.downsample.1", width)
            before = width
    return shapes | {"fc.weight": (class_count, before), "fc.bias": (class_count,)}


def _batch_norm(prefix: str, width: int) -> dict[str, tuple[int, ...]]:
    return {f"{prefix}.{part}": (width,) for part in ("weight", "bias", "running_mean", "running_var")}


def _metadata(content: bytes) -> dict[str, Any]:
    # The header was checked by safetensors just before: 8 bytes of length, then that much JSON.
    length_bytes = int.from_bytes(content[:8], "little")
    strings = json.loads(content[8 : 8 + length_bytes]).get("__metadata__") or {}
    if METADATA_KEY not in strings:
        raise ValueError(f"its header has no {METADATA_KEY!r} entry")
    header = json.loads(strings[METADATA_KEY])
    if not isinstance(header, dict):
        raise ValueError(f"its {METADATA_KEY!r} entry is not a JSON object")
    return header


def _parse(header: dict[str, Any]) -> dict[str, Any]:
    """The fields of a Checkpoint. Raises KeyError, TypeError or ValueError."""
    if header["format_version"] != FORMAT_VERSION:
        raise ValueError(
            f"format version {header['format_version']!r} is unknown to this Almenara ({FORMAT_VERSION})"
        )
    if header["architecture"] != ARCHITECTURE:
        raise ValueError(f"architecture {header['architecture']!r} is not {ARCHITECTURE!r}")
    preprocessing, thresholds = header["preprocessing"], header["thresholds"]
    return {
        "classes": tuple(header["classes"]),
        "preprocessing": Preprocessing(
            size_px=_whole(preprocessing["size_px"]),
            mean=_channels(preprocessing["mean"]),
            std=_channels(preprocessing["std"]),
        ),
        "temperature": _number(header["temperature"]),
        "thresholds": Thresholds(
            dispatch=_number(thresholds["dispatch"]), no_emergency=_number(thresholds["no_emergency"])
        ),
        "metrics": dict(header["metrics"]),
        "data_fingerprint": str(header["data_fingerprint"]),
        "config": dict(header["config"]),
        "code_version": str(header["code_version"]),
    }


def _number(value: object) -> float:
    if isinstance(value, bool) or not isinstance(value, int | float):
        raise ValueError(f"{value!r} is not a number")
    return float(value)


def _whole(value: object) -> int:
    if isinstance(value, bool) or not isinstance(value, int):
        raise ValueError(f"{value!r} is not a whole number")
    return value


def _channels(values: Any) -> tuple[float, float, float]:
    red, green, blue = values
    return _number(red), _number(green), _number(blue)


def _words(error: Exception) -> str:
    return f"its header lacks {error}" if isinstance(error, KeyError) else str(error)


def _write_atomically(path: Path, content: bytes) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.NamedTemporaryFile(dir=path.parent, prefix=f".{path.name}.", delete=False) as file:
        partial = Path(file.name)
        try:
            file.write(content)
            file.flush()
            os.fsync(file.fileno())
            partial.chmod(0o644)  # temporary files are private; a checkpoint is for the worker's user too
            partial.replace(path)
        except BaseException:
            partial.unlink(missing_ok=True)
            raise
    folder = os.open(path.parent, os.O_RDONLY)
    try:
        os.fsync(folder)  # the new name itself survives a power cut
    finally:
        os.close(folder)
