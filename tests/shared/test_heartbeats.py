"""Who says that they live."""

from shared.broker import Broker
from shared.heartbeats import DESK, SILENT_AFTER_S, beat, end, living
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
