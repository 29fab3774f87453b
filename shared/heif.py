"""HEIC, the format of phones: which files are, whether they are whole, and what opens them.

Opening needs the extra `heic` (the package pillow-heif). Only the frame of the file is read here: it is a row
of boxes, each with its length before it (ISO/IEC 14496-12, section 4.2).
"""

import functools
import importlib.util
from collections.abc import Callable
from io import BytesIO
from typing import NamedTuple

from PIL.ImageFile import ImageFile

REMEDY = "install Almenara's extra `heic`, or send JPEG (iPhone: Settings, Camera, Formats, Most Compatible)"

_BRANDS = frozenset({b"heic", b"heix", b"heim", b"heis", b"hevc", b"hevx"})
_HEAD_BYTES = 32  # of which the brands that matter are: the major one, and the first compatible ones
_BOX_HEAD_BYTES = 16
_MAX_BOXES = 1000
"""At the top of a file. Phones write three to ten."""


class Frame(NamedTuple):
    """What a walk over the boxes finds: where the last one that is announced ends, and which there are."""

    ends_at: int
    kinds: frozenset[bytes]
    sound: bool
    """Whether every length was one that a box can have."""


def is_heif(head: bytes) -> bool:
    """Whether these bytes, the first 32 of a file or more, begin a HEIC picture (not AVIF, not a video)."""
    if head[4:8] != b"ftyp":
        return False
    listed = head[16 : min(_HEAD_BYTES, max(16, int.from_bytes(head[:4], "big")))]
    brands = {head[8:12], *(listed[at : at + 4] for at in range(0, len(listed), 4))}
    return bool(brands & _BRANDS)


def frame(read: Callable[[int, int], bytes], size_bytes: int) -> Frame:
    """Walk the boxes of a file.

    Args:
        read: gives so many bytes from an offset on, fewer at the end.
        size_bytes: of the file as it is now.

    Returns:
        A file is whole when `ends_at` is not above its size and there are ``meta`` and ``mdat`` in it. What
        follows behind both and is no box (some phones add something) is left out.
    """
    at, kinds = 0, set[bytes]()
    for _ in range(_MAX_BOXES):
        if at >= size_bytes:
            return Frame(at, frozenset(kinds), sound=True)
        head = read(at, _BOX_HEAD_BYTES)
        length, kind = int.from_bytes(head[:4], "big"), head[4:8]
        if len(head) < 8:
            return Frame(at + 8, frozenset(kinds), sound=True)
        least = 8
        if length == 1:
            length, least = int.from_bytes(head[8:16], "big"), 16
        elif length == 0:
            length = size_bytes - at  # to the end, wherever that is
        is_box = length >= least and all(32 <= letter < 127 for letter in kind)
        if not is_box:
            return Frame(at, frozenset(kinds), sound={b"meta", b"mdat"} <= kinds)
        kinds.add(kind)
        at += length
    return Frame(at, frozenset(kinds), sound=False)


@functools.cache
def is_available() -> bool:
    """Whether the extra is installed."""
    return importlib.util.find_spec("pillow_heif") is not None


def open_heif(content: BytesIO) -> ImageFile:
    """The primary picture of a HEIC file, upright, not yet decoded.

    The library turns it as the file says. It decodes in one thread: a worker has its own.

    Raises:
        Exception: of several kinds, for what can't be opened.
    """
    # The library and what it is linked with take 10 MB; most installations never see such a picture.
    from pillow_heif import HeifImageFile, options

    options.DECODE_THREADS = 1
    # An embedded thumbnail may show something else, and what is asked of a picture is the picture.
    options.THUMBNAILS = options.DEPTH_IMAGES = options.AUX_IMAGES = False
    image: ImageFile = HeifImageFile(content)  # type: ignore[no-untyped-call]
    return image
