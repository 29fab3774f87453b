"""How often something may be tried, counted in this process."""

import math
import threading
import time
from collections import OrderedDict
from dataclasses import dataclass

from limits import RateLimitItem, parse
from limits.storage import MemoryStorage
from limits.strategies import MovingWindowRateLimiter

from console.web.errors import RefusedError


@dataclass(frozen=True, slots=True)
class Allowance:
    """So many times in so long, and what people are told who want more."""

    item: RateLimitItem
    message: str


LOGIN = Allowance(parse("5/minute"), "Too many attempts to log in")
"""Of one name from one address."""
ADDRESS = Allowance(parse("60/minute"), "Too many attempts to log in from this address")
"""Of all names from one address: a control room behind one gate logs in at the change of shift."""
NAME = Allowance(parse("30/10 minutes"), "Too many attempts to log in with this name")
"""Of one name from all addresses together, but for those that it has logged in from before: a stranger who
tries its passwords keeps nobody from their own desk."""
MOVES = Allowance(parse("300/minute"), "Too many moves at once")
"""Of one user: more than anybody presses, less than a program gone wild."""
HISTORY = Allowance(parse("60/minute"), "Too many questions about the history at once")
"""Of one user and one kind of question: each may take the database a while."""
FEED = Allowance(parse("60/minute"), "Too many reads of this feed")
"""Of one user and one kind of feed: a map that looks every second."""
TOKENS = Allowance(parse("30/minute"), "Too many tokens that are none, from this address")
KNOWN = 10_000
"""Names with an address they have logged in from, as many as are remembered."""


class Limits:
    """Counts attempts. Safe to use from several threads."""

    def __init__(self) -> None:
        self._limiter = MovingWindowRateLimiter(MemoryStorage())
        self._known: OrderedDict[tuple[str, str], None] = OrderedDict()
        self._lock = threading.Lock()

    def spend_login(self, name: str, address: str) -> None:
        """Count one attempt to log in.

        Raises:
            RefusedError: as `spend`.
        """
        self.spend(ADDRESS, address)
        self.spend(LOGIN, name, address)
        with self._lock:
            known = (name, address) in self._known
        if not known:
            self.spend(NAME, name)

    def forgive_login(self, name: str, address: str) -> None:
        """The password was right: forget the attempts, and remember where it came from."""
        self.forgive(ADDRESS, address)
        self.forgive(LOGIN, name, address)
        self.forgive(NAME, name)
        with self._lock:
            self._known[name, address] = None
            self._known.move_to_end((name, address))
            if len(self._known) > KNOWN:
                self._known.popitem(last=False)

    def spend(self, allowance: Allowance, *whose: str) -> None:
        """Count one attempt.

        Raises:
            RefusedError: it was one too many; 429, with when to try again.
        """
        if self._limiter.hit(allowance.item, *whose):
            return
        reset_at_s = self._limiter.get_window_stats(allowance.item, *whose).reset_time
        wait_s = max(1, math.ceil(reset_at_s - time.time()))
        raise RefusedError(
            429,
            "too_many",
            allowance.message,
            remedy=f"try again in {wait_s} s",
            headers={"Retry-After": str(wait_s)},
        )

    def forgive(self, allowance: Allowance, *whose: str) -> None:
        """Forget the attempts: the last one was right."""
        self._limiter.clear(allowance.item, *whose)
