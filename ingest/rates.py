"""How fast photographs of one label may come in: a stuck camera or a replay loop must not bury the others.

A label is the free part of a file's name, or its folder's. Whoever writes the files chooses it: this stops
what goes wrong by itself, and nobody who writes ever new labels.
"""

import heapq
import threading
import time
from collections import Counter, OrderedDict, deque
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path

import structlog

from ingest.claims import Claim
from ingest.names import FileNameError, parse_name
from shared.labels import clean_label, escape_label
from shared.metrics import INGEST_HELD_BACK

log = structlog.get_logger()

BURST_MIN = 10
"""A label that was quiet may bring so many minutes' worth at once."""
LABELS_MOST = 10_000
"""Labels remembered. Of more, the one that was silent longest is forgotten, and begins with a full burst."""
HELD_MOST = 10_000
"""Claims held back, of all labels together; what is more stays in the inbox, where the next scan finds it."""
HELD_LEAST = 10
"""So many of each label at least are held, and a minute's worth where that is more."""
LEFT_MOST = 100_000
"""Files left in the inbox that are counted."""
SHOWN_MOST = 5


def label_of(name: str, subfolder: str = "") -> str:
    """The label that a file comes in under, as its incident will have it; "" for none."""
    try:
        label = parse_name(name).label
    except FileNameError:  # rejected when it is examined
        label = ""
    return label or clean_label(subfolder)


@dataclass(slots=True)
class _Bucket:
    """What one label may still bring, and what of it waits."""

    tokens: float
    at_s: float
    held: deque[Claim] = field(default_factory=deque)
    told: bool = False


class Rates:
    """A token bucket for each label, and the claims that wait for a token, in their order.

    Used by the claiming thread; `held_back` and `held` may be asked from any.
    """

    def __init__(self, a_minute: int, *, clock: Callable[[], float] = time.monotonic) -> None:
        """Limit each label.

        Args:
            a_minute: photographs of one label; 0 for no limit.
            clock: seconds.
        """
        self._per_s, self._burst = a_minute / 60, float(a_minute * BURST_MIN)
        self._held_of_one = max(HELD_LEAST, a_minute)
        self._clock = clock
        self._buckets: OrderedDict[str, _Bucket] = OrderedDict()
        self._due: list[tuple[float, str]] = []
        self._left: dict[Path, str] = {}
        self._full: set[str] = set()
        self._lock = threading.Lock()
        self.held = 0
        """Claims that wait here."""

    def leaves(self, path: Path, inbox: Path) -> bool:
        """Whether a file must stay in the inbox for now: as many as may wait of its label do so already."""
        if not self._full and self.held < HELD_MOST:
            return False
        folder = path.parent
        label = label_of(path.name, "" if folder == inbox else folder.relative_to(inbox).as_posix())
        with self._lock:
            bucket = self._buckets.get(label)
            waits = label in self._full or (
                self.held >= HELD_MOST and bucket is not None and self._missing_s(bucket) > 0
            )
            if waits and len(self._left) < LEFT_MOST:
                self._left[path] = label
        return waits

    def admit(self, claim: Claim) -> bool:
        """Whether a claim may be examined now. One that may not is kept here until `due` gives it out."""
        if not self._per_s:
            return True
        label = label_of(claim.name, claim.subfolder)
        with self._lock:
            bucket = self._bucket(label)
            if not bucket.held and not self._missing_s(bucket):
                bucket.tokens -= 1
                return True
            if not bucket.held:
                heapq.heappush(self._due, (self._clock() + self._missing_s(bucket), label))
            bucket.held.append(claim)
            self.held += 1
            if len(bucket.held) >= self._held_of_one:
                self._full.add(label)
            first, bucket.told = not bucket.told, True
        INGEST_HELD_BACK.inc()
        if first:
            log.warning(
                "a label brings more photographs than it may; they come in as its rate allows",
                label=escape_label(label),
                a_minute=round(self._per_s * 60),
                remedy="is a camera stuck, or a folder copied again? ALMENARA_LABEL_RATE sets the limit",
            )
        return False

    def due(self) -> list[Claim]:
        """The claims that may be examined now, of each label in their order."""
        out: list[Claim] = []
        if not self._due:
            return out
        with self._lock:
            now_s = self._clock()
            while self._due and self._due[0][0] <= now_s:
                _, label = heapq.heappop(self._due)
                bucket = self._buckets[label]
                while bucket.held and not self._missing_s(bucket):
                    bucket.tokens -= 1
                    out.append(bucket.held.popleft())
                    self.held -= 1
                if bucket.held:
                    heapq.heappush(self._due, (now_s + self._missing_s(bucket), label))
                if len(bucket.held) < self._held_of_one:
                    self._full.discard(label)
        return out

    def rescan(self) -> None:
        """The inboxes are about to be looked through: count anew what is left there."""
        with self._lock:
            self._left.clear()

    def held_back(self) -> dict[str, int]:
        """Files that wait for their label's rate, held or left in the inbox: the labels with the most."""
        with self._lock:
            counts = Counter(self._left.values())
            if self.held:
                counts.update({label: len(each.held) for label, each in self._buckets.items() if each.held})
        return dict(counts.most_common(SHOWN_MOST))

    def _bucket(self, label: str) -> _Bucket:
        bucket = self._buckets.get(label)
        if bucket is None:
            bucket = self._buckets[label] = _Bucket(self._burst, self._clock())
            if len(self._buckets) > LABELS_MOST:
                self._forget_one()
        else:
            self._buckets.move_to_end(label)
        return bucket

    def _forget_one(self) -> None:
        label = next((each for each, bucket in self._buckets.items() if not bucket.held), None)
        if label is not None:
            del self._buckets[label]

    def _missing_s(self, bucket: _Bucket) -> float:
        """Seconds until a label may bring one more; 0 for now."""
        now_s = self._clock()
        bucket.tokens = min(self._burst, bucket.tokens + (now_s - bucket.at_s) * self._per_s)
        bucket.at_s = now_s
        if bucket.tokens >= self._burst:
            bucket.told = False  # a quiet while later it is news again
        return 0.0 if bucket.tokens >= 1 else (1 - bucket.tokens) / self._per_s
