"""What a report tells about a model: every figure with how far it might be off, and who was wrong."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from shared.checkpoint import Checkpoint
from shared.routing import NORMAL
from shared.verdict import Judgement, Verdict, judge
from training.dataset import Photograph
from training.evaluation import ECE_BINS, measure
from training.intervals import Interval, ScoreIntervals, score_intervals, share_interval

PICTURES, EMERGENCIES = 1000, 10
"""What a desk is told about: so many pictures that come in, and how many of them are emergencies (1 %)."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Bin:
    """A tenth of the photographs, those that the model was about equally sure of.

    Attributes:
        low: the least confidence among them.
        high: the greatest.
        confidence: their mean confidence.
        right: share of them that was right.
        n: how many they are.
    """

    low: float
    high: float
    confidence: float
    right: float
    n: int


@dataclass(frozen=True, kw_only=True, slots=True)
class Share:
    """A share of photographs with its interval; both None where there was nothing to count."""

    value: float | None
    interval: Interval | None

    def times(self, count: float) -> "Share":
        """What the share makes of so many."""
        return Share(
            value=None if self.value is None else count * self.value,
            interval=self.interval and Interval(count * self.interval.low, count * self.interval.high),
        )


@dataclass(frozen=True, kw_only=True, slots=True)
class Figures:
    """Everything that is counted on N photographs.

    Attributes:
        measured: what ``training.evaluation.evaluate`` gives.
        intervals: of accuracy, macro-F1 and the classes.
        six: of accuracy and macro-F1 of the situations alone, or None where no photograph shows one.
        shares: of the verdicts: ``unsure`` of all; ``false_alarms`` and ``unsure_normal`` of normal
            photographs; ``missed``, ``misdirected``, ``right_at_once`` and ``unsure_emergency`` of others.
        groups: (C,) how many groups each class comes from.
        confusion: (C, C) photographs, a row for each class shown, a column for each said.
        bins: by rising confidence; what ``ece`` is made of.
        said: (N,) positions of the classes that the model chose.
        confidence: (N,) its calibrated probability of those.
        wrong: positions of the photographs it took for another class, the surest first.
    """

    measured: dict[str, Any]
    intervals: ScoreIntervals
    six: ScoreIntervals | None
    shares: dict[str, Share]
    groups: NDArray[np.int64]
    confusion: NDArray[np.int64]
    bins: list[Bin]
    said: NDArray[np.int64]
    confidence: NDArray[np.float64]
    wrong: list[int]


def count_figures(
    checkpoint: Checkpoint,
    photographs: Sequence[Photograph],
    logits: NDArray[np.float64],
    judgements: Sequence[Judgement] | None = None,
) -> Figures:
    """Count everything.

    Args:
        checkpoint: the model: classes, temperature, thresholds.
        photographs: N of them, at least 1, each of a class that the model has.
        logits: (N, C) scores before the softmax.
        judgements: N decisions with the probabilities they rest on; None takes those of the checkpoint.
    """
    classes, labels = checkpoint.classes, [photograph.label for photograph in photographs]
    if judgements is None:
        judgements = [judge(row, classes, checkpoint.temperature, checkpoint.thresholds) for row in logits]
    names = [photograph.group for photograph in photographs]
    targets = np.array([classes.index(label) for label in labels])  # (N,)
    probabilities = np.array([[each.scores[name] for name in classes] for each in judgements])  # (N, C)
    said, confidence = probabilities.argmax(axis=1), probabilities.max(axis=1)  # (N,) each
    confusion = np.zeros((len(classes), len(classes)), np.int64)
    np.add.at(confusion, (targets, said), 1)
    surest_first = np.argsort(-confidence, kind="stable")
    pairs = set(zip(labels, names, strict=True))
    return Figures(
        measured=measure(judgements, labels, classes),
        intervals=score_intervals(targets, said, names, len(classes)),
        six=_situations_alone(probabilities, targets, names, classes),
        shares=_verdict_shares(judgements, labels, names),
        groups=np.array([sum(label == name for label, _ in pairs) for name in classes]),
        confusion=confusion,
        bins=_bins(confidence, said == targets),
        said=said,
        confidence=confidence,
        wrong=[int(position) for position in surest_first if said[position] != targets[position]],
    )


def right_ones(figures: Figures, photographs: Sequence[Photograph], classes: Sequence[str]) -> list[int]:
    """Of each class the rightly named photograph that the model was surest of, and the one it doubted most.

    Returns:
        Their positions, class by class; one for a class with a single one, none for a class without.
    """
    wrong = set(figures.wrong)
    chosen: list[int] = []
    for name in classes:
        found = [
            position
            for position, photograph in enumerate(photographs)
            if photograph.label == name and position not in wrong
        ]
        found.sort(key=lambda position: -figures.confidence[position])
        chosen += [*found[:1], *found[1:][-1:]]
    return chosen


def _situations_alone(
    probabilities: NDArray[np.float64],
    targets: NDArray[np.int64],
    groups: Sequence[str],
    classes: Sequence[str],
) -> ScoreIntervals | None:
    situations = np.array([position for position, name in enumerate(classes) if name != NORMAL])
    shown = np.flatnonzero(np.isin(targets, situations)).tolist()
    if not shown:
        return None
    said = situations[probabilities[shown][:, situations].argmax(axis=1)]  # (emergencies,)
    return score_intervals(targets[shown], said, [groups[position] for position in shown], len(classes))


def _verdict_shares(
    judgements: Sequence[Judgement], labels: Sequence[str], groups: Sequence[str]
) -> dict[str, Share]:
    verdict = np.array([judgement.verdict.value for judgement in judgements])  # (N,)
    dispatched, unsure = verdict == Verdict.DISPATCHED.value, verdict == Verdict.UNSURE.value
    right = np.array(
        [each.situation == label for each, label in zip(judgements, labels, strict=True)]
    )  # (N,)
    normal = np.array([label == NORMAL for label in labels])  # (N,)
    counted = {
        "unsure": (unsure, np.full(len(labels), True)),
        "false_alarms": (dispatched, normal),
        "unsure_normal": (unsure, normal),
        "missed": (verdict == Verdict.NO_EMERGENCY.value, ~normal),
        "misdirected": (dispatched & ~right, ~normal),
        "right_at_once": (dispatched & right, ~normal),
        "unsure_emergency": (unsure, ~normal),
    }
    return {
        name: Share(
            value=float(hits[among].mean()) if among.any() else None,
            interval=share_interval(hits, among, groups),
        )
        for name, (hits, among) in counted.items()
    }


def _bins(confidence: NDArray[np.float64], right: NDArray[np.bool_]) -> list[Bin]:
    """Bins of equal mass, as ``training.evaluation.calibration_error`` has them."""
    order = np.argsort(confidence, kind="stable")
    return [
        Bin(
            low=float(confidence[members].min()),
            high=float(confidence[members].max()),
            confidence=float(confidence[members].mean()),
            right=float(right[members].mean()),
            n=members.size,
        )
        for members in np.array_split(order, ECE_BINS)
        if members.size
    ]
