from collections.abc import Iterator

import pytest
from conftest import wait_until
from database_parts import migrated
from desk_parts import Desk, move, open_desk
from redis.exceptions import ResponseError
from service_parts import outcome, running
from sqlalchemy.orm import Session

from console.desk import service
from console.desk.intake import Entry, Intake
from console.desk.positions import begin_anew
from shared.broker import Broker
from shared.keys import CHANGED, moves_key
from shared.moves import Action, append
from shared.settings import Settings

LAST = f"{2**64 - 1}-{2**64 - 1}"
STREAM = moves_key("firefighters")


# Several waits in one test, each of which may really be long where nothing else is idle.


@pytest.fixture
def desk(settings: Settings, broker: Broker) -> Iterator[Desk]:
    """The record, and means to look at it; no desk runs yet."""
    with migrated(settings.database) as engine:
        yield open_desk(settings, broker, engine)


@pytest.mark.parametrize("entry_id", [LAST, "99999999999999999-0"])
def test_a_stream_that_nobody_can_add_to_begins_anew(
    settings: Settings, broker: Broker, desk: Desk, monkeypatch: pytest.MonkeyPatch, entry_id: str
) -> None:
    """What stands in it is judged, and then moves come through again, under ids of today."""
    monkeypatch.setattr(service, "STREAMS_EVERY_S", 0.1)
    case = desk.arrive("fire")
    poison = move(Action.NOTE, "firefighters", case, note="mine")
    broker.xadd(STREAM, {"move": poison.encode()}, id=entry_id)
    broker.xadd(CHANGED, {"id": case}, id=LAST)
    with pytest.raises(ResponseError):
        broker.xadd(CHANGED, {"id": case})
    with running(settings):
        assert outcome(broker, poison)["reason"] == "applied"
        wait_until(lambda: not broker.exists(STREAM, CHANGED), within_s=30, what="the streams are removed")
        asked = move(Action.ACKNOWLEDGE, "firefighters", case)
        ahead = int(append(broker, asked).partition("-")[0]) / 1000 - int(broker.time()[0])
        assert ahead < 60
        assert outcome(broker, asked)["reason"] == "applied"
        broker.xadd(CHANGED, {"id": case})


def test_what_is_not_applied_is_not_removed(broker: Broker, desk: Desk) -> None:
    """A stream with an id of the future stays while something in it is unread; an emptied one goes."""
    broker.xadd(STREAM, {"move": "x"}, id=LAST)
    with Session(desk.engine) as session:
        assert begin_anew(session, broker, [STREAM]) == []
        assert broker.xlen(STREAM) == 1
        broker.xtrim(STREAM, maxlen=0, approximate=False)
        assert begin_anew(session, broker, [STREAM]) == [STREAM]
        broker.xadd(STREAM, {"move": "x"})
        assert begin_anew(session, broker, [STREAM]) == []


def test_an_id_of_the_future_says_nothing_of_when_a_move_was_asked_for(broker: Broker, desk: Desk) -> None:
    """Behind one, nobody ends a case over a picture that came after they asked."""
    case = desk.arrive("fire")
    before = move(Action.CLOSE, "firefighters", case)
    desk.ask(Action.ACKNOWLEDGE, "firefighters", case)
    desk.wait(10)
    other = desk.arrive("fire")
    desk.ask(Action.MERGE, "firefighters", case, other=other)
    intake = Intake(desk.book, broker, desk.routing)
    intake.take_moves([Entry(STREAM, "99999999999999999-0", {b"move": before.encode().encode()})])
    assert desk.states(case)["firefighters"] != "closed"
