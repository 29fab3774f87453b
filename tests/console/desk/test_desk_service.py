import json
import sqlite3
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
import structlog
from conftest import make_photograph, wait_until
from database_parts import migrated, postgresql_cluster, postgresql_url
from desk_parts import Desk, decided, move, open_desk
from sqlalchemy import Engine, update
from sqlalchemy.orm import Session

from console.desk import service
from console.desk.positions import positions
from console.desk.service import DeskService
from console.records import check_record, open_database
from console.tables import Assignment, IncidentRecord, MoveRecord
from ingest.admission import admit
from shared import heartbeats
from shared.board import Outcome, changes, open_rows
from shared.broker import Broker, connect
from shared.dispatches import Decision
from shared.errors import AlmenaraError
from shared.heartbeats import DESK, living
from shared.incidents import utc_now
from shared.keys import CHANGED, board_key, dispatch_key, incident_key, moves_key
from shared.moves import Action, Move, append
from shared.routing import Routing
from shared.settings import Settings
from shared.verdict import Verdict
from worker.executions import Terms, finish, new_ids, start

if TYPE_CHECKING:
    from deployment import Deployment

SURE = Decision(
    verdict=Verdict.DISPATCHED, situation="fire", confidence=0.9, scores={"fire": 0.9}, model="m@0"
)


@contextmanager
def running(settings: Settings, engine: Engine | None = None) -> Iterator[threading.Event]:
    """A desk in a thread of its own, stopped at the end; the event stops it sooner."""
    stopping = threading.Event()
    own = engine or open_database(settings.database)
    client = connect(settings)
    desk = DeskService(settings, client, Routing.load(settings.routing), own)
    thread = threading.Thread(target=desk.run, args=(stopping.is_set,))
    thread.start()
    try:
        yield stopping
    finally:
        stopping.set()
        thread.join(30)
        assert not thread.is_alive()
        client.close()
        own.dispose()


@pytest.fixture
def desk(settings: Settings, broker: Broker) -> Iterator[Desk]:
    """The record, and means to look at it; no desk runs yet."""
    with migrated(settings.database) as engine:
        yield open_desk(settings, broker, engine)


def decide(broker: Broker, settings: Settings, seeds: range, decision: Decision = SURE) -> list[str]:
    """Photographs are admitted and decided as ingester and worker do it; their ids."""
    photographs = [make_photograph(seed) for seed in seeds]
    admit(broker, [(f"claim-{seed}", each) for seed, each in zip(seeds, photographs, strict=True)])
    started = start(broker, "w", new_ids(len(photographs)), 60.0)
    terms = Terms(routing=Routing.load(settings.routing), keep_s=3600)
    finish(broker, [(each, decision) for each in started], terms)
    return [photograph.incident_id for photograph in photographs]


def known(desk: Desk) -> set[str]:
    """Incidents in the record."""
    return {record.id for record in desk.rows_of(IncidentRecord)}


def on_board(broker: Broker, department: str) -> dict[str, dict[str, str]]:
    """case -> department -> state, of everything open there."""
    return {
        row["case"]: {part["department"]: part["state"] for part in row["assignments"]}
        for row in open_rows(broker, department).rows
    }


def outcome(broker: Broker, asked: Move) -> Outcome:
    """What became of a move, once its board says so."""
    found: list[Outcome] = []

    def told() -> bool:
        page = changes(broker, asked.department, 0)
        found[:] = [each for change in page for each in change.outcomes if each["move_id"] == asked.move_id]
        return bool(found)

    wait_until(told, within_s=10, what="the move's outcome is told")
    assert len(found) == 1
    return found[0]


def test_what_a_worker_decides_appears_and_moves(settings: Settings, broker: Broker, desk: Desk) -> None:
    """A decided incident stands on its boards, and a move from one console shows on the others."""
    with running(settings):
        (case_id,) = decide(broker, settings, range(1))
        wait_until(lambda: on_board(broker, "firefighters"), within_s=10, what="the case is on the board")
        asked = move(Action.ACKNOWLEDGE, "firefighters", case_id)
        append(broker, asked)
        assert outcome(broker, asked)["reason"] == "applied"
        assert on_board(broker, "transit-police")[case_id]["firefighters"] == "acknowledged"
        assert on_board(broker, "ambulance") == {}


def test_a_desk_says_that_it_runs(settings: Settings, broker: Broker, desk: Desk) -> None:
    """It says so while it runs, and that it ends when it stops."""
    with running(settings):
        wait_until(lambda: living(broker, DESK) == 1, within_s=10, what="a desk runs")
    assert living(broker, DESK) == 0


def test_what_came_while_no_desk_ran_is_caught_up(settings: Settings, broker: Broker, desk: Desk) -> None:
    """Decided incidents whose wake-ups are gone, and moves that waited, are applied in their order."""
    first = decide(broker, settings, range(3))
    with running(settings):
        wait_until(lambda: known(desk) == set(first), within_s=10, what="all are known")
    later = decide(broker, settings, range(3, 6))
    broker.delete(CHANGED)
    case_id = desk.case_of(first[0])
    asked = [move(Action.ACKNOWLEDGE, "firefighters", case_id, by=name) for name in ("Ana", "Bea")]
    for each in asked:
        append(broker, each)
    with running(settings):
        wait_until(lambda: known(desk) == {*first, *later}, within_s=10, what="all are known")
        assert outcome(broker, asked[0])["accepted"]
        assert outcome(broker, asked[1])["message"].startswith("Ana has it since")


@pytest.mark.parametrize("picture_first", [True, False])
def test_a_close_that_waited_for_the_desk_ends_nothing_that_nobody_saw(
    settings: Settings, broker: Broker, desk: Desk, picture_first: bool
) -> None:
    """A desk that starts reads pictures before moves: one that came meanwhile stays open."""

    def arrive(number: int) -> str:
        return decided(broker, desk.routing, number, "fire", now=utc_now())

    case_id = arrive(1)
    held = move(Action.ACKNOWLEDGE, "firefighters", case_id)
    with running(settings):
        append(broker, held)
        assert outcome(broker, held)["accepted"]
    close = move(Action.CLOSE, "firefighters", case_id)
    if picture_first:
        arrive(2)
    append(broker, close)
    if not picture_first:
        arrive(2)
    with running(settings):
        assert outcome(broker, close)["reason"] == "stale"
        assert len(known(desk)) == 2
        assert on_board(broker, "firefighters")[case_id]["firefighters"] == "acknowledged"


def test_a_department_that_left_the_routing_file_can_end_its_cases(
    settings: Settings, broker: Broker, desk: Desk, tmp_path: Path
) -> None:
    """Its moves are read as long as it has open cases, and the desk says so when it starts."""
    case_id = decided(broker, desk.routing, 1, "fire", now=utc_now())
    with running(settings):
        wait_until(lambda: known(desk), within_s=10, what="the case is known")
    renamed = tmp_path / "renamed.toml"
    renamed.write_text(settings.routing.read_text(encoding="utf-8").replace("firefighters", "fire-brigade"))
    asked = move(Action.FALSE_ALARM, "firefighters", case_id)
    append(broker, asked)
    with structlog.testing.capture_logs() as logs, running(settings.override(routing=renamed)):
        assert outcome(broker, asked)["accepted"]
    assert [entry["departments"] for entry in logs if "departments" in entry] == [["firefighters"]]


def test_two_desks_do_everything_once(settings: Settings, broker: Broker, desk: Desk) -> None:
    """What one has applied the other finds applied; boards and record agree in the end."""
    with running(settings), running(settings):
        wait_until(lambda: living(broker, DESK) == 2, within_s=10, what="both run")
        ids = decide(broker, settings, range(30), SURE)
        wait_until(lambda: known(desk) == set(ids), within_s=20, what="all are known")
        case_id = desk.case_of(ids[0])
        asked = [move(Action.NOTE, "firefighters", case_id, note=f"note {number}") for number in range(40)]
        for each in (*asked, *asked):
            append(broker, each)
        wait_until(lambda: len(desk.rows_of(MoveRecord)) == 40, within_s=20, what="every move has an outcome")
        assert len(desk.lines(case_id, "note")) == 40
        assert len(outcome(broker, asked[-1])["message"]) > 0
    assert len(on_board(broker, "all")) == len(on_board(broker, "firefighters")) > 0


def test_two_desks_share_a_postgresql_record(settings: Settings, broker: Broker) -> None:
    """They take turns, survive that the server ends their connections, and do everything once."""
    with postgresql_cluster() as folder:
        shared = settings.override(database_url=postgresql_url(folder))
        with migrated(shared.database) as engine, running(shared), running(shared):
            desk = open_desk(shared, broker, engine)
            wait_until(lambda: living(broker, DESK) == 2, within_s=20, what="both run")
            ids = decide(broker, shared, range(20))
            wait_until(lambda: known(desk) == set(ids), within_s=20, what="the first are known")
            with engine.connect() as connection:
                ended = "SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE pid <> pg_backend_pid()"
                connection.exec_driver_sql(ended)
            case_id = desk.case_of(ids[0])
            asked = [move(Action.NOTE, "firefighters", case_id, note=str(number)) for number in range(30)]
            for each in (*asked, *asked):
                append(broker, each)
            ids += decide(broker, shared, range(20, 40))
            wait_until(lambda: known(desk) == set(ids), within_s=30, what="all are known")
            wait_until(lambda: len(desk.rows_of(MoveRecord)) == 30, within_s=20, what="each move is answered")
            assert len(desk.lines(case_id, "note")) == 30
            assert outcome(broker, asked[-1])["accepted"]


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
        wait_until(lambda: known(desk), within_s=10, what="the case is known")
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
        wait_until(lambda: known(desk) == set(ids), within_s=10, what="both are known")
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
        wait_until(lambda: known(desk) == set(ids), within_s=10, what="the sound ones are known")


@pytest.mark.parametrize("key", [moves_key("ambulance"), board_key("all"), "open:all", "open:firefighters"])
def test_a_key_of_another_kind_hurts_no_other(
    settings: Settings, broker: Broker, desk: Desk, key: str
) -> None:
    """Whatever somebody put under one of the desk's keys, the others' boards go on, and its own come back."""
    broker.set(key, "not what it should be")
    with running(settings):
        (case_id,) = decide(broker, settings, range(1))
        wait_until(lambda: on_board(broker, "transit-police"), within_s=10, what="the case is on a board")
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
        wait_until(lambda: on_board(broker, "firefighters"), within_s=10, what="the case is on the board")
        append(broker, asked)
        assert outcome(broker, asked)["accepted"]


def test_the_clock_strikes_without_a_console(settings: Settings, broker: Broker, desk: Desk) -> None:
    """What nobody acknowledges is called again while the desk does nothing else."""
    hasty = settings.override(acknowledge_within_s=0.4, fallback_after_s=1.0)
    with running(hasty):
        (case_id,) = decide(broker, settings, range(1))
        wait_until(
            lambda: on_board(broker, "police-department").get(case_id, {}).get("police-department"),
            within_s=20,
            what="the fallback is called",
        )
        assert desk.part(case_id, "firefighters")["repeats"] > 0


def test_a_case_that_the_clock_fails_at_silences_no_other(
    settings: Settings, broker: Broker, desk: Desk
) -> None:
    """A damaged assignment is logged by its case's id, and the other case is called again all the same."""
    hasty = settings.override(acknowledge_within_s=1.0, fallback_after_s=1.0)
    with structlog.testing.capture_logs() as logs, running(hasty):
        (damaged,) = decide(broker, settings, range(1))
        (sound,) = decide(broker, settings, range(1, 2), replace(SURE, situation="robbery"))
        wait_until(lambda: known(desk) >= {damaged, sound}, within_s=10, what="both are known")
        with Session(desk.engine) as session, session.begin():
            session.execute(update(Assignment).where(Assignment.case_id == damaged).values(state="nonsense"))
        wait_until(
            lambda: desk.part(sound, "police-department")["repeats"] > 0,
            within_s=20,
            what="it is called again",
        )
        wait_until(lambda: damaged in [line.get("case") for line in logs], within_s=10, what="it is logged")


def test_a_broker_that_restarts_is_waited_for(deployment: "Deployment") -> None:
    """The desk goes on where it was, and applies what came since."""
    settings = deployment.settings
    with migrated(settings.database) as engine, running(settings):
        desk = open_desk(settings, deployment.client(), engine)
        ids = decide(deployment.client(), settings, range(2))
        wait_until(lambda: known(desk) == set(ids), within_s=10, what="both are known")
        deployment.kill("broker")
        deployment.start_broker()
        ids += decide(deployment.client(), settings, range(2, 4))
        wait_until(lambda: known(desk) == set(ids), within_s=20, what="the later ones are known too")
        wait_until(lambda: living(deployment.client(), DESK) == 1, within_s=20, what="the desk says so again")


def test_a_broker_that_lost_everything_gets_the_boards_again(
    settings: Settings, broker: Broker, desk: Desk
) -> None:
    """What is open stands on the boards, and new moves and incidents are applied, though ids start over."""
    with running(settings):
        (case_id,) = decide(broker, settings, range(1))
        wait_until(lambda: on_board(broker, "firefighters"), within_s=10, what="the case is on the board")
        asked = move(Action.ACKNOWLEDGE, "firefighters", case_id)
        append(broker, asked)
        outcome(broker, asked)
        broker.flushall()
        wait_until(lambda: on_board(broker, "firefighters"), within_s=10, what="it is there again")
        again = move(Action.EN_ROUTE, "firefighters", case_id)
        broker.xadd(moves_key("firefighters"), {"move": again.encode()}, id="5-1")
        assert outcome(broker, again)["accepted"]
        (later,) = decide(broker, settings, range(1, 2))
        wait_until(lambda: later in known(desk), within_s=10, what="the new one is known")


def test_a_database_file_that_is_removed_is_made_again(
    settings: Settings, broker: Broker, desk: Desk
) -> None:
    """The desk notices, says so, and has everything that the broker has in the new file."""
    with structlog.testing.capture_logs() as logs, running(settings):
        ids = decide(broker, settings, range(2))
        wait_until(lambda: known(desk) == set(ids), within_s=10, what="both are known")
        path = Path(desk.engine.url.database or "")
        desk.engine.dispose()
        for each in path.parent.glob(f"{path.name}*"):
            each.unlink()
        wait_until(lambda: path.exists() and file_is_ready(desk), within_s=20, what="there is a new one")
        wait_until(lambda: known(desk) == set(ids), within_s=20, what="both are known again")
        ids += decide(broker, settings, range(2, 3))
        wait_until(lambda: known(desk) == set(ids), within_s=10, what="what comes later too")
    assert [line["log_level"] for line in logs if "removed or replaced" in line["event"]] == ["error"]


def file_is_ready(desk: Desk) -> bool:
    """Whether the tables are there."""
    try:
        check_record(desk.engine)
    except AlmenaraError:
        return False
    return True


def test_a_locked_database_is_waited_for(
    settings: Settings, broker: Broker, desk: Desk, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What comes waits while another process holds the database, and nothing says that a desk serves it."""
    monkeypatch.setattr(service, "BEAT_S", 0.1)
    monkeypatch.setattr(heartbeats, "SILENT_AFTER_S", 1.0)
    with structlog.testing.capture_logs() as logs, running(settings):
        wait_until(lambda: living(broker, DESK) == 1, within_s=10, what="a desk runs")
        other = sqlite3.connect(desk.engine.url.database or "")
        other.execute("BEGIN IMMEDIATE")
        (incident,) = decide(broker, settings, range(1))
        wait_until(
            lambda: any("database away" in line["event"] for line in logs), within_s=20, what="it waits"
        )
        wait_until(lambda: living(broker, DESK) == 0, within_s=20, what="it says nothing any more")
        assert incident not in known(desk)
        other.rollback()
        other.close()
        wait_until(lambda: incident in known(desk), within_s=20, what="the desk goes on")
        wait_until(lambda: living(broker, DESK) == 1, within_s=10, what="and says so")
    told = [line["event"] for line in logs if "database" in line["event"]]
    assert told == ["database away, waiting", "database is back"]


def test_what_is_applied_is_trimmed(
    settings: Settings, broker: Broker, desk: Desk, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Old entries go once they are applied; those that a restored backup may need stay."""
    monkeypatch.setattr(service, "TRIM_EVERY_S", 0.0)
    old_ms = int((time.time() - 2 * 86400) * 1000)
    for number in range(300):
        for stream in (CHANGED, moves_key("firefighters")):
            broker.xadd(stream, {"id": "none"}, id=f"{old_ms}-{number + 1}")
    yesterday_ms = old_ms + 36 * 3600 * 1000
    broker.xadd(moves_key("firefighters"), {"move": "recent"}, id=f"{yesterday_ms}-1")
    with running(settings):
        wait_until(lambda: broker.xlen(CHANGED) <= 200, within_s=10, what="wake-ups are trimmed")
        wait_until(
            lambda: broker.xlen(moves_key("firefighters")) <= 201, within_s=10, what="moves are trimmed"
        )
    newest: Any = broker.xrevrange(moves_key("firefighters"), count=1)
    assert newest[0][0] == f"{yesterday_ms}-1".encode()
    with Session(desk.engine) as session:
        assert positions(session, [CHANGED]) == {CHANGED: f"{old_ms}-300"}


def test_dispatches_live_as_long_as_their_incidents(
    settings: Settings, broker: Broker, desk: Desk, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What nobody can look up any more leaves the departments' streams; the rest stays."""
    monkeypatch.setattr(service, "TRIM_EVERY_S", 0.0)
    now_ms = int(time.time() * 1000)
    for days in (settings.retention_days + 1, settings.retention_days - 1):
        for number in range(300):
            entry_id = f"{now_ms - int(days * 86_400_000)}-{number}"
            broker.xadd(dispatch_key("review"), {"event": "old"}, id=entry_id)
    with running(settings):
        wait_until(lambda: broker.xlen(dispatch_key("review")) <= 400, within_s=10, what="old ones go")
    assert broker.xlen(dispatch_key("review")) >= 300


def test_nothing_is_trimmed_that_is_not_applied(settings: Settings, broker: Broker, desk: Desk) -> None:
    """A service that has applied nothing takes nothing away, however old it is."""
    broker.xadd(CHANGED, {"id": "none"}, id="5-1")
    unused = DeskService(settings, broker, desk.routing, desk.engine)
    unused._trim({CHANGED: "0-0", moves_key("review"): "7-1"})
    assert broker.xlen(CHANGED) == 1


def test_a_desk_stops_while_it_waits(settings: Settings, desk: Desk) -> None:
    """Without a broker it waits, and a signal ends that."""
    nowhere = settings.override(redis_url="unix:///tmp/nowhere.sock")
    with structlog.testing.capture_logs() as logs, running(nowhere) as stopping:
        wait_until(lambda: any("broker away" in line["event"] for line in logs), within_s=10, what="it waits")
        stopping.set()
    assert logs[-1]["event"] == "desk stopped"


def test_walks_find_what_nobody_spoke_of(
    settings: Settings, broker: Broker, desk: Desk, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Every few minutes the desk looks for incidents whose wake-up was lost while it ran."""
    monkeypatch.setattr(service, "WALK_EVERY_S", 0.2)
    with running(settings):
        wait_until(lambda: living(broker, DESK) == 1, within_s=10, what="a desk runs")
        incident = decided(broker, desk.routing, 1, now=utc_now())
        wait_until(lambda: incident in known(desk), within_s=10, what="it is found")
