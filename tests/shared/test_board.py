import json
from typing import Any

import pytest

from shared.board import (
    BoardError,
    Outcome,
    Row,
    changes,
    covers,
    is_open,
    open_rows,
    streams_of,
)
from shared.broker import Broker, Script
from shared.heartbeats import DESK, beat, living
from shared.keys import BOARD_VERSION, board_key, open_key

_board = Script("board")


def row(case: str, version: int, **states: str) -> Row:
    """A case with departments in these states; an underscore in a name is a hyphen."""
    return {
        "schema_version": 1,
        "case": case * 32,
        "version": version,
        "verdict": "dispatched",
        "situation": "fire",
        "unverified": False,
        "opened_at": "",
        "last_incident_at": "",
        "latitude_deg": 1.0,
        "longitude_deg": 2.0,
        "merged_into": "",
        "incident_count": 0,
        "incidents": [],
        "assignments": [
            {
                "department": department.replace("_", "-"),
                "state": state,
                "dispatched_at": "",
                "state_at": "",
                "holder": "",
                "acknowledged_at": "",
                "due_at": "",
                "repeats": 0,
                "fallback_of": "",
            }
            for department, state in states.items()
        ],
        "timeline": [],
    }


def outcome(move_id: str, version: int) -> Outcome:
    """That of a move that was applied."""
    return {
        "move_id": move_id * 32,
        "department": "firefighters",
        "case": "a" * 32,
        "action": "acknowledge",
        "by": "Ana",
        "accepted": True,
        "reason": "applied",
        "message": "",
        "version": version,
    }


def put(
    broker: Broker, *shown: Row, outcomes: dict[int, list[Outcome]] | None = None, keep: int = 1000
) -> int:
    """Rows go on the boards of their departments and of `all`, as the desk puts them there."""
    told = outcomes or {}
    made = [
        {
            "version": each["version"],
            "department": department,
            "case": each["case"],
            "row": json.dumps(each),
            "open": is_open(each, department),
            "outcomes": json.dumps(told[each["version"]]) if each["version"] in told else "",
        }
        for each in shown
        for department in ("all", *(part["department"] for part in each["assignments"]))
    ]
    return int(_board(broker, {"keep": keep, "changes": made}))


def cases(broker: Broker, department: str) -> list[str]:
    """First letters of the cases that a board opens with."""
    return sorted(each["case"][0] for each in open_rows(broker, department).rows)


def versions(broker: Broker, department: str, after: int = 0) -> list[int]:
    """Of the changes after one."""
    return [change.version for change in changes(broker, department, after)]


def test_a_board_opens_with_what_is_open(broker: Broker) -> None:
    """What a department has finished, or never had, is not among it; `all` has every open row."""
    put(broker, row("a", 1, firefighters="dispatched", ambulance="closed"), row("b", 2, ambulance="on_scene"))
    assert (cases(broker, "firefighters"), cases(broker, "ambulance")) == (["a"], ["b"])
    assert cases(broker, "all") == ["a", "b"]
    assert open_rows(broker, "towing-unit").rows == []
    assert open_rows(broker, "firefighters").version == 2


def test_a_row_that_ends_leaves_its_board_and_says_so(broker: Broker) -> None:
    """Who follows gets the row once more, closed; who opens does not get it."""
    put(broker, row("a", 1, firefighters="dispatched", ambulance="dispatched"))
    put(broker, row("a", 2, firefighters="closed", ambulance="dispatched"))
    assert (cases(broker, "firefighters"), cases(broker, "all")) == ([], ["a"])
    (change,) = changes(broker, "firefighters", 1)
    assert change.row is not None
    assert not is_open(change.row, "firefighters")
    put(broker, row("a", 3, firefighters="closed", ambulance="false_alarm"))
    assert cases(broker, "all") == []


def test_a_merged_row_is_open_to_nobody() -> None:
    """It says where it went, and that ends it for every department."""
    merged = row("a", 1, firefighters="dispatched")
    assert is_open(merged, "firefighters")
    assert is_open(merged, "all")
    assert not is_open(merged, "ambulance")
    merged["merged_into"] = "b" * 32
    assert not is_open(merged, "firefighters")
    assert not is_open(merged, "all")


def test_changes_come_in_order_and_once(broker: Broker) -> None:
    """From any version on there are just the later ones, however often they were published."""
    rows = [row("a", number, firefighters="dispatched") for number in (3, 4, 9)]
    assert put(broker, *rows) == 9
    assert put(broker, *rows) == 9
    assert put(broker, rows[0], row("b", 12, firefighters="dispatched")) == 12
    assert versions(broker, "firefighters") == [3, 4, 9, 12]
    assert versions(broker, "firefighters", 4) == [9, 12]
    assert versions(broker, "firefighters", 12) == []


def test_an_older_change_than_what_stands_is_passed_over(broker: Broker) -> None:
    """A desk that was slow does not bring back what another has replaced."""
    put(broker, row("a", 5, firefighters="closed"))
    assert put(broker, row("a", 4, firefighters="dispatched")) == 5
    assert cases(broker, "firefighters") == []


def test_outcomes_come_with_the_row_they_made(broker: Broker) -> None:
    """One entry has both; one without a row has only what became of the move."""
    told = [outcome("d", 2)]
    put(broker, row("a", 2, firefighters="acknowledged"), outcomes={2: told})
    alone = {"version": 3, "department": "firefighters", "case": "", "row": "", "open": False}
    _board(broker, {"keep": 9, "changes": [alone | {"outcomes": json.dumps([outcome("e", 3)])}]})
    both, only = changes(broker, "firefighters", 0)
    assert (both.row and both.row["version"], both.outcomes) == (2, told)
    assert json.loads(both.row_json) == both.row
    assert (only.row, only.row_json, only.outcomes) == (None, "", [outcome("e", 3)])


def test_following_waits_for_the_next_change(broker: Broker) -> None:
    """With nothing new there is an empty page after the wait, and no error."""
    assert changes(broker, "firefighters", 0, block_ms=10) == []


def test_a_console_learns_whether_it_may_go_on(broker: Broker) -> None:
    """While every change since is there; not at its first look, nor after the broker lost its data."""
    for version in range(1, 6):
        put(broker, row("a", version, firefighters="dispatched"))
    assert not covers(broker, "firefighters", 0)
    assert covers(broker, "firefighters", 1)
    assert covers(broker, "firefighters", 5)
    assert covers(broker, "ambulance", 3)
    assert not covers(broker, "firefighters", 6)
    broker.flushall()
    assert not covers(broker, "firefighters", 5)


def test_a_console_that_was_away_too_long_opens_anew(broker: Broker, monkeypatch: pytest.MonkeyPatch) -> None:
    """Once a full board has let older changes go, who needs those does not go on as if it had them."""
    monkeypatch.setattr("shared.board.KEEP_ENTRIES", 100)
    for begin in range(1, 500, 50):
        put(
            broker,
            *(row("a", version, firefighters="dispatched") for version in range(begin, begin + 50)),
            keep=100,
        )
    oldest = versions(broker, "firefighters")[0]
    assert oldest > 1
    assert covers(broker, "firefighters", oldest)
    assert covers(broker, "firefighters", 499)
    assert not covers(broker, "firefighters", oldest - 2)


DAMAGED: dict[str, bytes] = {
    "no JSON": b"{",
    "a list": b"[]",
    "no version": b"{}",
    "another version": b'{"schema_version": 2}',
    "no UTF-8": b"\xff",
}


@pytest.mark.parametrize("damage", DAMAGED)
def test_a_row_that_is_none_is_refused(broker: Broker, damage: str) -> None:
    """A console that is too old, or reads what is no board, says so instead of guessing."""
    broker.hset(open_key("firefighters"), "a" * 32, DAMAGED[damage])
    broker.xadd(board_key("firefighters"), {"row": DAMAGED[damage]}, id="1-0")
    with pytest.raises(BoardError):
        open_rows(broker, "firefighters")
    with pytest.raises(BoardError):
        changes(broker, "firefighters", 0)


def test_damaged_outcomes_are_refused(broker: Broker) -> None:
    """What is no JSON there is the same fault."""
    broker.xadd(board_key("firefighters"), {"outcomes": "["}, id="1-0")
    with pytest.raises(BoardError, match="outcomes"):
        changes(broker, "firefighters", 0)


@pytest.mark.parametrize("key", [board_key("firefighters"), open_key("firefighters"), open_key("all")])
def test_a_key_of_another_kind_is_made_anew(broker: Broker, key: str) -> None:
    """Boards are made of the desk's record: what somebody else put in their place goes."""
    broker.set(key, "something else")
    put(broker, row("a", 1, firefighters="dispatched"))
    assert cases(broker, "firefighters") == cases(broker, "all") == ["a"]
    assert versions(broker, "firefighters") == [1]


def test_an_entry_from_the_future_does_not_silence_a_board(broker: Broker) -> None:
    """A stream that somebody else wrote to, with ids beyond any version, starts again."""
    put(broker, row("a", 1, firefighters="dispatched"))
    broker.xadd(board_key("firefighters"), {"row": "junk"})
    put(broker, row("a", 2, firefighters="acknowledged"), row("a", 3, firefighters="en_route"))
    assert versions(broker, "firefighters") == [2, 3]
    assert versions(broker, "all") == [1, 2, 3]


def test_a_call_that_failed_half_way_is_repeated_without_loss(broker: Broker) -> None:
    """Entries that stand there already, though their number does not, stay as they are."""
    put(broker, row("a", 1, firefighters="dispatched"), row("b", 2, firefighters="dispatched"))
    broker.set(BOARD_VERSION, "1")
    put(broker, row("b", 2, firefighters="dispatched"), row("c", 3, firefighters="dispatched"))
    assert versions(broker, "firefighters") == [1, 2, 3]
    assert cases(broker, "firefighters") == ["a", "b", "c"]


def test_versions_are_exact_far_beyond_any_desk(broker: Broker) -> None:
    """A version of sixteen digits is neither rounded nor written as a power of ten."""
    version = 2**53 - 1
    put(broker, row("a", version, firefighters="dispatched"))
    assert versions(broker, "firefighters") == [version]
    assert open_rows(broker, "all").version == version
    assert broker.get(BOARD_VERSION) == str(version).encode()


def test_desks_are_counted(broker: Broker) -> None:
    """Each has a key while it runs."""
    assert living(broker, DESK) == 0
    beat(broker, DESK, "one")
    beat(broker, DESK, "two")
    assert living(broker, DESK) == 2


def test_replies_of_both_protocols_are_read() -> None:
    """Lists of the old one, and the mapping with one more list of the new one, say the same."""
    entry = (b"1-0", {b"row": b"x"})
    replies: list[Any] = [[[b"board:all", [entry]]], {b"board:all": [[entry]]}, {b"board:all": [entry]}]
    for reply in replies:
        assert [(key, list(entries)) for key, entries in streams_of(reply)] == [(b"board:all", [entry])]
    assert list(streams_of(None)) == list(streams_of({})) == []
