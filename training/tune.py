"""The recipe for all layers of a ResNet-34, on altered views, under teachers where there are any.

Training photographs teach. Validation photographs say which epoch's weights are kept, and then give, each
judged by what was chosen on other groups, temperature, thresholds, and figures.
"""

from collections.abc import Callable, Sequence
from dataclasses import asdict, replace
from importlib.metadata import version
from pathlib import Path
from typing import Any

import numpy as np
import torch
from rich.console import Console

from shared.checkpoint import Checkpoint
from shared.errors import ConfigError
from shared.preprocessing import Preprocessing
from training import teacher
from training.backbone import Weights
from training.calibration import calibrate, judge_out_of_fold
from training.dataset import Photograph, fingerprint, labels, of_split
from training.duplicates import hashes, nearest
from training.evaluation import measure
from training.features import list_unreadable
from training.finetune import Start, Validation, finetune
from training.head import class_order
from training.network import Hardware
from training.outcome import Outcome, Scored
from training.pictures import Pictures, decode_all
from training.resume import Progress, name_of
from training.schedule import Schedule
from training.scoring import measure_degraded, score_views
from training.splits import split_check
from training.targets import Targets, from_labels, from_teacher
from training.views import DEGRADED

_DECODED_PX = 288
"""Larger than what is shown, so that a part of a photograph is not blurred."""

_CHOSEN_ON_VAL = "Which epoch's weights are kept is chosen on val too, which flatters slightly."


def train_tuned(
    photographs: Sequence[Photograph],
    backbone: Weights,
    *,
    unlabelled: Sequence[Photograph] = (),
    taught: bool = False,
    schedule: Schedule,
    seed: int = 0,
    preprocessing: Preprocessing,
    out: Path,
    scratch: Path,
    console: Console,
    say: Callable[[str], None],
) -> Outcome:
    """Train, calibrate, and measure; cut off, the same call goes on where it was.

    Args:
        photographs: of both splits.
        backbone: ResNet-34 weights by name, without a classifier.
        unlabelled: more photographs, for the teachers to explain.
        taught: whether there are teachers; without, ``unlabelled`` has to be empty.
        schedule: how long and how fast.
        seed: of everything drawn by chance.
        preprocessing: what the model will take.
        out: keeps what a run that is cut off leaves to the next.
        scratch: an empty folder for decoded photographs.
        console: for progress and what was left out.
        say: takes each line of the result as it comes.

    Raises:
        ConfigError: a split is empty, a class has no training photograph that can be read, the teachers are
            not installed, the disk is full, or another run was cut off here.
    """
    classes = class_order(labels(photographs))
    if taught:
        teacher.check()
    start = Start(weights=backbone, preprocessing=preprocessing, hardware=Hardware.found(), seed=seed)
    config = {**_config(start, schedule, taught=taught), "unlabelled": len(unlabelled)}
    data = fingerprint(photographs)
    run = {**config, "data": data, "unlabelled_data": fingerprint(unlabelled), **_told_apart(start)}
    unlabelled, split = _checked_split(photographs, unlabelled, console)
    for sentence in split:
        say(sentence)
    decode = _Decoder(scratch, preprocessing, console)
    train = decode([*of_split(photographs, "train"), *unlabelled], "train", _DECODED_PX)
    val = decode(of_split(photographs, "val"), "val", preprocessing.size_px)
    _check(train, val, classes)
    with Progress(out, run) as progress:
        weights, epochs = finetune(
            train.pixels,
            _targets(
                train.photographs, classes, start, schedule, taught=taught, progress=progress, console=console
            ),
            Validation.of(val, classes),
            start,
            schedule,
            progress=progress,
            console=console,
            say=say,
        )
    checkpoint, scored = _measured(weights, classes, start, val.photographs, console)
    best_epoch = int(min(epochs, key=lambda row: row["val_cost"])["epoch"])
    return Outcome(
        checkpoint=replace(
            checkpoint,
            metrics={**checkpoint.metrics, "best_epoch": best_epoch},
            data_fingerprint=data,
            config=config,
        ),
        scored=scored,
        epochs=epochs,
        split=split,
        unreadable=[*train.unreadable, *val.unreadable],
    )


def _config(start: Start, schedule: Schedule, *, taught: bool) -> dict[str, Any]:
    return {
        "recipe": "tune",
        "seed": start.seed,
        "schedule": asdict(schedule),
        "teachers": list(teacher.NAMES) if taught else [],
        "hardware": str(start.hardware),
    }


def _told_apart(start: Start) -> dict[str, str]:
    """What, beside data and configuration, tells one run from another."""
    return {
        "weights": name_of(*(array.tobytes() for array in start.weights.values())),
        "preprocessing": repr(start.preprocessing),
        "code": version("almenara"),
    }


def _measured(
    weights: Weights,
    classes: tuple[str, ...],
    start: Start,
    val: Sequence[Photograph],
    console: Console,
) -> tuple[Checkpoint, Scored]:
    """The checkpoint, calibrated and measured on validation as its file will score it: float32 of halves."""
    seen, scores = score_views(
        weights, val, ("plain", *DEGRADED), start.preprocessing, seed=start.seed, console=console
    )  # (M, 1 + D, C)
    photographs, plain = seen.photographs, scores[:, 0]  # (M, C)
    names = [each.label for each in photographs]
    chosen = calibrate(plain, np.array([classes.index(name) for name in names]), classes)
    judgements = judge_out_of_fold(plain, photographs, classes, start.seed)
    checkpoint = Checkpoint(
        weights=weights,
        classes=classes,
        preprocessing=start.preprocessing,
        temperature=chosen.temperature,
        thresholds=chosen.thresholds,
        metrics={
            "val": measure(judgements, names, classes),
            "val_degraded": measure_degraded(scores[:, 1:], names, classes),
        },
        code_version=version("almenara"),
    )
    return checkpoint, Scored(photographs=photographs, logits=plain, judgements=judgements)


class _Decoder:
    """Decodes into files of one folder, and says what can't be read."""

    def __init__(self, scratch: Path, preprocessing: Preprocessing, console: Console) -> None:
        self._scratch, self._preprocessing, self._console = scratch, preprocessing, console

    def __call__(self, photographs: Sequence[Photograph], name: str, size_px: int) -> Pictures:
        file = self._scratch / f"{name}.rgb"
        found = decode_all(photographs, file, self._preprocessing, size_px=size_px, console=self._console)
        list_unreadable(found.unreadable, self._console)
        return found


def _check(train: Pictures, val: Pictures, classes: Sequence[str]) -> None:
    if len({photograph.group for photograph in val.photographs}) < 2:
        raise ConfigError(
            "fewer than two events in the split val can be read, and it takes one to choose confidence on "
            "and one to check it on",
            remedy="give val some of every class",
        )
    if missing := sorted(set(classes) - set(labels(train.photographs))):
        raise ConfigError(
            f"the class {missing[0]} has no training photograph that can be read",
            remedy=f"add photographs of it, or leave it out with --without {missing[0]}",
        )


def _checked_split(
    photographs: Sequence[Photograph], unlabelled: Sequence[Photograph], console: Console
) -> tuple[list[Photograph], list[str]]:
    """Photographs without labels, but for those like one in val; and sentences about the split.

    Near duplicates of validation would leak through the teachers.
    """
    sentences = [*split_check(photographs, console), _CHOSEN_ON_VAL]
    if not unlabelled:
        return [], sentences
    val = hashes((each.path for each in of_split(photographs, "val")), console)
    near = nearest(hashes((each.path for each in unlabelled), console), val).tolist()
    apart = [each for each, other in zip(unlabelled, near, strict=True) if other < 0]
    alike = len(unlabelled) - len(apart)
    return apart, [
        *sentences,
        f"Of {len(unlabelled)} photographs without labels, {alike} are like one in val and left out.",
    ]


def _targets(
    photographs: Sequence[Photograph],
    classes: Sequence[str],
    start: Start,
    schedule: Schedule,
    *,
    taught: bool,
    progress: Progress,
    console: Console,
) -> Targets:
    """What to answer; what teachers see is looked up where a run that was cut off has kept it."""
    if not taught:
        return from_labels(photographs, classes, schedule.views)
    kept: torch.Tensor | None = progress.load("seen")
    if kept is None:
        kept = torch.from_numpy(
            teacher.look(photographs, schedule.views, start.preprocessing, seed=start.seed, console=console)
        )
        progress.save("seen", kept)
    return from_teacher(kept.numpy(), photographs, classes, seed=start.seed, console=console)
