from collections.abc import Iterator
from datetime import timedelta

import pytest
import structlog
from database_parts import migrated
from desk_parts import BEGIN, Desk, open_desk
from sqlalchemy.orm import Session

from console.desk.calls import OpenCalls
from console.desk.intake import Intake
from shared import metrics
from shared.broker import Broker
from shared.keys import CHANGED
from shared.moves import Action
from shared.settings import Settings
from shared.verdict import Verdict

REGISTRY = metrics.REGISTRIES["desk"]


@pytest.fixture
def desk(settings: Settings, broker: Broker) -> Iterator[Desk]:
    """A desk on an empty record."""
    with migrated(settings.database) as engine:
        yield open_desk(settings, broker, engine)


def value(name: str, **labels: str) -> float:
    """A sample of this process's desk."""
    return REGISTRY.get_sample_value(name, labels) or 0.0


def test_time_to_acknowledge_counts_from_the_call(desk: Desk) -> None:
    """By department, on the desk's clock; a second press of the key is no second time."""
    case = desk.arrive("fire")
    labels = {"department": "firefighters"}
    before = value("almenara_desk_acknowledge_seconds_sum", **labels)
    desk.wait(42)
    desk.ask(Action.ACKNOWLEDGE, "firefighters", case)
    desk.ask(Action.ACKNOWLEDGE, "firefighters", case, by="Bo")
    assert value("almenara_desk_acknowledge_seconds_sum", **labels) - before == pytest.approx(42)


def test_moves_are_counted_by_what_became_of_them(desk: Desk) -> None:
    """Applied, or why not; each is a line with the incident's id, and without the note in it."""
    case = desk.arrive("robbery")
    applied, taken = (value("almenara_desk_moves_total", outcome=each) for each in ("applied", "taken"))
    with structlog.testing.capture_logs() as logs:
        desk.ask(Action.ACKNOWLEDGE, "police-department", case)
        desk.ask(Action.ACKNOWLEDGE, "police-department", case, by="Bo")
        desk.ask(Action.NOTE, "police-department", case, note="call Ms Ruiz at home")
    assert value("almenara_desk_moves_total", outcome="applied") == applied + 2
    assert value("almenara_desk_moves_total", outcome="taken") == taken + 1
    assert {line["incident"] for line in logs} == {case}
    assert "Ruiz" not in str(logs)


def test_the_clock_is_counted(desk: Desk) -> None:
    """A repeat, the fallback, and what went out undecided, each with its line."""
    actions = ("repeated", "fell_back", "unverified")
    before = {action: value("almenara_desk_clock_actions_total", action=action) for action in actions}
    desk.arrive("fire")
    desk.arrive(None, verdict=Verdict.UNSURE, scores={"robbery": 0.6})
    for _ in range(4):
        desk.tick(60)
    for action in actions:
        assert value("almenara_desk_clock_actions_total", action=action) > before[action], action


def test_what_was_undone_is_neither_counted_nor_said(desk: Desk) -> None:
    """A transaction that fails leaves no trace: it comes again."""
    case = desk.arrive("fire")
    before = value("almenara_desk_clock_actions_total", action="repeated")

    class UndoneError(Exception):
        """Ends it."""

    with structlog.testing.capture_logs() as logs, pytest.raises(UndoneError), desk.book() as book:
        known = book.case(case)
        assert known is not None
        book.tally.clock("repeated")
        book.write(known, "note", actor="Ana")
        raise UndoneError
    assert value("almenara_desk_clock_actions_total", action="repeated") == before
    assert logs == []


def test_open_calls_are_counted_by_department(desk: Desk, monkeypatch: pytest.MonkeyPatch) -> None:
    """With the age of the oldest; who answered, and departments that were not called, are 0."""
    monkeypatch.setattr("console.desk.calls.utc_now", lambda: BEGIN + timedelta(seconds=42))
    case = desk.arrive("fire")
    desk.ask(Action.ACKNOWLEDGE, "transit-police", case)
    calls = OpenCalls()
    with Session(desk.engine) as session:
        calls.look(session, desk.routing.departments)
    numbers, ages = (
        {sample.labels["department"]: sample.value for sample in family.samples} for family in calls.collect()
    )
    assert numbers["firefighters"] == 1
    assert ages["firefighters"] == 42
    assert (numbers["transit-police"], ages["transit-police"]) == (0, 0)
    assert set(numbers) == {*desk.routing.departments, "review"}


def test_entries_are_counted_once(desk: Desk, broker: Broker) -> None:
    """However often they are read."""
    before = value("almenara_desk_entries_total", kind="incident")
    broker.xadd(CHANGED, {"id": desk.arrive("fire")})
    intake = Intake(desk.book, broker, desk.routing)
    entries = intake.read(dict.fromkeys(intake.streams, "0-0"), None)
    intake.take_incidents(entries)
    intake.take_incidents(entries)
    assert value("almenara_desk_entries_total", kind="incident") == before + 1
