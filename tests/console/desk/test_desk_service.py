"""The desk as a service: what comes in appears on the boards, and several desks are as one."""

from collections.abc import Iterator
from contextlib import ExitStack
from dataclasses import replace
from pathlib import Path

import pytest
import structlog
from conftest import wait_until
from database_parts import migrated, postgresql_cluster, postgresql_url
from desk_parts import Desk, decided, move, open_desk
from service_parts import SURE, decide, known, on_board, outcome, running

from console.desk import service
from console.tables import Case, IncidentRecord, MoveRecord
from shared.broker import Broker
from shared.heartbeats import DESK, living
from shared.incidents import utc_now
from shared.keys import CHANGED
from shared.moves import Action, append
from shared.settings import Settings
from shared.verdict import Verdict

# Several waits in one test, each of which may really be long where nothing else is idle.


@pytest.fixture
def desk(settings: Settings, broker: Broker) -> Iterator[Desk]:
    """The record, and means to look at it; no desk runs yet."""
    with migrated(settings.database) as engine:
        yield open_desk(settings, broker, engine)


def test_what_a_worker_decides_appears_and_moves(settings: Settings, broker: Broker, desk: Desk) -> None:
    """A decided incident stands on its boards, and a move from one console shows on the others."""
    with running(settings):
        (case_id,) = decide(broker, settings, range(1))
        wait_until(lambda: on_board(broker, "firefighters"), within_s=30, what="the case is on the board")
        asked = move(Action.ACKNOWLEDGE, "firefighters", case_id)
        append(broker, asked)
        assert outcome(broker, asked)["reason"] == "applied"
        assert on_board(broker, "transit-police")[case_id]["firefighters"] == "acknowledged"
        assert on_board(broker, "ambulance") == {}


def test_a_desk_says_that_it_runs(settings: Settings, broker: Broker, desk: Desk) -> None:
    """It says so while it runs, and that it ends when it stops."""
    with running(settings):
        wait_until(lambda: living(broker, DESK) == 1, within_s=30, what="a desk runs")
    assert living(broker, DESK) == 0


def test_what_came_while_no_desk_ran_is_caught_up(settings: Settings, broker: Broker, desk: Desk) -> None:
    """Decided incidents whose wake-ups are gone, and moves that waited, are applied in their order."""
    first = decide(broker, settings, range(3))
    with running(settings):
        wait_until(lambda: known(desk) == set(first), within_s=30, what="all are known")
    later = decide(broker, settings, range(3, 6))
    broker.delete(CHANGED)
    case_id = desk.case_of(first[0])
    asked = [move(Action.ACKNOWLEDGE, "firefighters", case_id, by=name) for name in ("Ana", "Bea")]
    for each in asked:
        append(broker, each)
    with running(settings):
        wait_until(lambda: known(desk) == {*first, *later}, within_s=30, what="all are known")
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
        wait_until(lambda: known(desk), within_s=30, what="the case is known")
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
        wait_until(lambda: living(broker, DESK) == 2, within_s=30, what="both run")
        ids = decide(broker, settings, range(30), SURE)
        wait_until(lambda: known(desk) == set(ids), within_s=60, what="all are known")
        case_id = desk.case_of(ids[0])
        asked = [move(Action.NOTE, "firefighters", case_id, note=f"note {number}") for number in range(40)]
        for each in (*asked, *asked):
            append(broker, each)
        wait_until(lambda: len(desk.rows_of(MoveRecord)) == 40, within_s=60, what="every move has an outcome")
        assert len(desk.lines(case_id, "note")) == 40
        assert len(outcome(broker, asked[-1])["message"]) > 0
    assert len(on_board(broker, "all")) == len(on_board(broker, "firefighters")) > 0


def test_two_desks_share_a_postgresql_record(settings: Settings, broker: Broker) -> None:
    """They take turns, survive that the server ends their connections, and do everything once."""
    with postgresql_cluster() as folder:
        shared = settings.override(database_url=postgresql_url(folder))
        with migrated(shared.database) as engine, running(shared), running(shared):
            desk = open_desk(shared, broker, engine)
            wait_until(lambda: living(broker, DESK) == 2, within_s=60, what="both run")
            ids = decide(broker, shared, range(20))
            wait_until(lambda: known(desk) == set(ids), within_s=60, what="the first are known")
            with engine.connect() as connection:
                ended = "SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE pid <> pg_backend_pid()"
                connection.exec_driver_sql(ended)
            case_id = desk.case_of(ids[0])
            asked = [move(Action.NOTE, "firefighters", case_id, note=str(number)) for number in range(30)]
            for each in (*asked, *asked):
                append(broker, each)
            ids += decide(broker, shared, range(20, 40))
            wait_until(lambda: known(desk) == set(ids), within_s=30, what="all are known")
            wait_until(lambda: len(desk.rows_of(MoveRecord)) == 30, within_s=60, what="each move is answered")
            assert len(desk.lines(case_id, "note")) == 30
            assert outcome(broker, asked[-1])["accepted"]


@pytest.mark.parametrize("kind", ["sqlite", "postgresql"])
def test_two_desks_send_out_one_row(settings: Settings, broker: Broker, kind: str) -> None:
    """Unsure pictures of one place, some before and some after it went out: one row, each told once."""
    unsure = replace(SURE, verdict=Verdict.UNSURE, confidence=0.3, scores={"fire": 0.3})
    with ExitStack() as stack:
        url = settings.database
        if kind == "postgresql":
            url = postgresql_url(stack.enter_context(postgresql_cluster()))
        hasty = settings.override(database_url=url, review_within_s=1.0)
        desk = open_desk(hasty, broker, stack.enter_context(migrated(url)))
        for _ in range(2):
            stack.enter_context(running(hasty))
        ids = decide(broker, settings, range(20), unsure)
        wait_until(lambda: gone_out(desk) == set(ids), within_s=60, what="the first have gone out")
        ids += decide(broker, settings, range(20, 40), unsure)
        wait_until(lambda: gone_out(desk) == set(ids), within_s=60, what="all have gone out")
        [case] = desk.rows_of(Case)
        assert desk.row(case.id)["incident_count"] == 40
        assert set(desk.states(case.id)) == {"review", "firefighters", "transit-police"}
        for department in ("firefighters", "transit-police"):
            assert sorted(each.data["incident_id"] for each in desk.told(department)) == sorted(ids)


def gone_out(desk: Desk) -> set[str]:
    """Incidents that nobody decided in time."""
    return {each.id for each in desk.rows_of(IncidentRecord) if each.decided_by == "desk"}


def test_the_clock_strikes_without_a_console(settings: Settings, broker: Broker, desk: Desk) -> None:
    """What nobody acknowledges is called again while the desk does nothing else."""
    hasty = settings.override(acknowledge_within_s=0.4, fallback_after_s=1.0)
    with running(hasty):
        (case_id,) = decide(broker, settings, range(1))
        wait_until(
            lambda: on_board(broker, "police-department").get(case_id, {}).get("police-department"),
            within_s=60,
            what="the fallback is called",
        )
        assert desk.part(case_id, "firefighters")["repeats"] > 0


def test_walks_find_what_nobody_spoke_of(
    settings: Settings, broker: Broker, desk: Desk, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Every few minutes the desk looks for incidents whose wake-up was lost while it ran."""
    monkeypatch.setattr(service, "WALK_EVERY_S", 0.2)
    with running(settings):
        wait_until(lambda: living(broker, DESK) == 1, within_s=30, what="a desk runs")
        incident = decided(broker, desk.routing, 1, now=utc_now())
        wait_until(lambda: incident in known(desk), within_s=30, what="it is found")
