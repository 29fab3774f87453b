"""Train the classifier of a ResNet-34 whose other layers stay as they are.

Minutes on a laptop: every photograph goes through the network once (in a few views), and a linear layer
is fitted to what came out. All choices are made on training photographs that the layer has not seen;
validation photographs are looked at once, at the end.
"""

from collections.abc import Sequence
from dataclasses import replace
from importlib.metadata import version
from typing import Any

import numpy as np
from numpy.typing import NDArray
from rich.console import Console

from shared.checkpoint import Checkpoint
from shared.errors import ConfigError
from shared.preprocessing import Preprocessing
from shared.routing import NORMAL
from shared.verdict import softmax
from training import logistic
from training.backbone import PREPROCESSING, Weights
from training.calibration import MAX_FALSE_ALARMS, MAX_MISSED
from training.dataset import Photograph, fingerprint, folds, labels, of_split
from training.evaluation import evaluate
from training.features import Features, extract, list_unreadable
from training.outcome import Outcome, Scored
from training.scoring import measure_degraded, score_views
from training.splits import split_check
from training.views import DEGRADED, VIEWS

FOLDS = 5

_USUAL_ORDER = ("flood_risk", "fire", "protest", "accident", "altercation", "robbery")


def train_head(
    photographs: Sequence[Photograph],
    backbone: Weights,
    *,
    views: Sequence[str] = tuple(VIEWS),
    seed: int = 0,
    preprocessing: Preprocessing = PREPROCESSING,
    console: Console,
) -> Outcome:
    """Fit a classifier on frozen features and measure it; the same seed gives the same checkpoint.

    Args:
        photographs: of both splits.
        backbone: ResNet-34 weights by name, without a classifier.
        views: names from ``training.views.VIEWS``; the first must be ``plain``, the one that is scored.
        seed: of views and folds.
        preprocessing: what the backbone takes.
        console: for progress and unreadable photographs.

    Raises:
        ConfigError: a split is empty, or a class has no training photograph that can be read.
    """
    classes = class_order(labels(photographs))
    train, val = of_split(photographs, "train"), of_split(photographs, "val")
    _check(train, val, classes)
    features = extract(backbone, train, views, preprocessing, seed=seed, console=console)
    list_unreadable(features.unreadable, console)
    _check(features.photographs, val, classes)
    targets = _targets(features, classes)
    fold_of = folds(features.photographs, FOLDS, seed)
    held_out = logistic.out_of_fold(features.values, targets, fold_of, len(classes), logistic.PENALTIES)
    penalty, logits = _choose_penalty(held_out, targets, console)
    # Weights that were fitted to these very photographs and labels flatter plain held-out views; the
    # altered ones are as hard as strangers, and as what poor cameras send. All of them decide.
    flat, repeated = _one_view_a_row(logits, targets)
    temperature = logistic.choose_temperature(flat, repeated)
    thresholds = logistic.choose_thresholds(
        softmax(flat, temperature),
        repeated,
        classes,
        max_false_alarms=MAX_FALSE_ALARMS,
        max_missed=MAX_MISSED,
    )
    [head] = logistic.fit(features.values, targets, len(classes), [penalty])
    checkpoint = Checkpoint(
        weights=backbone | {"fc.weight": _halved(head.weight), "fc.bias": _halved(head.bias)},
        classes=classes,
        preprocessing=preprocessing,
        temperature=temperature,
        thresholds=thresholds,
        data_fingerprint=fingerprint(photographs),
        config={"recipe": "head", "seed": seed, "views": list(views), "penalty": penalty, "folds": FOLDS},
        code_version=version("almenara"),
    )
    split = split_check(photographs, console)
    seen, scores = score_views(
        checkpoint.weights, val, ("plain", *DEGRADED), preprocessing, seed=seed, console=console
    )
    list_unreadable(seen.unreadable, console)
    names = [photograph.label for photograph in seen.photographs]
    metrics = {
        "held_out_train": _measured(checkpoint, logits[:, 0], _names(features)),
        "held_out_train_all_views": _measured(checkpoint, flat, _names(features, len(views))),
        "val": _measured(checkpoint, scores[:, 0], names),
        "val_degraded": measure_degraded(scores[:, 1:], names, classes),
    }
    return Outcome(
        checkpoint=replace(checkpoint, metrics=metrics),
        scored=Scored(photographs=seen.photographs, logits=scores[:, 0]),
        epochs=[],
        split=split,
        unreadable=[*features.unreadable, *seen.unreadable],
    )


def class_order(names: Sequence[str]) -> tuple[str, ...]:
    """The usual situations first and in their usual order, others by name, ``normal`` last."""
    usual = [name for name in _USUAL_ORDER if name in names]
    others = sorted(set(names) - {*_USUAL_ORDER, NORMAL})
    return (*usual, *others, *([NORMAL] if NORMAL in names else []))


def _check(train: Sequence[Photograph], val: Sequence[Photograph], classes: Sequence[str]) -> None:
    if not train or not val:
        raise ConfigError(f"the split {'val' if train else 'train'} holds no photograph")
    if missing := sorted(set(classes) - set(labels(train))):
        raise ConfigError(
            f"the class {missing[0]} has no training photograph that can be read",
            remedy=f"add photographs of it, or leave it out with --without {missing[0]}",
        )


def _targets(features: Features, classes: Sequence[str]) -> NDArray[np.int64]:
    return np.array([classes.index(photograph.label) for photograph in features.photographs], np.int64)


def _halved(array: NDArray[np.float64]) -> NDArray[np.float64]:
    """The values that the checkpoint, in half precision, will hold: what is measured is what is shipped."""
    return array.astype(np.float16).astype(np.float64)


def _choose_penalty(
    held_out: NDArray[np.float64], targets: NDArray[np.int64], console: Console
) -> tuple[float, NDArray[np.float64]]:
    """The penalty whose held-out loss, every class weighing the same, is least; and its logits.

    Args:
        held_out: (P, N, V, C) logits, one set for each penalty.
        targets: (N,) classes.
        console: is told how each did.
    """
    losses = []
    for penalty, logits in zip(logistic.PENALTIES, held_out, strict=True):
        flat, repeated = _one_view_a_row(logits, targets)
        even = logistic.photograph_weights(repeated, flat.shape[1], 1.0)
        temperature = logistic.choose_temperature(flat, repeated)
        losses.append(logistic.log_loss(flat, repeated, temperature, even))
        plain = (logits[:, 0].argmax(axis=1) == targets).mean()
        console.print(f"penalty {penalty:<6g} held-out loss {losses[-1]:.4f}, plain accuracy {plain:.3f}")
    best = int(np.argmin(losses))
    return logistic.PENALTIES[best], held_out[best]


def _one_view_a_row(
    logits: NDArray[np.float64], targets: NDArray[np.int64]
) -> tuple[NDArray[np.float64], NDArray[np.int64]]:
    """(N, V, C) and (N,) in, (N * V, C) and (N * V,) out."""
    count, views, class_count = logits.shape
    return logits.reshape(count * views, class_count), targets.repeat(views)  # (N * V, C), (N * V,)


def _names(features: Features, times: int = 1) -> list[str]:
    return [photograph.label for photograph in features.photographs for _ in range(times)]


def _measured(checkpoint: Checkpoint, logits: NDArray[np.float64], names: Sequence[str]) -> dict[str, Any]:
    return evaluate(logits, names, checkpoint.classes, checkpoint.temperature, checkpoint.thresholds)


def chosen_views(names: str) -> tuple[str, ...]:
    """The views in a list with commas.

    Raises:
        ConfigError: one is unknown, or the first is not ``plain``, the one that is scored.
    """
    views = tuple(names.split(","))
    if views[0] != "plain" or not set(views) <= set(VIEWS):
        raise ConfigError(
            f"the views {names!r} are unknown", remedy=f"choose from {', '.join(VIEWS)}, plain first"
        )
    return views
