"""Moves of the table: who may ask for what, and what becomes of it."""

from collections.abc import Iterator
from dataclasses import replace
from typing import Any

import pytest
import structlog
from database_parts import migrated
from desk_parts import BEGIN, Desk, move, open_desk
from moving_parts import A, S, bring_to, without_moves

from console.desk import moves
from console.tables import MoveRecord
from shared.broker import Broker
from shared.moves import ALLOWED, CASE_ACTIONS, Action, AssignmentState
from shared.settings import Settings
from shared.verdict import Verdict

STATE_ACTIONS = [action for action in Action if action not in CASE_ACTIONS]


CELLS = [(state, action) for state in AssignmentState for action in STATE_ACTIONS]


@pytest.fixture
def desk(settings: Settings, broker: Broker) -> Iterator[Desk]:
    """A desk on an empty record."""
    with migrated(settings.database) as engine:
        yield open_desk(settings, broker, engine)


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
