"""How each kind of fault is done to a town, and taken back."""

import contextlib
import heapq
import signal
import time
from collections import Counter
from collections.abc import Sequence

import redis
from redis.backoff import NoBackoff
from redis.exceptions import RedisError
from redis.retry import Retry

from chaos import clock
from chaos.schedule import Fault, Kind
from chaos.service import HANGS, SLOW
from chaos.town import BROKER, Town
from shared.broker import patiently

DISKS = {
    Kind.DISK_INBOX: "inbox",
    Kind.DISK_IMAGES: "images",
    Kind.DISK_STATE: "state",
    Kind.DISK_BROKER: "broker",
}
TRIES = 60
STRUCK = 0
"""In place of the tries that are left: it has struck, and ends."""
SWITCHES = {Kind.STORE_HANGS: HANGS, Kind.STORE_SLOW: SLOW}
SIGNALS = {Kind.KILL: signal.SIGKILL, Kind.TERM: signal.SIGTERM}


class Faults:
    """Strikes a town as a schedule says.

    Attributes:
        injected: how often each kind really struck; a service that is down can't be killed.
        skipped: kinds that this machine can't do -> why.
    """

    def __init__(self, town: Town) -> None:
        self.injected: Counter[Kind] = Counter()
        self.skipped: dict[Kind, str] = {}
        if town.disks.why_not:
            self.skipped = dict.fromkeys(DISKS, town.disks.why_not)
        self._town = town
        self._lasting: Counter[tuple[Kind, str]] = Counter()
        # Straight to the broker, and never long: whoever strikes must not wait.
        self._broker = redis.Redis(
            unix_socket_path=str(town.settings.broker_socket), socket_timeout=1, retry=Retry(NoBackoff(), 0)
        )

    def play(self, schedule: Sequence[Fault]) -> None:
        """Strike each fault at its time; returns when the last one is over."""
        began_s = time.monotonic()
        cuts = self._cuts()
        coming = [
            (fault.at_s, number, TRIES, fault)
            for number, fault in enumerate(schedule)
            if fault.kind not in self.skipped
        ]
        heapq.heapify(coming)
        while coming:
            at_s, number, tries, fault = heapq.heappop(coming)
            time.sleep(max(0.0, began_s + at_s - time.monotonic()))
            if tries == STRUCK:
                self._end(fault)
            elif fault.kind is Kind.CUT:
                self._town.proxies[fault.target].cut_at(fault.command, fault.side)
            elif self._begin(fault):
                self.injected[fault.kind] += 1
                heapq.heappush(coming, (at_s + fault.lasts_s, number, STRUCK, fault))
            elif tries > 1:  # what is down can't be struck; a little later it may
                heapq.heappush(coming, (at_s + 1.0, number, tries - 1, fault))
        self._town.calm()
        patiently(lambda: self._broker.config_set("maxmemory", "0"))
        self._town.broker_may_end = False
        # Of those only what was really cut: a service that idles may not have come to its n-th command.
        self.injected[Kind.CUT] += self._cuts() - cuts

    def _cuts(self) -> int:
        return sum(proxy.cuts.total() for proxy in self._town.proxies.values())

    def _begin(self, fault: Fault) -> bool:
        """Whether there was something to strike."""
        town, kind = self._town, fault.kind
        if kind in SIGNALS:
            return town.strike(fault.target, SIGNALS[kind], fault.lasts_s)
        if kind in (Kind.BROKER_KILL, Kind.BROKER_AWAY):
            return town.strike(BROKER, signal.SIGKILL, fault.lasts_s)
        if kind is Kind.STOP:
            return town.hold(fault.target, True)
        if kind is Kind.BROKER_STOP:
            return town.hold(BROKER, True)
        if kind is Kind.MEMORY and not self._limit_memory():
            return False
        self._lasting[kind, fault.target] += 1
        if self._lasting[kind, fault.target] == 1:
            self._turn_on(fault)
        return True

    def _end(self, fault: Fault) -> None:
        town, kind = self._town, fault.kind
        if kind is Kind.STOP:
            town.hold(fault.target, False)
        elif kind is Kind.BROKER_STOP:
            town.hold(BROKER, False)
        elif (kind, fault.target) in self._lasting:
            self._lasting[kind, fault.target] -= 1
            if not self._lasting[kind, fault.target]:
                self._turn_off(fault)

    def _turn_on(self, fault: Fault) -> None:
        town, kind = self._town, fault.kind
        if kind in DISKS:
            town.broker_may_end = town.broker_may_end or kind is Kind.DISK_BROKER
            town.disks.fill(DISKS[kind])
        elif kind in SWITCHES:
            (town.switches / SWITCHES[kind]).touch()
        elif kind is Kind.STALL:
            town.proxies[fault.target].stall(True)
        elif kind is Kind.CLOCK:
            clock.jump(town.clock_of(fault.target), fault.hours)

    def _turn_off(self, fault: Fault) -> None:
        town, kind = self._town, fault.kind
        if kind in DISKS:
            town.disks.empty(DISKS[kind])
        elif kind in SWITCHES:
            (town.switches / SWITCHES[kind]).unlink(missing_ok=True)
        elif kind is Kind.STALL:
            town.proxies[fault.target].stall(False)
        elif kind is Kind.CLOCK:
            clock.jump(town.clock_of(fault.target), 0)
        elif kind is Kind.MEMORY:
            self._free_memory()

    def _limit_memory(self) -> bool:
        """Leave the broker no room for another key; whether it heard."""
        try:
            self._broker.config_set("maxmemory", "1mb")
        except RedisError:
            return False
        return True

    def _free_memory(self) -> None:
        # A broker that is away forgets its limit when it starts again.
        with contextlib.suppress(RedisError):
            self._broker.config_set("maxmemory", "0")
