import numpy as np
import pytest

from training.views import VIEWS, view


@pytest.fixture(scope="module")
def pixels() -> np.ndarray:
    """(96, 96, 3) uint8: coarse coloured blocks with fine noise."""
    random = np.random.default_rng(0)
    blocks = random.integers(0, 200, (6, 6, 3)).repeat(16, axis=0).repeat(16, axis=1)  # (96, 96, 3)
    return (blocks + random.integers(0, 56, (96, 96, 3))).astype(np.uint8)


@pytest.mark.parametrize("name", VIEWS)
def test_every_view_is_a_picture_of_the_same_size(pixels: np.ndarray, name: str) -> None:
    """No view changes shape or type, and only the plain one shows what was there."""
    seen = view(pixels, name, np.random.default_rng(1))
    assert seen.shape == pixels.shape
    assert seen.dtype == np.uint8
    assert np.array_equal(seen, pixels) == (name == "plain")


@pytest.mark.parametrize("name", VIEWS)
def test_a_view_follows_its_generator(pixels: np.ndarray, name: str) -> None:
    """The same seed shows the same view."""
    first, second = (view(pixels, name, np.random.default_rng(5)) for _ in range(2))
    assert np.array_equal(first, second)


def test_views_take_away_what_they_say(pixels: np.ndarray) -> None:
    """Grey has no colour, dark less light, and small, blurred and surveillance no fine noise."""

    def seen(name: str) -> np.ndarray:
        return view(pixels, name, np.random.default_rng(2)).astype(float)

    def roughness(picture: np.ndarray) -> float:
        return float(np.abs(np.diff(picture[:12, :12], axis=1)).mean())

    assert np.ptp(seen("grey"), axis=2).max() == 0
    assert seen("dark").mean() < 0.6 * pixels.mean()
    for name in ("small", "blurred", "surveillance"):
        assert roughness(seen(name)) < 0.7 * roughness(pixels.astype(float)), name
