import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from shared.broker import Broker
from shared.keys import moves_key
from shared.moves import (
    ALLOWED,
    CASE_ACTIONS,
    NOTE_MAX_CHARACTERS,
    OPEN_STATES,
    Action,
    AssignmentState,
    Move,
    MoveError,
    allowed,
    append,
    clean_note,
    new_move_id,
)

SOUND: dict[str, Any] = {
    "move_id": "a" * 32,
    "department": "firefighters",
    "case": "b" * 32,
    "action": Action.NOTE,
    "by": "Ana",
    "at": "2026-11-24T10:02:03.000000Z",
    "note": "two hurt",
}


def made(**changes: Any) -> Move:
    """A sound move, but for the changes."""
    return Move(**SOUND | changes)


def text_of(**changes: Any) -> str:
    """Its JSON, with fields changed or, by None, left out."""
    record = json.loads(made().encode()) | changes
    return json.dumps({word: value for word, value in record.items() if value is not None})


def test_a_move_is_read_as_it_was_written() -> None:
    """Every field comes through the stream, and the department is that of the stream."""
    full = {"situation": "fire", "to": "ambulance", "other": "c" * 32, "revision": 3, "seen": 12}
    move = made(action=Action.DECIDE, **full)
    assert Move.decode("firefighters", move.encode()) == move
    assert Move.decode("firefighters", move.encode().encode()) == move


def test_a_move_is_that_of_the_stream_it_stands_in() -> None:
    """No text makes a move another department's."""
    assert "department" not in json.loads(made().encode())
    with pytest.raises(MoveError):
        Move.decode("ambulance", text_of(department="firefighters"))
    assert Move.decode("ambulance", made().encode()).department == "ambulance"


REFUSED: dict[str, dict[str, Any]] = {
    "another version": {"schema_version": 2},
    "no version": {"schema_version": None},
    "no id": {"move_id": None},
    "a short id": {"move_id": "abc"},
    "an id in capitals": {"move_id": "A" * 32},
    "an id that is a number": {"move_id": 7},
    "a case that is a path": {"case": "../" * 10 + "ab"},
    "an unknown action": {"action": "burn"},
    "nobody": {"by": ""},
    "a name of escape codes": {"by": "\x1b[31mAna"},
    "a name too long": {"by": "a" * 65},
    "a note too long": {"note": "x" * (NOTE_MAX_CHARACTERS + 1)},
    "a note that is a list": {"note": ["x"]},
    "an unknown field": {"colour": "red"},
    "a revision that is text": {"revision": "3"},
    "a version that is text": {"seen": "3"},
    "a version that is negative": {"seen": -1},
    "another that is no id": {"other": "<script>"},
}


@pytest.mark.parametrize("fault", REFUSED)
def test_what_is_no_move_is_refused(fault: str) -> None:
    """Whatever is wrong with an entry ends in this one error."""
    with pytest.raises(MoveError):
        Move.decode("firefighters", text_of(**REFUSED[fault]))


@pytest.mark.parametrize("text", [b"", b"{", b"\xff", b"[]", b"7", b"[" * 5000, b"{" + b" " * 9000 + b"}"])
def test_what_is_no_record_is_refused(text: bytes) -> None:
    """Bytes of any kind and length end in that error too."""
    with pytest.raises(MoveError):
        Move.decode("firefighters", text)


@pytest.mark.parametrize(
    ("action", "lacks"),
    [
        (Action.NOTE, "note"),
        (Action.CORRECT, "situation"),
        (Action.ADD_DEPARTMENT, "to"),
        (Action.MERGE, "other"),
        (Action.SPLIT, "other"),
        (Action.DECIDE, "situation"),
    ],
)
def test_a_move_has_what_its_action_needs(action: Action, lacks: str) -> None:
    """Without it, the message names what is missing."""
    needed = {"situation": "fire", "to": "ambulance", "other": "c" * 32}
    assert made(action=action, **needed).action is action
    with pytest.raises(MoveError, match=lacks):
        made(action=action, **needed | {lacks: ""})


def test_a_note_too_long_says_how_long_it_may_be() -> None:
    """It is refused, not cut: nobody loses the end of what they wrote without knowing."""
    with pytest.raises(MoveError, match="at most 500") as caught:
        made(note="x" * 501)
    assert caught.value.reason == "note_too_long"


@given(st.text(max_size=700))
def test_a_cleaned_note_is_one_printable_line(text: str) -> None:
    """Whatever is written, no control, bidirectional or line character is left; cleaning twice is once."""
    cleaned = clean_note(text)
    assert cleaned.isprintable()
    assert cleaned == clean_note(cleaned) == cleaned.strip()


def test_cleaning_keeps_what_people_write() -> None:
    """Words of any language stay; what would move a terminal's cursor or turn text round goes."""
    assert (
        clean_note(" Él  está\n\there, 2º piso, 火事 \u202eevil\x1b[2J\x07 ")
        == "Él está here, 2º piso, 火事 evil[2J"
    )


def test_every_state_can_be_left_and_reached() -> None:
    """The table has no dead end, and each state but the first is some move's."""
    assert {state for state, _ in ALLOWED} == set(AssignmentState)
    assert set(ALLOWED.values()) == set(AssignmentState)


def test_open_states_are_those_that_are_not_reopened() -> None:
    """What ended can only be reopened, and that leads to the beginning."""
    assert set(AssignmentState) - OPEN_STATES == {AssignmentState.CLOSED, AssignmentState.FALSE_ALARM}
    for state in set(AssignmentState) - OPEN_STATES:
        assert allowed(state) == [Action.REOPEN]
        assert ALLOWED[state, Action.REOPEN] is AssignmentState.DISPATCHED


def test_only_one_can_acknowledge() -> None:
    """Of two that acknowledge, the second finds a state in which that is no move."""
    assert ALLOWED[AssignmentState.DISPATCHED, Action.ACKNOWLEDGE] is AssignmentState.ACKNOWLEDGED
    assert Action.ACKNOWLEDGE not in allowed(AssignmentState.ACKNOWLEDGED)


def test_every_action_is_about_an_assignment_or_about_the_case() -> None:
    """No action is both or neither."""
    assert {action for _, action in ALLOWED} | CASE_ACTIONS == set(Action)
    assert {Action.DECIDE, Action.NOTE, Action.MERGE} <= CASE_ACTIONS


def test_appending_hands_it_to_the_desk(broker: Broker) -> None:
    """The entry stands in the department's own stream, and is the move."""
    entry_id = append(broker, made())
    entries: Any = broker.xrange(moves_key("firefighters"))
    ((stands, fields),) = entries
    assert stands.decode() == entry_id
    assert Move.decode("firefighters", fields[b"move"]) == made()


def test_move_ids_do_not_repeat() -> None:
    """Each is 32 hexadecimal digits, and another one."""
    ids = {new_move_id() for _ in range(100)}
    assert len(ids) == 100
    assert all(made(move_id=move_id) for move_id in ids)
