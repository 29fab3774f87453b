"""Is this file a whole, sane picture: the check every photograph passes before it is stored.

The type is told by content. The announced size is held against the limits before anything is decoded, then
every byte of pixel data is decoded, so that truncation and corruption are found here and not in a worker's
batch.

``python -m ingest.pictures FILE MAX_BYTES MAX_PIXELS`` runs the check in a process of its own and prints one
JSON line: for a picture that may bring its process down.
"""

import io
import json
import resource
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from pathlib import Path

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
    foreign_error,
    is_bare_dib,
    picture_format,
)
from ingest.structure import check_structure, corrupt, looks_complete, truncated, webp_size_px
from shared.coordinates import Coordinates, CoordinatesError
from shared.errors import TransientError
from shared.heif import open_heif
from shared.labels import clean_label, escape_label

__all__ = ["Picture", "PictureError", "check_isolated", "check_picture", "looks_complete", "main"]

_ISOLATED_MEMORY_BYTES = 4 * 2**30
_ISOLATED_CPU_S = 300  # ends a child whose parent died while waiting for it
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


def check_picture(data: bytes, *, max_bytes: int, max_pixels: int) -> Picture:
    """Decode a picture to its last byte and say what it is. Of several frames, the first counts.

    Args:
        data: the whole file.
        max_bytes: a larger file is refused unread.
        max_pixels: width times height; a larger picture is refused before it is decoded.

    Raises:
        PictureError: with a reason word (see there). No other exception comes out.
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
        return _decode(kind, data, max_pixels)
    except PictureError:
        raise
    except Exception as error:  # plugins raise a dozen kinds: all mean that it can't be decoded
        raise _explain(kind, error) from error


def check_isolated(path: Path, *, max_bytes: int, max_pixels: int, timeout_s: float = 30.0) -> Picture:
    """Run ``check_picture`` on a file in a process of its own, which may take 4 GiB and so many seconds.

    Raises:
        PictureError: as ``check_picture`` does, or ``kills_decoder`` when the process dies, hangs or says
            nothing.
        TransientError: the file can't be read or the process can't be started.
    """
    command = [sys.executable, "-m", "ingest.pictures", str(path.absolute()), str(max_bytes), str(max_pixels)]
    try:
        # From the folder of our packages: the current one may be the inbox, and -m would import from there.
        ran = subprocess.run(
            command,
            cwd=Path(__file__).resolve().parent.parent,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            timeout=timeout_s,
            check=False,
        )
    except subprocess.TimeoutExpired as error:
        raise _kills_decoder(f"decoding it takes more than {timeout_s:g} s") from error
    except OSError as error:
        detail = f"no process to check {escape_label(path.name)}: {error}"
        raise TransientError(detail, reason="no_process") from error
    if ran.returncode < 0:
        raise _kills_decoder(f"its decoder was ended by signal {-ran.returncode}")
    try:
        return _from_line(ran.stdout)
    except (ValueError, LookupError, TypeError, AttributeError, CoordinatesError) as error:
        raise _kills_decoder(f"its decoder gave no answer (exit status {ran.returncode})") from error


def main(arguments: Sequence[str]) -> int:
    """Check one file as ``FILE MAX_BYTES MAX_PIXELS`` and print one JSON line. Always returns 0."""
    name, max_bytes, max_pixels = arguments[0], int(arguments[1]), int(arguments[2])
    _limit_process()
    outcome: dict[str, object]
    try:
        path = Path(name)
        if (size_bytes := path.stat().st_size) > max_bytes:
            raise _too_large(size_bytes, max_bytes)
        picture = check_picture(path.read_bytes(), max_bytes=max_bytes, max_pixels=max_pixels)
        outcome = {"picture": asdict(picture)}
    except PictureError as error:
        outcome = {"error": {"reason": error.reason, "detail": error.detail, "remedy": error.remedy}}
    except OSError as error:
        outcome = {"unreadable": str(error)}
    sys.stdout.write(json.dumps(outcome) + "\n")
    return 0


def _decode(kind: PictureFormat, data: bytes, max_pixels: int) -> Picture:
    plugin = BmpImagePlugin.DibImageFile if is_bare_dib(data) else _PLUGINS[kind]
    with _own_pixel_limit(kind, max_pixels), plugin(io.BytesIO(data)) as image:
        width_px, height_px = image.size
        _hold_pixels(image.size, max_pixels)
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


def _kills_decoder(detail: str) -> PictureError:
    return PictureError(detail, reason="kills_decoder", remedy="keep the file and report it")


def _from_line(stdout: bytes) -> Picture:
    outcome = json.loads(stdout.splitlines()[-1])
    if "unreadable" in outcome:
        raise TransientError(outcome["unreadable"], reason="unreadable_file")
    if "error" in outcome:
        error = outcome["error"]
        raise PictureError(str(error["detail"]), reason=str(error["reason"]), remedy=str(error["remedy"]))
    fields = outcome["picture"]
    gps = fields.pop("gps")
    return Picture(**fields, gps=Coordinates(**gps) if gps else None)


def _limit_process() -> None:
    for limit, value in (
        (resource.RLIMIT_AS, _ISOLATED_MEMORY_BYTES),
        (resource.RLIMIT_CPU, _ISOLATED_CPU_S),
        (resource.RLIMIT_CORE, 0),
    ):
        hard = resource.getrlimit(limit)[1]
        lowered = value if hard == resource.RLIM_INFINITY else min(value, hard)
        resource.setrlimit(limit, (lowered, lowered))


if __name__ == "__main__":
    raise SystemExit(main(sys.argv[1:]))
