"""From the bytes of a photograph to the pixels that a model takes, the same in training and at work."""

import math
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from PIL import Image
from PIL.ImageFile import ImageFile

from shared.decoding import MAX_PIXELS, ImageError, colours, opened, upright

__all__ = ["MAX_PIXELS", "ImageError", "Preprocessing", "decode"]


@dataclass(frozen=True, kw_only=True, slots=True)
class Preprocessing:
    """What a model was trained to take; saved in its checkpoint and read from there.

    The engine scales and normalises on its device: ``(pixels / 255 - mean) / std``, channel by channel.

    Attributes:
        size_px: side of the square that every photograph is squashed to, in [32, 1024].
        mean: of red, green and blue, each in [0, 1].
        std: of red, green and blue, each in (0, 1].

    Raises:
        ValueError: a value is out of its range.
    """

    size_px: int
    mean: tuple[float, float, float]
    std: tuple[float, float, float]

    def __post_init__(self) -> None:
        if not 32 <= self.size_px <= 1024:
            raise ValueError(f"size_px {self.size_px} is not between 32 and 1024")
        for name, channels in (("mean", self.mean), ("std", self.std)):
            if len(channels) != 3 or not all(math.isfinite(c) and 0 <= c <= 1 for c in channels):
                raise ValueError(f"{name} {channels} is not three numbers between 0 and 1")
        if min(self.std) == 0:
            raise ValueError(f"std {self.std} contains a zero")


def decode(
    image_bytes: bytes, preprocessing: Preprocessing, *, max_pixels: int = MAX_PIXELS
) -> NDArray[np.uint8]:
    """Turn a JPEG, PNG, WebP, BMP or TIFF file into pixels, upright, transparency on white.

    Of several frames the first is taken. Safe to call from several threads.

    Args:
        image_bytes: the whole file.
        preprocessing: gives the size.
        max_pixels: the most width x height to decode; known from the header, before any decoding.

    Returns:
        (size_px, size_px, 3) uint8 RGB, contiguous and writable.

    Raises:
        ImageError: the bytes can't be decoded, end too early, or hold more than ``max_pixels``.
    """
    with opened(image_bytes, max_pixels=max_pixels) as image:
        return np.array(_square(image, preprocessing.size_px))  # (size_px, size_px, 3)


def _square(image: ImageFile, size_px: int) -> Image.Image:
    # A camera's JPEG is decoded at 1/2, 1/4 or 1/8 where that still leaves twice the wanted size: several
    # times faster, and the bilinear filter has the same pixels to average.
    image.draft(None, (2 * size_px, 2 * size_px))
    image.load()
    turn = upright(image)
    square = colours(image).resize((size_px, size_px), Image.Resampling.BILINEAR)
    if square.mode == "RGBA":
        square = Image.alpha_composite(Image.new("RGBA", square.size, "white"), square).convert("RGB")
    # Turning after squashing to a square gives the same pixels as before, for a fraction of the memory.
    return square if turn is None else square.transpose(turn)
