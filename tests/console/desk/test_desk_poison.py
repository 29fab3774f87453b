"""What is damaged, or none, hurts no other: entries, keys, records."""

import json
from collections.abc import Iterator
from dataclasses import replace
from typing import Any

import pytest
import structlog
from conftest import wait_until
from database_parts import migrated
from desk_parts import Desk, move, open_desk
from service_parts import SURE, decide, known, on_board, outcome, running
from sqlalchemy import update
from sqlalchemy.orm import Session

from console.tables import Assignment, MoveRecord
from shared.broker import Broker
from shared.keys import CHANGED, board_key, incident_key, moves_key
from shared.moves import Action, append
from shared.settings import Settings

# Several waits in one test, each of which may really be long where nothing else is idle.


@pytest.fixture
def desk(settings: Settings, broker: Broker) -> Iterator[Desk]:
    """The record, and means to look at it; no desk runs yet."""
    with migrated(settings.database) as engine:
        yield open_desk(settings, broker, engine)


POISON: dict[str, bytes] = {
    "no json": b"\x00\xff",
    "another version": json.dumps({"schema_version": 9, "move_id": "a" * 32}).encode(),
    "too long": b"{" + b" " * 9000 + b"}",
    "a list": b"[1]",
    "deep": b"[" * 5000,
    "unknown action": json.dumps({"schema_version": 1, "move_id": "b" * 32, "action": "burn"}).encode(),
    "nasty id": json.dumps({"schema_version": 1, "move_id": "x" * 32}).encode(),
    "numbers": json.dumps(
        {"schema_version": 1, "move_id": "c" * 32, "case": 7, "by": "\x00\ud800" * 90}
    ).encode(),
}


def test_moves_that_are_none_hurt_no_other(settings: Settings, broker: Broker, desk: Desk) -> None:
    """Those with an id are answered, the rest logged; what comes after them is applied."""
    with running(settings):
        (case_id,) = decide(broker, settings, range(1))
        wait_until(lambda: known(desk), within_s=30, what="the case is known")
        for text in POISON.values():
            broker.xadd(moves_key("firefighters"), {"move": text})
        broker.xadd(moves_key("firefighters"), {"nothing": "here"})
        asked = move(Action.ACKNOWLEDGE, "firefighters", case_id)
        append(broker, asked)
        assert outcome(broker, asked)["accepted"]
    refused = {record.move_id: record for record in desk.rows_of(MoveRecord) if not record.accepted}
    assert set(refused) == {"a" * 32, "b" * 32, "c" * 32}
    assert {record.reason for record in refused.values()} == {"bad_move"}
    assert all(record.message for record in refused.values())


def test_an_entry_that_fails_is_passed_over_alone(settings: Settings, broker: Broker, desk: Desk) -> None:
    """A move that makes the desk's own code fail is answered; its page is applied without it."""
    ids = decide(broker, settings, range(2))
    with desk.engine.begin() as connection:
        connection.exec_driver_sql(
            "CREATE TRIGGER fails BEFORE INSERT ON timeline WHEN NEW.text = 'poison'"
            " BEGIN SELECT RAISE(ABORT, 'a bad value'); END"
        )
    with structlog.testing.capture_logs() as logs, running(settings):
        wait_until(lambda: known(desk) == set(ids), within_s=30, what="both are known")
        case_id = desk.case_of(ids[0])
        before, poison, after = (
            move(Action.NOTE, "firefighters", case_id, note="before"),
            move(Action.NOTE, "firefighters", case_id, note="poison"),
            move(Action.NOTE, "firefighters", case_id, note="after"),
        )
        for each in (before, poison, after):
            append(broker, each)
        told = [outcome(broker, each) for each in (before, poison, after)]
        assert [each["accepted"] for each in told] == [True, False, True]
        assert told[1]["reason"] == "bad_move"
        assert "failed" in told[1]["message"]
    assert len([line for line in logs if line["event"] == "an entry can't be applied"]) == 1


def test_damaged_wake_ups_hurt_no_other(settings: Settings, broker: Broker, desk: Desk) -> None:
    """Entries without an id, of unknown ids and of damaged records are passed over."""
    with running(settings):
        damaged: list[dict[Any, Any]] = [
            {"id": b"\xff" * 9},
            {"nothing": b""},
            {"id": "d" * 32},
            {"id": "e" * 32},
        ]
        for fields in damaged:
            broker.xadd(CHANGED, fields)
        broker.set(incident_key("d" * 32), "no hash")
        broker.hset(incident_key("e" * 32), mapping={"id": "e" * 32, "state": "decided"})
        ids = decide(broker, settings, range(2))
        wait_until(lambda: known(desk) == set(ids), within_s=30, what="the sound ones are known")


@pytest.mark.parametrize("key", [moves_key("ambulance"), board_key("all"), "open:all", "open:firefighters"])
def test_a_key_of_another_kind_hurts_no_other(
    settings: Settings, broker: Broker, desk: Desk, key: str
) -> None:
    """Whatever somebody put under one of the desk's keys, the others' boards go on, and its own come back."""
    broker.set(key, "not what it should be")
    with running(settings):
        (case_id,) = decide(broker, settings, range(1))
        wait_until(lambda: on_board(broker, "transit-police"), within_s=30, what="the case is on a board")
        asked = move(Action.ACKNOWLEDGE, "firefighters", case_id)
        append(broker, asked)
        assert outcome(broker, asked)["accepted"]
        assert set(on_board(broker, "firefighters")) == set(on_board(broker, "all")) == {case_id}


def test_a_stream_that_somebody_else_wrote_to_goes_on(settings: Settings, broker: Broker, desk: Desk) -> None:
    """An entry with an id far ahead of the record's versions does not silence a board."""
    broker.xadd(board_key("firefighters"), {"row": "junk"})
    with running(settings):
        (case_id,) = decide(broker, settings, range(1))
        asked = move(Action.ACKNOWLEDGE, "firefighters", case_id)
        wait_until(lambda: on_board(broker, "firefighters"), within_s=30, what="the case is on the board")
        append(broker, asked)
        assert outcome(broker, asked)["accepted"]


def test_a_case_that_the_clock_fails_at_silences_no_other(
    settings: Settings, broker: Broker, desk: Desk
) -> None:
    """A damaged assignment is logged by its case's id, and the other case is called again all the same."""
    hasty = settings.override(acknowledge_within_s=1.0, fallback_after_s=1.0)
    with structlog.testing.capture_logs() as logs, running(hasty):
        (damaged,) = decide(broker, settings, range(1))
        (sound,) = decide(broker, settings, range(1, 2), replace(SURE, situation="robbery"))
        wait_until(lambda: known(desk) >= {damaged, sound}, within_s=30, what="both are known")
        with Session(desk.engine) as session, session.begin():
            session.execute(update(Assignment).where(Assignment.case_id == damaged).values(state="nonsense"))
        wait_until(
            lambda: desk.part(sound, "police-department")["repeats"] > 0,
            within_s=60,
            what="it is called again",
        )
        wait_until(lambda: damaged in [line.get("case") for line in logs], within_s=30, what="it is logged")
