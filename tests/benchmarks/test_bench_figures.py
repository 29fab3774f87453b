import pytest

from benchmarks.contenders import due_times_s
from benchmarks.figures import Contest, Figures, Spread, flood_long_enough, percentile, spread


def figures(rate: float | None, *latencies_ms: float) -> Figures:
    """One repeat."""
    return Figures(images_per_s=rate, cpu_s_per_image=None, latencies_ms=latencies_ms, peak_bytes=1)


@pytest.mark.parametrize(("share", "expected"), [(0.5, 50.0), (0.95, 95.0), (0.99, 99.0), (1.0, 100.0)])
def test_a_percentile_is_one_of_the_figures(share: float, expected: float) -> None:
    """A percentile is the smallest figure that this share of all does not exceed."""
    assert percentile([float(number) for number in range(100, 0, -1)], share) == expected


def test_a_percentile_of_few_figures_is_not_flattered() -> None:
    """The 99th percentile of a handful is the worst of them."""
    assert percentile([3.0, 9.0, 1.0], 0.99) == 9.0


def test_a_spread_leaves_out_what_was_not_measured() -> None:
    """Median and range are of the figures that there are."""
    assert spread([4.0, None, 1.0, 2.0]) == Spread(2.0, 1.0, 4.0)
    assert spread([None]) is None


def test_latencies_of_all_repeats_count_together() -> None:
    """A percentile is of all repeats' latencies, its range over the repeats."""
    contest = Contest("a", "torch-cpu", "", [figures(1, 1, 2, 3), figures(1, 10, 20, 30)])
    assert contest.latency_ms(0.5) == Spread(3.0, 2.0, 20.0)


def test_a_contender_that_is_not_flooded_has_no_rate() -> None:
    """No rate is made up for the one that is measured at a steady rate only."""
    assert Contest("a", "torch-cpu", "", [figures(None, 1)]).images_per_s is None


def test_a_flood_grows_until_it_lasts() -> None:
    """Floods get longer, at most eightfold, and the last one alone counts."""
    counts: list[int] = []

    def flood(count: int) -> float:
        counts.append(count)
        return count / 100

    assert flood_long_enough(flood, aim_s=6.0) == (512, 5.12)
    assert counts == [8, 64, 512]


def test_the_first_flood_never_counts() -> None:
    """A contender so slow that its first flood lasts is flooded once more, warm."""
    took_s = iter([9.0, 5.0])
    assert flood_long_enough(lambda _: next(took_s), aim_s=6.0) == (8, 5.0)


def test_pictures_are_due_at_the_rate() -> None:
    """Pictures at a steady rate come in order, on average at that rate."""
    due_s = due_times_s(100, 4.0)
    assert due_s == sorted(due_s)
    assert due_s[-1] - due_s[0] == pytest.approx(99 / 4, abs=0.2)
