"""The folder that a training run leaves behind: all of it or nothing."""

import csv
import json
import shutil
import tempfile
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path
from types import TracebackType
from typing import Self

from shared.checkpoint import Checkpoint
from shared.errors import ConfigError
from shared.routing import NORMAL
from training.plots import draw
from training.seed import Epoch


class RunFolder:
    """Where a run's files go. They appear when all of them are written, the checkpoint last.

    Entered before training, so that a folder that can't be written to is known before the work is done.

    Raises:
        ConfigError: on entering, the folder can't be made or written to.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        self._made: list[Path] = []
        self._aside: Path | None = None

    def __enter__(self) -> Self:
        missing = [each for each in (self.path, *self.path.parents) if not each.exists()]
        try:
            self.path.mkdir(parents=True, exist_ok=True)
            self._made = missing
            self._aside = Path(tempfile.mkdtemp(dir=self.path, prefix=".unfinished-"))
        except OSError as error:
            raise _unwritable(self.path, error) from error
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._aside is not None:
            shutil.rmtree(self._aside, ignore_errors=True)
        for folder in self._made:
            if any(folder.iterdir()):
                return
            folder.rmdir()

    def write(self, checkpoint: Checkpoint, epochs: Sequence[Epoch]) -> tuple[Checkpoint, str]:
        """Write checkpoint, ``metrics.json``, and, where there are epochs, ``epochs.csv`` and plots.

        Returns:
            The checkpoint as its file has it, and why there are no plots, or an empty string.

        Raises:
            ConfigError: they can't be written; then none of them has appeared.
        """
        assert self._aside is not None, "the folder is not entered"
        try:
            name = checkpoint_name(checkpoint)
            saved = checkpoint.save(self._aside / name)
            (self._aside / "metrics.json").write_text(_metrics(saved), encoding="utf-8")
            without = _write_epochs(self._aside, epochs) if epochs else ""
            for path in sorted(self._aside.iterdir(), key=lambda each: (each.name == name, each.name)):
                path.replace(self.path / path.name)
        except OSError as error:
            raise _unwritable(self.path, error) from error
        except ConfigError as error:
            cause = error.__cause__
            raise (_unwritable(self.path, cause) if isinstance(cause, OSError) else error) from error
        return Checkpoint.load(self.path / name), without


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


def _write_epochs(folder: Path, epochs: Sequence[Epoch]) -> str:
    with (folder / "epochs.csv").open("w", newline="", encoding="utf-8") as file:
        table = csv.DictWriter(file, list(asdict(epochs[0])))
        table.writeheader()
        table.writerows(asdict(epoch) for epoch in epochs)
    return draw(
        [epoch.epoch for epoch in epochs],
        {"cost": [epoch.cost for epoch in epochs], "accuracy": [epoch.accuracy for epoch in epochs]},
        folder,
    )


def _unwritable(folder: Path, error: OSError) -> ConfigError:
    return ConfigError(
        f"nothing is written to {folder}: {error.strerror or error}",
        remedy="make room, or choose another folder with --out",
    )
