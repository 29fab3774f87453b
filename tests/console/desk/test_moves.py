from collections.abc import Iterator
from dataclasses import replace
from typing import Any

import pytest
import structlog
from database_parts import migrated
from desk_parts import BEGIN, HERE, Desk, move, open_desk

from console.desk import moves
from console.tables import MoveRecord
from shared.broker import Broker
from shared.keys import INCIDENTS, incident_key
from shared.moves import ALLOWED, CASE_ACTIONS, Action, AssignmentState
from shared.settings import Settings
from shared.verdict import Verdict

S, A = AssignmentState, Action
WAY_TO = {
    S.DISPATCHED: [],
    S.ACKNOWLEDGED: [A.ACKNOWLEDGE],
    S.EN_ROUTE: [A.ACKNOWLEDGE, A.EN_ROUTE],
    S.ON_SCENE: [A.ACKNOWLEDGE, A.ON_SCENE],
    S.CLOSED: [A.ACKNOWLEDGE, A.CLOSE],
    S.FALSE_ALARM: [A.FALSE_ALARM],
}
STATE_ACTIONS = [action for action in Action if action not in CASE_ACTIONS]
CELLS = [(state, action) for state in AssignmentState for action in STATE_ACTIONS]


@pytest.fixture
def desk(settings: Settings, broker: Broker) -> Iterator[Desk]:
    """A desk on an empty record."""
    with migrated(settings.database) as engine:
        yield open_desk(settings, broker, engine)


def bring_to(desk: Desk, state: AssignmentState, case: str, department: str = "firefighters") -> None:
    """Have Ana move a department that far."""
    for action in WAY_TO[state]:
        assert desk.ask(action, department, case).accepted


def without_moves(desk: Desk) -> dict[str, Any]:
    """The record, but for the list of moves."""
    return {name: rows for name, rows in desk.everything().items() if name != "moves"}


@pytest.mark.parametrize(("state", "action"), [cell for cell in CELLS if cell in ALLOWED])
def test_every_allowed_move_is_applied(desk: Desk, state: AssignmentState, action: Action) -> None:
    """A move of the table leads to its state, for that department alone, and is in the timeline."""
    case = desk.arrive("fire")
    bring_to(desk, state, case)
    desk.wait(7)
    before = desk.row(case)
    answer = desk.ask(action, "firefighters", case, by="Bob")
    after = desk.row(case)
    assert (answer.accepted, answer.reason, answer.case_id) == (True, "applied", case)
    assert desk.states(case) == {"firefighters": ALLOWED[state, action], "transit-police": "dispatched"}
    assert answer.version == after["version"] > before["version"]
    line = after["timeline"][-1]
    assert (line["actor"], line["action"], line["department"]) == ("Bob", action, "firefighters")


@pytest.mark.parametrize(("state", "action"), [cell for cell in CELLS if cell not in ALLOWED])
def test_every_other_move_is_refused(desk: Desk, state: AssignmentState, action: Action) -> None:
    """A move that the table does not have changes nothing, and the answer says how it stands."""
    case = desk.arrive("fire")
    bring_to(desk, state, case)
    before = without_moves(desk)
    desk.wait(7)
    answer = desk.ask(action, "firefighters", case, by="Bob")
    held = action is A.ACKNOWLEDGE and state in (S.ACKNOWLEDGED, S.EN_ROUTE, S.ON_SCENE)
    assert (answer.accepted, answer.reason) == (False, "taken" if held else "not_allowed")
    assert without_moves(desk) == before
    assert "since 12:00:00 UTC" in answer.message
    assert ("Ana has it" in answer.message) == held


@pytest.mark.parametrize("state", AssignmentState)
@pytest.mark.parametrize(
    ("action", "more"),
    [
        (A.NOTE, {"note": "the bridge is closed"}),
        (A.CORRECT, {"situation": "robbery"}),
        (A.ADD_DEPARTMENT, {"to": "ambulance"}),
    ],
)
def test_moves_about_the_case_leave_the_state(
    desk: Desk, state: AssignmentState, action: Action, more: dict[str, str]
) -> None:
    """Whatever a department's state, it may note, correct and add; its own state stays."""
    case = desk.arrive("fire")
    bring_to(desk, state, case)
    assert desk.ask(action, "firefighters", case, **more).accepted
    assert desk.states(case)["firefighters"] == state
    assert len(desk.lines(case, action)) == 1


@pytest.mark.parametrize(
    "other",
    [
        {"note": "no ladder"},
        {"by": "Bob"},
        {"case": "another"},
        {"department": "transit-police"},
        {"action": A.ACKNOWLEDGE},
        {"situation": "fire"},
        {"to": "ambulance"},
        {"other": "e" * 32},
        {"revision": 1},
    ],
)
def test_an_id_that_comes_with_another_move_is_said_and_changes_nothing(
    desk: Desk, other: dict[str, Any]
) -> None:
    """Only the first one is in the record; the same one, asked again later, is no news."""
    case, another = desk.arrive("fire"), desk.arrive("fire")
    first = move(A.NOTE, "firefighters", case, note="ladder")
    answer = desk.give(first)
    before = desk.everything()
    with structlog.testing.capture_logs() as logs:
        desk.give(replace(first, at="2026-11-24T13:00:00.000000Z"))
        assert logs == []
        desk.give(replace(first, **other | ({"case": another} if "case" in other else {})))
    assert [(line["log_level"], line["move_id"]) for line in logs] == [("warning", first.move_id)]
    assert desk.everything() == before
    assert answer.asked == first.digest()


def test_what_was_asked_is_kept_where_the_case_went_into_another(desk: Desk) -> None:
    """The record says where the move ended, and its digest what was asked."""
    case, into = desk.arrive("fire"), desk.arrive("fire")
    desk.ask(A.MERGE, "firefighters", case, other=into)
    asked = move(A.NOTE, "firefighters", case)
    answer = desk.give(asked)
    assert (answer.case_id, answer.asked) == (into, asked.digest())


def test_two_acknowledge_at_once_and_one_wins(desk: Desk) -> None:
    """Of two moves in one transaction the first is applied, and the second is told who has it since when."""
    case = desk.arrive("fire")
    ana, bob = move(A.ACKNOWLEDGE, "firefighters", case), move(A.ACKNOWLEDGE, "firefighters", case, by="Bob")
    desk.wait(190.5)
    with desk.book() as book:
        moves.apply(book, ana)
        moves.apply(book, bob)
    answers = {each.by: each for each in desk.rows_of(MoveRecord)}
    assert answers["Ana"].reason == "applied"
    assert (answers["Bob"].accepted, answers["Bob"].reason) == (False, "taken")
    assert answers["Bob"].message == "Ana has it since 12:03:10 UTC"
    assert answers["Bob"].version > answers["Ana"].version
    assert desk.part(case, "firefighters")["holder"] == "Ana"


def test_who_has_it_since_another_day_is_told_with_its_date(desk: Desk) -> None:
    """A time of day alone would mislead after midnight."""
    case = desk.arrive("fire")
    bring_to(desk, S.ON_SCENE, case)
    desk.wait(86_400)
    answer = desk.ask(A.ACKNOWLEDGE, "firefighters", case, by="Bob")
    assert answer.message == "Ana has it, and is on scene, since 2026-11-24 12:00:00 UTC"


def test_a_refusal_says_what_can_be_done(desk: Desk) -> None:
    """It names the state, its time, and the moves that are allowed now."""
    case = desk.arrive("fire")
    bring_to(desk, S.CLOSED, case)
    answer = desk.ask(A.EN_ROUTE, "firefighters", case)
    assert answer.message == "0001 is closed since 12:00:00 UTC; you can reopen it"


def test_a_repeated_move_changes_nothing(desk: Desk) -> None:
    """A move id is applied once, even where it would be allowed again, and its first answer stays."""
    case = desk.arrive("fire")
    first = move(A.ACKNOWLEDGE, "firefighters", case)
    assert desk.give(first).accepted
    assert desk.ask(A.RELEASE, "firefighters", case).accepted
    before = desk.everything()
    assert desk.give(first).reason == "applied"
    assert desk.everything() == before


def test_a_repeated_refusal_stays_refused(desk: Desk) -> None:
    """What was refused once is not applied later by being sent again."""
    case = desk.arrive("fire")
    early = move(A.ON_SCENE, "firefighters", case)
    assert not desk.give(early).accepted
    assert desk.ask(A.ACKNOWLEDGE, "firefighters", case).accepted
    assert not desk.give(early).accepted
    assert desk.states(case)["firefighters"] == "acknowledged"


def test_a_colleague_may_move_on_and_the_timeline_says_who(desk: Desk) -> None:
    """A shift changes: another operator of the department goes on with what Ana acknowledged."""
    case = desk.arrive("fire")
    bring_to(desk, S.ACKNOWLEDGED, case)
    assert desk.ask(A.ON_SCENE, "firefighters", case, by="Bob").accepted
    assert [line["actor"] for line in desk.row(case)["timeline"]] == ["desk", "Ana", "Bob"]
    assert desk.part(case, "firefighters")["holder"] == "Ana"


def test_release_and_reopen_call_again(desk: Desk) -> None:
    """Whoever gives a case back, or opens it again, starts its clock; the first acknowledgement stays."""
    case = desk.arrive("fire")
    bring_to(desk, S.ACKNOWLEDGED, case)
    desk.wait(600)
    desk.ask(A.RELEASE, "firefighters", case)
    part = desk.part(case, "firefighters")
    assert (part["holder"], part["state_at"]) == ("", "2026-11-24T12:10:00.000000Z")
    assert part["due_at"] == "2026-11-24T12:11:00.000000Z"
    assert part["acknowledged_at"] == "2026-11-24T12:00:00.000000Z"
    desk.ask(A.FALSE_ALARM, "firefighters", case, by="Bob")
    assert desk.part(case, "firefighters")["holder"] == "Bob"
    desk.ask(A.REOPEN, "firefighters", case)
    assert desk.part(case, "firefighters")["state"] == "dispatched"


def test_en_route_gives_no_more_time(desk: Desk) -> None:
    """Units must be on scene in time after the acknowledgement, however often somebody says en route."""
    case = desk.arrive("fire")
    bring_to(desk, S.ACKNOWLEDGED, case)
    due_at = desk.part(case, "firefighters")["due_at"]
    desk.wait(60)
    desk.ask(A.EN_ROUTE, "firefighters", case)
    assert desk.part(case, "firefighters")["due_at"] == due_at == "2026-11-24T12:30:00.000000Z"
    desk.ask(A.ON_SCENE, "firefighters", case)
    assert desk.part(case, "firefighters")["due_at"] == ""


@pytest.mark.parametrize("action", sorted(set(Action) - {A.DECIDE, A.MERGE}))
def test_a_move_in_another_departments_stream_is_refused(desk: Desk, action: Action) -> None:
    """The stream says who asks: a department that was not sent the case moves nothing in it."""
    case = desk.arrive("fire")
    before = without_moves(desk)
    words = {"situation": "robbery", "to": "ambulance", "other": case}
    answer = desk.ask(action, "towing-unit", case, **words)
    assert (answer.accepted, answer.reason) == (False, "not_yours")
    assert answer.message == "0001 was not sent to Towing Unit"
    assert without_moves(desk) == before


def test_nobody_speaks_in_the_name_of_the_desk(desk: Desk) -> None:
    """A forged name would put words into the desk's mouth, and keep a decision from the labels."""
    case = desk.arrive("fire")
    for name in (" Desk", "desk\u034f", "de\ufe0fsk", "\u3164desk"):
        assert desk.ask(A.ACKNOWLEDGE, "firefighters", case, by=name).reason == "bad_move"
    assert desk.states(case)["firefighters"] == "dispatched"


@pytest.mark.parametrize("action", sorted(set(Action) - {A.DECIDE}))
def test_an_unknown_case_is_refused(desk: Desk, action: Action) -> None:
    """A forged id leads nowhere."""
    more = {"situation": "robbery", "to": "ambulance", "other": "f" * 32}
    answer = desk.ask(action, "firefighters", "f" * 32, **more)
    assert (answer.accepted, answer.reason) == (False, "unknown_case")


@pytest.mark.parametrize(
    ("action", "more", "shown"),
    [
        (A.CORRECT, {"situation": "earthquake"}, "no situation 'earthquake'"),
        (A.CORRECT, {"situation": "normal"}, "say false alarm"),
        (A.CORRECT, {"situation": "\x1b[2J\x00"}, r"'\x1b[2J\x00'"),
        (A.ADD_DEPARTMENT, {"to": "coastguard"}, "no department 'coastguard'"),
        (A.ADD_DEPARTMENT, {"to": "review"}, "no department 'review'"),
    ],
)
def test_a_word_that_the_routing_file_lacks_is_refused(
    desk: Desk, action: Action, more: dict[str, str], shown: str
) -> None:
    """It is named in the answer, made harmless, and nothing changes."""
    case = desk.arrive("fire")
    before = without_moves(desk)
    answer = desk.ask(action, "firefighters", case, **more)
    assert (answer.accepted, answer.reason) == (False, "unknown_word")
    assert shown in answer.message
    assert answer.message.isprintable()
    assert without_moves(desk) == before


def test_a_review_is_neither_held_nor_closed(desk: Desk) -> None:
    """Whoever could hold a review could keep it from failing open: reviewers decide, and note."""
    case = desk.arrive("fire", verdict=Verdict.UNSURE)
    for action in STATE_ACTIONS:
        assert desk.ask(action, "review", case).reason == "not_allowed"
    assert desk.states(case) == {"review": "dispatched"}
    assert desk.ask(A.NOTE, "review", case, note="too dark").accepted
    assert desk.due() == 120


def test_a_note_is_kept_as_it_was_written(desk: Desk) -> None:
    """Text stands in the timeline beside who wrote it; markup in it is text."""
    case = desk.arrive("fire")
    desk.ask(A.NOTE, "firefighters", case, note="<script>alert(1)</script> Straße gesperrt")
    desk.ask(A.ACKNOWLEDGE, "firefighters", case, note="two engines")
    lines = [(line["action"], line["text"]) for line in desk.row(case)["timeline"]]
    assert lines[1:] == [
        ("note", "<script>alert(1)</script> Straße gesperrt"),
        ("acknowledge", "two engines"),
    ]


# Corrections


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


# More departments


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


# Merging and splitting


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


def test_an_answer_is_readable_by_who_asked(desk: Desk) -> None:
    """Every refusal is one printable sentence without words of the program."""
    case = desk.arrive("fire")
    bring_to(desk, S.ACKNOWLEDGED, case)
    for action in STATE_ACTIONS:
        desk.ask(action, "firefighters", case, by="Bob")
    for answer in desk.rows_of(MoveRecord):
        assert answer.message.isprintable()
        assert "_" not in answer.message
        assert answer.at == BEGIN
