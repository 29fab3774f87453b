import numpy as np
import pytest

from training.augmentation import WHOLE, altered, cut, draw_box


@pytest.fixture(scope="module")
def picture() -> np.ndarray:
    """(96, 96, 3) uint8: left half red, right half blue, with fine noise."""
    halves = np.zeros((96, 96, 3))
    halves[:, :48, 0], halves[:, 48:, 2] = 200, 200
    return (halves + np.random.default_rng(0).integers(0, 56, halves.shape)).clip(0, 255).astype(np.uint8)


def test_a_box_is_a_part_that_keeps_most_of_the_street() -> None:
    """A thousand boxes lie inside the photograph, hold at least 30 % of it, and are stretched little."""
    for seed in range(1000):
        left, top, right, bottom = draw_box(np.random.default_rng(seed))
        assert 0 <= left < right <= 1 + 1e-9 and 0 <= top < bottom <= 1 + 1e-9
        width, height = right - left, bottom - top
        assert width * height >= 0.3 * 0.99 or max(width, height) == pytest.approx(1)
        assert 0.7 <= width / height <= 1.4


def test_a_cut_shows_what_is_inside_its_box(picture: np.ndarray) -> None:
    """The left half of a half red picture is red, the right half blue, at the size that was asked for."""
    left, right = cut(picture, (0, 0, 0.5, 1), 32), cut(picture, (0.5, 0, 1, 1), 32)
    assert left.shape == right.shape == (32, 32, 3)
    for half, lit, unlit in ((left, 0, 2), (right, 2, 0)):
        assert half[..., lit].mean() > 150
        assert half[..., unlit].mean() < 60


def test_the_whole_picture_at_its_own_size_is_itself(picture: np.ndarray) -> None:
    """Nothing is resampled where nothing is asked."""
    assert np.array_equal(cut(picture, WHOLE, 96), picture)


def test_an_altered_picture_keeps_its_shape_and_follows_its_generator(picture: np.ndarray) -> None:
    """The same seed alters alike, other seeds otherwise; the picture itself is not touched."""
    before = picture.copy()
    shown = [altered(picture, np.random.default_rng(seed)) for seed in range(60)]
    again = [altered(picture, np.random.default_rng(seed)) for seed in range(60)]
    for first, second in zip(shown, again, strict=True):
        assert first.shape == picture.shape and first.dtype == np.uint8 and first.flags.writeable
        assert np.array_equal(first, second)
    assert len({each.tobytes() for each in shown}) > 50
    assert np.array_equal(picture, before)


def test_alterations_take_the_look_away(picture: np.ndarray) -> None:
    """Among many there are mirrored, grey, and dark ones, and ones without fine detail."""
    shown = [altered(picture, np.random.default_rng(seed)).astype(float) for seed in range(300)]
    assert any(each[:, :30, 2].mean() > 2 * each[:, :30, 0].mean() + 20 for each in shown), "mirrored"
    # Recolouring tints grey ones a little: channels move together all the same.
    assert any(np.corrcoef(each[..., 0].ravel(), each[..., 2].ravel())[0, 1] > 0.9 for each in shown), "grey"
    assert any(each.mean() < 0.5 * picture.mean() for each in shown), "dark"
    detail = [np.abs(np.diff(each[:, 5:40, 0], axis=0)).mean() for each in shown]
    assert min(detail) < 0.3 * np.abs(np.diff(picture[:, 5:40, 0].astype(float), axis=0)).mean(), "blurred"
