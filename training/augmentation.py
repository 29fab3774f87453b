"""What training does to a photograph before it is looked at: a street stays a street, its look does not.

Crops and mirror images teach where the event may lie. The rest takes the look away: surveillance frames are
small, grey and compressed, and most altercations come from surveillance; a network that is shown everything
in those looks can't take the look for the situation.
"""

from io import BytesIO

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageFilter

Box = tuple[float, float, float, float]
"""Left, top, right, bottom, as shares of width and height."""

WHOLE: Box = (0.0, 0.0, 1.0, 1.0)

_WORSENED = 0.6
_RECOLOURED = 0.7
_COVERED = 0.2


def draw_box(chance: np.random.Generator) -> Box:
    """A part of 30 to 100 % of the area, sides stretched by up to a third: the event mostly stays in view."""
    area, stretch = chance.uniform(0.3, 1.0), np.exp(chance.uniform(-0.3, 0.3))
    width, height = min(1.0, (area * stretch) ** 0.5), min(1.0, (area / stretch) ** 0.5)
    left, top = chance.uniform(0, 1 - width), chance.uniform(0, 1 - height)
    return (left, top, left + width, top + height)


def cut(picture: NDArray[np.uint8], box: Box, size_px: int) -> NDArray[np.uint8]:
    """The part of a picture inside a box, squashed to a square.

    Args:
        picture: (H, W, 3) uint8 RGB.
        box: which part.
        size_px: side of the square.

    Returns:
        (size_px, size_px, 3) uint8 RGB.
    """
    height_px, width_px, _ = picture.shape
    if box == WHOLE and height_px == width_px == size_px:
        return picture
    left, top, right, bottom = box
    part = (left * width_px, top * height_px, right * width_px, bottom * height_px)
    squashed = Image.fromarray(picture).resize((size_px, size_px), Image.Resampling.BILINEAR, box=part)
    return np.asarray(squashed)  # (size_px, size_px, 3)


def altered(picture: NDArray[np.uint8], chance: np.random.Generator) -> NDArray[np.uint8]:
    """A square picture as chance has it: mirrored, made worse, in other light, partly covered.

    Args:
        picture: (S, S, 3) uint8 RGB.
        chance: decides all of it.

    Returns:
        (S, S, 3) uint8 RGB, contiguous and writable.
    """
    if chance.random() < 0.5:
        picture = picture[:, ::-1]
    if chance.random() < _WORSENED:
        picture = _worsened(picture, chance)
    if chance.random() < _RECOLOURED:
        picture = _recoloured(picture, chance)
    if chance.random() < _COVERED:
        picture = _covered(picture, chance)
    return np.array(picture)  # (S, S, 3)


def _worsened(picture: NDArray[np.uint8], chance: np.random.Generator) -> NDArray[np.uint8]:
    """Small, blurred, grey, dark, noisy, compressed: each by itself, in the order a camera does it."""
    size_px = len(picture)
    image = Image.fromarray(np.ascontiguousarray(picture))
    if chance.random() < 0.22:
        small_px = int(chance.integers(32, max(97, size_px // 2)))
        image = image.resize((small_px, small_px), Image.Resampling.BILINEAR)
        back = (Image.Resampling.BILINEAR, Image.Resampling.BICUBIC, Image.Resampling.NEAREST)
        image = image.resize((size_px, size_px), back[chance.choice(3, p=(0.6, 0.3, 0.1))])
    if chance.random() < 0.2:
        image = image.filter(ImageFilter.GaussianBlur(chance.uniform(0.3, 2.2) * size_px / 224))
    if chance.random() < 0.2:
        image = image.convert("L").convert("RGB")
    if chance.random() < 0.2:
        image = Image.fromarray((np.asarray(image) * chance.uniform(0.2, 0.7)).astype(np.uint8))
    if chance.random() < 0.1:
        noise = chance.normal(0, chance.uniform(3, 15), (size_px, size_px, 1))  # the same in every channel
        image = Image.fromarray((np.asarray(image) + noise).clip(0, 255).astype(np.uint8))
    if chance.random() < 0.3:
        file = BytesIO()
        image.save(file, "JPEG", quality=int(chance.integers(10, 60)))
        image = Image.open(file, formats=["JPEG"]).convert("RGB")
    return np.asarray(image)  # (S, S, 3)


def _recoloured(picture: NDArray[np.uint8], chance: np.random.Generator) -> NDArray[np.uint8]:
    values = picture.astype(np.float32)  # (S, S, 3)
    mean = values.mean()
    contrast, brightness = chance.uniform(0.75, 1.3, 2).astype(np.float32)
    values = (values - mean) * contrast + mean * brightness
    values *= np.exp(chance.normal(0, 0.06, 3)).astype(np.float32)  # the light's colour
    recoloured: NDArray[np.uint8] = values.clip(0, 255).astype(np.uint8)  # (S, S, 3)
    return recoloured


def _covered(picture: NDArray[np.uint8], chance: np.random.Generator) -> NDArray[np.uint8]:
    """A rectangle of one colour somewhere. Source: Zhong et al. 2017, "Random Erasing Data Augmentation"."""
    picture, size_px = picture.copy(), len(picture)
    height_px, width_px = (chance.uniform(0.1, 0.4, 2) * size_px).astype(int)
    top, left = chance.integers(size_px - height_px), chance.integers(size_px - width_px)
    picture[top : top + height_px, left : left + width_px] = chance.integers(0, 256, 3)
    return picture
