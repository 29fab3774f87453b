"""Merging and splitting: what people say is one emergency, or two."""

from collections.abc import Iterator

import pytest
from database_parts import migrated
from desk_parts import HERE, Desk, open_desk
from moving_parts import A, S, bring_to, without_moves

from shared.broker import Broker
from shared.settings import Settings
from shared.verdict import Verdict


@pytest.fixture
def desk(settings: Settings, broker: Broker) -> Iterator[Desk]:
    """A desk on an empty record."""
    with migrated(settings.database) as engine:
        yield open_desk(settings, broker, engine)


def test_who_holds_a_merged_case_hears_where_it_went_on_to(desk: Desk) -> None:
    """A case that went into one which goes into another: its row says so, under a version of its own."""
    first, second, third = desk.arrive("fire"), desk.arrive("fire"), desk.arrive("fire")
    desk.ask(A.MERGE, "firefighters", first, other=second)
    before = desk.row(first)
    desk.ask(A.MERGE, "firefighters", second, other=third)
    assert desk.row(first)["merged_into"] == third
    assert desk.row(first)["version"] > before["version"]


def test_merging_keeps_who_is_further(desk: Desk) -> None:
    """Of two assignments of a department the further one stays, with its holder, and the timeline says so."""
    into, case = desk.arrive("fire"), desk.arrive("accident")
    bring_to(desk, S.EN_ROUTE, case, "transit-police")
    bring_to(desk, S.ACKNOWLEDGED, into)
    answer = desk.ask(A.MERGE, "transit-police", case, by="Bob", other=into)
    assert (answer.message, answer.case_id) == ("0002 is now part of 0001", into)
    assert desk.states(into) == {
        "firefighters": "acknowledged",
        "transit-police": "en_route",
        "towing-unit": "dispatched",
        "ambulance": "dispatched",
    }
    assert desk.part(into, "transit-police")["holder"] == "Ana"
    assert desk.row(case)["merged_into"] == into
    assert {each["id"] for each in desk.row(into)["incidents"]} == {into, case}
    said = [(line["actor"], line["text"]) for line in desk.lines(into, "merged")]
    assert ("Bob", "Transit Police comes from 0002: en route, Ana has it") in said


def test_what_was_merged_leads_to_where_it_went(desk: Desk) -> None:
    """A console that still shows the old row moves the case that it became."""
    first, second, third = desk.arrive("fire"), desk.arrive("fire"), desk.arrive("fire")
    desk.ask(A.MERGE, "firefighters", first, other=second)
    desk.ask(A.MERGE, "firefighters", second, other=third)
    answer = desk.ask(A.ACKNOWLEDGE, "firefighters", first, by="Bob")
    assert (answer.accepted, answer.case_id) == (True, third)
    assert desk.part(third, "firefighters")["holder"] == "Bob"
    assert desk.ask(A.NOTE, "firefighters", second).accepted
    assert len(desk.lines(third, "note")) == 1


def test_open_wins_over_ended_in_a_merger(desk: Desk) -> None:
    """New evidence never disappears behind a department that had ended the other case."""
    into, case = desk.arrive("fire"), desk.arrive("fire")
    bring_to(desk, S.CLOSED, into)
    assert desk.ask(A.MERGE, "firefighters", case, other=into).accepted
    assert desk.states(into)["firefighters"] == "dispatched"


def test_only_open_cases_are_merged(desk: Desk) -> None:
    """A case that has ended for everybody takes nothing in, and goes nowhere."""
    ended, other = desk.arrive("robbery"), desk.arrive("robbery")
    bring_to(desk, S.CLOSED, ended, "police-department")
    for case, into in ((ended, other), (other, ended)):
        answer = desk.ask(A.MERGE, "police-department", case, other=into)
        assert (answer.reason, answer.message) == ("not_allowed", "0001 has ended; reopen it first")


def test_a_case_is_not_merged_with_itself(desk: Desk) -> None:
    """Nor with what it became part of already."""
    first, second = desk.arrive("fire"), desk.arrive("fire")
    assert desk.ask(A.MERGE, "firefighters", first, other=first).reason == "not_allowed"
    assert desk.ask(A.MERGE, "firefighters", first, other=second).accepted
    answer = desk.ask(A.MERGE, "firefighters", first, other=second)
    assert (answer.accepted, answer.message) == (False, "0002 holds both already")


def test_only_who_was_sent_one_of_two_cases_merges_them(desk: Desk) -> None:
    """A department of one of them may; one of neither may not."""
    fire, robbery = desk.arrive("fire"), desk.arrive("robbery")
    answer = desk.ask(A.MERGE, "ambulance", fire, other=robbery)
    assert (answer.reason, answer.message) == (
        "not_yours",
        "neither 0001 nor 0002 was sent to Ambulance",
    )
    assert desk.ask(A.MERGE, "police-department", fire, other=robbery).accepted
    assert set(desk.states(robbery)) == {"police-department", "firefighters", "transit-police"}


def test_a_merger_takes_the_review_along(desk: Desk) -> None:
    """What waits for a decision fails open no later than it would have alone."""
    early = desk.arrive("fire", verdict=Verdict.UNSURE)
    desk.wait(60)
    late = desk.arrive("fire", verdict=Verdict.UNSURE)
    assert desk.ask(A.MERGE, "review", early, other=late).accepted
    assert desk.due() == 60


def test_what_is_known_counts_in_a_merger(desk: Desk) -> None:
    """A fire that goes into what nobody has decided makes that a fire; the decision is still to come."""
    fire, unsure = desk.arrive("fire"), desk.arrive("accident", verdict=Verdict.UNSURE)
    assert desk.ask(A.MERGE, "firefighters", fire, other=unsure).accepted
    row = desk.row(unsure)
    assert (row["verdict"], row["situation"], row["unverified"]) == ("dispatched", "fire", False)
    assert desk.states(unsure)["review"] == "dispatched"


def test_a_split_takes_its_own_review_along(desk: Desk) -> None:
    """Whatever is still to be decided waits in review, on either side."""
    first, second, third = (desk.arrive("fire", verdict=Verdict.UNSURE) for _ in range(3))
    for case in (second, third):
        desk.ask(A.MERGE, "review", case, other=first)
    assert desk.ask(A.SPLIT, "review", first, other=third).accepted
    assert desk.states(first) == desk.states(desk.case_of(third)) == {"review": "dispatched"}
    assert desk.part(desk.case_of(third), "review")["due_at"] == "2026-11-24T12:02:00.000000Z"


def test_split_makes_a_picture_a_case_of_its_own(desk: Desk) -> None:
    """Its departments have it before them as new, and the rest stays as it was."""
    case = desk.arrive("fire", place=HERE)
    other = desk.arrive("fire", place=HERE)
    bring_to(desk, S.ON_SCENE, case)
    answer = desk.ask(A.SPLIT, "firefighters", case, other=other)
    assert (answer.accepted, answer.message) == (True, "0002 is now on its own")
    made = desk.case_of(other)
    assert made != case
    assert desk.states(made) == {"firefighters": "dispatched", "transit-police": "dispatched"}
    assert desk.states(case)["firefighters"] == "on_scene"
    assert [each["id"] for each in desk.row(case)["incidents"]] == [case]


def test_the_picture_that_opened_a_case_can_be_split_off(desk: Desk) -> None:
    """Both go on under ids of their own."""
    case = desk.arrive("fire", place=HERE)
    other = desk.arrive("fire", place=HERE)
    assert desk.ask(A.SPLIT, "firefighters", case, other=case).accepted
    assert desk.case_of(other) == case != desk.case_of(case)


@pytest.mark.parametrize("which", ["only", "foreign", "unknown"])
def test_what_can_not_be_split_is_refused(desk: Desk, which: str) -> None:
    """The only picture of a case, one of another case, and none at all."""
    case, foreign = desk.arrive("fire"), desk.arrive("fire")
    other = {"only": case, "foreign": foreign, "unknown": "e" * 32}[which]
    before = without_moves(desk)
    answer = desk.ask(A.SPLIT, "firefighters", case, other=other)
    assert answer.reason == ("not_allowed" if which == "only" else "unknown_case")
    assert without_moves(desk) == before


def test_a_split_and_merged_picture_can_be_split_again(desk: Desk) -> None:
    """Going back and forth loses nothing and never fails."""
    case = desk.arrive("fire", place=HERE)
    other = desk.arrive("fire", place=HERE)
    for _ in range(3):
        assert desk.ask(A.SPLIT, "firefighters", case, other=other).accepted
        assert desk.ask(A.MERGE, "firefighters", desk.case_of(other), other=case).accepted
    assert {each["id"] for each in desk.row(case)["incidents"]} == {case, other}
