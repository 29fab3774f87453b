"""Decisions on pictures that the model was unsure of, of one row: each by itself, and none is lost."""

from collections.abc import Iterator

import pytest
from database_parts import migrated
from desk_parts import HERE, Desk, move, open_desk

from console.desk import moves
from console.tables import Case
from shared.broker import Broker
from shared.moves import Action
from shared.settings import Settings
from shared.verdict import Verdict

FIRE = ("firefighters", "transit-police")
CALLED = dict.fromkeys(FIRE, "dispatched")


@pytest.fixture
def desk(settings: Settings, broker: Broker) -> Iterator[Desk]:
    """A desk on an empty record that samples nothing."""
    with migrated(settings.database) as engine:
        yield open_desk(settings, broker, engine, sample_rate=0.0)


def decide(desk: Desk, incident: str, situation: str, **more: object) -> str:
    """A reviewer decides a picture in the row where it is; the answer's reason."""
    answer = desk.ask(
        Action.DECIDE,
        "review",
        desk.case_of(incident),
        by="Marta",
        other=incident,
        situation=situation,
        **more,
    )
    return answer.reason


def three(desk: Desk) -> list[str]:
    """A row of three pictures that went out UNVERIFIED: their ids, the first is the case's."""
    pictures = desk.unsure(3, every_s=1)
    desk.tick(120)
    assert desk.states(pictures[0]) == {"review": "dispatched"} | CALLED
    return pictures


@pytest.mark.parametrize("which", [0, 1, 2])
def test_a_decision_for_the_guess_verifies_the_row(desk: Desk, which: int) -> None:
    """Who has it hears that it is true, and is not called anew; the other pictures stay to be decided."""
    pictures = three(desk)
    case = pictures[0]
    desk.ask(Action.ACKNOWLEDGE, "firefighters", case)
    assert decide(desk, pictures[which], "fire") == "applied"
    row = desk.row(case)
    assert (row["verdict"], row["situation"], row["unverified"]) == ("dispatched", "fire", False)
    assert row["incident_count"] == 3
    assert desk.states(case) == {"review": "dispatched"} | CALLED | {"firefighters": "acknowledged"}
    assert desk.revisions_told("firefighters", pictures[which]) == [2, 3]
    for other in set(pictures) - {pictures[which]}:
        assert decide(desk, other, "fire") == "applied"
    assert desk.states(case)["review"] == "closed"


@pytest.mark.parametrize("which", [0, 1, 2])
@pytest.mark.parametrize("out", [True, False], ids=["gone out", "waiting"])
def test_a_decision_for_something_else_takes_its_picture_away(desk: Desk, which: int, out: bool) -> None:
    """It is an emergency of its own; the others go on as they were, to be decided."""
    pictures = three(desk) if out else desk.unsure(3, every_s=1)
    case = pictures[0]
    before, due_at = desk.states(case), desk.part(case, "review")["due_at"]
    assert decide(desk, pictures[which], "robbery") == "applied"
    made = desk.case_of(pictures[which])
    assert made != case
    row = desk.row(made)
    assert (row["verdict"], row["situation"], row["incident_count"]) == ("dispatched", "robbery", 1)
    assert desk.states(made)["police-department"] == "dispatched"
    assert desk.states(made)["review"] == "closed"
    left = desk.row(case)
    assert (left["verdict"], left["situation"], left["unverified"]) == ("unsure", "fire", out)
    assert left["incident_count"] == 2
    assert desk.states(case) == before
    assert desk.part(case, "review")["due_at"] >= due_at
    assert desk.revisions_told("police-department", pictures[which])
    # Who sees that it was a slip may say so.
    assert decide(desk, pictures[which], "fire") == "applied"
    assert desk.row(desk.case_of(pictures[which]))["situation"] == "fire"


def test_a_picture_taken_away_joins_the_emergency_that_it_shows(desk: Desk) -> None:
    """A robbery nearby that is open: no alarm is added, and the rest of the row stays where it is."""
    robbery = desk.arrive("robbery", place=HERE)
    desk.ask(Action.ACKNOWLEDGE, "police-department", robbery)
    pictures = three(desk)
    assert decide(desk, pictures[1], "robbery") == "applied"
    assert desk.case_of(pictures[1]) == robbery
    assert desk.states(robbery)["police-department"] == "acknowledged"
    assert [desk.case_of(each) for each in (pictures[0], pictures[2])] == [pictures[0]] * 2


def test_a_row_that_is_verified_goes_into_the_same_emergency_beside_it(desk: Desk) -> None:
    """One fire and its row of perhaps a fire are one once a person says so; the rest is still to decide."""
    fire = desk.arrive("fire", place=HERE)
    desk.ask(Action.ACKNOWLEDGE, "firefighters", fire)
    pictures = three(desk)
    assert decide(desk, pictures[2], "fire") == "applied"
    assert {desk.case_of(each) for each in pictures} == {fire}
    assert desk.states(fire)["firefighters"] == "acknowledged"
    assert desk.states(fire)["review"] == "dispatched"
    assert desk.row(pictures[0])["merged_into"] == fire


def test_no_emergency_in_one_picture_silences_no_other(desk: Desk) -> None:
    """Whoever was called still is, until the last picture is decided so."""
    pictures = three(desk)
    case = pictures[0]
    for picture in pictures[:2]:
        assert decide(desk, picture, "normal") == "applied"
        row = desk.row(case)
        assert (row["verdict"], row["situation"], row["unverified"]) == ("unsure", "fire", True)
        assert desk.states(case) == {"review": "dispatched"} | CALLED
    decide(desk, pictures[2], "normal")
    assert desk.row(case)["verdict"] == "no_emergency"
    assert desk.states(case) == {"review": "closed"} | dict.fromkeys(FIRE, "false_alarm")


def test_a_row_that_is_out_says_so_while_what_is_left_has_yet_to_go_out(desk: Desk) -> None:
    """The picture that called the departments shows nothing; they have the next one before them."""
    (case,) = desk.unsure()
    desk.tick(120)
    (later,) = desk.unsure()
    assert decide(desk, case, "normal") == "applied"
    assert desk.row(case)["unverified"]
    desk.tick(120)
    assert desk.revisions_told("firefighters", later) == [2]


def test_after_a_row_shows_nothing_another_picture_is_a_row_of_its_own(desk: Desk) -> None:
    """A reviewer's no emergency is about what was there."""
    pictures = three(desk)
    for picture in pictures:
        decide(desk, picture, "normal")
    (later,) = desk.unsure()
    assert desk.case_of(later) == later
    assert desk.states(later) == {"review": "dispatched"}
    desk.tick(120)
    assert desk.states(later) == {"review": "dispatched"} | CALLED


def test_a_fire_after_a_false_alarm_calls_again(desk: Desk) -> None:
    """A department dismissed the row, and a reviewer sees the fire in one of its pictures."""
    pictures = three(desk)
    desk.ask(Action.FALSE_ALARM, "firefighters", pictures[0])
    assert decide(desk, pictures[1], "fire") == "applied"
    assert desk.states(pictures[0])["firefighters"] == "dispatched"


def test_what_is_left_of_a_verified_row_goes_out_in_its_time(desk: Desk) -> None:
    """Its departments are told of the undecided picture beside the decided one, and none is called twice."""
    pictures = desk.unsure(2, every_s=1)
    assert decide(desk, pictures[0], "fire") == "applied"
    desk.ask(Action.ACKNOWLEDGE, "firefighters", pictures[0])
    desk.tick(120)
    assert desk.revisions_told("firefighters", pictures[1]) == [2]
    assert desk.states(pictures[0])["firefighters"] == "acknowledged"
    assert not desk.row(pictures[0])["unverified"]


def test_a_department_corrects_the_whole_row(desk: Desk) -> None:
    """Whoever is there says what it is: every picture is that, and nothing is left to decide."""
    pictures = three(desk)
    assert desk.ask(Action.CORRECT, "firefighters", pictures[0], situation="accident").accepted
    assert {desk.picture(each)["situation"] for each in pictures} == {"accident"}
    assert desk.states(pictures[0])["review"] == "closed"


@pytest.mark.parametrize("situation", ["fire", "robbery", "normal"])
def test_a_decision_that_a_dead_desk_could_not_note_counts(desk: Desk, situation: str) -> None:
    """The time runs out before its move comes again: it is taken from the broker, the others go out."""
    pictures = desk.unsure(3, every_s=1)
    asked = move(Action.DECIDE, "review", pictures[0], by="Marta", other=pictures[1], situation=situation)
    with pytest.raises(ZeroDivisionError), desk.book() as book:
        moves.apply(book, asked)
        raise ZeroDivisionError
    for _ in range(3):
        desk.tick(120)
    assert desk.picture(pictures[1])["decided_by"] == "Marta"
    assert desk.picture(pictures[1])["situation"] == (None if situation == "normal" else situation)
    assert {desk.picture(each)["decided_by"] for each in (pictures[0], pictures[2])} == {"desk"}
    assert [desk.revisions_told("firefighters", each) for each in (pictures[0], pictures[2])] == [[2], [2]]
    assert desk.give(asked).reason == "applied"
    assert (desk.case_of(pictures[1]) == pictures[0]) == (situation != "robbery")


def test_a_restored_record_keeps_the_time_of_those_that_wait(desk: Desk) -> None:
    """It learns from the broker that one picture of a row went out; the other still goes out by itself."""
    first, second = desk.unsure(2, every_s=1)
    desk.ask(Action.SPLIT, "review", first, other=second)
    desk.tick(119)
    desk.ask(Action.MERGE, "review", second, other=first)
    with desk.book() as book:
        record = book.incident(first)
        assert record is not None
        record.revision, record.decided_by = 1, ""
    desk.unsure()
    desk.hear(first)
    assert desk.part(first, "review")["due_at"]
    desk.tick(120)
    assert {desk.in_broker(each).fields["unverified"] for each in desk.arrived} == {"1"}


def test_a_row_waits_as_long_as_its_oldest_undecided_picture(desk: Desk) -> None:
    """Where a reviewer keeps up with a camera, nobody is alarmed that a picture has waited too long."""
    (first,) = desk.unsure()
    for _ in range(20):
        desk.wait(50)
        desk.unsure()
        desk.tick(10)
        assert decide(desk, first, "normal") == "applied"
        case, first = desk.case_of(first), desk.arrived[-1]
        assert desk.case_of(first) == case
        assert desk.part(case, "review")["state_at"] == desk.picture(first)["received_at"]
    assert set(desk.states(case)) == {"review"}
    assert desk.due() == 110


def test_no_case_is_without_pictures(desk: Desk) -> None:
    """Whatever was taken apart, a row that is open shows something."""
    pictures = three(desk)
    for picture in pictures:
        decide(desk, picture, "robbery")
    open_cases = [case.id for case in desk.rows_of(Case) if case.merged_into is None]
    assert all(desk.row(case)["incident_count"] for case in open_cases)
    assert {desk.row(case)["verdict"] for case in open_cases} == {Verdict.DISPATCHED.value}


def test_what_is_left_without_an_emergency_calls_nobody(desk: Desk) -> None:
    """One of two shows none, the other goes elsewhere: nobody is called on, and the next one is reviewed."""
    first, second = desk.unsure(2, every_s=1)
    desk.tick(120)
    assert decide(desk, first, "normal") == "applied"
    assert decide(desk, second, "robbery") == "applied"
    assert desk.row(first)["verdict"] == "no_emergency"
    assert desk.states(first) == {"review": "closed"} | dict.fromkeys(FIRE, "false_alarm")
    (later,) = desk.unsure()
    assert desk.case_of(later) == later
    assert desk.states(later) == {"review": "dispatched"}


def test_what_a_split_leaves_without_an_emergency_calls_nobody(desk: Desk) -> None:
    """The same where a person takes the other picture out by hand."""
    first, second = desk.unsure(2, every_s=1)
    desk.tick(120)
    assert decide(desk, first, "normal") == "applied"
    assert desk.ask(Action.SPLIT, "firefighters", first, other=second).accepted
    assert desk.row(first)["verdict"] == "no_emergency"
    assert desk.states(first)["firefighters"] == "false_alarm"
    assert desk.states(desk.case_of(second))["firefighters"] == "dispatched"
