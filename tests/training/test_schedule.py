import pytest

from training.schedule import Schedule


def test_pictures_grow_as_the_run_goes_on() -> None:
    """Each size begins at its share of the epochs, and the last one lasts to the end."""
    schedule = Schedule(cycles=((20, 1.0),), sizes_px=((0.0, 128), (0.45, 160), (0.8, 208)))
    assert [schedule.size_px(epoch) for epoch in range(20)] == [128] * 9 + [160] * 7 + [208] * 4


def test_the_rate_rises_for_one_epoch_and_then_falls_to_a_hundredth() -> None:
    """It starts at nothing, is highest after an epoch, and never rises again."""
    schedule = Schedule(cycles=((10, 2.0),))
    assert schedule.rate_at(0) == 0
    assert schedule.rate_at(1) == pytest.approx(2.0)
    falling = [schedule.rate_at(1 + step / 10) for step in range(100)]
    assert falling == sorted(falling, reverse=True)
    assert schedule.rate_at(10) == pytest.approx(0.02)


def test_a_second_cycle_begins_anew() -> None:
    """The rate rises once more, to the cycle's own height, and falls as in the first."""
    schedule = Schedule(cycles=((10, 2.0), (5, 0.5)))
    assert schedule.epochs == 15
    assert schedule.rate_at(10) == pytest.approx(0.02)
    assert schedule.rate_at(10.5) == pytest.approx(0.25)
    assert schedule.rate_at(11) == pytest.approx(0.5)
    assert schedule.rate_at(15) == pytest.approx(0.005)


def test_a_short_run_is_averaged_over_a_part_of_it() -> None:
    """The average never holds much of the first weights: at most what is left after five times its span."""
    assert Schedule().lasting(100).average_of(64_000) == Schedule().average
    for epochs, photographs in ((1, 30), (20, 500), (20, 2000), (40, 4500)):
        schedule = Schedule().lasting(epochs)
        steps = epochs * max(1, photographs // schedule.batch)
        assert schedule.average_of(photographs) ** steps < 0.01


def test_a_run_of_one_epoch_has_a_rate() -> None:
    """The shortest run divides by nothing."""
    assert 0 < Schedule().lasting(1).rate_at(0.5) <= Schedule().cycles[0][1]
