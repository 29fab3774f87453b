"""Who says that they live."""

from shared.broker import Broker
from shared.heartbeats import (
    DESK,
    SILENT_AFTER_S,
    WORKER,
    WORKER_TTL_S,
    WORKERS,
    beat,
    end,
    living,
    process_name,
)
from shared.keys import alive_key


def test_who_beats_lives_until_it_ends(broker: Broker) -> None:
    """Each process counts once, however often it beats, and no more after it has ended."""
    for name in ("one", "one", "two"):
        beat(broker, DESK, name)
    assert living(broker, DESK) == 2
    end(broker, DESK, "one")
    assert living(broker, DESK) == 1
    assert living(broker, "web") == 0


def test_who_is_silent_counts_no_more(broker: Broker) -> None:
    """A process that was killed is not counted after its time, and is forgotten later."""
    beat(broker, DESK, "one")
    broker.zincrby(alive_key(DESK), -SILENT_AFTER_S - 1, "one")
    assert living(broker, DESK) == 0
    broker.zincrby(alive_key(DESK), -60, "one")
    beat(broker, DESK, "two")
    assert broker.zcard(alive_key(DESK)) == 1


def test_workers_that_ended_or_died_count_no_more(broker: Broker) -> None:
    """Whoever says so is gone at once, whoever was killed once it has been silent as long as any other."""
    for name, silent_s in (("lives", 0.0), ("was-killed", SILENT_AFTER_S + 1), ("ended", 0.0)):
        broker.sadd(WORKERS, name)
        broker.hset(name, "birth", "2026-11-24T10:02:03Z")
        broker.pexpire(name, int((WORKER_TTL_S - silent_s) * 1000))
    broker.hset("ended", "death", "2026-11-24T10:03:03Z")
    broker.sadd(WORKERS, "long-forgotten")
    assert living(broker, WORKER) == 1


def test_names_of_processes_are_unique() -> None:
    """A process that starts again is not taken for the one that died, even with the same process id."""
    assert len({process_name() for _ in range(100)}) == 100
    assert process_name("web").startswith("web-")
