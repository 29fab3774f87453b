"""Is this file a whole, sane picture: the check every photograph passes before it is stored.

The type is told by content. The announced size is held against the limits before anything is decoded, then
every byte of pixel data is decoded, so that truncation and corruption are found here and not in a worker's
batch.
"""

import io
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass

from PIL import (
    BmpImagePlugin,
    Image,
    ImageFile,
    JpegImagePlugin,
    PngImagePlugin,
    TiffImagePlugin,
    WebPImagePlugin,
)

from ingest.exif import gps_coordinates, taken_at
from ingest.signatures import (
    FORMAT_NAMES,
    PictureError,
    PictureFormat,
    SlowPictureError,
    foreign_error,
    is_bare_dib,
    picture_format,
)
from ingest.structure import check_structure, corrupt, looks_complete, truncated, webp_size_px
from shared.coordinates import Coordinates
from shared.heif import open_heif
from shared.labels import clean_label

__all__ = ["Picture", "PictureError", "check_picture", "looks_complete"]

_JPEG_DRAFT = 8  # all coefficients are read, but only one pixel in 8 x 8 is computed

# The plugin is chosen here and opened directly: Image.open would hold the file against Pillow's own pixel
# limit, a global which belongs to the whole process. A multi-picture JPEG opened so is its first picture.
_PLUGINS: dict[PictureFormat, Callable[[io.BytesIO], ImageFile.ImageFile]] = {
    "jpeg": JpegImagePlugin.JpegImageFile,
    "png": PngImagePlugin.PngImageFile,
    "webp": WebPImagePlugin.WebPImageFile,
    "bmp": BmpImagePlugin.BmpImageFile,
    "tiff": TiffImagePlugin.TiffImageFile,
    "heic": open_heif,
}
HEIC_PIXELS = 50_000_000
"""The most of a HEIC picture: phones make 12 to 48 megapixels, and 100, of one tile repeated, need 400 kB and
10 s of a core."""

_QUICK_PIXELS: dict[PictureFormat, int] = {
    "jpeg": 32_000_000,  # progressive ones; of any other only an eighth of the lines is computed
    "png": 24_000_000,
    "webp": 16_000_000,
    "bmp": 100_000_000,
    "tiff": 24_000_000,
    "heic": 13_000_000,
}
"""Up to here a check takes some tenths of a second of a core, measured with the worst of each format."""
_QUICK_RUNS_BYTES = 3_000_000
"""Of a BMP in runs, which may be of one pixel each, likewise."""
_BMP_RUNS = (1, 2)  # RLE8, RLE4
_LIMIT_LOCK = threading.Lock()


@dataclass(frozen=True, kw_only=True, slots=True)
class Picture:
    """What a sound picture says about itself.

    Attributes:
        format: by content.
        extension: without dot, for the name it is stored under.
        width_px: as stored, before any EXIF rotation; at least 1.
        height_px: likewise.
        gps: the place in its EXIF tags, None when absent or unusable.
        taken_at: EXIF DateTimeOriginal as the camera wrote it, or None: local time, no zone.
    """

    format: PictureFormat
    extension: str
    width_px: int
    height_px: int
    gps: Coordinates | None
    taken_at: str | None


def check_picture(data: bytes, *, max_bytes: int, max_pixels: int, quickly: bool = False) -> Picture:
    """Decode a picture to its last byte and say what it is. Of several frames, the first counts.

    Args:
        data: the whole file.
        max_bytes: a larger file is refused unread.
        max_pixels: width times height; a larger picture is refused before it is decoded.
        quickly: don't decode one that may take a second, or more.

    Raises:
        PictureError: with a reason word (see there). No other exception comes out. SlowPictureError: it may
            take long, and `quickly` is asked for.
    """
    if len(data) > max_bytes:
        raise _too_large(len(data), max_bytes)
    if not data:
        raise PictureError("the file is empty", reason="empty", remedy="send it again")
    kind = picture_format(data)
    if kind is None:
        raise foreign_error(data)
    try:
        if kind == "webp" and (size_px := webp_size_px(data)):
            _hold_pixels(size_px, max_pixels)
        check_structure(kind, data)
        return _decode(kind, data, max_pixels, quickly=quickly)
    except PictureError:
        raise
    except Exception as error:  # plugins raise a dozen kinds: all mean that it can't be decoded
        raise _explain(kind, error) from error


def _decode(kind: PictureFormat, data: bytes, max_pixels: int, *, quickly: bool) -> Picture:
    plugin = BmpImagePlugin.DibImageFile if is_bare_dib(data) else _PLUGINS[kind]
    with _own_pixel_limit(kind, max_pixels), plugin(io.BytesIO(data)) as image:
        width_px, height_px = image.size
        _hold_pixels(image.size, min(max_pixels, HEIC_PIXELS) if kind == "heic" else max_pixels)
        if quickly and _is_slow(kind, image, len(data)):
            raise SlowPictureError("checking it takes long")
        if kind == "jpeg":
            image.draft(image.mode, (max(1, width_px // _JPEG_DRAFT), max(1, height_px // _JPEG_DRAFT)))
        image.load()
        return Picture(
            format=kind,
            extension=kind,
            width_px=width_px,
            height_px=height_px,
            gps=gps_coordinates(image),
            taken_at=taken_at(image),
        )


def _is_slow(kind: PictureFormat, image: ImageFile.ImageFile, size_bytes: int) -> bool:
    if kind == "jpeg" and not image.info.get("progressive"):
        return False
    pixels = image.width * image.height
    if kind == "bmp" and image.info.get("compression") in _BMP_RUNS and size_bytes > _QUICK_RUNS_BYTES:
        return True
    return pixels > _QUICK_PIXELS[kind]


@contextmanager
def _own_pixel_limit(kind: PictureFormat, max_pixels: int) -> Iterator[None]:
    """Set Pillow's limit aside where ours is higher and the plugin itself looks at Pillow's.

    WebP does so when it is opened and TIFF when it is loaded. The limit is a global, so one at a time.
    """
    if kind not in ("webp", "tiff"):
        yield
        return
    with _LIMIT_LOCK:
        limit = Image.MAX_IMAGE_PIXELS
        if limit is not None and limit < max_pixels:
            Image.MAX_IMAGE_PIXELS = max_pixels
        try:
            yield
        finally:
            Image.MAX_IMAGE_PIXELS = limit


def _hold_pixels(size_px: tuple[int, int], max_pixels: int) -> None:
    width_px, height_px = size_px
    if width_px * height_px > max_pixels:
        raise PictureError(
            f"it has {width_px} x {height_px} pixels, more than {max_pixels}",
            reason="too_many_pixels",
            remedy="send it smaller: the model looks at a few hundred pixels a side",
        )


def _explain(kind: PictureFormat, error: Exception) -> PictureError:
    name, words = FORMAT_NAMES[kind], clean_label(str(error))
    if isinstance(error, MemoryError):
        return corrupt(name, "decoding it takes more memory than there is")
    if isinstance(error, EOFError) or "truncated" in words.lower():
        return truncated(name)
    return corrupt(name, words or type(error).__name__)


def _too_large(size_bytes: int, max_bytes: int) -> PictureError:
    detail = f"it has {size_bytes} bytes, more than {max_bytes}"
    return PictureError(detail, reason="too_large_bytes", remedy="send it smaller")
