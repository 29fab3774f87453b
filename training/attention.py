"""Class activation maps: where in a photograph the evidence for a class lies.

ResNet-34 averages its last feature map over the picture and weighs the averages to get the score of a class.
Weighing first and averaging later gives the same score, and before the averaging there is a map.

Source: Zhou et al. 2016, "Learning deep features for discriminative localization", section 2.
"""

import numpy as np
import torch
from numpy.typing import NDArray
from PIL import Image, ImageOps
from torchvision.models import resnet34

from shared.checkpoint import Checkpoint
from shared.heat import heat, shares, spread

_VERTICAL = ("upper", "middle", "lower")
_HORIZONTAL = ("left", "centre", "right")


class Attention:
    """The network of a checkpoint up to its last feature map, and its classifier beside it."""

    def __init__(self, checkpoint: Checkpoint) -> None:
        model = resnet34(weights=None, num_classes=len(checkpoint.classes))
        model.load_state_dict({name: torch.from_numpy(array) for name, array in checkpoint.weights.items()})
        model = model.float().eval()
        *layers, _pool, _classifier = model.children()
        self._features = torch.nn.Sequential(*layers)
        self._weight: torch.Tensor = model.fc.weight  # (C, 512)
        self._mean = torch.tensor(checkpoint.preprocessing.mean).view(1, 3, 1, 1)  # (1, 3, 1, 1)
        self._std = torch.tensor(checkpoint.preprocessing.std).view(1, 3, 1, 1)  # (1, 3, 1, 1)

    @torch.inference_mode()
    def __call__(self, batch: NDArray[np.uint8]) -> NDArray[np.float32]:
        """The maps of every class.

        Args:
            batch: (B, H, W, 3) uint8 RGB, as ``shared.preprocessing.decode`` gives them.

        Returns:
            (B, C, h, w) float32, a 32nd of the size; the mean of a map, plus the class's bias, is the
            class's score before the softmax.
        """
        images = torch.from_numpy(batch).permute(0, 3, 1, 2).float()  # (B, 3, H, W)
        features = self._features((images / 255 - self._mean) / self._std)  # (B, 512, h, w)
        maps: NDArray[np.float32] = torch.einsum("ck,bkhw->bchw", self._weight, features).numpy()
        return maps


def lay_over(pixels: NDArray[np.uint8], activation: NDArray[np.float32]) -> NDArray[np.uint8]:
    """A photograph in grey under its map: the brighter, the more speaks for the class.

    Args:
        pixels: (H, W, 3) uint8 RGB.
        activation: (h, w) of one class.

    Returns:
        (H, W, 3) uint8 RGB.
    """
    height, width, _ = pixels.shape
    colours = heat(spread(shares(activation), (width, height)))  # (H, W, 3)
    grey = np.asarray(ImageOps.grayscale(Image.fromarray(pixels)), np.float64)[:, :, None]  # (H, W, 1)
    return (0.5 * grey + 0.5 * colours).round().astype(np.uint8)  # (H, W, 3)


def brightest_place(activation: NDArray[np.float32]) -> str:
    """Where a map of (h, w) is brightest, in words such as ``upper left``."""
    row, column = divmod(int(activation.argmax()), activation.shape[1])
    vertical = _VERTICAL[3 * row // activation.shape[0]]
    horizontal = _HORIZONTAL[3 * column // activation.shape[1]]
    return f"{vertical} {horizontal}".replace("middle centre", "centre")
