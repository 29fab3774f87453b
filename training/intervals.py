"""How far a figure might be off, had other events been photographed.

Frames of one event are alike: ten of them tell little more than one. So whole groups are drawn, with
replacement, as often as there are groups, and the figures are computed anew each time.

Source: percentile bootstrap, Efron and Tibshirani 1993, chapter 13; of whole clusters, Davison and Hinkley
1997, section 3.8.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

RESAMPLES = 2000
LEVEL = 0.95

_DRAWS_AT_ONCE = 4_000_000  # bounds the memory that the draws take: 8 bytes each


@dataclass(frozen=True, slots=True)
class Interval:
    """Where a figure lies with a probability of 95 %.

    Attributes:
        low: its lower end.
        high: its upper end.
    """

    low: float
    high: float


@dataclass(frozen=True, kw_only=True, slots=True)
class ScoreIntervals:
    """Intervals of the figures that ``training.evaluation.evaluate`` gives; None where nothing can be told.

    Attributes:
        accuracy: share of photographs whose class was found.
        macro_f1: mean F1 of the classes that occur.
        precision: one for each of C classes; None for a class that was never said.
        recall: one for each of C classes; None for a class that does not occur.
        f1: one for each of C classes; None for a class that does not occur.
    """

    accuracy: Interval
    macro_f1: Interval
    precision: list[Interval | None]
    recall: list[Interval | None]
    f1: list[Interval | None]


def score_intervals(
    targets: NDArray[np.int64],
    said: NDArray[np.int64],
    groups: Sequence[str],
    class_count: int,
    *,
    seed: int = 0,
) -> ScoreIntervals:
    """Bootstrap intervals of accuracy, macro-F1, and precision, recall and F1 of each class.

    Args:
        targets: (N,) positions of the true classes, N at least 1.
        said: (N,) positions of the classes that the model chose.
        groups: N names; photographs that share one are drawn together.
        class_count: C.
        seed: of the draws; the same seed gives the same intervals.
    """
    is_true, is_said = _one_hot(targets, class_count), _one_hot(said, class_count)  # (N, C) each
    hits = is_true * is_said  # (N, C)
    everything = np.stack((hits.sum(axis=1), np.ones(len(hits))), axis=1)  # (N, 2)
    sums = _Sums.drawn_from(np.hstack((hits, is_said, is_true, everything)), groups, seed)  # (N, 3 C + 2)
    hit, called, there = np.arange(3 * class_count).reshape(3, class_count)  # columns, (C,) each
    precision = [sums.share(hit[c], called[c]) for c in range(class_count)]
    recall = [sums.share(hit[c], there[c]) for c in range(class_count)]
    f1 = _f1(sums.drawn[:, hit], sums.drawn[:, called], sums.drawn[:, there])  # (R, C)
    per_class = [
        _f1_interval(f1[:, c], precision[c], recall[c]) if sums.whole[there[c]] else None
        for c in range(class_count)
    ]
    occurs = sums.drawn[:, there] > 0  # (R, C): a draw may miss a class, whose F1 then means nothing
    macro = np.where(occurs, f1, 0).sum(axis=1) / occurs.sum(axis=1)  # (R,)
    accuracy = sums.share(-2, -1)
    assert accuracy is not None, "no photograph"
    return ScoreIntervals(
        accuracy=accuracy,
        macro_f1=_macro_interval(macro, per_class),
        precision=precision,
        recall=recall,
        f1=per_class,
    )


def share_interval(
    hits: NDArray[np.bool_], among: NDArray[np.bool_], groups: Sequence[str], *, seed: int = 0
) -> Interval | None:
    """Bootstrap interval of the share of ``among`` that are hits; None where there are none.

    Args:
        hits: (N,) whether a photograph counts; only those among ``among`` do.
        among: (N,) whether a photograph could have counted.
        groups: N names; photographs that share one are drawn together.
        seed: of the draws.
    """
    counts = np.stack((hits & among, among), axis=1).astype(np.float64)  # (N, 2)
    return _Sums.drawn_from(counts, groups, seed).share(0, 1)


@dataclass(frozen=True, slots=True)
class _Sums:
    """Counts summed over photographs.

    Attributes:
        whole: (K,) over all of them.
        drawn: (R, K) over those of each draw.
        groups: (K,) how many groups each count comes from.
    """

    whole: NDArray[np.float64]
    drawn: NDArray[np.float64]
    groups: NDArray[np.int64]

    @classmethod
    def drawn_from(cls, counts: NDArray[np.float64], groups: Sequence[str], seed: int) -> "_Sums":
        """Draw whole groups, RESAMPLES times, and add up the (N, K) counts of their photographs."""
        _, group_of = np.unique(np.asarray(groups), return_inverse=True)  # (N,)
        count = int(group_of.max()) + 1
        by_group = np.zeros((count, counts.shape[1]))  # (G, K)
        np.add.at(by_group, group_of, counts)
        random = np.random.default_rng(seed)
        rows = max(1, _DRAWS_AT_ONCE // count)
        drawn = [
            # How often each group is drawn, (rows, G), times what it holds.
            random.multinomial(count, np.full(count, 1 / count), size=min(rows, RESAMPLES - begin)) @ by_group
            for begin in range(0, RESAMPLES, rows)
        ]
        return cls(by_group.sum(axis=0), np.concatenate(drawn), (by_group > 0).sum(axis=0))

    def share(self, top: int, bottom: int) -> Interval | None:
        """The interval of one count as a share of another, by their columns."""
        hits, of, groups = self.whole[top], self.whole[bottom], int(self.groups[bottom])
        if not of:
            return None
        # Where all or none of the photographs were right, so they are in every draw, and it would seem
        # certain. With n tries and no failure up to 3/n may fail. Source: Hanley and Lippman-Hand 1983.
        if hits == 0:
            return Interval(0.0, min(1.0, 3 / groups))
        if hits == of:
            return Interval(max(0.0, 1 - 3 / groups), 1.0)
        return _middle(_ratio(self.drawn[:, top], self.drawn[:, bottom]))


def _one_hot(positions: NDArray[np.int64], count: int) -> NDArray[np.float64]:
    return np.eye(count)[positions]  # (N, C)


def _ratio(top: NDArray[np.float64], bottom: NDArray[np.float64]) -> NDArray[np.float64]:
    """Their ratio, or NaN where a draw holds nothing to divide by."""
    return np.divide(top, bottom, out=np.full_like(bottom, np.nan), where=bottom > 0)


def _f1(
    hit: NDArray[np.float64], called: NDArray[np.float64], there: NDArray[np.float64]
) -> NDArray[np.float64]:
    return _ratio(2 * hit, called + there)


def _middle(values: NDArray[np.float64]) -> Interval:
    """The middle 95 % of (R,) values, NaN left out; at least one is a number."""
    low, high = np.nanquantile(values, [(1 - LEVEL) / 2, (1 + LEVEL) / 2])
    return Interval(float(low), float(high))


def _f1_interval(drawn: NDArray[np.float64], precision: Interval | None, recall: Interval | None) -> Interval:
    middle = _middle(drawn)
    if middle.low < middle.high or precision is None or recall is None:
        return middle
    # All or none right again: F1 is what it would be at the ends of precision and recall.
    return Interval(_harmonic(precision.low, recall.low), _harmonic(precision.high, recall.high))


def _macro_interval(drawn: NDArray[np.float64], per_class: Sequence[Interval | None]) -> Interval:
    middle = _middle(drawn)
    if middle.low < middle.high:
        return middle
    known = [interval for interval in per_class if interval is not None]
    return Interval(
        sum(interval.low for interval in known) / len(known),
        sum(interval.high for interval in known) / len(known),
    )


def _harmonic(first: float, second: float) -> float:
    return 2 * first * second / (first + second) if first + second else 0.0
