"""Photographs as consoles show them: from the image store, made small and plain in a process of its own."""

import re
import threading
import time
from collections import OrderedDict
from collections.abc import Callable

from console.thumbnails import request_for
from shared.confinement import Confinement, DecoderKilledError
from shared.errors import PermanentError
from shared.images import ImageStore

WIDTHS_PX = (320, 1280)
"""Of a list, and of the page of one incident."""

_PLACE = re.compile(r"pictures/[0-9a-f]{2}/[0-9a-f]{64}\.[a-z0-9]{1,8}")
_ANSWER_S = 15.0
"""For one picture; the largest that the ingester takes need 1.5 to 7 (measured, on a shared core)."""

_BLAMED_S = 600.0
_BLAMED_MOST = 1000
_STRIPES = 64


class PictureRefusedError(PermanentError):
    """Raised when something is no picture of the store, or is too large a file."""

    default_reason = "no_picture"


class Pictures:
    """The pictures of an image store, as JPEG without metadata.

    Safe to use from several threads; give it few of a web server's, as they wait for each other. The last
    ones are kept in memory. A picture that brings its decoder down is not tried again for a while:
    those who look at others would wait for it.
    """

    def __init__(
        self,
        store: ImageStore,
        max_pixels: int,
        *,
        max_bytes: int = 64 * 2**20,
        cache_bytes: int = 64 * 2**20,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        """Nothing is started yet.

        Args:
            store: where the pictures are.
            max_pixels: of a picture, as the ingester has it.
            max_bytes: of its file, likewise.
            cache_bytes: of ready JPEGs to keep in memory.
            clock: seconds, for how long a killer is not tried again.
        """
        self._store, self._max_bytes, self._clock = store, max_bytes, clock
        self._decoder = Confinement("console.thumbnails", str(max_pixels), answer_s=_ANSWER_S)
        self._ready = _Cache(cache_bytes)
        self._blamed: OrderedDict[str, tuple[float, DecoderKilledError]] = OrderedDict()
        self._lock = threading.Lock()
        # A new incident is looked at by every console at once: one makes its picture, the others wait for it.
        self._making = [threading.Lock() for _ in range(_STRIPES)]

    def jpeg(self, place: str, width_px: int) -> bytes:
        """The picture at a place of the store: upright, in sRGB, at most that wide, never enlarged.

        Nothing that its file told besides the picture is in it.

        Args:
            place: as the incident's record has it, ``pictures/...``.
            width_px: one of ``WIDTHS_PX``.

        Raises:
            PermanentError: it is no picture that can be shown, or not in the store.
            AlmenaraError: the store serves, and can't read this one (``image_unreadable``).
            TransientError: the store is away, or too many pictures are being looked at.
            ValueError: another width.
        """
        if width_px not in WIDTHS_PX:
            raise ValueError(f"width_px {width_px} is not one of {WIDTHS_PX}")
        if not _PLACE.fullmatch(place):
            raise PictureRefusedError("the incident's record names no picture of the image store")
        key = (place, width_px)
        with self._making[hash(key) % _STRIPES]:
            made = self._ready.get(key)
            if made is None:
                made = self._made(place, width_px)
                self._ready.put(key, made)
        return made

    def close(self) -> None:
        """End the process that decodes; another picture would start it again."""
        self._decoder.close()

    def _made(self, place: str, width_px: int) -> bytes:
        self._hold_blamed(place)
        image_bytes = self._store.get(place)
        if len(image_bytes) > self._max_bytes:
            raise PictureRefusedError(
                f"the picture has {len(image_bytes)} bytes, more than {self._max_bytes}",
                reason="too_large_bytes",
            )
        try:
            return self._decoder.ask(request_for(image_bytes, width_px))
        except DecoderKilledError as error:
            self._blame(place, error)
            raise

    def _hold_blamed(self, place: str) -> None:
        with self._lock:
            until_s, error = self._blamed.get(place, (0.0, None))
        if error is not None and self._clock() < until_s:
            raise DecoderKilledError(error.detail, remedy=error.remedy)

    def _blame(self, place: str, error: DecoderKilledError) -> None:
        with self._lock:
            self._blamed[place] = self._clock() + _BLAMED_S, error
            self._blamed.move_to_end(place)
            if len(self._blamed) > _BLAMED_MOST:
                self._blamed.popitem(last=False)


class _Cache:
    """The last JPEGs that were asked for, up to so many bytes."""

    def __init__(self, most_bytes: int) -> None:
        self._most_bytes, self._bytes = most_bytes, 0
        self._kept: OrderedDict[tuple[str, int], bytes] = OrderedDict()
        self._lock = threading.Lock()

    def get(self, key: tuple[str, int]) -> bytes | None:
        with self._lock:
            if key in self._kept:
                self._kept.move_to_end(key)
            return self._kept.get(key)

    def put(self, key: tuple[str, int], content: bytes) -> None:
        with self._lock:
            self._bytes += len(content) - len(self._kept.pop(key, b""))
            self._kept[key] = content
            while self._bytes > self._most_bytes:
                _, dropped = self._kept.popitem(last=False)
                self._bytes -= len(dropped)
