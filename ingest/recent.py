"""What was admitted lately: told again to a master that may have taken the place of the one that admitted it.

A replica has confirmed each photograph, but not always the one that is promoted. Sentinels learn seconds late
how much each has received. And a master that was only slow for a moment, and is still followed by another
replica, admits on while they put one in its place.
"""

import threading
import time
from collections import deque
from collections.abc import Sequence
from dataclasses import dataclass

import structlog
from redis.exceptions import RedisError

from ingest.admission import admit
from shared.broker import Broker
from shared.incidents import Photograph
from shared.sentinels import times_led

log = structlog.get_logger()

KEEP_S = 300.0
"""Sentinels are done with a failover long before."""
MOST = 10_000
"""Photographs that are remembered, some 20 MB."""
_TOGETHER = 256


@dataclass(slots=True)
class _Told:
    """One photograph, and how often Sentinels had led us when it was admitted, or a little before."""

    at_s: float
    claim_id: str
    photograph: Photograph
    led: int | None


class Recent:
    """The photographs of one ingester. Of no use, and no burden, without Sentinels."""

    def __init__(self, broker: Broker) -> None:
        """Nothing was admitted yet."""
        self._broker = broker
        self._lock = threading.Lock()
        self._told: deque[_Told] = deque(maxlen=MOST)

    def led(self) -> int | None:
        """Says which master it is; to be asked before what is then noted is admitted."""
        return times_led(self._broker)

    def note(self, photographs: Sequence[tuple[str, Photograph]], led: int | None) -> None:
        """These were admitted by that master, or by one that came after it."""
        if led is None:
            return
        now_s = time.monotonic()
        with self._lock:
            self._told += [_Told(now_s, claim_id, photograph, led) for claim_id, photograph in photographs]

    def tell_again(self) -> int:
        """Tell the master what it may not have heard, after each new connection; how many it did not know.

        A claim counts once, so that nothing comes of what it knows. While the broker is away nothing is done.
        """
        led, missed = self.led(), 0
        if led is None:
            return 0
        oldest_s = time.monotonic() - KEEP_S
        with self._lock:
            # What the master was not told yet stays, however long there was none.
            while self._told and self._told[0].at_s < oldest_s and self._told[0].led == led:
                self._told.popleft()
            due = [each for each in self._told if each.led != led]
        for begin in range(0, len(due), _TOGETHER):
            part = due[begin : begin + _TOGETHER]
            try:
                outcomes = admit(self._broker, [(each.claim_id, each.photograph) for each in part])
            except RedisError as error:
                log.debug("another master is told later what was admitted lately", error=str(error))
                break
            missed += outcomes.count("admitted")
            for each in part:
                each.led = led
        if missed:
            log.warning(
                "the master that was replaced took photographs with it: admitted again", photographs=missed
            )
        return missed
