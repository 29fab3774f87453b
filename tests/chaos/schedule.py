"""What strikes when: the same seed gives the same schedule."""

import random
from collections.abc import Sequence
from dataclasses import dataclass
from enum import StrEnum

from chaos.proxy import Side


class Kind(StrEnum):
    """What can happen to a service, the broker, a disk or the store."""

    KILL = "SIGKILL of a service"
    TERM = "SIGTERM of a service"
    STOP = "SIGSTOP of a service"
    CUT = "connection cut at a random command"
    CUT_EACH = "connection cut at each command in turn"
    CUT_POP = "connection cut at a worker's blocking pop"
    STALL = "connection stalled"
    CLOCK = "clock jumped"
    BROKER_KILL = "broker killed"
    BROKER_AWAY = "broker away"
    BROKER_STOP = "broker stopped"
    MEMORY = "broker out of memory"
    DISK_INBOX = "disk of the inbox full"
    DISK_IMAGES = "disk of the image store full"
    DISK_STATE = "disk of state and record full"
    DISK_BROKER = "disk of the broker full"
    STORE_HANGS = "image store hangs"
    STORE_SLOW = "image store slow"


WEIGHTS = {
    Kind.KILL: 20,
    Kind.TERM: 9,
    Kind.STOP: 12,
    Kind.CUT: 26,
    Kind.STALL: 6,
    Kind.CLOCK: 5,
    Kind.BROKER_KILL: 5,
    Kind.BROKER_AWAY: 3,
    Kind.BROKER_STOP: 3,
    Kind.MEMORY: 3,
    Kind.DISK_INBOX: 2,
    Kind.DISK_IMAGES: 2,
    Kind.DISK_STATE: 2,
    Kind.DISK_BROKER: 2,
    Kind.STORE_HANGS: 2,
    Kind.STORE_SLOW: 2,
}
"""How often each is drawn; CUT_EACH and CUT_POP have a part of the run for themselves."""

OF_A_SERVICE = {Kind.KILL, Kind.TERM, Kind.STOP, Kind.CUT, Kind.STALL, Kind.CLOCK}
MAY_LAST = {Kind.STOP, Kind.STALL, Kind.BROKER_AWAY, Kind.BROKER_STOP, Kind.STORE_HANGS}
"""These last up to a minute now and then."""
LONG_ONES = 0.07


@dataclass(frozen=True, order=True)
class Fault:
    """One fault.

    Attributes:
        at_s: seconds after the round's begin.
        target: a service, or an empty string where the kind says it.
        lasts_s: how long, or for an end how long until the service is started again.
        command: at which command from then a connection is cut.
        hours: by how much a clock jumps.
    """

    at_s: float
    kind: Kind
    target: str
    lasts_s: float
    command: int
    side: Side
    hours: float


def make_round(
    seed: int, number: int, names: Sequence[str], *, faults: int, window_s: float, longest_s: float
) -> list[Fault]:
    """The faults of one round, in order of time: every kind once if there is room, then as they are drawn.

    Args:
        names: services.
        window_s: they begin within so many seconds.
        longest_s: none lasts longer.
    """
    chance = random.Random(f"{seed}:{number}")
    every = list(WEIGHTS)
    drawn = chance.choices(every, list(WEIGHTS.values()), k=max(0, faults - len(every)))
    kinds = [*chance.sample(every, min(len(every), faults)), *drawn]
    return sorted(_drawn(chance, kind, names, window_s, longest_s) for kind in kinds)


def _drawn(
    chance: random.Random, kind: Kind, names: Sequence[str], window_s: float, longest_s: float
) -> Fault:
    long = kind in MAY_LAST and chance.random() < LONG_ONES
    lasts_s = chance.uniform(longest_s / 2, longest_s) if long else chance.uniform(0.2, min(5.0, longest_s))
    if kind is Kind.BROKER_KILL:
        lasts_s = 0.1
    return Fault(
        at_s=round(chance.uniform(0, window_s), 3),
        kind=kind,
        target=chance.choice(list(names)) if kind in OF_A_SERVICE else "",
        lasts_s=round(lasts_s, 3),
        command=chance.randint(1, 8),
        side=chance.choice(list(Side)),
        hours=round(chance.choice((-1, 1)) * chance.uniform(0.5, 12), 2),
    )
