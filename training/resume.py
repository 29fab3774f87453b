"""What a killed run leaves to the next one, so that it ends where it would have ended."""

import fcntl
import hashlib
import json
import os
import pickle
import shutil
from collections.abc import Mapping
from contextlib import suppress
from pathlib import Path
from types import TracebackType
from typing import Any, Self

import torch

from shared.errors import ConfigError

NAME = "resume"


class Progress:
    """A folder inside the results' folder, which ``forget`` removes once the results are written.

    It belongs to one run: the same photographs, weights, and settings. While one process is at work there,
    no other is let in. Everything is written beside its
    place and then moved there, so what is found is whole. Loaded with weights only: nothing in it is run.
    """

    def __init__(self, out: Path, run: Mapping[str, Any]) -> None:
        """Of a run that writes to ``out``, and that these JSON values tell from others.

        Raises:
            ConfigError: on entering, another run is at work here or was cut off here, or the folder can't
                be made.
        """
        self._folder, self._run = out / NAME, run
        self._lock: int | None = None

    def __enter__(self) -> Self:
        mark = self._folder / "run.json"
        words = json.dumps(self._run, indent=2, sort_keys=True)
        try:
            self._folder.mkdir(parents=True, exist_ok=True)
            self._lock = _lock(self._folder)
            if not mark.is_file():
                new = mark.with_suffix(".new")
                new.write_text(words, encoding="utf-8")
                new.replace(mark)
            left = mark.read_text(encoding="utf-8")
        except OSError as error:
            self._close()
            raise _unkept(self._folder, error) from error
        if left != words:
            self._close()
            raise ConfigError(
                f"{self._folder} is what another run left: {_difference(left, self._run)}",
                remedy="repeat that run's command to end it, remove the folder, or choose another with --out",
            )
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if not any(self._folder.glob("*.pt")):  # nothing to go on from, so nothing that could be in the way
            shutil.rmtree(self._folder, ignore_errors=True)
        self._close()

    def _close(self) -> None:
        if self._lock is not None:
            os.close(self._lock)
            self._lock = None

    def load(self, name: str) -> Any:
        """What was saved under this name, or None.

        Raises:
            ConfigError: it can't be read.
        """
        path = self._folder / f"{name}.pt"
        if not path.is_file():
            return None
        try:
            return torch.load(path, map_location="cpu", weights_only=True)
        except (OSError, RuntimeError, EOFError, pickle.UnpicklingError) as error:
            raise ConfigError(
                f"{path} can't be read: {error}", remedy=f"remove {self._folder} to begin again"
            ) from error

    def save(self, name: str, value: Any) -> None:
        """Keep tensors, numbers, and words, in dictionaries and lists.

        Raises:
            ConfigError: the disk is full, or the folder is gone.
        """
        path, aside = self._folder / f"{name}.pt", self._folder / f"{name}.new"
        try:
            with aside.open("wb") as file:
                torch.save(value, file)
                file.flush()
                os.fsync(file.fileno())
            aside.replace(path)
        except (OSError, RuntimeError) as error:  # torch reports a write that fell short as the latter
            with suppress(OSError):
                aside.unlink()
            raise _unkept(self._folder, error) from error


def forget(out: Path) -> None:
    """Remove what a run has kept in its results' folder: it is complete."""
    shutil.rmtree(out / NAME, ignore_errors=True)


def name_of(*parts: bytes) -> str:
    """12 hexadecimal digits that stand for these bytes."""
    digest = hashlib.sha256()
    for part in parts:
        digest.update(hashlib.sha256(part).digest())
    return digest.hexdigest()[:12]


def _lock(folder: Path) -> int | None:
    """Hold the folder while this process lives; None where the file system can't."""
    descriptor = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError as error:
        os.close(descriptor)
        raise ConfigError(
            f"another run is at work in {folder.parent}", remedy="wait for it, or choose another with --out"
        ) from error
    except OSError:
        os.close(descriptor)
        return None
    return descriptor


def _difference(left: str, run: Mapping[str, Any]) -> str:
    try:
        before = json.loads(left)
    except json.JSONDecodeError:
        return "its run.json can't be read"
    left_flat, run_flat = _flat(before), _flat(json.loads(json.dumps(run)))
    keys = [key for key in sorted({*left_flat, *run_flat}) if left_flat.get(key) != run_flat.get(key)]
    return ", ".join(f"{key} was {left_flat.get(key)!r} and is {run_flat.get(key)!r}" for key in keys)


def _flat(values: Mapping[str, Any]) -> dict[str, Any]:
    """What is nested, by its innermost name."""
    flat: dict[str, Any] = {}
    for key, value in values.items():
        flat |= _flat(value) if isinstance(value, dict) else {key: value}
    return flat


def _unkept(folder: Path, error: Exception) -> ConfigError:
    words = getattr(error, "strerror", None) or str(error).splitlines()[0]
    return ConfigError(
        f"the run's progress can't be kept in {folder}: {words}",
        remedy="make room, or choose another folder with --out",
    )
