from datetime import UTC, datetime

import pytest
from screen_parts import ROUTING, case_id, incident_part, make_row, unsure_row

from console.screen.cases import undecided
from console.screen.offers import DONE, HELP, KEYS, WORDS, key_line, offers, why_not
from console.screen.questions import decision, question
from shared.moves import ALLOWED, Action, AssignmentState

NOW = datetime(2026, 11, 24, 12, 0, 0, tzinfo=UTC)


@pytest.mark.parametrize("state", list(AssignmentState))
def test_what_is_offered_is_what_is_allowed(state: AssignmentState) -> None:
    """Of the moves of a state, exactly those of the desk's table have their key."""
    row = make_row(states={"firefighters": state.value})
    offered = offers(row, "firefighters", ROUTING, others=False)
    of_state = {action for _, action in ALLOWED}
    assert set(offered) & of_state == {action for held, action in ALLOWED if held is state}
    assert Action.NOTE in offered


def test_others_cases_are_read_only() -> None:
    """A department that was not sent the case may nothing, and nobody may on `all` without a department."""
    row = make_row(states={"ambulance": "dispatched"})
    assert offers(row, "firefighters", ROUTING, others=True) == []
    assert offers(row, "", ROUTING, others=True) == []
    assert offers(make_row(merged_into=case_id(2)), "firefighters", ROUTING, others=True) == []


def test_moves_of_a_case_need_something_to_move() -> None:
    """Merging needs another case, splitting a second picture, telling one more a department that is left."""
    row = make_row()
    assert {Action.MERGE, Action.SPLIT} & set(offers(row, "firefighters", ROUTING, others=False)) == set()
    two = make_row(incidents=[incident_part(2, NOW), incident_part(1, NOW)])
    assert {Action.MERGE, Action.SPLIT} <= set(offers(two, "firefighters", ROUTING, others=True))
    told = make_row(states=dict.fromkeys(ROUTING.departments, "dispatched"))
    assert Action.ADD_DEPARTMENT not in offers(told, "firefighters", ROUTING, others=False)


def test_a_reviewer_decides_and_notes() -> None:
    """Nobody can acknowledge or close a review; it stays decidable when it is decided."""
    for state in ("dispatched", "closed"):
        row = make_row(verdict="unsure", states={"review": state})
        assert offers(row, "review", ROUTING, others=True) == [Action.DECIDE, Action.NOTE]


def test_every_move_has_a_key_and_words() -> None:
    """No key means two moves, and the help has them all."""
    assert set(KEYS.values()) == set(Action) - {Action.DECIDE}
    assert set(WORDS) == set(DONE) == set(Action)
    assert set(KEYS) <= {key for key, _ in HELP}


@pytest.mark.parametrize("width", [40, 80, 200])
def test_the_keys_fit_the_screen(width: int) -> None:
    """The last lines name the keys that do something, each with its word on one line."""
    text = key_line(list(KEYS.values()), department_digits=True, muted=True, width=width)
    lines = text.plain.splitlines()
    assert max(len(line.rstrip()) for line in lines) <= width
    assert "x correct  " in text.plain
    assert "m sound" in text.plain
    assert not any(line.startswith(" ") for line in lines)


def test_keys_that_do_nothing_are_not_named() -> None:
    """Without a case there is nothing to acknowledge."""
    assert key_line([], department_digits=False, muted=False, width=80).plain.split("  ") == [
        "/ filter",
        "m mute",
        "? help",
        "q quit",
        "",
    ]


def test_a_reason_for_a_key_that_does_nothing() -> None:
    """Who presses it is told what stands in the way."""
    held = make_row(states={"firefighters": "acknowledged"})
    assert why_not(held, Action.ACKNOWLEDGE, "firefighters") == (
        "0001 is acknowledged by Ana: acknowledge is not possible"
    )
    assert "first press the digit" in why_not(held, Action.CLOSE, "")
    assert "was not sent to" in why_not(held, Action.CLOSE, "ambulance")
    assert "merged" in why_not(make_row(merged_into=case_id(2)), Action.CLOSE, "firefighters")


def test_a_correction_offers_the_other_situations() -> None:
    """It names the picture and the revision that the person saw."""
    asked = question(make_row(), Action.CORRECT, ROUTING, [], NOW)
    assert asked is not None
    assert [word for word, _ in asked.choices] == [word for word in ROUTING.situations if word != "fire"]
    assert asked.more == {"other": case_id(1), "revision": 1}


def test_another_department_is_one_that_was_not_told() -> None:
    """Those that were sent the case are not in the list."""
    asked = question(make_row(), Action.ADD_DEPARTMENT, ROUTING, [], NOW)
    assert asked is not None
    assert {word for word, _ in asked.choices} == {*ROUTING.departments} - {"firefighters", "transit-police"}


def test_the_closest_case_is_the_first_to_merge_with() -> None:
    """Distances are in metres, then in kilometres."""
    near = make_row(2, latitude_deg=33.8569)
    far = make_row(3, latitude_deg=33.9568)
    asked = question(make_row(1), Action.MERGE, ROUTING, [far, near], NOW)
    assert asked is not None
    assert [case for case, _ in asked.choices] == [case_id(2), case_id(3)]
    assert "11 m away" in asked.choices[0][1]
    assert "11.1 km away" in asked.choices[1][1]


def test_what_needs_nothing_is_not_asked() -> None:
    """An acknowledgement is one key."""
    assert question(make_row(), Action.ACKNOWLEDGE, ROUTING, [], NOW) is None


def test_a_reviewer_decides_what_is_undecided() -> None:
    """In a case of several pictures it is the oldest one that nobody decided, whatever joins meanwhile."""
    pictures = [
        incident_part(4, NOW, verdict="unsure"),
        incident_part(3, NOW, verdict="dispatched", decided_by="Eva"),
        incident_part(2, NOW, verdict="unsure", decided_by="desk", revision=2),
        incident_part(1, NOW, verdict="dispatched"),
    ]
    row = unsure_row(1, incidents=pictures)
    assert decision(row, "fire") == {"situation": "fire", "other": case_id(2), "revision": 2}
    found = undecided(make_row(1, incidents=pictures[3:]))
    assert found is not None and found["id"] == case_id(1)
