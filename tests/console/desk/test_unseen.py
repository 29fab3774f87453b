"""Nobody ends a case over a picture that they have not seen, and what a move names is looked up first."""

from collections.abc import Iterator
from datetime import timedelta

import pytest
from database_parts import migrated
from desk_parts import BEGIN, ELSEWHERE, HERE, Desk, decided, move, open_desk

from shared.broker import Broker
from shared.moves import Action
from shared.settings import Settings
from shared.verdict import Verdict

A = Action
ENDS = [A.CLOSE, A.FALSE_ALARM]


@pytest.fixture
def desk(settings: Settings, broker: Broker) -> Iterator[Desk]:
    """A desk on an empty record."""
    with migrated(settings.database) as engine:
        yield open_desk(settings, broker, engine)


def acknowledged(desk: Desk) -> tuple[str, int]:
    """A case that Ana has, and the version of its row that she has before her."""
    case = desk.arrive("fire", place=HERE)
    assert desk.ask(A.ACKNOWLEDGE, "firefighters", case).accepted
    return case, desk.row(case)["version"]


@pytest.mark.parametrize("action", ENDS)
def test_a_case_is_not_ended_over_a_picture_that_joined_since(desk: Desk, action: Action) -> None:
    """Who saw the row before is told since when there is another picture; who looked again ends it."""
    case, seen = acknowledged(desk)
    desk.wait(190)
    assert desk.case_of(desk.arrive("fire", place=HERE)) == case
    before = desk.row(case)
    answer = desk.ask(action, "firefighters", case, seen=seen)
    assert (answer.accepted, answer.reason) == (False, "stale")
    assert answer.message == "0001 has a new picture since 12:03:10 UTC; look again"
    assert desk.row(case) == before
    assert desk.ask(action, "firefighters", case, seen=before["version"]).accepted


def test_an_unanswered_case_is_no_false_alarm_over_a_picture_that_joined_since(desk: Desk) -> None:
    """Not even where nobody has acknowledged it yet."""
    case = desk.arrive("fire", place=HERE)
    seen = desk.row(case)["version"]
    desk.arrive("fire", place=HERE)
    assert desk.ask(A.FALSE_ALARM, "firefighters", case, seen=seen).reason == "stale"


@pytest.mark.parametrize("action", [A.EN_ROUTE, A.ON_SCENE, A.RELEASE, A.NOTE])
def test_other_moves_do_not_wait_for_a_look(desk: Desk, action: Action) -> None:
    """What ends nothing hides nothing."""
    case, seen = acknowledged(desk)
    desk.arrive("fire", place=HERE)
    assert desk.ask(action, "firefighters", case, seen=seen).accepted


@pytest.mark.parametrize("action", ENDS)
def test_a_case_is_not_ended_over_pictures_merged_in_since(desk: Desk, action: Action) -> None:
    """However old they are: in this case they are new."""
    other = desk.arrive("accident", place=ELSEWHERE)
    case, seen = acknowledged(desk)
    desk.wait(60)
    assert desk.ask(A.MERGE, "transit-police", other, other=case).accepted
    answer = desk.ask(action, "firefighters", case, seen=seen)
    assert (answer.reason, answer.message) == (
        "stale",
        "0002 has a new picture since 12:01:00 UTC; look again",
    )


@pytest.mark.parametrize("action", ENDS)
def test_ending_what_went_into_another_case_does_not_end_that(desk: Desk, action: Action) -> None:
    """Who asks saw the other one's pictures never; what ends nothing is led there."""
    case, seen = acknowledged(desk)
    into = desk.arrive("fire", place=ELSEWHERE)
    assert desk.ask(A.MERGE, "firefighters", case, other=into).accepted
    for known in (0, seen, desk.row(into)["version"]):
        answer = desk.ask(action, "firefighters", case, seen=known)
        assert (answer.reason, answer.message) == ("stale", "0001 is part of 0002 now; look again")
    assert desk.ask(A.EN_ROUTE, "firefighters", case).case_id == into


def test_a_picture_that_left_hinders_nobody(desk: Desk) -> None:
    """What was split off is not ended with the case, and need not be seen; on its own it must be."""
    case, seen = acknowledged(desk)
    other = desk.arrive("fire", place=HERE)
    assert desk.ask(A.SPLIT, "firefighters", case, other=other).accepted
    assert desk.ask(A.CLOSE, "firefighters", case, seen=seen).accepted
    assert desk.case_of(other) == other
    assert desk.states(other)["firefighters"] == "dispatched"


def test_the_picture_that_a_case_is_called_by_is_always_seen(desk: Desk) -> None:
    """A restored database gives it a later version; who named the case knew it."""
    case, _ = acknowledged(desk)
    assert desk.ask(A.CLOSE, "firefighters", case, seen=1).accepted


@pytest.mark.parametrize(("asked_s", "accepted"), [(-1, False), (0, True), (1, True)])
def test_a_program_that_does_not_say_what_it_saw_is_judged_by_the_time(
    desk: Desk, asked_s: float, accepted: bool
) -> None:
    """A move that has waited since before the picture came did not mean it."""
    case, _ = acknowledged(desk)
    desk.wait(190)
    desk.arrive("fire", place=HERE)
    joined_at = BEGIN + timedelta(seconds=190)
    asked = move(A.CLOSE, "firefighters", case)
    answer = desk.give(asked, joined_at + timedelta(seconds=asked_s))
    assert answer.accepted == accepted
    assert answer.reason == ("applied" if accepted else "stale")


# What the desk has not come to yet


def test_a_move_finds_an_incident_that_the_desk_has_not_read_yet(desk: Desk) -> None:
    """A long walk after a start does not make a move on what it has not reached fail for good."""
    case = decided(desk.broker, desk.routing, 1, "fire", now=desk.now)
    assert desk.ask(A.ACKNOWLEDGE, "firefighters", case).accepted
    assert desk.states(case)["firefighters"] == "acknowledged"


def test_a_decision_finds_a_picture_that_the_desk_has_not_read_yet(desk: Desk) -> None:
    """A reviewer's too."""
    case = decided(desk.broker, desk.routing, 1, "fire", Verdict.UNSURE, now=desk.now)
    assert desk.ask(A.DECIDE, "review", case, other=case, situation="fire", revision=1).accepted
    assert desk.states(case)["firefighters"] == "dispatched"


def test_a_move_follows_a_picture_that_joined_another_case_this_time(desk: Desk) -> None:
    """Read in another order than before, a picture has no case of its own: its move leads to where it is."""
    into = desk.arrive("fire", place=HERE)
    case = decided(desk.broker, desk.routing, 2, "fire", now=desk.now)
    assert desk.ask(A.CLOSE, "firefighters", case, seen=9).reason == "not_allowed"
    answer = desk.ask(A.ACKNOWLEDGE, "firefighters", case, seen=9)
    assert (answer.accepted, answer.case_id) == (True, into)
    answer = desk.ask(A.CLOSE, "firefighters", case, seen=9)
    assert (answer.reason, answer.message) == ("stale", "0002 is part of 0001 now; look again")
