import numpy as np
import pytest
from numpy.typing import NDArray

from training.intervals import Interval, ScoreIntervals, score_intervals, share_interval


def scored(count: int, seed: int, *, frames: int = 1) -> ScoreIntervals:
    """A model that is right about two thirds of ``count`` photographs; frames of one group fare alike."""
    random = np.random.default_rng(seed)
    events = count // frames
    targets = np.repeat(np.arange(events) % 3, frames)
    right = np.repeat(random.random(events) < 2 / 3, frames)
    said = np.where(right, targets, (targets + 1) % 3)
    names = [str(event) for event in np.repeat(np.arange(events), frames)]
    return score_intervals(targets, said, names, 3)


def width(interval: Interval | None) -> float:
    assert interval is not None
    return interval.high - interval.low


def arrays(*pairs: tuple[int, int]) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """What was shown and what was said."""
    targets, said = np.array(pairs).T
    return targets, said


@pytest.mark.parametrize("seed", range(5))
def test_intervals_hold_the_figure_itself(seed: int) -> None:
    """Accuracy, precision, recall and F1, each counted here, lie inside their intervals."""
    random = np.random.default_rng(seed)
    targets = random.integers(0, 3, 120)
    said = np.where(random.random(120) < 0.7, targets, random.integers(0, 3, 120))
    found = score_intervals(targets, said, [str(n // 2) for n in range(120)], 3)
    assert found.accuracy.low < (said == targets).mean() < found.accuracy.high
    f1 = []
    for c in range(3):
        hits = ((said == c) & (targets == c)).sum()
        precision, recall = hits / (said == c).sum(), hits / (targets == c).sum()
        f1.append(2 * precision * recall / (precision + recall))
        for interval, value in (
            (found.precision[c], precision),
            (found.recall[c], recall),
            (found.f1[c], f1[c]),
        ):
            assert interval is not None
            assert interval.low < value < interval.high
    assert found.macro_f1.low < np.mean(f1) < found.macro_f1.high


def test_more_events_narrow_the_interval() -> None:
    """Sixteen times the events, about a quarter of the width."""
    few, many = scored(60, 0), scored(960, 0)
    assert width(few.accuracy) / width(many.accuracy) == pytest.approx(4, rel=0.25)
    assert width(few.macro_f1) > 2 * width(many.macro_f1)


def test_frames_of_one_event_count_as_one() -> None:
    """Ten alike frames of each of 30 events tell no more than 30 photographs, and less than 300."""
    frames, alone, more = scored(300, 0, frames=10), scored(30, 0), scored(300, 0)
    assert frames.accuracy == alone.accuracy
    assert width(frames.accuracy) > 2 * width(more.accuracy)


def test_the_width_is_that_of_the_textbook() -> None:
    """For single photographs the bootstrap comes to what the normal approximation says."""
    targets = np.zeros(400, np.int64)
    said = (np.arange(400) % 4 == 0).astype(np.int64)
    found = score_intervals(targets, said, [str(n) for n in range(400)], 2)
    assert width(found.accuracy) == pytest.approx(2 * 1.96 * (0.75 * 0.25 / 400) ** 0.5, rel=0.1)


def test_the_same_seed_gives_the_same_interval() -> None:
    """A report can be made again; another seed draws otherwise."""
    targets, said = arrays(*[(n % 2, n % 3 % 2) for n in range(40)])
    names = [str(n) for n in range(40)]
    first, again, other = (score_intervals(targets, said, names, 2, seed=seed) for seed in (1, 1, 2))
    assert first == again
    assert first != other


def test_all_right_is_not_certainty() -> None:
    """Of 30 events none was wrong: up to three in 30 might have been, and F1 follows."""
    targets, said = arrays(*[(n % 2, n % 2) for n in range(60)])
    found = score_intervals(targets, said, [str(n // 2 * 2 + n % 2) for n in range(60)], 2)
    assert found.accuracy == Interval(0.95, 1.0)
    assert found.recall == [Interval(0.9, 1.0)] * 2
    for interval in (*found.f1, found.macro_f1):
        assert interval is not None
        assert interval.low == pytest.approx(0.9)
        assert interval.high == 1


def test_what_does_not_occur_has_no_interval() -> None:
    """A class that is never shown has no recall, one that is never said no precision."""
    found = score_intervals(*arrays((0, 0), (0, 1), (0, 0)), ["a", "b", "c"], 3)
    assert found.recall[1:] == [None, None]
    assert found.precision[2] is None
    assert found.precision[1] == Interval(0.0, 1.0)
    assert found.f1[1:] == [None, None]


def test_shares_are_among_those_that_could() -> None:
    """One of two, or none of two, whatever the other two are; and among none there is no share."""
    hits, among = np.array([True, False, True, True]), np.array([True, True, False, False])
    assert share_interval(hits, among, ["a", "b", "c", "d"]) == Interval(0.0, 1.0)
    assert share_interval(~hits, ~among, ["a", "b", "c", "d"]) == Interval(0.0, 1.0)
    assert share_interval(hits, np.full(4, False), ["a", "b", "c", "d"]) is None


def test_draws_are_made_in_portions(monkeypatch: pytest.MonkeyPatch) -> None:
    """Many events take no more memory than few, and the portions change nothing."""
    whole = scored(90, 0)
    monkeypatch.setattr("training.intervals._DRAWS_AT_ONCE", 90 * 7)
    assert scored(90, 0) == whole
