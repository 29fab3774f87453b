from collections.abc import Iterator

import numpy as np
import pytest
import torch
from torchvision.models import resnet34
from training_parts import TINY, random_checkpoint, single_threaded

from training.attention import Attention, brightest_place, lay_over


@pytest.fixture(scope="module", autouse=True)
def one_thread() -> Iterator[None]:
    with single_threaded():
        yield


def test_a_map_averages_to_the_score_of_its_class() -> None:
    """Mean over the picture plus bias is what the whole network says, for every class."""
    checkpoint = random_checkpoint("fire", "protest", "normal")
    batch = np.random.default_rng(0).integers(0, 256, (2, 96, 96, 3), dtype=np.uint8)
    maps = Attention(checkpoint)(batch)
    assert maps.shape == (2, 3, 3, 3)
    model = resnet34(weights=None, num_classes=3)
    model.load_state_dict({name: torch.from_numpy(array) for name, array in checkpoint.weights.items()})
    mean, std = (torch.tensor(channels).view(1, 3, 1, 1) for channels in (TINY.mean, TINY.std))
    images = (torch.from_numpy(batch).permute(0, 3, 1, 2) / 255 - mean) / std
    with torch.inference_mode():
        expected = model.float().eval()(images).numpy()
    bias = checkpoint.weights["fc.bias"].astype(np.float32)
    assert np.ptp(expected) > 0.1
    assert np.allclose(maps.mean(axis=(2, 3)) + bias, expected, atol=1e-4)


def test_the_picture_is_brightest_where_the_map_is() -> None:
    """On a plain wall, only the evidence shines."""
    activation = np.zeros((4, 4), np.float32)
    activation[0, 3] = 5
    wall = np.full((64, 64, 3), 128, np.uint8)
    laid = lay_over(wall, activation)
    assert (laid.shape, laid.dtype) == (wall.shape, wall.dtype)
    brightness = laid.mean(axis=2)
    assert brightness[:16, 48:].mean() > brightness[32:, :32].mean() + 50
    assert np.ptp(brightness[32:, :32]) < 5


def test_a_map_without_a_place_is_no_failure() -> None:
    """Where everything speaks alike, nothing is brighter."""
    laid = lay_over(np.full((64, 64, 3), 128, np.uint8), np.full((2, 2), 3.0, np.float32))
    assert np.ptp(laid.mean(axis=2)) == 0


@pytest.mark.parametrize(
    ("place", "words"),
    [((0, 0), "upper left"), ((3, 3), "centre"), ((6, 3), "lower centre"), ((3, 6), "middle right")],
)
def test_the_brightest_place_has_a_name(place: tuple[int, int], words: str) -> None:
    """Thirds of the picture, for those who can't see it."""
    activation = np.zeros((7, 7), np.float32)
    activation[place] = 1
    assert brightest_place(activation) == words
