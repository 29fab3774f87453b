"""One training run: a folder of labelled photographs in, a folder with a checkpoint out."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
from rich.console import Console

from shared.checkpoint import Checkpoint
from shared.errors import ConfigError
from shared.preprocessing import Preprocessing
from training.backbone import PREPROCESSING, WIDTH, Weights, initial_weights
from training.dataset import Photograph, labels, read_folder, read_unlabelled, without
from training.head import class_order, train_head
from training.outcome import Outcome
from training.outputs import RunFolder
from training.resume import forget
from training.schedule import Schedule
from training.seed import EPOCHS, always_dispatch, check_counts, train_seed
from training.tune import train_tuned
from training.views import VIEWS


@dataclass(frozen=True, kw_only=True, slots=True)
class Run:
    """What to do.

    Attributes:
        folder: labelled photographs.
        out: where the results go.
        recipe: ``tune``, ``head`` or ``seed``.
        init: weights to start from, or None for torchvision's ImageNet weights.
        seed: of everything drawn by chance.
        leave_out: classes that are left out.
        epochs: of the recipes tune and seed; None for what they take by themselves.
        teacher: of the tune recipe: learn from larger networks too.
        unlabelled: of the tune recipe: a folder of more photographs, for the teachers to explain.
        grouped: of the seed recipe: False parts groups, as the study did.
        plain_loop: of the seed recipe: look at every photograph in every epoch.
        views: of the head recipe; None for all.
        preprocessing: what the weights take.
    """

    folder: Path
    out: Path
    recipe: str = "head"
    init: Path | None = None
    seed: int = 0
    leave_out: Sequence[str] = ()
    epochs: int | None = None
    teacher: bool = False
    unlabelled: Path | None = None
    grouped: bool = True
    plain_loop: bool = False
    views: Sequence[str] | None = None
    preprocessing: Preprocessing = PREPROCESSING


def train(
    run: Run, *, check_classes: Callable[[Sequence[str]], None], console: Console, say: Callable[[str], None]
) -> Checkpoint:
    """Train and write; the checkpoint as its file has it.

    Args:
        run: what to do.
        check_classes: is told the classes before the work begins.
        console: for progress and what was left out.
        say: takes each line of the result as it comes.

    Raises:
        ConfigError: flags, folder, weights or the place for the results are wrong.
    """
    _check_flags(run)
    photographs = without(read_folder(run.folder, console=console), run.leave_out)
    classes = class_order(labels(photographs))
    check_counts(photographs, classes)
    backbone, init = initial_weights(run.init)
    _check_names(backbone, classes, run.preprocessing)
    check_classes(classes)
    with RunFolder(run.out) as results:
        recipe = {"tune": _tune, "head": _head, "seed": _seed}[run.recipe]
        outcome = recipe(run, photographs, backbone, results.scratch, _Voice(console, say))
        config = {**outcome.checkpoint.config, "init": init, "left_out": sorted(run.leave_out)}
        checkpoint = replace(outcome.checkpoint, config=config)
        saved, no_plots = results.write(replace(outcome, checkpoint=checkpoint))
        forget(run.out)
    if no_plots:
        say(no_plots)
    return saved


@dataclass(frozen=True, slots=True)
class _Voice:
    console: Console
    say: Callable[[str], None]


def _tune(
    run: Run,
    photographs: list[Photograph],
    backbone: Weights,
    scratch: Path,
    voice: _Voice,
) -> Outcome:
    schedule = Schedule.under_teachers() if run.teacher else Schedule()
    if run.epochs is not None:
        schedule = schedule.lasting(run.epochs)
    pixels = scratch / "pixels"
    pixels.mkdir()
    outcome = train_tuned(
        photographs,
        backbone,
        unlabelled=read_unlabelled(run.unlabelled) if run.unlabelled else (),
        taught=run.teacher,
        schedule=schedule,
        seed=run.seed,
        preprocessing=run.preprocessing,
        out=run.out,
        scratch=pixels,
        console=voice.console,
        say=voice.say,
    )
    voice.say(f"validation accuracy {outcome.checkpoint.metrics['val']['accuracy']:.4f}")
    return outcome


def _head(
    run: Run,
    photographs: list[Photograph],
    backbone: Weights,
    _: Path,
    voice: _Voice,
) -> Outcome:
    outcome = train_head(
        photographs,
        backbone,
        views=run.views or tuple(VIEWS),
        seed=run.seed,
        preprocessing=run.preprocessing,
        console=voice.console,
    )
    for sentence in outcome.split:
        voice.say(sentence)
    voice.say(f"validation accuracy {outcome.checkpoint.metrics['val']['accuracy']:.4f}")
    return outcome


def _seed(
    run: Run,
    photographs: list[Photograph],
    backbone: Weights,
    _: Path,
    voice: _Voice,
) -> Outcome:
    if any(photograph.split == "val" for photograph in photographs):
        voice.say("the seed recipe draws a 70/30 split of its own, whatever train and val say")
    return train_seed(
        photographs,
        backbone,
        seed=run.seed,
        epochs=run.epochs or EPOCHS,
        grouped=run.grouped,
        plain_loop=run.plain_loop,
        preprocessing=run.preprocessing,
        console=voice.console,
        say=voice.say,
    )


def _check_flags(run: Run) -> None:
    if run.epochs is not None and run.epochs < 1:
        raise ConfigError(f"--epochs {run.epochs} is not above 0", remedy="give a whole number such as 20")
    if run.seed < 0:
        raise ConfigError(f"--seed {run.seed} is below 0", remedy="give a whole number such as 0")
    given = {
        "--epochs": (run.epochs is not None, ("tune", "seed")),
        "--teacher": (run.teacher, ("tune",)),
        "--unlabelled": (run.unlabelled is not None, ("tune",)),
        "--ungrouped": (not run.grouped, ("seed",)),
        "--plain-loop": (run.plain_loop, ("seed",)),
        "--views": (run.views is not None, ("head",)),
    }
    for flag, (is_given, recipes) in given.items():
        if is_given and run.recipe not in recipes:
            raise ConfigError(
                f"{flag} does not belong to the recipe {run.recipe}",
                remedy=f"leave it out, or add --recipe {' or '.join(recipes)}",
            )
    if run.unlabelled is not None and not run.teacher:
        raise ConfigError(
            "--unlabelled is of use only where teachers say what the photographs show",
            remedy="add --teacher, or leave it out",
        )


def _check_names(backbone: Weights, classes: tuple[str, ...], preprocessing: Preprocessing) -> None:
    """Whether a checkpoint of these classes can be saved is known before the work begins."""
    layer = {
        "fc.weight": np.zeros((len(classes), WIDTH), np.float16),
        "fc.bias": np.zeros(len(classes), np.float16),
    }
    try:
        Checkpoint(
            weights=backbone | layer,
            classes=classes,
            preprocessing=preprocessing,
            temperature=1.0,
            thresholds=always_dispatch(classes),
        ).checked()
    except ValueError as error:
        raise ConfigError(
            f"no checkpoint can be made of this: {error}",
            remedy="name two classes or more, in small letters",
        ) from error
