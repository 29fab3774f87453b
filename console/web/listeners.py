"""Listeners: browsers that follow the board, each with a queue of its own that has an end."""

import asyncio
from collections import deque
from collections.abc import Callable, Collection

import structlog

from console.web.access import sees, view, watches
from console.web.sessions import Session
from shared.routing import ALL, REVIEW

log = structlog.get_logger()

QUEUE_MESSAGES = 512
"""Nearly a minute of ten changes a second; who is further behind is cut off, and comes back for the rest."""
QUEUE_BYTES = 4 * 1024 * 1024


class Listener:
    """One browser's event stream. Lives in the event loop's thread.

    Attributes:
        session: whose.
        watches: the boards on their page, see `console.web.access.watches`.
        view: stands for whose page it is and what it shows, see `console.web.access.view`.
    """

    def __init__(self, session: Session, cut: Callable[[], None] = lambda: None) -> None:
        """Listen for a session; `cut` ends its connection at once, whatever is on the way."""
        self.session = session
        self.watches = watches(session.user)
        self.view = view(session.user)
        self._cut = cut
        self._queue: deque[bytes] = deque()
        self._queued_bytes = 0
        self._wake = asyncio.Event()
        self._ended = False

    def sees(self, departments: Collection[str], verdict: str) -> bool:
        """Whether a case with these assignments is theirs to see."""
        return sees(self.session.user, departments, verdict)

    def has_open(self, open_for: Collection[str]) -> bool:
        """Whether what is open for these belongs on their page."""
        return belongs(open_for, self.watches)

    def event_id(self, version: int) -> str:
        """The id of an event, in one of these streams alone: another user's page must not go on from it."""
        return f"{version}-{self.view}"

    def version_of(self, event_id: str) -> int | None:
        """The version that an id of these streams stands for; None for any other text."""
        version, _, whose = event_id.partition("-")
        known = version.isascii() and version.isdecimal() and len(version) < 16 and whose == self.view
        return int(version) if known else None

    def put(self, message: bytes) -> None:
        """Queue a message; a listener that is too far behind is cut off instead, and slows nobody."""
        if self._ended or not message:
            return
        self._queue.append(message)
        self._queued_bytes += len(message)
        # A long board may be one message that is longer than the queue.
        if len(self._queue) > QUEUE_MESSAGES or (self._queued_bytes > QUEUE_BYTES and len(self._queue) > 2):
            log.warning("a slow browser is cut off", user=self.session.user.name, behind=len(self._queue))
            self._queue.clear()
            self.end()
            self._cut()
            return
        self._wake.set()

    def end(self) -> None:
        """Send what is queued, then nothing more."""
        self._ended = True
        self._wake.set()

    async def next(self) -> bytes | None:
        """Everything queued, as soon as there is something; None at the end."""
        while not self._queue:
            if self._ended:
                return None
            self._wake.clear()
            await self._wake.wait()
        messages = b"".join(self._queue)
        self._queue.clear()
        self._queued_bytes = 0
        return messages


def belongs(open_for: Collection[str], watched: frozenset[str]) -> bool:
    """Whether what is open for some departments is on one of these boards."""
    if not watched.isdisjoint(open_for):
        return True
    return ALL in watched and any(department != REVIEW for department in open_for)


def event(kind: str, text: str, event_id: str = "") -> bytes:
    """One server-sent event; `text` is one line."""
    head = f"id: {event_id}\n" if event_id else ""
    return f"{head}event: {kind}\ndata: {text}\n\n".encode()
