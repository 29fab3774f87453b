"""The folder that a training run leaves behind: all of it or nothing."""

import csv
import errno
import fcntl
import json
import os
import shutil
import tempfile
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from types import TracebackType
from typing import Self

from shared.checkpoint import Checkpoint
from shared.errors import ConfigError
from shared.routing import NORMAL
from training.outcome import Outcome, Row
from training.report import epoch_columns, write_report

_UNFINISHED = ".unfinished-"


class RunFolder:
    """Where a run's files go. They appear when all of them are written, the checkpoint last.

    Entered before training, so that a folder that can't be written to is known before the work is done.
    Until then they lie in a hidden folder aside, which is locked while its run lives: what killed runs have
    left is removed by the next run here, and two runs at once leave each other alone.

    Raises:
        ConfigError: on entering, the folder can't be made or written to.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        self._made: list[Path] = []
        self._aside: Path | None = None
        self._lock: int | None = None

    def __enter__(self) -> Self:
        missing = [each for each in (self.path, *self.path.parents) if not each.exists()]
        try:
            self.path.mkdir(parents=True, exist_ok=True)
            self._made = missing
            # One run at a time: a folder just made and not yet locked would pass for a dead run's.
            with _locked(self.path):
                _remove_stale(self.path)
                self._aside = Path(tempfile.mkdtemp(dir=self.path, prefix=_UNFINISHED))
                self._lock = _lock(self._aside)
        except OSError as error:
            raise _unwritable(self.path, error) from error
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._aside is not None:
            shutil.rmtree(self._aside, ignore_errors=True)
        if self._lock is not None:
            os.close(self._lock)
        for folder in self._made:
            if any(folder.iterdir()):
                return
            folder.rmdir()

    def write(self, outcome: Outcome) -> tuple[Checkpoint, str]:
        """Write checkpoint, ``metrics.json``, ``report.html``, plots, and ``epochs.csv`` where there are any.

        Returns:
            The checkpoint as its file has it, and why there are no plots, or an empty string.

        Raises:
            ConfigError: they can't be written; then none of them has appeared.
        """
        try:
            name = checkpoint_name(outcome.checkpoint)
            saved = outcome.checkpoint.save(self.scratch / name)
            (self.scratch / "metrics.json").write_text(_metrics(saved), encoding="utf-8")
            if outcome.epochs:
                _write_epochs(self.scratch / "epochs.csv", outcome.epochs)
            no_plots = write_report(replace(outcome, checkpoint=saved), self.scratch)
            self._publish(last=name)
        except OSError as error:
            raise _unwritable(self.path, error) from error
        except ConfigError as error:
            cause = error.__cause__
            raise (_unwritable(self.path, cause) if isinstance(cause, OSError) else error) from error
        return Checkpoint.load(self.path / name), no_plots

    @property
    def scratch(self) -> Path:
        """A folder that lasts as long as the run; files in it appear with the results, folders do not."""
        assert self._aside is not None, "the folder is not entered"
        return self._aside

    def _publish(self, last: str) -> None:
        files = (path for path in self.scratch.iterdir() if path.is_file())
        paths = sorted(files, key=lambda each: (each.name == last, each.name))
        for path in paths:
            # The one way left in which a rename could fail after others have succeeded.
            if (self.path / path.name).is_dir():
                raise IsADirectoryError(errno.EISDIR, f"{path.name} is a folder there")
        for path in paths:
            path.replace(self.path / path.name)


def checkpoint_name(checkpoint: Checkpoint) -> str:
    """``street6-resnet34.safetensors`` for six situations, with ``normal`` or without."""
    return f"street{len(set(checkpoint.classes) - {NORMAL})}-resnet34.safetensors"


def _metrics(checkpoint: Checkpoint) -> str:
    record = {
        "model": checkpoint.model_id,
        "classes": checkpoint.classes,
        "metrics": checkpoint.metrics,
        "config": checkpoint.config,
        "data_fingerprint": checkpoint.data_fingerprint,
        "code_version": checkpoint.code_version,
    }
    return json.dumps(record, indent=2) + "\n"


def _write_epochs(path: Path, epochs: Sequence[Row]) -> None:
    with path.open("w", newline="", encoding="utf-8") as file:
        table = csv.DictWriter(file, epoch_columns(epochs), restval="")
        table.writeheader()
        table.writerows(epochs)


def _lock(folder: Path, *, wait: bool = False) -> int | None:
    """Hold a folder until the descriptor is closed, or the process is gone; None where somebody else does.

    None, too, where the file system can't lock a folder: then nothing there is ever taken for stale.
    """
    descriptor = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | (0 if wait else fcntl.LOCK_NB))
    except OSError:
        os.close(descriptor)
        return None
    return descriptor


@contextmanager
def _locked(folder: Path) -> Iterator[None]:
    descriptor = _lock(folder, wait=True)
    try:
        yield
    finally:
        if descriptor is not None:
            os.close(descriptor)


def _remove_stale(folder: Path) -> None:
    """Remove what runs that were killed have left."""
    for aside in folder.glob(f"{_UNFINISHED}*"):
        try:
            lock = _lock(aside)
        except OSError:  # another run's, which has just ended; or not ours to look into
            continue
        if lock is not None:
            shutil.rmtree(aside, ignore_errors=True)
            os.close(lock)


def _unwritable(folder: Path, error: OSError) -> ConfigError:
    return ConfigError(
        f"nothing is written to {folder}: {error.strerror or error}",
        remedy="make room, or choose another folder with --out",
    )
