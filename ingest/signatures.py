"""What a file is, told by its first bytes: names and extensions are only claims."""

import re
from typing import Literal

from shared import heif
from shared.errors import PermanentError

PictureFormat = Literal["jpeg", "png", "webp", "bmp", "tiff", "heic"]

FORMAT_NAMES: dict[PictureFormat, str] = {
    "jpeg": "JPEG",
    "png": "PNG",
    "webp": "WebP",
    "bmp": "BMP",
    "tiff": "TIFF",
    "heic": "HEIC",
}


class PictureError(PermanentError):
    """Raised when a file can't be taken in as a picture.

    ``reason`` is one of ``empty``, ``not_an_image``, ``too_large_bytes``, ``too_many_pixels``, ``truncated``,
    ``corrupt`` and, from `ingest.checks.Checks` alone, ``kills_decoder``.
    """

    default_reason = "corrupt"


SLOW = "slow"
"""Between a process that checks and who asked it: nothing is ever rejected for it."""


class SlowPictureError(PictureError):
    """Raised when a picture takes long to check, or may; whether it is sound is open."""

    default_reason = SLOW


_DIB_HEADER_BYTES = frozenset({12, 40, 52, 56, 64, 108, 124})  # every version of the Windows and OS/2 header
_TIFF_STARTS = (b"II*\0", b"MM\0*", b"II+\0", b"MM\0+")
_SEND = "send JPEG, PNG, WebP, BMP or TIFF"

# (start, what it is, remedy). Longer starts come before their own beginnings.
_FOREIGN = (
    (b"%PDF", "a PDF document", _SEND),
    (b"GIF8", "a GIF, an animation format", _SEND),
    (b"PK\x03\x04", "a ZIP archive (or an office document)", "unpack it and send the pictures"),
    (b"PK\x05\x06", "an empty ZIP archive", _SEND),
    (b"Rar!", "a RAR archive", "unpack it and send the pictures"),
    (b"7z\xbc\xaf\x27\x1c", "a 7z archive", "unpack it and send the pictures"),
    (b"\x1f\x8b", "a gzip archive", "unpack it and send the pictures"),
    (b"\x1a\x45\xdf\xa3", "a Matroska or WebM video", "send a still picture"),
    (b"\x00\x00\x00\x0cJXL ", "a JPEG XL picture", _SEND),
    (b"\xff\x0a", "a JPEG XL picture", _SEND),
    (b"\x00\x00\x00\x0cjP  ", "a JPEG 2000 picture", _SEND),
    (b"\xff\x4f\xff\x51", "a JPEG 2000 picture", _SEND),
    (b"8BPS", "a Photoshop document", "export it as JPEG"),
    (b"FUJIFILMCCD-RAW", "a Fujifilm RAW file", "set the camera to JPEG"),
    (b"IIRO", "an Olympus RAW file", "set the camera to JPEG"),
    (b"IIU\0", "a Panasonic RAW file", "set the camera to JPEG"),
    (b"\x89PNG", "a PNG whose line ends were changed on the way", "send it in binary mode (FTP: TYPE I)"),
    (b"\0\0\x01\0", "an icon", _SEND),
    (b"\x7fELF", "a program", _SEND),
    (b"MZ", "a program", _SEND),
    (b"ID3", "an audio file", _SEND),
    (b"OggS", "an audio or video file", _SEND),
)

# The brand of an ISO media file (bytes 8 to 12 of the "ftyp" box).
_AVIF_BRANDS = frozenset({b"avif", b"avis"})
_OTHER_HEIF_BRANDS = frozenset({b"mif1", b"msf1"})

_HTML = re.compile(rb"\s{0,64}(?:<!doctype\s+html|<html|<head|<body)", re.IGNORECASE)
_XML = re.compile(rb"\s{0,64}(?:<\?xml|<svg)", re.IGNORECASE)


def picture_format(data: bytes) -> PictureFormat | None:
    """Tell which of the accepted formats these bytes begin, from the first 32; None when it is none.

    HEIC is one where the extra `heic` is installed.
    """
    if data.startswith(b"\xff\xd8\xff"):
        return "jpeg"  # MPO and other multi-picture JPEGs begin so too
    if data.startswith(b"\x89PNG\r\n\x1a\n"):
        return "png"
    if data.startswith(b"RIFF") and data[8:12] == b"WEBP":
        return "webp"
    if data.startswith(_TIFF_STARTS):
        return "tiff"
    if data.startswith(b"BM") and int.from_bytes(data[14:18], "little") in _DIB_HEADER_BYTES:
        return "bmp"
    if heif.is_heif(data):
        return "heic" if heif.is_available() else None
    return "bmp" if is_bare_dib(data) else None


def is_bare_dib(data: bytes) -> bool:
    """Tell whether these bytes begin a Windows bitmap without its file header, as some ``.dib`` files are."""
    header_bytes = int.from_bytes(data[:4], "little")
    planes_at = 8 if header_bytes == 12 else 12
    return header_bytes in _DIB_HEADER_BYTES and data[planes_at : planes_at + 2] == b"\x01\x00"


def foreign_error(data: bytes) -> PictureError:
    """Say what bytes that are no accepted picture look like, and what to send instead."""
    looks_like, remedy = _foreign_kind(data[:512])
    return PictureError(f"no picture we take: it is {looks_like}", reason="not_an_image", remedy=remedy)


def _foreign_kind(head: bytes) -> tuple[str, str]:
    if head[4:8] == b"ftyp":
        return _iso_media_kind(head)
    for start, looks_like, remedy in _FOREIGN:
        if head.startswith(start):
            return looks_like, remedy
    if head.startswith(b"RIFF"):
        return "an AVI video or WAV sound", "send a still picture"
    text = head.removeprefix(b"\xef\xbb\xbf")
    if _HTML.match(text):
        return "a web page (HTML), often an error page saved as a picture", "fetch the picture again"
    if _XML.match(text):
        return "XML or an SVG drawing", _SEND
    if not head.strip(b"\0"):
        return "a run of zero bytes: its copy was never finished", "send it again"
    if _is_text(head):
        return "text", _SEND
    return "of an unknown kind", _SEND


def _iso_media_kind(head: bytes) -> tuple[str, str]:
    brand = head[8:12]
    if heif.is_heif(head):
        return "a HEIC picture, which is taken with an extra that is not installed here", heif.REMEDY
    if brand in _AVIF_BRANDS or (brand in _OTHER_HEIF_BRANDS and b"avi" in head[16:32]):
        return "an AVIF picture", "send JPEG"
    if brand in _OTHER_HEIF_BRANDS:
        return "a HEIF picture of an unknown kind", "send JPEG"
    if brand == b"crx ":
        return "a Canon RAW file", "set the camera to JPEG"
    if brand == b"qt  ":
        return "a QuickTime video", "send a still picture"
    return "an MP4 video", "send a still picture"


def _is_text(head: bytes) -> bool:
    """UTF-8 and nothing but characters that print; the last one may be cut."""
    text = head.decode(errors="ignore")
    printable = all(character.isprintable() or character in "\t\r\n" for character in text)
    return printable and len(text.encode()) > 0.9 * len(head)
