"""The one reader of the board in a process: a thread that follows it and tells the event loop."""

import asyncio
import contextlib
import threading
import time
from collections.abc import Callable
from functools import partial
from typing import Any, TypeVar

import structlog
from redis.exceptions import RedisError

from console.web.live import RECENT, Live
from shared.board import BoardError, Change, changes, covers, open_rows
from shared.broker import Broker, BrokerAwayError, patiently
from shared.keys import BOARD_VERSION
from shared.routing import ALL

log = structlog.get_logger()

T = TypeVar("T")

BLOCK_MS = 1000
LOOK_AGAIN_S = 60.0
"""Between comparisons of what is shown with what stands in the broker."""
REST_S = 5.0
"""Between attempts where something is wrong that waiting may not cure."""


class Follower:
    """Keeps a `Live` board as the broker has it, across restarts of the broker and the desk."""

    def __init__(self, broker: Broker, live: Live) -> None:
        """Feed `live`, in the event loop that runs now."""
        self._broker = broker
        self._live = live
        self._loop = asyncio.get_running_loop()
        self._stopped = threading.Event()
        self._faulted = False
        self._thread = threading.Thread(target=self._run, name="board", daemon=True)

    def start(self) -> None:
        """Begin to read."""
        self._thread.start()

    def stop(self) -> None:
        """Read no more. The thread ends by itself, within a second or so where the broker answers."""
        self._stopped.set()

    def join(self, timeout_s: float) -> None:
        """Wait for its end."""
        self._thread.join(timeout_s)

    def _run(self) -> None:
        while not self._stopped.is_set():
            try:
                self._follow(self._open())
            except BrokerAwayError:
                return  # stopped while it was away
            except (BoardError, RedisError) as error:
                # A board of another version, or a broker that refuses us: said, and tried again, so that it
                # mends itself when they do. Browsers see meanwhile that the line is down.
                log.error("the board can't be followed", error=str(error))
                self._tell(self._live.set_following, False)
                self._stopped.wait(REST_S)

    def _open(self) -> int:
        """Read the board as it stands; its version."""
        opening = self._patiently(partial(open_rows, self._broker, ALL))
        since, recent = self._patiently(partial(self._recent, opening.version))
        self._tell(self._live.open, opening, since, recent)
        return opening.version

    def _recent(self, version: int) -> tuple[int, list[Change]]:
        """The last changes up to a version, and the version since which none of them is missing."""
        after = max(0, version - RECENT)
        # A stream that still has what follows 1 has everything: `covers` knows of no version 0.
        if not covers(self._broker, ALL, max(1, after)):
            return version, []
        since, found = after, list[Change]()
        while after < version and (page := changes(self._broker, ALL, after)):
            found += [change for change in page if change.version <= version]
            after = page[-1].version
        return since, found

    def _follow(self, version: int) -> None:
        """Pass on what changes, until the board has to be opened anew."""
        looked_at_s = time.monotonic()
        while not self._stopped.is_set():
            self._faulted = False
            page = self._patiently(partial(changes, self._broker, ALL, version, block_ms=BLOCK_MS))
            if (self._faulted or not page) and not self._patiently(partial(self._goes_on, version)):
                return
            if page:
                version = page[-1].version
                self._tell(self._live.apply, page)
                continue
            self._tell(self._live.set_following, True)
            if time.monotonic() - looked_at_s > LOOK_AGAIN_S:
                looked_at_s = time.monotonic()
                opening = self._patiently(partial(open_rows, self._broker, ALL))
                self._tell(self._live.reconcile, opening)

    def _goes_on(self, version: int) -> bool:
        """Whether what comes after a version is all that happened since.

        A broker that lost its data has no version until the desk has filled it again; until then what is
        shown is better than nothing.
        """
        stands: Any = self._broker.get(BOARD_VERSION)
        if not stands or int(stands) == version:
            return True
        return version == 0 or covers(self._broker, ALL, version)

    def _patiently(self, work: Callable[[], T]) -> T:
        def once() -> T:
            try:
                return work()
            except RedisError:
                self._faulted = True
                self._tell(self._live.set_following, False)
                raise

        return patiently(once, stop=self._stopped.is_set, sleep=self._rest)

    def _rest(self, wait_s: float) -> None:
        self._stopped.wait(wait_s)

    def _tell(self, what: Callable[..., None], *arguments: Any) -> None:
        with contextlib.suppress(RuntimeError):  # the loop has ended, and so do we
            self._loop.call_soon_threadsafe(what, *arguments)
