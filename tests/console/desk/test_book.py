import threading
from collections.abc import Iterator
from datetime import timedelta
from pathlib import Path

import pytest
from database_parts import migrated, postgresql_cluster, postgresql_url
from desk_parts import ELSEWHERE, HERE, Desk, move, open_desk
from sqlalchemy.orm import Session

from console.desk.book import Book
from console.nearness import in_box
from console.outages import outlast
from console.tables import Case, IncidentRecord, Ledger, MoveRecord
from shared.broker import Broker
from shared.coordinates import Coordinates
from shared.moves import Action, AssignmentState
from shared.settings import Settings
from shared.verdict import Verdict

FIRE = ("firefighters", "transit-police")


@pytest.fixture(scope="module")
def postgresql() -> Iterator[Path]:
    """A PostgreSQL for the module."""
    with postgresql_cluster() as folder:
        yield folder


@pytest.fixture(params=["sqlite", "postgresql"])
def desk(request: pytest.FixtureRequest, settings: Settings, broker: Broker) -> Iterator[Desk]:
    """A desk on an empty record of either kind."""
    kind = request.param
    url = settings.database if kind == "sqlite" else postgresql_url(request.getfixturevalue("postgresql"))
    with migrated(url) as engine:
        yield open_desk(settings, broker, engine)


def near(metres: float) -> Coordinates:
    """A place so far north of HERE."""
    return Coordinates(latitude_deg=HERE.latitude_deg + metres / 111_195, longitude_deg=HERE.longitude_deg)


def found(desk: Desk, place: Coordinates = HERE, after_s: float = 0, situation: str = "fire") -> str | None:
    """The case that a picture of a situation, received then and there, would join."""
    with desk.book() as book:
        at = desk.now + timedelta(seconds=after_s)
        case = book.find_case(situation, place, at, book.routing.streams(situation))
        return case.id if case else None


def test_every_change_has_a_version_of_its_own(desk: Desk) -> None:
    """Versions count up over transactions, and a case has that of its last change."""
    one, other = desk.arrive(), desk.arrive()
    before = [case.version for case in desk.rows_of(Case)]
    with desk.book() as book:
        for case_id in (other, one):
            case = book.case(case_id)
            assert case is not None
            book.write(case, "note", actor="Ana", text="look")
    after = {case.id: case.version for case in desk.rows_of(Case)}
    assert max(before) < after[other] < after[one] == desk.rows_of(Ledger)[0].version


def test_a_transaction_that_fails_leaves_nothing(desk: Desk) -> None:
    """Neither a line nor a version stays of what was undone."""
    case_id = desk.arrive()
    before = (desk.everything(), desk.rows_of(Ledger)[0].version)
    with pytest.raises(ZeroDivisionError), desk.book() as book:
        case = book.case(case_id)
        assert case is not None
        book.write(case, "note", actor="Ana")
        book.session.flush()
        raise ZeroDivisionError
    assert (desk.everything(), desk.rows_of(Ledger)[0].version) == before


def test_a_second_desk_waits_for_the_first(desk: Desk) -> None:
    """While one writes, another neither writes nor reads what it would write; then it sees all of it."""
    seen: list[int] = []
    waiting = threading.Event()

    def second() -> None:
        waiting.set()
        with desk.book() as book:
            seen.append(book.next_version())

    with desk.book() as first:
        # As desks do it: SQLite gives up after some seconds, and the first may be held up here for longer.
        thread = threading.Thread(target=lambda: outlast(second))
        thread.start()
        assert waiting.wait(30)
        thread.join(0.3)
        assert not seen
        last = first.next_version()
    thread.join(60)
    assert seen == [last + 1]


def test_who_is_assigned_stays_as_far_as_they_are(desk: Desk) -> None:
    """Assigning again changes nothing, not even the version."""
    case_id = desk.arrive()
    desk.ask(Action.ACKNOWLEDGE, "firefighters", case_id)
    before = desk.everything()
    with desk.book() as book:
        case = book.case(case_id)
        assert case is not None
        book.assign(case, "firefighters", due_at=book.now)
    assert desk.everything() == before


def test_a_picture_joins_what_is_near_in_place_and_time(desk: Desk) -> None:
    """Up to 150 m and 10 minutes from a case of its situation, before or after, and no further."""
    case_id = desk.arrive("fire", place=HERE)
    assert found(desk, near(149)) == case_id
    assert found(desk, near(152)) is None
    assert found(desk, HERE, after_s=599) == found(desk, HERE, after_s=-599) == case_id
    assert found(desk, HERE, after_s=601) is None
    assert found(desk, HERE, situation="robbery") is None


def test_the_nearest_case_is_joined(desk: Desk) -> None:
    """Of two in reach it is the closer one, whichever came first."""
    far, close = (desk.arrive("fire", place=near(metres)) for metres in (0, 200))
    assert found(desk, near(60)) == far
    assert found(desk, near(140)) == close


@pytest.mark.parametrize(
    ("here", "there"),
    [
        ((0.0, 179.9996), (0.0, -179.9996)),
        ((89.9995, 10.0), (89.9995, -170.0)),
        ((-60.0, 0.002), (-60.0, 0.0)),
    ],
    ids=["date line", "pole", "far south"],
)
def test_near_is_near_everywhere(desk: Desk, here: tuple[float, float], there: tuple[float, float]) -> None:
    """Where meridians end, or meet, two places 111 m apart are near each other as anywhere."""
    one, other = (
        Coordinates(latitude_deg=latitude, longitude_deg=longitude) for latitude, longitude in (here, there)
    )
    assert one.distance_m(other) < 150
    assert found(desk, other) is None
    assert desk.arrive("fire", place=one) == found(desk, other)


def test_the_box_is_hardly_larger_than_its_circle(desk: Desk) -> None:
    """The database does not hand out half a city to be measured."""
    desk.arrive("fire", place=near(0))
    with Session(desk.engine) as session:
        for metres, inside in ((149.0, 1), (151.0, 0)):
            box = in_box(Case.latitude_deg, Case.longitude_deg, near(metres), 150)
            assert session.query(Case).where(box).count() == inside


@pytest.mark.parametrize("action", [Action.CLOSE, Action.FALSE_ALARM])
def test_what_a_department_has_ended_is_not_joined(desk: Desk, action: Action) -> None:
    """New evidence after the end is a new alarm, even where others are still at it."""
    case_id = desk.arrive("fire", place=HERE)
    desk.ask(Action.ACKNOWLEDGE, "firefighters", case_id)
    assert found(desk) == case_id
    desk.ask(action, "firefighters", case_id)
    assert found(desk) is None


def test_what_nobody_decided_is_not_joined(desk: Desk) -> None:
    """A sure picture is an alarm of its own beside an unsure one."""
    desk.arrive("fire", verdict=Verdict.UNSURE, place=HERE)
    assert found(desk) is None


def merged(desk: Desk, one: str, other: str) -> None:
    """Merge the first case into the second."""
    with desk.book() as book:
        case, into = book.case(one), book.case(other)
        assert case is not None
        assert into is not None
        book.merge(case, into, actor="Ana")


def test_merging_loses_no_evidence(desk: Desk) -> None:
    """Pictures, lines and departments of both are in the one that stays; the other says where it went."""
    one, other = desk.arrive("accident"), desk.arrive("fire")
    desk.ask(Action.NOTE, "ambulance", one, note="two hurt")
    merged(desk, one, other)
    row = desk.row(other)
    assert {part["id"] for part in row["incidents"]} == {one, other}
    assert row["incident_count"] == 2
    assert "two hurt" in [part["text"] for part in row["timeline"]]
    assert set(desk.states(other)) == {"towing-unit", "ambulance", *FIRE}
    assert (row["opened_at"], row["situation"]) == (desk.row(one)["opened_at"], "fire")
    assert desk.row(one)["merged_into"] == other
    assert desk.row(one)["incidents"] == []
    assert [part["text"] for part in row["timeline"] if part["action"] == "merged"] == ["0001"]


def test_merging_keeps_whoever_is_further(desk: Desk) -> None:
    """Somebody who has either case has the one that stays; what is open wins over what was ended."""
    one, other = desk.arrive("fire"), desk.arrive("fire")
    for action in (Action.ACKNOWLEDGE, Action.EN_ROUTE):
        desk.ask(action, "firefighters", one, by="Ana")
    desk.ask(Action.ACKNOWLEDGE, "firefighters", other, by="Bea")
    desk.ask(Action.FALSE_ALARM, "transit-police", other, by="Cia")
    merged(desk, one, other)
    assert desk.states(other) == {"firefighters": "en_route", "transit-police": "dispatched"}
    assert desk.part(other, "firefighters")["holder"] == "Ana"
    assert desk.part(other, "transit-police")["due_at"]
    assert {part["due_at"] for part in desk.row(one)["assignments"]} == {""}


def stood_down(desk: Desk) -> str:
    """A case of a fire that turned out to be an altercation before the firefighters answered."""
    case = desk.arrive("fire")
    assert desk.ask(Action.CORRECT, "firefighters", case, situation="altercation", by="Bea").accepted
    assert desk.part(case, "firefighters")["due_at"] == ""
    return case


@pytest.mark.parametrize("stood_down_first", [True, False])
def test_merging_calls_again_who_was_not_needed(desk: Desk, stood_down_first: bool) -> None:
    """A department that one case does not need, and the other has been waiting for, is waited for."""
    before, needed = stood_down(desk), desk.arrive("fire")
    clock = desk.part(needed, "firefighters")
    case, into = (before, needed) if stood_down_first else (needed, before)
    merged(desk, case, into)
    part = desk.part(into, "firefighters")
    assert (part["due_at"], part["state_at"]) == (clock["due_at"], clock["state_at"])
    desk.tick(61)
    assert desk.part(into, "firefighters")["repeats"] == 1
    desk.tick(desk.settings.fallback_after_s)
    assert desk.lines(into, "fell_back")


@pytest.mark.parametrize("older_first", [True, False])
def test_merging_waits_no_longer_than_the_older(desk: Desk, older_first: bool) -> None:
    """Of two that nobody answered, the one that has been silent longer says when the fallback is called."""
    older = desk.arrive("robbery")
    desk.tick(desk.settings.fallback_after_s - 50)
    newer = desk.arrive("robbery")
    case, into = (older, newer) if older_first else (newer, older)
    merged(desk, case, into)
    desk.tick(51)
    assert desk.lines(into, "fell_back")


def test_merging_with_who_is_not_needed_opens_nothing_ended(desk: Desk) -> None:
    """What a department has ended stays so, where the other case does not need it either."""
    ended, before = desk.arrive("fire"), stood_down(desk)
    desk.ask(Action.FALSE_ALARM, "firefighters", ended)
    merged(desk, before, ended)
    assert desk.part(ended, "firefighters")["state"] == AssignmentState.FALSE_ALARM


@pytest.mark.parametrize(
    ("other_goes", "said"), [(False, "Bea had 0002; Ana has both"), (True, "Ana had 0001; Bea has both")]
)
def test_merging_says_who_has_it_no_longer(desk: Desk, other_goes: bool, said: str) -> None:
    """Of two people who had one each, the timeline names the one who was dropped, and by whom."""
    into, case = desk.arrive("fire"), desk.arrive("fire")
    desk.ask(Action.ACKNOWLEDGE, "firefighters", into, by="Ana")
    desk.ask(Action.ACKNOWLEDGE, "firefighters", case, by="Bea")
    if other_goes:
        desk.ask(Action.EN_ROUTE, "firefighters", case, by="Bea")
    merged(desk, case, into)
    (line,) = [line for line in desk.lines(into, "merged") if "both" in line["text"]]
    assert (line["text"], line["department"]) == (said, "firefighters")
    assert desk.part(into, "firefighters")["holder"] in said.partition(";")[2]


def test_merging_in_a_chain_leads_to_the_last(desk: Desk) -> None:
    """What went into a case goes on with it into the next, so that nobody looks in two steps."""
    cases = []
    for _ in range(3):
        cases.append(desk.arrive())
        desk.wait(1)
    first, second, third = cases
    merged(desk, first, second)
    merged(desk, second, third)
    assert desk.row(first)["merged_into"] == desk.row(second)["merged_into"] == third
    assert desk.row(third)["incident_count"] == 3
    assert [part["text"] for part in desk.lines(third, "merged")] == ["0001", "0001, 0002"]


def grouped(desk: Desk, count: int = 3, situation: str = "fire") -> tuple[str, list[str]]:
    """A case of several pictures, a second apart: its id, and theirs."""
    pictures = []
    for _ in range(count):
        pictures.append(desk.arrive(situation, place=HERE))
        desk.wait(1)
    assert {desk.case_of(picture) for picture in pictures} == {pictures[0]}
    return pictures[0], pictures


def split(desk: Desk, case_id: str, picture: str) -> str:
    """Make a picture a case of its own; which."""
    with desk.book() as book:
        case, record = book.case(case_id), book.incident(picture)
        assert case is not None
        assert record is not None
        return book.split(case, record, actor="Ana").id


def test_a_split_picture_is_a_new_alarm(desk: Desk) -> None:
    """It has its own case, and its departments have it before them as new; the rest stays as it was."""
    case_id, pictures = grouped(desk)
    desk.ask(Action.ACKNOWLEDGE, "firefighters", case_id)
    made = split(desk, case_id, pictures[1])
    assert made == pictures[1]
    assert desk.states(made) == dict.fromkeys(FIRE, "dispatched")
    assert all(part["due_at"] for part in desk.row(made)["assignments"])
    assert desk.states(case_id)["firefighters"] == "acknowledged"
    assert desk.row(case_id)["incident_count"] == 2
    assert [part["text"] for part in desk.lines(case_id, "split")] == ["0002"]
    assert [part["actor"] for part in desk.lines(made, "opened")] == ["Ana"]


def test_the_picture_that_opened_a_case_can_be_split_from_it(desk: Desk) -> None:
    """The case keeps its id for the rest, whose time and place are then its own."""
    case_id, pictures = grouped(desk)
    made = split(desk, case_id, pictures[0])
    assert made not in pictures
    assert [part["id"] for part in desk.row(made)["incidents"]] == [pictures[0]]
    assert {part["id"] for part in desk.row(case_id)["incidents"]} == set(pictures[1:])
    assert desk.row(case_id)["opened_at"] == desk.picture(pictures[1])["received_at"]


def test_splitting_undoes_merging(desk: Desk) -> None:
    """A case that was merged is itself again, with its own past."""
    one, other = desk.arrive("fire"), desk.arrive("fire")
    desk.ask(Action.NOTE, "firefighters", one, note="the first")
    merged(desk, one, other)
    assert split(desk, other, one) == one
    assert desk.row(one)["merged_into"] == ""
    assert desk.states(one) == desk.states(other) == dict.fromkeys(FIRE, "dispatched")
    assert "the first" in [part["text"] for part in desk.row(one)["timeline"]]
    assert "the first" not in [part["text"] for part in desk.row(other)["timeline"]]


def test_a_split_goes_to_who_was_told_though_the_broker_forgot(desk: Desk) -> None:
    """Where the broker has the incident no longer, everybody with the case has the new one."""
    case_id, pictures = grouped(desk)
    desk.broker.flushall()
    assert set(desk.states(split(desk, case_id, pictures[2]))) == set(FIRE)


def test_what_waits_for_review_goes_on_waiting_in_its_own_case(desk: Desk) -> None:
    """Splitting an undecided picture takes its review along, with the time it has left."""
    unsure, sure = desk.arrive("fire", verdict=Verdict.UNSURE), desk.arrive("fire")
    due_at = desk.part(unsure, "review")["due_at"]
    merged(desk, unsure, sure)
    assert desk.part(sure, "review")["due_at"] == due_at
    split(desk, sure, unsure)
    assert desk.part(unsure, "review")["due_at"] == due_at
    assert desk.part(sure, "review")["state"] == AssignmentState.CLOSED
    assert desk.part(sure, "review")["due_at"] == ""


def test_an_accepted_move_is_told_with_its_case(desk: Desk) -> None:
    """Its outcome has the version of the row that shows it; a refused one has its own."""
    case_id = desk.arrive()
    accepted = desk.ask(Action.ACKNOWLEDGE, "firefighters", case_id)
    assert accepted.version == desk.row(case_id)["version"]
    refused = desk.ask(Action.ACKNOWLEDGE, "firefighters", case_id, by="Bea")
    assert not refused.accepted
    assert refused.version > accepted.version == desk.row(case_id)["version"]


def test_a_move_that_touched_no_case_has_a_version_of_its_own(desk: Desk) -> None:
    """An outcome never has a version that was published before."""
    case_id = desk.arrive()
    before = desk.row(case_id)["version"]
    with desk.book() as book:
        asked = move(Action.NOTE, "firefighters", case_id)
        book.record(asked, accepted=True, reason="applied", message="done")
        assert book.known(asked.move_id) is not None
    assert [record.version for record in desk.rows_of(MoveRecord)] == [before + 1]


def test_an_incident_is_read_anew(desk: Desk) -> None:
    """`refresh` takes over what the broker says now, and says when it has the incident no longer."""
    picture = desk.arrive("fire", place=ELSEWHERE)
    desk.broker.hset(f"almenara:incident:{picture}", mapping={"seen_count": "3", "revision": "2"})
    with desk.book() as book:
        assert refreshed(book, picture)
    assert (desk.picture(picture)["seen_count"], desk.picture(picture)["revision"]) == (3, 2)
    desk.broker.flushall()
    with desk.book() as book:
        assert not refreshed(book, picture)
    assert desk.picture(picture)["seen_count"] == 3


def refreshed(book: Book, picture: str) -> bool:
    """Whether the broker has the incident."""
    record = book.incident(picture)
    assert isinstance(record, IncidentRecord)
    return book.refresh(record) is not None
