"""From scores to honest confidence and to verdicts, on photographs that the network has not learnt from."""

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from shared.routing import NORMAL
from shared.verdict import Judgement, Thresholds, judge, softmax
from training.dataset import Photograph, folds
from training.logistic import choose_temperature, choose_thresholds

MAX_FALSE_ALARMS = 0.08
"""Share of normal photographs that may be dispatched."""

MAX_MISSED = 0.03
"""Share of emergencies that may be called no emergency."""

_FOLDS = 5


@dataclass(frozen=True, kw_only=True, slots=True)
class Calibration:
    """What turns scores into probabilities, and those into verdicts."""

    temperature: float
    thresholds: Thresholds


def calibrate(logits: NDArray[np.float64], targets: NDArray[np.int64], classes: Sequence[str]) -> Calibration:
    """Choose on photographs that the network has not learnt from: (N, C) scores and (N,) classes.

    Thresholds keep a standard error below what is allowed: photographs to come are not these.
    """
    temperature = choose_temperature(logits, targets)
    is_normal = np.array(classes)[targets] == NORMAL  # (N,)
    thresholds = choose_thresholds(
        softmax(logits, temperature),
        targets,
        classes,
        max_false_alarms=_with_room(MAX_FALSE_ALARMS, int(is_normal.sum())),
        max_missed=_with_room(MAX_MISSED, int((~is_normal).sum())),
    )
    return Calibration(temperature=temperature, thresholds=thresholds)


def _with_room(share: float, count: int) -> float:
    """A share less its standard error among so many, at least 0."""
    return max(0.0, share - math.sqrt(share * (1 - share) / max(count, 1)))


def judge_out_of_fold(
    logits: NDArray[np.float64], photographs: Sequence[Photograph], classes: Sequence[str], seed: int
) -> list[Judgement]:
    """Decide about each photograph by a calibration that has seen nothing of its group.

    The same photographs serve for choosing temperature and thresholds and for scoring, and yet none is
    scored by a choice of these that it took part in.

    Args:
        logits: (N, C) scores.
        photographs: N of them.
        classes: C names.
        seed: of the folds.

    Returns:
        N decisions, with calibrated probabilities.
    """
    targets = np.array([list(classes).index(each.label) for each in photographs], np.int64)  # (N,)
    fold_of = np.array(folds(photographs, _FOLDS, seed))
    chosen = {
        int(fold): calibrate(logits[fold_of != fold], targets[fold_of != fold], classes)
        for fold in np.unique(fold_of)
    }
    return [
        judge(row, classes, chosen[fold].temperature, chosen[fold].thresholds)
        for row, fold in zip(logits, fold_of.tolist(), strict=True)
    ]
