"""What becomes of a try to deliver: from the receiver's answer and the count of tries, nothing else."""

import random
from dataclasses import dataclass
from datetime import datetime
from email.utils import parsedate_to_datetime
from enum import StrEnum

MAX_TRIES = 16
"""With the waits between them a little over five hours."""
FEW_TRIES = 3
"""Of what the receiver says is our fault: it will hardly think better of it."""
FIRST_WAIT_S = 2.0
LONGEST_WAIT_S = 3600.0
LONGEST_ASKED_S = 6 * 3600.0
"""The most that a receiver's Retry-After is heeded."""

_GONE = 410
_WAIT_STATUSES = frozenset({408, 425, 429})


class Fate(StrEnum):
    """What becomes of a letter."""

    DELIVERED = "delivered"
    """The receiver said 2xx."""
    LATER = "failed"
    """It is tried again."""
    DEAD = "dead"
    """It is given up, and kept among the dead letters."""
    GONE = "gone"
    """The receiver said 410: nothing more is sent there until a person says so."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Answer:
    """How a try ended.

    Attributes:
        status: of HTTP, or 0 where there was no answer.
        reason: a stable word where there was none: ``timeout``, ``connection``, ``tls``, ...
        retry_after_s: what the receiver asked for, or None.
        final: no other try would end otherwise.
    """

    status: int = 0
    reason: str = ""
    retry_after_s: float | None = None
    final: bool = False

    @property
    def word(self) -> str:
        """For logs and dead letters: ``http_503``, or the reason."""
        return f"http_{self.status}" if self.status else self.reason


def fate_of(answer: Answer, tries: int) -> Fate:
    """What becomes of a letter after so many tries, this one included."""
    if 200 <= answer.status < 300:
        return Fate.DELIVERED
    if answer.status == _GONE:
        return Fate.GONE
    if answer.final:
        return Fate.DEAD
    is_theirs = not answer.status or answer.status >= 500 or answer.status in _WAIT_STATUSES
    few = not is_theirs or answer.reason == "address_refused"
    return Fate.DEAD if tries >= (FEW_TRIES if few else MAX_TRIES) else Fate.LATER


def wait_s(answer: Answer, tries: int, *, first_s: float = FIRST_WAIT_S) -> float:
    """Seconds until the next try: doubled each time, jittered, and never sooner than the receiver asked."""
    doubled = min(first_s * 2.0 ** (tries - 1), LONGEST_WAIT_S)
    waits = doubled * random.uniform(0.75, 1.25)  # noqa: S311 - jitter, not a secret
    return max(waits, min(answer.retry_after_s or 0.0, LONGEST_ASKED_S))


def asked_s(header: str, now: datetime) -> float | None:
    """Seconds of a Retry-After, which is a number or a date; None for anything else."""
    text = header.strip()
    if text.isascii() and text.isdecimal() and len(text) < 10:
        return float(text)
    try:
        until = parsedate_to_datetime(text)
        return max(0.0, (until - now).total_seconds()) if until.tzinfo else None
    except (ValueError, TypeError, OverflowError, IndexError):
        return None
