import json
import sqlite3
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from database_parts import migrated
from desk_parts import HERE, Desk, open_desk
from sqlalchemy.orm import Session

from console.desk.publishing import is_astray, publish, reconcile
from console.records import row_of
from console.tables import Case, Ledger, MoveRecord
from shared.board import Change, Row, changes, covers, is_open, open_rows
from shared.broker import Broker
from shared.keys import BOARD_VERSION, board_key, incident_key, open_key
from shared.moves import Action
from shared.settings import Settings
from shared.verdict import Verdict

BOARDS = ("all", "review", "firefighters", "transit-police", "police-department", "ambulance", "towing-unit")


@pytest.fixture
def desk(settings: Settings, broker: Broker) -> Iterator[Desk]:
    """A desk on an empty record."""
    with migrated(settings.database) as engine:
        yield open_desk(settings, broker, engine, sample_rate=0.0)


def published(desk: Desk) -> int:
    """Publish what is new."""
    return publish(desk.engine, desk.broker)


def put_right(desk: Desk) -> None:
    """Make the boards those of the record."""
    reconcile(desk.book, desk.engine, desk.broker)


def assert_boards_are_the_record(desk: Desk) -> None:
    """Each board has just what is open for it in the record, as it stands there."""
    with Session(desk.engine) as session:
        rows = [row_of(session, case) for case in session.query(Case)]
    for department in BOARDS:
        should = {row["case"]: row for row in rows if is_open(row, department)}
        opening = open_rows(desk.broker, department)
        assert {row["case"]: row for row in opening.rows} == should, department
    assert not is_astray(desk.engine, desk.broker)


class Console:
    """What a console makes of a board: rows by case, from the opening on, change by change."""

    def __init__(self, broker: Broker, department: str) -> None:
        self.broker, self.department = broker, department
        opening = open_rows(broker, department)
        self.version = opening.version
        self.rows: dict[str, Row] = {row["case"]: row for row in opening.rows}
        self.seen: list[Change] = []

    def follow(self) -> None:
        """Take in what has changed since."""
        while page := changes(self.broker, self.department, self.version):
            for change in page:
                assert change.version > self.version
                self.version = change.version
                self.seen.append(change)
                if change.row is not None:
                    self.rows[change.row["case"]] = change.row
                    if not is_open(change.row, self.department):
                        del self.rows[change.row["case"]]


def busy(desk: Desk) -> list[str]:
    """Cases of every kind: open, held, ended, merged, under review, and no emergency."""
    desk.arrive("fire", place=HERE)
    desk.arrive("fire", place=HERE)
    cases = [desk.arrive(word) for word in ("accident", "robbery", "altercation", "fire", "fire")]
    cases += [desk.arrive("fire", verdict=Verdict.UNSURE), desk.arrive(None, verdict=Verdict.NO_EMERGENCY)]
    desk.ask(Action.ACKNOWLEDGE, "ambulance", cases[0])
    desk.ask(Action.FALSE_ALARM, "police-department", cases[1])
    desk.ask(Action.MERGE, "firefighters", cases[3], other=cases[4])
    desk.ask(Action.ACKNOWLEDGE, "ambulance", cases[2])
    return cases


def test_boards_are_the_record(desk: Desk) -> None:
    """What is open stands on the board of each department that has it, and of `all`; nothing else does."""
    busy(desk)
    assert published(desk) == desk.rows_of(Ledger)[0].version
    assert_boards_are_the_record(desk)
    assert len(open_rows(desk.broker, "all").rows) == 5


def test_a_consolethat_follows_has_what_one_that_opens_has(desk: Desk) -> None:
    """From any moment on, changes lead to the same rows as a fresh opening."""
    consoles = {department: Console(desk.broker, department) for department in BOARDS}
    cases = busy(desk)
    published(desk)
    late = {department: Console(desk.broker, department) for department in BOARDS}
    desk.ask(Action.ACKNOWLEDGE, "firefighters", cases[4])
    desk.ask(Action.FALSE_ALARM, "towing-unit", cases[0])
    desk.tick(desk.settings.review_within_s)
    published(desk)
    for department in BOARDS:
        for console in (consoles[department], late[department]):
            console.follow()
            assert console.rows == Console(desk.broker, department).rows


def test_publishing_again_says_nothing_twice(desk: Desk) -> None:
    """Another desk, or the same once more, adds nothing to any board."""
    busy(desk)
    console = Console(desk.broker, "all")
    published(desk)
    published(desk)
    console.follow()
    versions = [change.version for change in console.seen]
    assert versions == sorted(set(versions))
    assert len({change.row["case"] for change in console.seen if change.row}) == 7


def test_a_merged_case_leaves_every_board(desk: Desk) -> None:
    """Consoles of departments that had it are told where it went."""
    one, other = desk.arrive("accident"), desk.arrive("fire")
    published(desk)
    console = Console(desk.broker, "ambulance")
    assert set(console.rows) == {one}
    desk.ask(Action.MERGE, "transit-police", one, other=other)
    published(desk)
    console.follow()
    assert set(console.rows) == {other}
    assert [
        change.row["merged_into"] for change in console.seen if change.row and change.row["case"] == one
    ] == [other]


def test_what_is_merged_and_split_at_once_leaves_no_board_behind(desk: Desk) -> None:
    """A department that had a case, and has it no longer when both are published, loses it."""
    one, other = desk.arrive("accident", verdict=Verdict.UNSURE), desk.arrive("fire")
    published(desk)
    consoles = {department: Console(desk.broker, department) for department in BOARDS}
    assert set(consoles["review"].rows) == {one}
    asked = [
        desk.ask(Action.MERGE, "transit-police", one, other=other),
        desk.ask(Action.DECIDE, "review", other, other=one, situation="fire"),
        desk.ask(Action.SPLIT, "firefighters", other, other=one),
    ]
    assert [each.reason for each in asked] == ["applied"] * 3
    assert desk.row(one)["merged_into"] == ""
    published(desk)
    assert_boards_are_the_record(desk)
    for department, console in consoles.items():
        console.follow()
        assert console.rows == Console(desk.broker, department).rows


def test_outcomes_go_to_who_asked_and_to_all(desk: Desk) -> None:
    """Whether a move was applied, or why not, stands beside the row that shows it."""
    case_id = desk.arrive("fire")
    published(desk)
    consoles = [Console(desk.broker, department) for department in ("firefighters", "all", "transit-police")]
    desk.ask(Action.ACKNOWLEDGE, "firefighters", case_id, by="Ana")
    desk.ask(Action.ACKNOWLEDGE, "firefighters", case_id, by="Bea")
    desk.ask(Action.ACKNOWLEDGE, "firefighters", "0" * 32)
    published(desk)
    told = []
    for console in consoles:
        console.follow()
        told.append([(each["by"], each["reason"]) for change in console.seen for each in change.outcomes])
    assert told[0] == told[1] == [("Ana", "applied"), ("Bea", "taken"), ("Ana", "unknown_case")]
    assert told[2] == []
    applied = next(change for change in consoles[0].seen if change.outcomes)
    assert applied.row is not None
    assert applied.row["version"] == applied.outcomes[0]["version"] == applied.version


@pytest.mark.parametrize("size", [1, 2, 1000])
def test_pages_keep_a_version_together(desk: Desk, monkeypatch: pytest.MonkeyPatch, size: int) -> None:
    """However the work is cut up, the boards come out the same."""
    monkeypatch.setattr("console.desk.publishing.PAGE", size)
    monkeypatch.setattr("console.desk.publishing._CALL_BYTES", size)
    busy(desk)
    published(desk)
    assert_boards_are_the_record(desk)
    console = Console(desk.broker, "all")
    assert console.version == desk.rows_of(Ledger)[0].version


def test_a_long_case_makes_a_bounded_row(desk: Desk) -> None:
    """Of hundreds of pictures a row has the newest, and how many there are."""
    for _ in range(40):
        desk.arrive("fire", place=HERE)
        desk.wait(1)
    published(desk)
    row = open_rows(desk.broker, "firefighters").rows[0]
    assert row["incident_count"] == 40
    assert [part["number"] for part in row["incidents"]] == [f"{number:04d}" for number in range(40, 28, -1)]
    assert len(row["timeline"]) == 12
    assert row["timeline"][-1]["text"] == "0040"


def test_a_broker_without_data_gets_what_is_open(desk: Desk) -> None:
    """Everything open stands again, with fresh versions; what had ended is not told anew."""
    busy(desk)
    published(desk)
    console = Console(desk.broker, "all")
    desk.broker.flushall()
    assert is_astray(desk.engine, desk.broker)
    assert not covers(desk.broker, "all", console.version)
    put_right(desk)
    assert_boards_are_the_record(desk)
    again: Any = desk.broker.xlen(board_key("all"))
    assert again == len(console.rows) == 5
    assert Console(desk.broker, "all").version > console.version


def test_an_older_database_goes_on_above_the_boards(desk: Desk, tmp_path: Path) -> None:
    """After a backup is restored no version comes twice, and consoles lose what is in no record any more."""
    kept, ended = desk.arrive("fire"), desk.arrive("fire")
    published(desk)
    backup = sqlite3.connect(tmp_path / "backup.db")
    live = sqlite3.connect(desk.engine.url.database or "")
    live.backup(backup)
    desk.ask(Action.ACKNOWLEDGE, "firefighters", kept)
    for department in ("firefighters", "transit-police"):
        desk.ask(Action.FALSE_ALARM, department, ended)
    lost = desk.arrive("accident")
    published(desk)
    consoles = {department: Console(desk.broker, department) for department in BOARDS}
    newest = consoles["all"].version
    assert set(consoles["all"].rows) == {kept, lost}
    backup.backup(live)
    for connection in (backup, live):
        connection.close()
    desk.engine.dispose()
    assert is_astray(desk.engine, desk.broker)
    put_right(desk)
    assert_boards_are_the_record(desk)
    for department, console in consoles.items():
        console.follow()
        assert console.rows == Console(desk.broker, department).rows
    assert set(consoles["all"].rows) == {kept, ended}
    assert consoles["ambulance"].rows == {}
    assert all(change.version > newest for change in consoles["all"].seen)
    desk.hear(lost)
    published(desk)
    consoles["ambulance"].follow()
    assert set(consoles["ambulance"].rows) == {lost}


def test_boards_without_their_number_start_above_what_stands_there(desk: Desk) -> None:
    """Streams that outlived the number of the boards do not stop the desk."""
    busy(desk)
    published(desk)
    desk.broker.delete(BOARD_VERSION)
    with desk.engine.begin() as connection:
        connection.exec_driver_sql("UPDATE ledger SET version = 2")
    put_right(desk)
    assert_boards_are_the_record(desk)


@pytest.mark.parametrize("garbage", [b"garbage", b"-3", b"", b"9" * 30, None])
def test_a_number_of_the_boards_that_is_none_is_healed(desk: Desk, garbage: bytes | None) -> None:
    """Whatever somebody else put there counts as lost: the boards are made those of the record again."""
    busy(desk)
    published(desk)
    desk.broker.delete(BOARD_VERSION)
    if garbage is None:
        desk.broker.rpush(BOARD_VERSION, "a list")
    else:
        desk.broker.set(BOARD_VERSION, garbage)
    assert is_astray(desk.engine, desk.broker)
    put_right(desk)
    assert not is_astray(desk.engine, desk.broker)
    assert_boards_are_the_record(desk)


def test_no_number_is_given_again_after_the_broker_lost_everything(desk: Desk) -> None:
    """The next picture has a number that no incident of the record has; a higher one stays."""
    desk.arrive("fire")
    for number in ("0003", "10000", "9999"):
        incident = desk.arrive("robbery")
        desk.broker.hset(incident_key(incident), mapping={"number": number, "seen_count": 2})
        desk.hear(incident)
    published(desk)
    desk.broker.flushall()
    put_right(desk)
    assert desk.broker.get("almenara:number") == b"10000"
    desk.broker.set("almenara:number", "12000")
    desk.broker.delete(BOARD_VERSION)
    put_right(desk)
    assert desk.broker.get("almenara:number") == b"12000"


def test_a_row_that_was_lost_or_invented_is_put_right(desk: Desk) -> None:
    """What differs on one board, for whatever reason, is found and told; a stranger's row goes."""
    cases = busy(desk)
    published(desk)
    consoles = {department: Console(desk.broker, department) for department in BOARDS}
    desk.broker.hdel(open_key("ambulance"), cases[0])
    stranger = consoles["all"].rows[cases[0]] | {"case": "e" * 32}
    desk.broker.hset(open_key("firefighters"), "e" * 32, json.dumps(stranger))
    desk.broker.hset(open_key("firefighters"), "f" * 32, "no row at all")
    consoles["firefighters"].rows["e" * 32] = stranger
    put_right(desk)
    assert_boards_are_the_record(desk)
    for department, console in consoles.items():
        console.follow()
        assert set(console.rows) == {row["case"] for row in open_rows(desk.broker, department).rows}


def test_boards_that_are_right_are_left_alone(desk: Desk) -> None:
    """Looking costs no version and tells consoles nothing."""
    busy(desk)
    published(desk)
    before = (desk.everything(), desk.rows_of(Ledger)[0].version)
    console = Console(desk.broker, "all")
    put_right(desk)
    console.follow()
    assert console.seen == []
    assert (desk.everything(), desk.rows_of(Ledger)[0].version) == before


def test_an_empty_record_and_an_empty_broker_agree(desk: Desk) -> None:
    """The first start has nothing to put right."""
    assert not is_astray(desk.engine, desk.broker)
    put_right(desk)
    assert published(desk) == 0
    assert desk.rows_of(MoveRecord) == []
