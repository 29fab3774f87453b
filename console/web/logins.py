"""Logins that wait: hashing a password takes a core for a while, so few may, and the rest come again."""

import contextlib
from collections import Counter
from collections.abc import AsyncIterator

import anyio

from console.web.errors import RefusedError

THREADS = 2
WAITING = 10
"""Logins that may wait for a thread."""
WAITING_OF_ADDRESS = 2
"""Of those, from one address: nobody takes every place."""
RETRY_S = 2


class Logins:
    """The way to the threads that hash. Lives in the event loop's thread.

    Attributes:
        threads: that hash.
    """

    def __init__(self) -> None:
        self.threads = anyio.CapacityLimiter(THREADS)
        self._waiting = Counter[str]()

    @property
    def waiting(self) -> int:
        """How many wait for a thread."""
        return self._waiting.total()

    def check_room(self, address: str) -> None:
        """See whether a login from an address could wait.

        Raises:
            RefusedError: too many wait already; 503, with when to try again.
        """
        if self.threads.available_tokens >= 1:
            return
        if self.waiting < WAITING and self._waiting[address] < WAITING_OF_ADDRESS:
            return
        raise RefusedError(
            503,
            "busy",
            "Too many people are logging in just now",
            remedy=f"try again in {RETRY_S} s",
            headers={"Retry-After": str(RETRY_S)},
        )

    @contextlib.asynccontextmanager
    async def turn(self, address: str) -> AsyncIterator[None]:
        """Wait for a thread, and have it until the end of the block."""
        self._waiting[address] += 1
        try:
            await self.threads.acquire()
        finally:
            self._waiting[address] -= 1
            if not self._waiting[address]:
                del self._waiting[address]
        try:
            yield
        finally:
            self.threads.release()
