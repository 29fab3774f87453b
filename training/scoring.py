"""A checkpoint measured on any labelled folder."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from rich.console import Console

from shared.checkpoint import Checkpoint
from shared.errors import ConfigError
from shared.preprocessing import Preprocessing
from shared.verdict import Thresholds, judge
from training.dataset import Photograph, labels, of_split, read_folder, without
from training.evaluation import evaluate, measure
from training.features import Features, extract, list_unreadable
from training.logistic import Head
from training.views import DEGRADED

_ANY = Thresholds(dispatch=0.0, no_emergency=1.0)  # verdicts are not asked for


def score_folder(
    checkpoint: Checkpoint,
    folder: Path,
    *,
    split: str | None = None,
    leave_out: Sequence[str] = (),
    console: Console,
) -> dict[str, Any]:
    """Measure a checkpoint on the photographs of a folder; what can't be read is listed and left out.

    Args:
        checkpoint: the model.
        folder: one folder of pictures for each class, or anything with an index.csv.
        split: the photographs of this split alone; None for all.
        leave_out: classes that are left out.
        console: for progress and what was left out.

    Returns:
        What ``training.evaluation.evaluate`` gives.

    Raises:
        ConfigError: the folder is no such folder, has a class that the model lacks, or nothing readable.
    """
    photographs = without(read_folder(folder, for_training=False), leave_out)
    if split is not None:
        splits = sorted({photograph.split for photograph in photographs})
        photographs = of_split(photographs, split)
        if not photographs:
            raise ConfigError(f"{folder} has no split {split}", remedy=f"it has {', '.join(splits)}")
    if unknown := sorted(set(labels(photographs)) - set(checkpoint.classes)):
        raise ConfigError(
            f"{folder} has the class {unknown[0]}, which {checkpoint.name} does not know "
            f"(it knows {', '.join(checkpoint.classes)})",
            remedy=f"rename the class, or leave it out with --without {unknown[0]}",
        )
    found, scores = score_views(
        checkpoint.weights, photographs, ("plain",), checkpoint.preprocessing, seed=0, console=console
    )
    list_unreadable(found.unreadable, console)
    if not found.photographs:
        raise ConfigError(f"no photograph of {folder} can be read", remedy="see the reasons above")
    logits = scores[:, 0]  # (N, C)
    shown = [photograph.label for photograph in found.photographs]
    return evaluate(logits, shown, checkpoint.classes, checkpoint.temperature, checkpoint.thresholds)


def score_views(
    weights: Mapping[str, NDArray[Any]],
    photographs: Sequence[Photograph],
    views: Sequence[str],
    preprocessing: Preprocessing,
    *,
    seed: int,
    console: Console,
) -> tuple[Features, NDArray[np.float64]]:
    """Look at photographs with a whole network, as the worker would: what was seen, and (N, V, C) scores."""
    backbone = dict(weights)
    head = Head(weight=backbone.pop("fc.weight"), bias=backbone.pop("fc.bias"))
    found = extract(backbone, photographs, views, preprocessing, seed=seed, console=console)
    return found, head.logits(found.values)  # (N, V, C)


def measure_degraded(
    scores: NDArray[np.float64], shown: Sequence[str], classes: Sequence[str]
) -> dict[str, dict[str, float]]:
    """Accuracy, macro-F1, and the situations' macro-F1 alone, of each degraded view.

    Args:
        scores: (N, D, C) of the views ``training.views.DEGRADED``.
        shown: N labels.
        classes: C names.
    """
    figures = {}
    for position, view in enumerate(DEGRADED):
        judgements = [judge(row, classes, 1.0, _ANY) for row in scores[:, position]]
        found = measure(judgements, shown, classes)
        figures[view] = {
            "accuracy": found["accuracy"],
            "macro_f1": found["macro_f1"],
            "six_macro_f1": found["six"]["macro_f1"],
        }
    return figures


def table(measured: dict[str, Any]) -> list[str]:
    """What ``score_folder`` found, in lines for people."""
    six = measured["six"]
    lines = [f"{'class':<24}{'n':>6}{'precision':>11}{'recall':>9}{'F1':>9}"]
    lines += [
        f"{name:<24}{row['n']:>6}{row['precision']:>11.3f}{row['recall']:>9.3f}{row['f1']:>9.3f}"
        for name, row in measured["per_class"].items()
    ]
    normal_per_1000 = measured["false_alarms_per_1000_normal"]
    return [
        *lines,
        "",
        f"{measured['n']} photographs: accuracy {measured['accuracy']:.3f}, "
        f"macro-F1 {measured['macro_f1']:.3f}",
        f"situations alone: accuracy {_figure(six['accuracy'])}, macro-F1 {_figure(six['macro_f1'])}",
        f"expected calibration error: {measured['ece']:.3f}",
        f"unsure, for a person to decide: {_percent(measured['unsure_rate'])}",
        f"false alarms per 1,000 normal photographs: {'-' if normal_per_1000 is None else normal_per_1000}",
        f"emergencies called no emergency: {_percent(measured['missed_emergencies'])}",
        f"emergencies dispatched as another situation: {_percent(measured['misdirected_rate'])}",
    ]


def _figure(value: float | None) -> str:
    return "-" if value is None else f"{value:.3f}"


def _percent(share: float | None) -> str:
    return "-" if share is None else f"{100 * share:.1f} %"
