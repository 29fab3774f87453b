"""Opening the bytes of a photograph: which formats, how large at most, which way up, in which colours."""

import threading
import warnings
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from io import BytesIO
from typing import NoReturn

import numpy as np
from PIL import Image
from PIL.BmpImagePlugin import BmpImageFile, DibImageFile
from PIL.ImageFile import ImageFile
from PIL.JpegImagePlugin import JpegImageFile
from PIL.PngImagePlugin import PngImageFile
from PIL.TiffImagePlugin import TiffImageFile
from PIL.WebPImagePlugin import WebPImageFile

from shared import heif
from shared.confinement import serve
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
_LYING = (
    Image.Transpose.TRANSPOSE,
    Image.Transpose.ROTATE_270,
    Image.Transpose.TRANSVERSE,
    Image.Transpose.ROTATE_90,
)
_TALLEST = 4  # times the width
_BYTES_A_PIXEL = 24
"""What the worst formats take at once: WebP, and wide greyscale with its copies (measured: under 20)."""

_LAST_RESORT_S = 60.0
_FILTERS = threading.Lock()
_SIGNS_OF_TRUNCATION = ("truncated", "unexpected end", "broken data stream", "not enough image data")


class ImageError(PermanentError):
    """Raised when bytes are not a photograph we can look at.

    ``reason`` is one of ``undecodable``, ``truncated`` and ``too_many_pixels``.
    """

    default_reason = "undecodable"


@contextmanager
def opened(image_bytes: bytes, *, max_pixels: int = MAX_PIXELS) -> Iterator[ImageFile]:
    """A JPEG, PNG, WebP, BMP or TIFF file, opened and not yet decoded; of several frames the first.

    With the extra `heic`, HEIC too.

    Whatever is raised while it is open comes out as an ImageError: decoding is what happens there. Safe to
    call from several threads.

    Args:
        image_bytes: the whole file.
        max_pixels: the most width x height to decode; known from the header, before any decoding.

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
            yield image
    except ImageError:
        raise
    # Fuzzed files make Pillow raise nearly anything: OSError, SyntaxError, struct.error, OverflowError,
    # MemoryError, and its warnings where they count as errors. All mean the same: not this picture.
    except Exception as error:
        _refuse(error)


def upright(image: ImageFile) -> Image.Transpose | None:
    """How a picture is to be turned or mirrored to be upright; None where it is.

    Ask after ``load``: some formats say it behind the pixels, and TIFF is turned by being loaded.
    """
    try:
        return _UPRIGHT.get(int(image.getexif().get(_ORIENTATION_TAG, 1)))
    except Exception:  # damaged EXIF (or Pillow's warning about it) leaves a good picture as it lies
        return None


def turned(size_px: tuple[int, int], turn: Image.Transpose | None) -> tuple[int, int]:
    """Width and height after a turn."""
    width_px, height_px = size_px
    return (height_px, width_px) if turn in _LYING else (width_px, height_px)


def fitted(size_px: tuple[int, int], width_px: float, *, enlarged: bool = False) -> tuple[int, int]:
    """Width and height in the same proportions: that wide, or less lest it be over four times as tall.

    Args:
        size_px: width and height, at least 1 each.
        width_px: the most.
        enlarged: whether what is narrower may grow to it.
    """
    width, height = size_px
    scale = min(width_px / width, _TALLEST * width_px / height)
    scale = scale if enlarged else min(scale, 1)
    return max(1, round(width * scale)), max(1, round(height * scale))


def colours(image: Image.Image) -> Image.Image:
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


def serve_pictures(
    answer: Callable[[bytes], bytes],
    max_pixels: int,
    *,
    own_bytes: int | None = 2**30,
    cpu_s: float = 0.0,
    idle_s: float = 300.0,
) -> None:
    """As `shared.confinement.serve`, in a process that does nothing but decode pictures.

    Args:
        answer: as there.
        max_pixels: of a picture; so much memory is allowed for one besides the process's own.
        own_bytes: address space without any picture; None: all may be taken.
        cpu_s: as there.
        idle_s: as there.
    """
    Image.MAX_IMAGE_PIXELS = None  # ours is the limit
    memory_bytes = None if own_bytes is None else own_bytes + _BYTES_A_PIXEL * max_pixels
    serve(answer, memory_bytes=memory_bytes, answer_s=_LAST_RESORT_S, cpu_s=cpu_s, idle_s=idle_s)


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
    if heif.is_heif(image_bytes):
        if not heif.is_available():
            raise ImageError("a HEIC picture can't be opened here", remedy=heif.REMEDY)
        return _tolerant(heif.open_heif, image_bytes)
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
