"""What the desk decides, where the broker or the record lost a part of it."""

from collections.abc import Iterator

import pytest
import structlog
from database_parts import migrated
from desk_parts import Desk, move, open_desk

from console.desk import clock, moves
from shared.broker import Broker
from shared.keys import dispatch_key, incident_key
from shared.moves import Action, Move
from shared.settings import Settings
from shared.verdict import Verdict


class CommitError(Exception):
    """The database takes nothing."""


@pytest.fixture
def desk(settings: Settings, broker: Broker) -> Iterator[Desk]:
    """A desk on an empty record."""
    with migrated(settings.database) as engine:
        yield open_desk(settings, broker, engine)


def lose(desk: Desk, asked: list[Move]) -> None:
    """Apply moves, and fail before the commit."""
    with pytest.raises(CommitError), desk.book() as book:
        for each in asked:
            moves.apply(book, each)
        book.session.flush()
        raise CommitError


def told(desk: Desk, incident: str) -> dict[str, list[int]]:
    """Department -> revisions of an incident that it got."""
    return {word: desk.revisions_told(word, incident) for word in desk.routing.departments}


def test_two_decisions_that_could_not_be_kept_are_told_once(desk: Desk) -> None:
    """However often both are repeated, nobody is told again, and the record ends as the broker has it."""
    case = desk.arrive("fire")
    asked = [
        move(Action.CORRECT, "firefighters", case, situation="accident", by="Ana", revision=1),
        move(Action.CORRECT, "firefighters", case, situation="robbery", by="Ana", revision=2),
    ]
    lose(desk, asked)
    once, fields = told(desk, case), desk.in_broker(case).fields
    assert once["firefighters"] == [1, 2, 3]
    for _ in range(3):
        lose(desk, asked)
    assert all(desk.give(each).accepted for each in asked)
    assert told(desk, case) == once
    assert desk.in_broker(case).fields == fields
    picture = desk.picture(case)
    assert (picture["situation"], picture["revision"], picture["decided_by"]) == ("robbery", 3, "Ana")
    assert set(desk.states(case)) == {word for word, revisions in once.items() if revisions}


def test_a_decision_that_another_followed_is_repeated_as_it_was(desk: Desk) -> None:
    """Who decided on what they saw is not refused because somebody's answer to that was kept first."""
    case = desk.arrive("fire")
    one = move(Action.CORRECT, "firefighters", case, situation="accident", by="Ana", revision=1)
    other = move(Action.CORRECT, "ambulance", case, situation="fire", by="Bea", revision=2)
    lose(desk, [one, other])
    assert desk.give(one).accepted
    assert desk.row(case)["situation"] == "accident"
    assert desk.picture(case)["revision"] == 2
    assert desk.give(other).accepted
    assert (desk.row(case)["situation"], desk.picture(case)["revision"]) == ("fire", 3)


def test_a_decision_that_is_lost_for_good_does_not_hide_what_followed(desk: Desk) -> None:
    """Where only the first is repeated, the record takes up from the broker what came after it."""
    case = desk.arrive("fire")
    one = move(Action.CORRECT, "firefighters", case, situation="accident", by="Ana", revision=1)
    lose(desk, [one, move(Action.CORRECT, "ambulance", case, situation="robbery", by="Bea", revision=2)])
    assert desk.give(one).accepted
    desk.hear(case)
    assert (desk.row(case)["situation"], desk.picture(case)["revision"]) == ("robbery", 3)


def test_a_stream_that_is_none_stops_nobodys_review(desk: Desk) -> None:
    """One department's damaged key: it and the others have the case, and the others are told."""
    unsure = desk.arrive("fire", verdict=Verdict.UNSURE)
    desk.broker.delete(dispatch_key("firefighters"))
    desk.broker.set(dispatch_key("firefighters"), "something else")
    with structlog.testing.capture_logs() as logs:
        desk.tick(desk.settings.review_within_s + 1)
    assert desk.revisions_told("transit-police", unsure) == [2]
    assert desk.part(unsure, "firefighters")["due_at"]
    assert desk.lines(unsure, "failed_open")
    (line,) = [each for each in logs if each["log_level"] == "error"]
    assert line["keys"] == ["dispatch:firefighters"]


def test_an_incident_that_is_no_record_fails_open_on_the_boards(desk: Desk) -> None:
    """Where the broker holds something else under its key, the desk goes on with what it knows."""
    unsure = desk.arrive("fire", verdict=Verdict.UNSURE)
    desk.broker.delete(incident_key(unsure))
    desk.broker.set(incident_key(unsure), "something else")
    desk.tick(desk.settings.review_within_s + 1)
    assert {"firefighters", "transit-police"} <= set(desk.states(unsure))
    assert desk.ask(Action.DECIDE, "review", unsure, other=unsure, situation="robbery").accepted
    assert desk.row(unsure)["situation"] == "robbery"


def test_who_was_not_needed_is_added_again(desk: Desk) -> None:
    """After a correction sent them home, somebody may call them all the same, and the clock runs."""
    case = desk.arrive("fire")
    desk.ask(Action.CORRECT, "firefighters", case, situation="accident")
    assert desk.part(case, "firefighters")["due_at"] == ""
    assert desk.ask(Action.ADD_DEPARTMENT, "ambulance", case, to="firefighters").accepted
    assert desk.part(case, "firefighters")["due_at"]
    answer = desk.ask(Action.ADD_DEPARTMENT, "ambulance", case, to="firefighters")
    assert (answer.accepted, "already" in answer.message) == (False, True)


def test_who_is_not_needed_is_not_named_among_those_who_go(desk: Desk) -> None:
    """A department that a correction sent home is in no later dispatch as one that goes."""
    case = desk.arrive("protest")
    desk.ask(Action.CORRECT, "police-force", case, situation="fire")
    desk.ask(Action.ADD_DEPARTMENT, "firefighters", case, to="ambulance")
    goes = desk.told("ambulance")[-1].data["departments"]
    assert "police-force" not in goes
    assert {"firefighters", "transit-police", "ambulance"} <= set(goes)
    with desk.book() as book:
        clock.tick(book)
    assert desk.part(case, "police-force")["due_at"] == ""
