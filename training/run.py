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
from training.dataset import labels, read_folder, without
from training.head import class_order, train_head
from training.outputs import RunFolder
from training.seed import EPOCHS, Epoch, always_dispatch, check_counts, train_seed
from training.views import VIEWS


@dataclass(frozen=True, kw_only=True, slots=True)
class Run:
    """What to do.

    Attributes:
        folder: labelled photographs.
        out: where the results go.
        recipe: ``head`` or ``seed``.
        init: weights to start from, or None for torchvision's ImageNet weights.
        seed: of everything drawn by chance.
        leave_out: classes that are left out.
        epochs: of the seed recipe; None for the study's 15.
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
    photographs = without(read_folder(run.folder), run.leave_out)
    classes = class_order(labels(photographs))
    check_counts(photographs, classes)
    backbone, init = initial_weights(run.init)
    _check_names(backbone, classes, run.preprocessing)
    check_classes(classes)
    epochs: list[Epoch] = []
    with RunFolder(run.out) as results:
        if run.recipe == "seed":
            if any(photograph.split == "val" for photograph in photographs):
                say("the seed recipe draws a 70/30 split of its own, whatever train and val say")
            checkpoint, epochs = train_seed(
                photographs,
                backbone,
                seed=run.seed,
                epochs=run.epochs or EPOCHS,
                grouped=run.grouped,
                plain_loop=run.plain_loop,
                preprocessing=run.preprocessing,
                console=console,
                say=say,
            )
        else:
            checkpoint = train_head(
                photographs,
                backbone,
                views=run.views or tuple(VIEWS),
                seed=run.seed,
                preprocessing=run.preprocessing,
                console=console,
            )
            say(f"validation accuracy {checkpoint.metrics['val']['accuracy']:.4f}")
        config = {**checkpoint.config, "init": init, "left_out": sorted(run.leave_out)}
        saved, no_plots = results.write(replace(checkpoint, config=config), epochs)
    if no_plots:
        say(no_plots)
    return saved


def _check_flags(run: Run) -> None:
    if run.epochs is not None and run.epochs < 1:
        raise ConfigError(f"--epochs {run.epochs} is not above 0", remedy=f"the study took {EPOCHS}")
    if run.seed < 0:
        raise ConfigError(f"--seed {run.seed} is below 0", remedy="give a whole number such as 0")
    if run.recipe != "seed" and (run.epochs is not None or run.plain_loop or not run.grouped):
        raise ConfigError(
            "--epochs, --ungrouped and --plain-loop belong to the seed recipe", remedy="add --recipe seed"
        )
    if run.recipe != "head" and run.views is not None:
        raise ConfigError("--views belongs to the head recipe", remedy="add --recipe head, or leave it out")


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
