"""How good a model is, in numbers that the departments would ask for."""

from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from shared.routing import NORMAL
from shared.verdict import Judgement, Thresholds, Verdict, judge

ECE_BINS = 10


def evaluate(
    logits: NDArray[np.floating],
    labels: Sequence[str],
    classes: Sequence[str],
    temperature: float,
    thresholds: Thresholds,
) -> dict[str, Any]:
    """Measure a model on labelled photographs, with the decisions that the worker would take.

    Args:
        logits: (N, C) scores before the softmax, N at least 1.
        labels: N names, each one of ``classes``.
        classes: C names in the order of the scores.
        temperature: divides the scores before the softmax.
        thresholds: what each verdict needs.

    Returns:
        JSON values: ``n``, ``accuracy`` and ``macro_f1`` over all classes; ``six``, the same for the
        situations alone, the best of their scores, on their photographs; ``per_class``; ``ece``, the
        expected calibration error of the best class; and of the verdicts ``unsure_rate``,
        ``false_alarms_per_1000_normal`` (normal dispatched), ``missed_emergencies`` (share of
        emergencies called no emergency) and ``misdirected_rate`` (share of emergencies dispatched as
        another situation). Rates of what does not occur are None.
    """
    rows = np.asarray(logits, dtype=np.float64)  # (N, C)
    return measure([judge(row, classes, temperature, thresholds) for row in rows], labels, classes)


def measure(judgements: Sequence[Judgement], labels: Sequence[str], classes: Sequence[str]) -> dict[str, Any]:
    """What ``evaluate`` gives, of N decisions that were taken, with the probabilities they rest on."""
    probabilities = np.array([[each.scores[name] for name in classes] for each in judgements])  # (N, C)
    targets = np.array([list(classes).index(label) for label in labels])
    best = probabilities.argmax(axis=1)  # (N,)
    per_class = _per_class(targets, best, classes)
    return {
        "n": len(labels),
        "accuracy": _rounded(float((best == targets).mean())),
        "macro_f1": _macro_f1(per_class),
        "six": _situations_alone(probabilities, targets, classes),
        "per_class": per_class,
        "ece": _rounded(calibration_error(probabilities.max(axis=1), best == targets)),
        **_verdicts(labels, judgements),
    }


def macro_f1(targets: NDArray[np.int64], said: NDArray[np.int64], classes: Sequence[str]) -> float:
    """Mean F1 of the classes that occur in ``targets`` (N,)."""
    return _macro_f1(_per_class(targets, said, classes))


def calibration_error(confidences: NDArray[np.float64], right: NDArray[np.bool_]) -> float:
    """Expected calibration error over bins of equal mass.

    Source: Nguyen and O'Connor 2015, "Posterior calibration and exploratory analysis", section 2.

    Args:
        confidences: (N,) of the chosen class.
        right: (N,) whether it was the right one.
    """
    order = np.argsort(confidences, kind="stable")
    bins = [bin_ for bin_ in np.array_split(order, ECE_BINS) if bin_.size]
    gaps = [abs(confidences[bin_].mean() - right[bin_].mean()) * bin_.size for bin_ in bins]
    return float(sum(gaps) / len(confidences))


def _per_class(
    targets: NDArray[np.int64], best: NDArray[np.int64], classes: Sequence[str]
) -> dict[str, dict[str, float | int]]:
    rows: dict[str, dict[str, float | int]] = {}
    for position, name in enumerate(classes):
        true = int(((best == position) & (targets == position)).sum())
        said, there = int((best == position).sum()), int((targets == position).sum())
        rows[name] = {
            "n": there,
            "precision": _rounded(true / said if said else 0.0),
            "recall": _rounded(true / there if there else 0.0),
            "f1": _rounded(2 * true / (said + there) if said + there else 0.0),
        }
    return rows


def _macro_f1(per_class: dict[str, dict[str, float | int]]) -> float:
    """Mean F1 of the classes that occur."""
    scores = [row["f1"] for row in per_class.values() if row["n"]]
    return _rounded(sum(scores) / len(scores))


def _situations_alone(
    probabilities: NDArray[np.float64], targets: NDArray[np.int64], classes: Sequence[str]
) -> dict[str, float | None]:
    situations = [position for position, name in enumerate(classes) if name != NORMAL]
    shown = np.isin(targets, situations)
    if not shown.any():
        return {"accuracy": None, "macro_f1": None}
    best = np.array(situations)[probabilities[shown][:, situations].argmax(axis=1)]  # (emergencies,)
    return {
        "accuracy": _rounded(float((best == targets[shown]).mean())),
        "macro_f1": _macro_f1(_per_class(targets[shown], best, classes)),
    }


def _verdicts(labels: Sequence[str], judgements: Sequence[Judgement]) -> dict[str, float | None]:
    pairs = list(zip(labels, judgements, strict=True))
    normal = [j.verdict for label, j in pairs if label == NORMAL]
    emergencies = [(label, j) for label, j in pairs if label != NORMAL]
    missed = sum(j.verdict == Verdict.NO_EMERGENCY for _, j in emergencies)
    misdirected = sum(j.verdict == Verdict.DISPATCHED and j.situation != label for label, j in emergencies)
    false_alarms = _rate(normal.count(Verdict.DISPATCHED), len(normal))
    return {
        "unsure_rate": _rate(sum(j.verdict == Verdict.UNSURE for _, j in pairs), len(pairs)),
        "false_alarms_per_1000_normal": None if false_alarms is None else round(1000 * false_alarms, 1),
        "missed_emergencies": _rate(missed, len(emergencies)),
        "misdirected_rate": _rate(misdirected, len(emergencies)),
    }


def _rate(count: int, of: int) -> float | None:
    return _rounded(count / of) if of else None


def _rounded(value: float) -> float:
    return round(value, 4)
