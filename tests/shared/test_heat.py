"""Heat: a map as shares of its range, large and smooth, in colours."""

import numpy as np

from shared.heat import heat, shares, spread


def test_shares_span_the_range_of_a_map() -> None:
    """The lowest is 0, the highest 1, whatever the numbers are; a flat map is 0."""
    found = shares(np.array([[-3.0, 1.0], [0.0, 5.0]], np.float32))
    assert found.dtype == np.float32
    assert found.tolist() == [[0.0, 0.5], [0.375, 1.0]]
    assert not shares(np.full((2, 2), 7.0, np.float32)).any()


def test_a_map_is_spread_in_its_own_geometry() -> None:
    """Width and height are not mixed up, the heat stays where it was, and nothing leaves [0, 1]."""
    small = np.zeros((4, 4), np.float32)
    small[0, 3] = 1
    large = spread(small, (80, 20))
    assert large.shape == (20, 80)
    assert (large.min(), large.max()) >= (0.0, 0.9) and large.max() <= 1
    row, column = np.unravel_index(large.argmax(), large.shape)
    assert row < 5 and column >= 60


def test_colours_grow_brighter_all_the_way() -> None:
    """What is hotter is brighter, in grey print too."""
    colours = heat(np.linspace(0, 1, 100, dtype=np.float32))
    assert colours.shape == (100, 3)
    assert colours.min() >= 0 and colours.max() <= 255
    assert (np.diff(colours @ (0.2126, 0.7152, 0.0722)) > 0).all()
