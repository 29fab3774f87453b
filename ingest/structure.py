"""The frame around the pixels: is the file whole, and how large a picture does it announce.

Decoders forgive much. They stop at the last row and never look whether the file goes on, don't compare
PNG's checksums of pixel data, and follow as many passes as a progressive JPEG announces. These walks read
only lengths and markers, so they cost little beside decoding.
"""

import re
import zlib
from collections.abc import Callable

from ingest.signatures import PictureError, PictureFormat, picture_format
from shared import heif

# Cameras write some ten scans and some ten segments. A file with thousands keeps a decoder busy for hours.
_MAX_JPEG_SCANS = 100
_MAX_JPEG_SEGMENTS = 1000
_MAX_JPEG_STRAY_BYTES = 65_536  # Pillow goes through them one by one
_MAX_PNG_CHUNKS = 100_000

_JPEG_END = b"\xff\xd9"
_JPEG_SCAN = 0xDA
# What is followed by a length, or the end. Within a scan FF 00 is a data byte, FF D0..D7 a restart mark and
# FF FF padding; these are passed over.
_JPEG_MARKER = re.compile(rb"\xff[\x02-\xcf\xd9-\xfe]")

# A file that begins like a picture, and is shorter than any picture can be, is on its way.
_SMALLEST_BYTES = 32
_STARTS = frozenset(
    {b"\xff\xd8", b"\x89P", b"RI", b"II", b"MM", b"BM", b"\xff", b"\x89", b"R", b"I", b"M", b"B"}
)


def looks_complete(
    head: bytes, tail: bytes, size_bytes: int, read: Callable[[int, int], bytes] | None = None
) -> bool:
    """Guess whether a file has been written to its end, without reading it.

    Args:
        head: its first 32 bytes, or all of a smaller one.
        tail: its last 64 bytes, or all of a smaller one.
        size_bytes: its size.
        read: gives so many of its bytes from an offset on, for a format whose lengths lie about in it.

    Returns:
        False only for what is certainly or very likely unfinished; True where the first bytes can't tell,
        because the full check decides later. JPEGs with long trailers (motion photos) may be called
        unfinished though whole, so False means "wait a while", never "reject".
    """
    if size_bytes == 0 or not head.strip(b"\0"):
        return False  # zeros first: space was reserved and nothing written yet
    if size_bytes < _SMALLEST_BYTES and (head[:2] in _STARTS or _begins_boxes(head)):
        return False
    match picture_format(head):
        case "jpeg":
            return _JPEG_END in tail or tail.endswith(b"SEFT")  # SEFT: the trailer of Samsung phones
        case "png":
            return b"IEND" in tail
        case "webp":
            return _little(head[4:8]) + 8 <= size_bytes
        case "bmp" if head.startswith(b"BM"):
            return _little(head[2:6]) <= size_bytes
        case "heic" if read is not None:
            found = heif.frame(read, size_bytes)
            return found.ends_at <= size_bytes and {b"meta", b"mdat"} <= found.kinds
        case _:
            return True


def _begins_boxes(head: bytes) -> bool:
    return head[:3] == b"\0\0\0" and b"ftyp".startswith(head[4:8])


def check_structure(kind: PictureFormat, data: bytes) -> None:
    """Walk the segments of a whole file of the given format.

    Raises:
        PictureError: ``truncated`` when the end is missing, ``corrupt`` when lengths, checksums or counts
            are wrong.
    """
    match kind:
        case "jpeg":
            _check_jpeg(data)
        case "png":
            _check_png(data)
        case "webp":
            if _little(data[4:8]) + 8 > len(data):
                raise truncated("WebP")
        case "heic":
            _check_heic(data)
        case "bmp" | "tiff":
            pass  # no marks to walk: the decoder misses rows that aren't there


def webp_size_px(data: bytes) -> tuple[int, int] | None:
    """Width and height that a WebP announces, or None when its first chunk is none of the three known.

    The decoder sets aside the whole canvas as soon as it is opened, so the limit must be held before that.
    Source: WebP container specification, and RFC 6386 section 9.1 for the lossy form.
    """
    match data[12:16]:
        case b"VP8X":
            return _little(data[24:27]) + 1, _little(data[27:30]) + 1
        case b"VP8 ":
            return _little(data[26:28]) & 0x3FFF, _little(data[28:30]) & 0x3FFF
        case b"VP8L":
            bits = _little(data[21:25])
            return (bits & 0x3FFF) + 1, ((bits >> 14) & 0x3FFF) + 1
        case _:
            return None


def truncated(name: str) -> PictureError:
    """Say that a picture of the format called ``name`` ends too early."""
    return PictureError(
        f"the {name} ends before its picture does",
        reason="truncated",
        remedy="send it again, and rename it into the inbox only when it is whole",
    )


def corrupt(name: str, fault: str) -> PictureError:
    """Say what is wrong inside a picture of the format called ``name``."""
    return PictureError(f"the {name} is damaged: {fault}", reason="corrupt", remedy="send it again")


def _check_jpeg(data: bytes) -> None:
    at, scans, in_scan = 2, 0, False
    for _ in range(_MAX_JPEG_SEGMENTS):
        marker = _JPEG_MARKER.search(data, at)
        if marker is None:
            raise truncated("JPEG")
        if not in_scan and marker.start() - at > _MAX_JPEG_STRAY_BYTES:
            raise corrupt("JPEG", "bytes between its segments belong to none")
        code = data[marker.start() + 1]
        if code == _JPEG_END[1]:
            if not scans:
                raise corrupt("JPEG", "it ends without a picture")
            return
        in_scan = code == _JPEG_SCAN
        scans += in_scan
        if scans > _MAX_JPEG_SCANS:
            raise corrupt("JPEG", f"more than {_MAX_JPEG_SCANS} scans")
        at = marker.end() + max(2, _big(data[marker.end() : marker.end() + 2]))
    raise corrupt("JPEG", f"more than {_MAX_JPEG_SEGMENTS} segments")


def _check_png(data: bytes) -> None:
    at, view = 8, memoryview(data)
    for _ in range(_MAX_PNG_CHUNKS):
        kind = data[at + 4 : at + 8]
        end = at + 8 + _big(data[at : at + 4])
        if end + 4 > len(data):
            raise truncated("PNG")
        # A capital first letter marks what the picture can't do without; the rest is left to the decoder.
        if kind[:1].isupper() and zlib.crc32(view[at + 4 : end]) != _big(data[end : end + 4]):
            raise corrupt("PNG", f"the checksum of {kind.decode('latin-1')!r} is wrong")
        if kind == b"IEND":
            return
        at = end + 4
    raise corrupt("PNG", f"more than {_MAX_PNG_CHUNKS} chunks")


def _check_heic(data: bytes) -> None:
    found = heif.frame(lambda at, count: data[at : at + count], len(data))
    if found.ends_at > len(data):
        raise truncated("HEIC")
    if not found.sound:
        raise corrupt("HEIC", "a box in it has an impossible length")
    # What is small may lie within "meta".
    if b"meta" not in found.kinds or (b"mdat" not in found.kinds and b"idat" not in data):
        raise truncated("HEIC")


def _big(data: bytes) -> int:
    return int.from_bytes(data, "big")


def _little(data: bytes) -> int:
    return int.from_bytes(data, "little")
