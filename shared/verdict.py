"""From a model's scores to what happens next: dispatch, ask a person, or keep for the record."""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from enum import StrEnum

import numpy as np
from numpy.typing import NDArray

from shared.routing import NORMAL


class Verdict(StrEnum):
    """What became of an incident once the model had looked at its photograph."""

    DISPATCHED = "dispatched"
    """Sure enough of one situation: its departments are told at once."""

    UNSURE = "unsure"
    """Neither sure of a situation nor of none: a person decides, and waiting too long fails open."""

    NO_EMERGENCY = "no_emergency"
    """Sure that nothing is wrong: nobody is told; the incident is kept, searchable and sampled."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Thresholds:
    """The least probability, in [0, 1], that each decision needs.

    Attributes:
        dispatch: the best situation is dispatched from here on.
        no_emergency: the photograph counts as normal from here on.

    Raises:
        ValueError: a threshold is not finite or out of range.
    """

    dispatch: float
    no_emergency: float

    def __post_init__(self) -> None:
        for name, probability in (("dispatch", self.dispatch), ("no_emergency", self.no_emergency)):
            if not 0.0 <= probability <= 1.0:
                raise ValueError(f"the {name} threshold {probability} is not between 0 and 1")


@dataclass(frozen=True, kw_only=True, slots=True)
class Judgement:
    """What one photograph was taken to show.

    Attributes:
        verdict: what happens next.
        situation: the best situation, or None when the verdict is ``no_emergency``.
        confidence: the calibrated probability, in [0, 1], of the situation (or of normal).
        scores: the calibrated probability of every class, in class order; they add up to 1.
    """

    verdict: Verdict
    situation: str | None
    confidence: float
    scores: dict[str, float]


def judge(
    logits_row: NDArray[np.floating] | Sequence[float],
    classes: Sequence[str],
    temperature: float,
    thresholds: Thresholds,
) -> Judgement:
    """Decide about one photograph.

    Normal is looked at first, so a photograph that passes both thresholds is no emergency. A model
    without ``normal`` among its classes never says ``no_emergency``.

    Args:
        logits_row: (C,) finite scores before the softmax.
        classes: C names in the order of the scores, at least one of them a situation.
        temperature: divides the scores before the softmax; above 1 makes the model less sure.
        thresholds: what each decision needs.

    Raises:
        ValueError: the number of scores differs from the number of classes, or one is not finite.
    """
    probabilities = softmax(np.asarray(logits_row, dtype=np.float64), temperature)
    if probabilities.shape != (len(classes),):
        raise ValueError(f"{probabilities.shape} scores for {len(classes)} classes")
    if not math.isfinite(float(probabilities.sum())):
        raise ValueError("the scores are not finite")
    scores = {name: float(p) for name, p in zip(classes, probabilities, strict=True)}
    if NORMAL in scores and scores[NORMAL] >= thresholds.no_emergency:
        return Judgement(
            verdict=Verdict.NO_EMERGENCY, situation=None, confidence=scores[NORMAL], scores=scores
        )
    situation = max((name for name in classes if name != NORMAL), key=scores.__getitem__)
    sure = scores[situation] >= thresholds.dispatch
    return Judgement(
        verdict=Verdict.DISPATCHED if sure else Verdict.UNSURE,
        situation=situation,
        confidence=scores[situation],
        scores=scores,
    )


def softmax(logits: NDArray[np.float64], temperature: float) -> NDArray[np.float64]:
    """Calibrated probabilities along the last axis: (..., C) float64 logits in, (..., C) float64 out."""
    scaled = logits / temperature
    # Subtracting the largest keeps exp() from overflowing and changes nothing else.
    exponentials = np.exp(scaled - scaled.max(axis=-1, keepdims=True))
    probabilities: NDArray[np.float64] = exponentials / exponentials.sum(axis=-1, keepdims=True)
    return probabilities
