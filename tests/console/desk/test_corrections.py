"""Corrections: a department says what it really is, or who else must go."""

from collections.abc import Iterator

import pytest
from database_parts import migrated
from desk_parts import HERE, Desk, open_desk
from moving_parts import A, S, bring_to, without_moves

from shared.broker import Broker
from shared.keys import INCIDENTS, incident_key
from shared.moves import Action
from shared.settings import Settings
from shared.verdict import Verdict


@pytest.fixture
def desk(settings: Settings, broker: Broker) -> Iterator[Desk]:
    """A desk on an empty record."""
    with migrated(settings.database) as engine:
        yield open_desk(settings, broker, engine)


def test_a_correction_goes_to_whoever_must_go(desk: Desk) -> None:
    """A fire that is an accident: towing unit and ambulance are called, the others are told and stay."""
    case = desk.arrive("fire")
    bring_to(desk, S.ACKNOWLEDGED, case)
    answer = desk.ask(A.CORRECT, "transit-police", case, situation="accident", revision=1, note="a crash")
    assert answer.message == "0001 is Accident; Towing Unit, Ambulance and Transit Police must go"
    assert desk.states(case) == {
        "firefighters": "acknowledged",
        "transit-police": "dispatched",
        "towing-unit": "dispatched",
        "ambulance": "dispatched",
    }
    assert (desk.row(case)["situation"], desk.picture(case)["decided_by"]) == ("accident", "Ana")
    [line] = desk.lines(case, "correct")
    assert line["text"] == "Fire is Accident. a crash"
    for department in ("towing-unit", "ambulance"):
        assert desk.revisions_told(department, case) == [2]
    for department in ("firefighters", "transit-police"):
        assert desk.revisions_told(department, case) == [1, 2]
    told = desk.told("ambulance")[0].data
    assert (told["situation"], told["decided_by"], told["message"]) == ("accident", "Ana", "a crash")
    assert desk.in_broker(case).fields["decision"] == answer.move_id


def test_a_correction_reaches_every_picture_of_the_case(desk: Desk) -> None:
    """The whole case is what it is corrected to, and each picture is a label of that."""
    case = desk.arrive("fire", place=HERE)
    other = desk.arrive("fire", place=HERE)
    assert desk.case_of(other) == case
    assert desk.ask(A.CORRECT, "firefighters", case, situation="robbery").accepted
    for incident in (case, other):
        assert desk.in_broker(incident).fields["situation"] == "robbery"
        assert desk.picture(incident)["decided_by"] == "Ana"
        assert desk.revisions_told("police-department", incident) == [2]


def test_a_correction_leaves_what_was_decided_to_be_no_emergency(desk: Desk) -> None:
    """A reviewer said that one of the pictures shows nothing; that stays its label."""
    case, other = desk.arrive("fire", place=HERE), desk.arrive("fire", place=HERE)
    assert desk.ask(A.DECIDE, "review", case, other=other, situation="normal", by="Marta").accepted
    assert desk.ask(A.CORRECT, "firefighters", case, other=case, situation="robbery").accepted
    assert desk.picture(case)["situation"] == "robbery"
    assert (desk.picture(other)["verdict"], desk.picture(other)["decided_by"]) == ("no_emergency", "Marta")


def test_a_correction_calls_again_who_had_finished(desk: Desk) -> None:
    """Transit police, done with the fire, must go to the accident that it is."""
    case = desk.arrive("fire")
    desk.ask(A.FALSE_ALARM, "transit-police", case)
    desk.ask(A.FALSE_ALARM, "firefighters", case)
    desk.ask(A.CORRECT, "firefighters", case, situation="accident")
    assert desk.states(case)["transit-police"] == "dispatched"
    assert desk.states(case)["firefighters"] == "false_alarm"


def test_a_correction_of_what_another_corrected_is_stale(desk: Desk) -> None:
    """Who saw the first verdict does not overrule, unknowingly, who corrected it meanwhile."""
    case = desk.arrive("fire")
    desk.wait(190)
    assert desk.ask(A.CORRECT, "transit-police", case, situation="accident", revision=1).accepted
    desk.wait(5)
    before = without_moves(desk)
    answer = desk.ask(A.CORRECT, "firefighters", case, by="Bob", situation="flood_risk", revision=1)
    assert (answer.accepted, answer.reason) == (False, "stale")
    assert answer.message == "Ana decided Accident for 0001 at 12:03:10 UTC; look at it again"
    assert without_moves(desk) == before
    assert desk.told("drainage-department") == []
    again = desk.ask(A.CORRECT, "firefighters", case, by="Bob", situation="flood_risk", revision=2)
    assert again.accepted


def test_calling_a_fallback_does_not_make_a_correction_stale(desk: Desk) -> None:
    """The desk's own steps raise the revision, and decide nothing that a person could not have seen."""
    case = desk.arrive("fire")
    desk.tick(180)
    assert desk.in_broker(case).fields["revision"] == "2"
    assert desk.ask(A.CORRECT, "firefighters", case, situation="accident", revision=1).accepted


def test_who_is_stale_is_told_when_it_was_decided(desk: Desk) -> None:
    """Not when a further department was called since."""
    case = desk.arrive("robbery")
    desk.wait(10)
    desk.ask(Action.CORRECT, "police-department", case, situation="fire")
    desk.tick(300)
    assert int(desk.in_broker(case).fields["revision"]) > 2
    answer = desk.ask(Action.CORRECT, "firefighters", case, by="Bob", situation="accident", revision=1)
    assert answer.message == "Ana decided Fire for 0001 at 12:00:10 UTC; look at it again"


def test_a_correction_to_what_it_is_already_is_refused(desk: Desk) -> None:
    """Nothing is dispatched for nothing."""
    case = desk.arrive("fire")
    answer = desk.ask(A.CORRECT, "firefighters", case, situation="fire")
    assert (answer.reason, answer.message) == ("not_allowed", "0001 is Fire already")
    assert desk.revisions_told("firefighters", case) == [1]


def test_a_correction_names_a_picture_of_the_case(desk: Desk) -> None:
    """The revision is that of the picture which the person looked at; one of another case is refused."""
    case, other = desk.arrive("fire"), desk.arrive("fire")
    answer = desk.ask(A.CORRECT, "firefighters", case, situation="accident", other=other)
    assert answer.reason == "unknown_case"
    assert desk.row(case)["situation"] == "fire"


def test_a_department_confirms_what_went_out_unverified(desk: Desk) -> None:
    """Whoever is there says that it is a fire: it is verified, and its review is over."""
    case = desk.arrive("fire", verdict=Verdict.UNSURE)
    desk.tick(120)
    assert desk.ask(A.CORRECT, "firefighters", case, situation="fire").accepted
    row = desk.row(case)
    assert (row["verdict"], row["unverified"], desk.states(case)["review"]) == ("dispatched", False, "closed")
    assert desk.told("firefighters")[-1].data["unverified"] is False


def test_a_correction_is_kept_though_the_broker_has_the_incident_no_longer(desk: Desk) -> None:
    """After 30 days the boards alone tell the departments, and the label stays."""
    case = desk.arrive("fire")
    forget(desk, case)
    assert desk.ask(A.CORRECT, "firefighters", case, situation="accident").accepted
    picture = desk.picture(case)
    assert (picture["situation"], picture["decided_by"], picture["revision"]) == ("accident", "Ana", 2)
    assert desk.states(case)["ambulance"] == "dispatched"
    assert desk.told("ambulance") == []


def forget(desk: Desk, incident: str) -> None:
    """The broker's record of an incident runs out."""
    desk.broker.delete(incident_key(incident))
    desk.broker.zrem(INCIDENTS, incident)


def test_a_department_is_added_and_told(desk: Desk) -> None:
    """It gets the case and its dispatch; who decided what it shows stays as it was."""
    case = desk.arrive("fire")
    answer = desk.ask(A.ADD_DEPARTMENT, "firefighters", case, to="ambulance", note="two burnt")
    assert answer.message == "Ambulance is called to 0001"
    assert desk.states(case)["ambulance"] == "dispatched"
    [told] = desk.told("ambulance")
    assert told.data["message"] == "Ana of Firefighters asks for Ambulance: two burnt"
    assert told.data["departments"] == ["firefighters", "transit-police", "ambulance"]
    assert (told.data["situation"], told.data["decided_by"]) == ("fire", "")
    assert desk.picture(case)["decided_by"] == ""
    assert desk.revisions_told("firefighters", case) == [1]


def test_a_department_that_has_it_is_not_added_again(desk: Desk) -> None:
    """The answer says how far it is."""
    case = desk.arrive("fire")
    answer = desk.ask(A.ADD_DEPARTMENT, "firefighters", case, to="transit-police")
    waits = "waiting for somebody to acknowledge it since 12:00:00 UTC"
    assert (answer.reason, answer.message) == ("not_allowed", f"Transit Police has 0001 already, {waits}")


def test_a_department_that_had_finished_is_called_again(desk: Desk) -> None:
    """Adding one that closed the case opens it for them, and sends them a dispatch once more."""
    case = desk.arrive("fire")
    bring_to(desk, S.CLOSED, case, "transit-police")
    assert desk.ask(A.ADD_DEPARTMENT, "firefighters", case, to="transit-police").accepted
    assert desk.states(case)["transit-police"] == "dispatched"
    assert desk.revisions_told("transit-police", case) == [1, 2]


def test_a_department_added_to_what_nobody_decided_gets_it_unverified(desk: Desk) -> None:
    """It goes out before its review: the dispatch and the row say so, and the review goes on."""
    case = desk.arrive("fire", verdict=Verdict.UNSURE)
    assert desk.ask(A.ADD_DEPARTMENT, "review", case, to="ambulance").accepted
    [told] = desk.told("ambulance")
    assert (told.data["unverified"], told.data["verdict"]) == (True, "unsure")
    assert (desk.row(case)["unverified"], desk.states(case)["review"]) == (True, "dispatched")
    assert desk.due() == 60


def test_a_long_note_is_told_within_its_limit(desk: Desk) -> None:
    """A note of 500 characters, with who asks before it, stays within what a dispatch holds."""
    case = desk.arrive("fire")
    assert desk.ask(A.ADD_DEPARTMENT, "firefighters", case, to="ambulance", note="x" * 500).accepted
    assert len(desk.told("ambulance")[0].data["message"]) == 500
