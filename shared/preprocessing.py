"""From the bytes of a photograph to the pixels that a model takes, the same in training and at work."""

import math
import threading
import warnings
from collections.abc import Callable
from dataclasses import dataclass
from io import BytesIO
from typing import NoReturn

import numpy as np
from numpy.typing import NDArray
from PIL import Image
from PIL.BmpImagePlugin import BmpImageFile, DibImageFile
from PIL.ImageFile import ImageFile
from PIL.JpegImagePlugin import JpegImageFile
from PIL.PngImagePlugin import PngImageFile
from PIL.TiffImagePlugin import TiffImageFile
from PIL.WebPImagePlugin import WebPImageFile

from shared.errors import PermanentError

MAX_PIXELS = 100_000_000
"""Default limit on width x height: above any camera, and 300 MB once decoded to RGB."""

# Called straight instead of through Image.open: that holds every picture against Pillow's own pixel
# limit, a mutable global that warns from 89 and raises from 179 megapixels, and ours must decide. It
# would also turn a phone's multi-picture JPEG into a format of its own; the first picture is enough.
_FORMATS: tuple[tuple[bytes, Callable[[BytesIO], ImageFile]], ...] = (
    (b"\xff\xd8\xff", JpegImageFile),
    (b"\x89PNG\r\n\x1a\n", PngImageFile),
    (b"RIFF", WebPImageFile),
    (b"BM", BmpImageFile),
    (b"II*\x00", TiffImageFile),
    (b"MM\x00*", TiffImageFile),
    (b"II+\x00", TiffImageFile),  # BigTIFF
    (b"MM\x00+", TiffImageFile),
    (b"\x28\x00\x00\x00", DibImageFile),  # a BMP without its file header, as clipboards give it
    (b"\x6c\x00\x00\x00", DibImageFile),
    (b"\x7c\x00\x00\x00", DibImageFile),
)
_ORIENTATION_TAG = 0x0112
_UPRIGHT = {
    2: Image.Transpose.FLIP_LEFT_RIGHT,
    3: Image.Transpose.ROTATE_180,
    4: Image.Transpose.FLIP_TOP_BOTTOM,
    5: Image.Transpose.TRANSPOSE,
    6: Image.Transpose.ROTATE_270,
    7: Image.Transpose.TRANSVERSE,
    8: Image.Transpose.ROTATE_90,
}
_FILTERS = threading.Lock()
_SIGNS_OF_TRUNCATION = ("truncated", "unexpected end", "broken data stream", "not enough image data")


class ImageError(PermanentError):
    """Raised when bytes are not a photograph we can look at.

    ``reason`` is one of ``undecodable``, ``truncated`` and ``too_many_pixels``.
    """

    default_reason = "undecodable"


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
    try:
        with _open(image_bytes) as image:
            width_px, height_px = image.size
            if width_px * height_px > max_pixels:
                raise ImageError(
                    f"{width_px} x {height_px} pixels is more than {max_pixels / 1e6:g} megapixels",
                    reason="too_many_pixels",
                )
            return np.array(_square(image, preprocessing.size_px))  # (size_px, size_px, 3)
    except ImageError:
        raise
    # Fuzzed files make Pillow raise nearly anything: OSError, SyntaxError, struct.error, OverflowError,
    # MemoryError, and its warnings where they count as errors. All mean the same: not this picture.
    except Exception as error:
        _refuse(error)


def _refuse(error: Exception) -> NoReturn:
    words = str(error) or type(error).__name__
    if isinstance(error, Image.DecompressionBombError | Image.DecompressionBombWarning):
        raise ImageError(f"too large to decode: {words}", reason="too_many_pixels") from error
    if isinstance(error, EOFError) or any(sign in words.lower() for sign in _SIGNS_OF_TRUNCATION):
        raise ImageError(f"the picture ends too early: {words}", reason="truncated") from error
    raise ImageError(f"the picture can't be decoded: {words}") from error


def _open(image_bytes: bytes) -> ImageFile:
    if not image_bytes:
        raise ImageError("the file is empty", reason="truncated")
    # A RIFF header states how much follows; libwebp's own error would not tell a cut file from a bad one.
    riff_bytes = 8 + int.from_bytes(image_bytes[4:8], "little")
    if image_bytes.startswith(b"RIFF") and len(image_bytes) < riff_bytes:
        raise ImageError(
            f"the picture ends after {len(image_bytes)} of {riff_bytes} bytes", reason="truncated"
        )
    for signature, opener in _FORMATS:
        if image_bytes.startswith(signature):
            return _tolerant(opener, image_bytes)
    raise ImageError("not a JPEG, PNG, WebP, BMP or TIFF file")


def _tolerant(opener: Callable[[BytesIO], ImageFile], image_bytes: bytes) -> ImageFile:
    try:
        return opener(BytesIO(image_bytes))
    except Warning:
        # Only where warnings count as errors: Pillow warned about damaged EXIF, which is no reason to lose
        # the picture. The lock is there because the warning filters belong to the whole process.
        with _FILTERS, warnings.catch_warnings():
            warnings.simplefilter("ignore")
            return opener(BytesIO(image_bytes))


def _square(image: ImageFile, size_px: int) -> Image.Image:
    # A camera's JPEG is decoded at 1/2, 1/4 or 1/8 where that still leaves twice the wanted size: several
    # times faster, and the bilinear filter has the same pixels to average.
    image.draft(None, (2 * size_px, 2 * size_px))
    image.load()
    turn = _UPRIGHT.get(_orientation(image))
    square = _colours(image).resize((size_px, size_px), Image.Resampling.BILINEAR)
    if square.mode == "RGBA":
        square = Image.alpha_composite(Image.new("RGBA", square.size, "white"), square).convert("RGB")
    # Turning after squashing to a square gives the same pixels as before, for a fraction of the memory.
    return square if turn is None else square.transpose(turn)


def _orientation(image: ImageFile) -> int:
    try:
        return int(image.getexif().get(_ORIENTATION_TAG, 1))
    except Exception:  # damaged EXIF (or Pillow's warning about it) leaves a good picture as it lies
        return 1


def _colours(image: Image.Image) -> Image.Image:
    """RGB, or RGBA where something may be transparent."""
    if image.mode.startswith("I"):
        # Pillow clips wide greyscale at 255, which turns nearly every 16-bit picture white.
        levels = np.asarray(image).clip(0, 65535)
        shift = 0 if image.mode == "I" and levels.max() <= 255 else 8
        image = Image.fromarray((levels >> shift).astype(np.uint8))
    elif image.mode == "F":
        image = image.convert("L")
    if image.has_transparency_data:
        return image.convert("RGBA")
    return image if image.mode == "RGB" else image.convert("RGB")
