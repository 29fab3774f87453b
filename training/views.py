"""The same photograph seen otherwise, so that its look does not decide for its content.

Surveillance frames are small, grey and compressed, and most altercations come from surveillance. A model
shown each photograph in those looks too, whatever it shows, can't take the look for the situation.
"""

from collections.abc import Callable
from io import BytesIO

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageEnhance, ImageFilter, ImageOps

_Look = Callable[[Image.Image, np.random.Generator], Image.Image]


def _plain(image: Image.Image, _random: np.random.Generator) -> Image.Image:
    return image


def _mirrored(image: Image.Image, _random: np.random.Generator) -> Image.Image:
    return ImageOps.mirror(image)


def _crop(image: Image.Image, random: np.random.Generator) -> Image.Image:
    side = random.uniform(0.7, 0.95)  # half to nine tenths of the area: the event mostly stays in view
    width_px, height_px = image.size
    left, top = random.uniform(0, 1 - side, size=2)
    box = (left * width_px, top * height_px, (left + side) * width_px, (top + side) * height_px)
    return image.resize(image.size, Image.Resampling.BILINEAR, box=box)


def _small(image: Image.Image, _random: np.random.Generator) -> Image.Image:
    shrunk = image.resize((64, 64), Image.Resampling.BILINEAR)
    return shrunk.resize(image.size, Image.Resampling.BILINEAR)


def _compressed(image: Image.Image, _random: np.random.Generator) -> Image.Image:
    file = BytesIO()
    image.save(file, "JPEG", quality=20)
    return Image.open(file, formats=["JPEG"]).convert("RGB")


def _grey(image: Image.Image, _random: np.random.Generator) -> Image.Image:
    return ImageOps.grayscale(image).convert("RGB")


def _blurred(image: Image.Image, _random: np.random.Generator) -> Image.Image:
    return image.filter(ImageFilter.GaussianBlur(radius=2))


def _dark(image: Image.Image, random: np.random.Generator) -> Image.Image:
    return ImageEnhance.Brightness(image).enhance(random.uniform(0.25, 0.5))


def _surveillance(image: Image.Image, random: np.random.Generator) -> Image.Image:
    return _compressed(_small(_grey(image, random), random), random)


VIEWS: dict[str, _Look] = {
    "plain": _plain,
    "mirrored": _mirrored,
    "crop_1": _crop,
    "crop_2": _crop,
    "small": _small,
    "compressed": _compressed,
    "grey": _grey,
    "blurred": _blurred,
    "dark": _dark,
    "surveillance": _surveillance,
}
"""Every view by name; ``plain`` is what the worker will see and comes first."""

DEGRADED = ("small", "compressed", "grey", "blurred", "dark", "surveillance")
"""Views with the look taken away; a model is measured on each."""

_AS_IT_LIES = {"plain", "mirrored"}


def view(pixels: NDArray[np.uint8], name: str, random: np.random.Generator) -> NDArray[np.uint8]:
    """One view of a decoded photograph.

    Args:
        pixels: (H, W, 3) uint8 RGB.
        name: a key of ``VIEWS``.
        random: decides crops, darkness, and whether a view other than ``plain`` is mirrored too.

    Returns:
        (H, W, 3) uint8 RGB.
    """
    image = VIEWS[name](Image.fromarray(pixels), random)
    if name not in _AS_IT_LIES and random.random() < 0.5:
        image = ImageOps.mirror(image)
    return np.array(image)  # (H, W, 3)
