"""The thread that turns sightings into claims, quickly, so that a camera may re-use a name at once."""

import heapq
import itertools
import queue
import threading
import time
from pathlib import Path

import structlog

from ingest.claims import Claim, Claims
from ingest.completeness import Looks, Readiness
from ingest.rates import Rates
from ingest.watching import Sighting, Watch

log = structlog.get_logger()

LOOK_AGAIN_S = 0.05
LOOK_SLOWEST_S = 1.0


class Claimer:
    """Looks at sighted files until each is whole, then claims it; hands claims out in batches."""

    def __init__(
        self, watch: Watch, claims: list[Claims], rates: Rates, *, settle_s: float, rescan_s: float
    ) -> None:
        self._watch = watch
        self._rates = rates
        self._claims = {each.inbox: each for each in claims}
        self._looks = Looks(settle_s)
        self._rescan_s = rescan_s
        self._ready: queue.SimpleQueue[Claim] = queue.SimpleQueue()
        self._later: list[tuple[float, int, Claim]] = []
        self._later_lock = threading.Lock()
        self._order = itertools.count()
        self._waiting: dict[Path, tuple[Sighting, float, float]] = {}
        self._unclaimable: set[Path] = set()
        self._scanned_at_s = -rescan_s
        self._overflows = 0
        self._stopping = threading.Event()
        self._thread = threading.Thread(target=self._run, name="claimer", daemon=True)

    def start(self) -> None:
        """Adopt what dead ingesters left, look into the inboxes, and go on watching."""
        self._adopt()
        self._watch.start()
        self._thread.start()

    def stop(self) -> None:
        """Stop claiming."""
        self._stopping.set()
        self._thread.join(timeout=10)
        self._watch.stop()

    def later(self, claim: Claim, after_s: float) -> None:
        """Hand this claim out again after a while. From any thread."""
        with self._later_lock:
            heapq.heappush(self._later, (time.monotonic() + after_s, next(self._order), claim))

    def next_batch(self, limit: int, wait_s: float) -> list[Claim]:
        """Up to `limit` claims that are due, oldest first; waits up to `wait_s` for the first."""
        batch: list[Claim] = []
        with self._later_lock:
            while self._later and self._later[0][0] <= time.monotonic() and len(batch) < limit:
                batch.append(heapq.heappop(self._later)[2])
            if self._later:
                wait_s = max(0.0, min(wait_s, self._later[0][0] - time.monotonic()))
        try:
            if not batch:
                batch.append(self._ready.get(timeout=wait_s) if wait_s > 0 else self._ready.get_nowait())
            while len(batch) < limit:
                batch.append(self._ready.get_nowait())
        except queue.Empty:
            pass
        return batch

    def backlog(self) -> int:
        """Claims not yet handed out."""
        return self._ready.qsize() + len(self._later) + self._rates.held

    def _adopt(self) -> None:
        for claims in self._claims.values():
            try:
                adopted = claims.adopt()
            except OSError as error:
                log.warning("claims of a dead ingester can't be adopted, trying again", error=str(error))
                continue
            for claim in adopted:
                self._hand_out(claim)
            if adopted:
                log.info(
                    "took over files of an ingester that died", files=len(adopted), inbox=str(claims.inbox)
                )

    def _run(self) -> None:
        while not self._stopping.is_set():
            try:
                self._turn()
            except Exception:  # the edge of this thread: without it nothing would be claimed any more
                log.exception("claiming failed; going on")
                self._stopping.wait(1.0)

    def _turn(self) -> None:
        now_s = time.monotonic()
        if now_s - self._scanned_at_s >= self._rescan_s or self._overflows != self._watch.overflows:
            if self._overflows != self._watch.overflows:
                log.warning("the system dropped file events; looking through the inboxes")
            self._overflows = self._watch.overflows
            self._scanned_at_s = now_s
            self._rates.rescan()
            self._watch.scan()
            self._adopt()
        try:
            self._consider(self._watch.sightings.get(timeout=LOOK_AGAIN_S if self._waiting else 0.2))
            while True:
                self._hand_out_due()
                self._consider(self._watch.sightings.get_nowait())
        except queue.Empty:
            pass
        self._hand_out_due()
        self._look_again()

    def _look_again(self) -> None:
        now_s = time.monotonic()
        due = [each for each in self._waiting.values() if each[1] <= now_s]
        for sighting, _, interval_s in due:
            self._consider(Sighting(sighting.inbox, sighting.path), min(interval_s * 1.5, LOOK_SLOWEST_S))

    def _consider(self, sighting: Sighting, again_s: float = LOOK_AGAIN_S) -> None:
        path = sighting.path
        if self._rates.leaves(path, sighting.inbox):
            self._waiting.pop(path, None)
            self._looks.forget(path)
            return  # a scan finds it again
        readiness = self._looks.look(path, closed=sighting.closed)
        if readiness is Readiness.WAIT:
            self._waiting[path] = (sighting, time.monotonic() + again_s, again_s)
            return
        self._waiting.pop(path, None)
        self._looks.forget(path)
        if readiness is Readiness.GONE:
            self._unclaimable.discard(path)
            return
        # Links and devices are claimed like files; the examination rejects them with the reason.
        try:
            claim = self._claims[sighting.inbox].take(path)
        except OSError as error:
            if path not in self._unclaimable:
                self._unclaimable.add(path)
                log.error(
                    "a file can't be taken from the inbox, trying again", path=str(path), error=str(error)
                )
            return
        if claim is not None:
            self._unclaimable.discard(path)
            self._hand_out(claim)

    def _hand_out(self, claim: Claim) -> None:
        if self._rates.admit(claim):
            self._ready.put(claim)

    def _hand_out_due(self) -> None:
        for claim in self._rates.due():
            self._ready.put(claim)
