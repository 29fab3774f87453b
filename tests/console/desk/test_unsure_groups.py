"""Pictures of one place that the model is unsure of: one row, one call, a counter, and each picture kept."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from database_parts import migrated, postgresql_cluster, postgresql_url
from desk_parts import FOG, HERE, Desk, open_desk

from console.desk import clock, feed, reviews
from console.desk.publishing import publish
from console.tables import Assignment, Case, IncidentRecord
from shared.board import ROW_INCIDENTS, open_rows
from shared.broker import Broker
from shared.coordinates import Coordinates
from shared.incidents import all_ids, iso
from shared.keys import incident_key
from shared.moves import Action
from shared.settings import Settings
from shared.verdict import Verdict

FIRE = ("firefighters", "transit-police")
CRASH = {"fire": 0.3, "accident": 0.2}


@pytest.fixture(scope="module")
def postgresql() -> Iterator[Path]:
    """A PostgreSQL for the module."""
    with postgresql_cluster() as folder:
        yield folder


@pytest.fixture
def desk(settings: Settings, broker: Broker) -> Iterator[Desk]:
    """A desk on an empty record that samples nothing."""
    with migrated(settings.database) as engine:
        yield open_desk(settings, broker, engine, sample_rate=0.0)


@pytest.fixture(params=["sqlite", "postgresql"])
def either(request: pytest.FixtureRequest, settings: Settings, broker: Broker) -> Iterator[Desk]:
    """The same, on a record of either kind."""
    kind = request.param
    url = settings.database if kind == "sqlite" else postgresql_url(request.getfixturevalue("postgresql"))
    with migrated(url) as engine:
        yield open_desk(settings, broker, engine, sample_rate=0.0)


def near(metres: float) -> Coordinates:
    """A place so far north of HERE."""
    return Coordinates(latitude_deg=HERE.latitude_deg + metres / 111_195, longitude_deg=HERE.longitude_deg)


def groups(desk: Desk) -> dict[str, list[str]]:
    """case -> numbers of its pictures, of every case."""
    found: dict[str, list[str]] = {}
    for record in sorted(desk.rows_of(IncidentRecord), key=lambda each: str(each.number)):
        found.setdefault(record.case_id, []).append(record.number)
    return found


def shape(desk: Desk) -> list[tuple[Any, ...]]:
    """What every case is: its pictures, what it shows, and who has it."""
    return sorted(
        (
            numbers,
            desk.row(case)["situation"],
            desk.row(case)["verdict"],
            desk.row(case)["unverified"],
            sorted(desk.states(case).items()),
            desk.part(case, "review")["due_at"],
        )
        for case, numbers in groups(desk).items()
    )


def gone_out(desk: Desk, count: int = 1) -> str:
    """A case of so many pictures that nobody decided in time."""
    (case, *_) = desk.unsure(count)
    desk.tick(120)
    assert desk.row(case)["unverified"]
    return case


# One row


@pytest.mark.timeout(600)  # some thousand round trips
def test_a_camera_in_fog_makes_one_row_and_one_call(either: Desk) -> None:
    """500 unsure pictures of one place, one every 5 s: the departments are called once, and each is kept."""
    desk = either
    first = desk.unsure(24, every_s=5)[0]
    desk.tick()
    called_at = desk.part(first, "firefighters")["dispatched_at"]
    for department in FIRE:
        for action in (Action.ACKNOWLEDGE, Action.ON_SCENE):
            assert desk.ask(action, department, first).accepted
    while len(desk.arrived) < 500:
        desk.unsure(min(24, 500 - len(desk.arrived)), every_s=5)
        desk.tick()
    desk.tick(120)
    assert [len(numbers) for numbers in groups(desk).values()] == [500]
    assert desk.row(first)["incident_count"] == 500
    assert desk.states(first) == {"review": "dispatched"} | dict.fromkeys(FIRE, "on_scene")
    assert desk.part(first, "firefighters")["dispatched_at"] == called_at
    assert len(desk.rows_of(Case)) == 1
    told = [each.data["incident_id"] for each in desk.told("firefighters")]
    assert sorted(told) == sorted(desk.arrived)
    assert {desk.in_broker(each).fields["unverified"] for each in desk.arrived} == {"1"}


def test_two_places_are_two_rows(desk: Desk) -> None:
    """151 m apart, or 10 minutes: another emergency, and a call of its own."""
    (here,) = desk.unsure()
    (there,) = desk.unsure(place=near(152))
    assert desk.case_of(desk.unsure(place=near(149))[0]) == there
    desk.wait(601)
    (later,) = desk.unsure()
    assert [len(numbers) for numbers in groups(desk).values()] == [1, 2, 1]
    desk.tick(120)
    for case in (here, there, later):
        assert desk.states(case)["firefighters"] == "dispatched"


def test_another_guess_is_another_row(desk: Desk) -> None:
    """What most likely is a robbery does not hide behind what most likely is a fire."""
    desk.unsure()
    desk.unsure(guess={"robbery": 0.4, "fire": 0.1})
    assert [len(numbers) for numbers in groups(desk).values()] == [1, 1]


def test_whom_only_a_later_picture_concerns_is_called_to_the_row(desk: Desk) -> None:
    """The same guess with a second one behind it: one row, and who is missing in it is called."""
    case = gone_out(desk)
    for department in FIRE:
        desk.ask(Action.ACKNOWLEDGE, department, case)
    (later,) = desk.unsure(guess=CRASH)
    assert desk.case_of(later) == case
    assert "ambulance" not in desk.states(case)
    desk.tick(120)
    assert desk.states(case)["ambulance"] == "dispatched"
    assert desk.states(case)["firefighters"] == "acknowledged"


def test_pictures_that_nobody_can_guess_at_are_one_row(desk: Desk) -> None:
    """A camera whose pictures no model could look at calls the fallback of review once."""
    (case, *_) = desk.unsure(5, guess={})
    desk.tick(120)
    assert groups(desk) == {case: [f"{number:04d}" for number in range(1, 6)]}
    assert desk.states(case) == {"review": "dispatched", "police-department": "dispatched"}


def test_a_guess_that_only_scores_tell_groups_too(desk: Desk) -> None:
    """A worker that names no situation beside its scores: the likeliest of them counts."""
    cases = [desk.arrive(None, verdict=Verdict.UNSURE, scores={"robbery": 0.6}, place=HERE) for _ in range(3)]
    assert {desk.case_of(case) for case in cases} == {cases[0]}
    assert desk.row(cases[0])["situation"] == "robbery"


def test_a_sure_picture_is_not_hidden_among_unsure_ones(desk: Desk) -> None:
    """It calls at once, on a row of its own; nor do unsure ones stay unreviewed in it."""
    case = gone_out(desk)
    sure = desk.arrive("fire", place=HERE)
    (unsure,) = desk.unsure()
    assert (desk.case_of(sure), desk.case_of(unsure)) == (sure, case)


# Review


def test_a_reviewer_has_one_row_that_counts(desk: Desk) -> None:
    """Before it goes out too: the time is that of the first picture, and another does not make it later."""
    (case,) = desk.unsure()
    desk.wait(97)
    desk.unsure(3, every_s=1)
    publish(desk.engine, desk.broker)
    [row] = open_rows(desk.broker, "review").rows
    assert (row["case"], row["incident_count"]) == (case, 4)
    assert desk.due() == 20
    assert [line["text"] for line in desk.lines(case, "joined")] == ["0002", "0003", "0004"]
    desk.tick(20)
    [line] = desk.lines(case, "failed_open")
    assert line["text"] == "0001, 0002, 0003, 0004 UNVERIFIED to Firefighters and Transit Police"


def test_what_joins_a_row_that_went_out_has_its_own_time(desk: Desk) -> None:
    """Departments see it at once, and are told of it by a dispatch after 120 s undecided."""
    case = gone_out(desk)
    (later,) = desk.unsure()
    assert [each["id"] for each in desk.row(case)["incidents"]][-1] == case
    assert desk.row(case)["incident_count"] == 2
    assert desk.part(case, "review")["due_at"] == "2026-11-24T12:04:00.000000Z"
    desk.tick(119)
    assert desk.revisions_told("firefighters", later) == []
    desk.tick(1)
    assert desk.revisions_told("firefighters", later) == [2]
    assert desk.revisions_told("firefighters", case) == [2]
    assert [line["text"].split()[0] for line in desk.lines(case, "failed_open")] == ["0001", "0002"]
    assert desk.part(case, "review")["due_at"] == ""


def test_who_decides_in_time_is_not_overtaken_by_the_next_picture(desk: Desk) -> None:
    """A decided picture's time is over with it: each that is left has waited 120 s before it goes out."""
    (first,) = desk.unsure()
    desk.wait(100)
    (second,) = desk.unsure()
    desk.wait(10)
    decide = {"other": first, "situation": "normal"}
    assert desk.ask(Action.DECIDE, "review", desk.case_of(first), **decide).accepted
    assert desk.due() == 110
    desk.tick(109)
    assert "firefighters" not in desk.states(desk.case_of(second))
    desk.tick(1)
    assert desk.states(desk.case_of(second))["firefighters"] == "dispatched"


def test_a_row_has_the_oldest_undecided_picture_however_many_joined(desk: Desk) -> None:
    """Reviewers decide the oldest, which stays before them; the newest are there for all."""
    (case, *_) = desk.unsure(30, every_s=1)
    publish(desk.engine, desk.broker)
    [row] = open_rows(desk.broker, "review").rows
    numbers = [f"{number:04d}" for number in range(30, 30 - ROW_INCIDENTS, -1)]
    assert [each["number"] for each in row["incidents"]] == [*numbers, "0001"]
    desk.ask(Action.DECIDE, "review", case, other=case, situation="normal")
    publish(desk.engine, desk.broker)
    [row] = open_rows(desk.broker, "review").rows
    assert [each["number"] for each in row["incidents"]] == [*numbers, "0002"]


# What has ended


@pytest.mark.parametrize("action", [Action.CLOSE, Action.FALSE_ALARM])
def test_what_comes_after_the_end_calls_again(desk: Desk, action: Action) -> None:
    """New evidence never disappears in a row that a department has ended: it has one of its own."""
    case = gone_out(desk)
    desk.ask(Action.ACKNOWLEDGE, "firefighters", case)
    assert desk.ask(action, "firefighters", case).accepted
    desk.wait(1)
    later = desk.unsure(3)
    assert {desk.case_of(each) for each in later} == {later[0]}
    assert desk.states(case)["firefighters"] == ("closed" if action is Action.CLOSE else "false_alarm")
    desk.tick(120)
    assert desk.states(later[0]) == {"review": "dispatched"} | dict.fromkeys(FIRE, "dispatched")


def test_who_ended_it_with_a_picture_before_them_is_not_called_again_for_that(desk: Desk) -> None:
    """It had joined and they saw it: its time runs out without another alarm, and reviewers still have it."""
    case = gone_out(desk)
    desk.wait(10)
    (later,) = desk.unsure()
    desk.wait(10)
    desk.ask(Action.FALSE_ALARM, "firefighters", case, seen=desk.row(case)["version"])
    desk.tick(110)
    assert desk.states(case)["firefighters"] == "false_alarm"
    assert desk.revisions_told("firefighters", later) == [2]
    assert desk.states(case)["review"] == "dispatched"


def test_who_reopens_has_new_pictures_in_the_row_again(desk: Desk) -> None:
    """As with sure ones: what is open is joined."""
    case = gone_out(desk)
    desk.ask(Action.FALSE_ALARM, "firefighters", case)
    desk.ask(Action.REOPEN, "firefighters", case)
    assert desk.case_of(desk.unsure()[0]) == case


# Stops and repeats


def test_the_same_read_again_changes_nothing(desk: Desk) -> None:
    """However often the streams are read from their beginning."""
    gone_out(desk, 5)
    desk.unsure(3)
    before = desk.everything()
    for incident in desk.arrived:
        desk.hear(incident)
    assert desk.everything() == before


def test_a_rebuilt_record_has_the_same_groups(either: Desk) -> None:
    """From the broker alone: the same rows with the same pictures, called by the same departments."""
    desk = either
    for count, more in (
        (4, {}),
        (2, {"place": near(400), "guess": CRASH}),
        (2, {"guess": {"robbery": 0.4}}),
        (2, {"guess": CRASH}),
    ):
        desk.unsure(count, every_s=1, **more)
        desk.tick(120)
    desk.unsure(3, guess={}, every_s=1)
    before, cases = shape(desk), set(groups(desk))
    desk.forget()
    with desk.book() as book:
        feed.apply(book, feed.fetch(desk.broker, all_ids(desk.broker)))
    assert shape(desk) == before
    assert set(groups(desk)) == cases
    desk.tick(120)
    desk.tick(120)
    for incident in desk.arrived:
        assert len(desk.revisions_told("transit-police", incident)) <= 1


def test_hundreds_at_once_after_a_stop_are_one_call(desk: Desk, monkeypatch: pytest.MonkeyPatch) -> None:
    """They go out a page at a time, the oldest first, each once; the first page calls the departments."""
    monkeypatch.setattr(reviews, "PAGE", 20)
    (case, *_) = desk.unsure(50, every_s=1)
    desk.wait(7200)
    for expected in (20, 40, 50):
        desk.tick()
        assert len(desk.told("firefighters")) == expected
        assert len(desk.rows_of(Assignment)) == 3
    assert desk.part(case, "review")["due_at"] == ""
    assert [line["text"].partition(" UNVERIFIED")[0] for line in desk.lines(case, "failed_open")] == [
        "0001 to 0020 (20 pictures)",
        "0021 to 0040 (20 pictures)",
        "0041, 0042, 0043, 0044, 0045, 0046, 0047, 0048, 0049, 0050",
    ]


def test_a_desk_that_died_while_a_row_went_out_tells_nobody_twice(desk: Desk) -> None:
    """What stands in the broker already is not said again, by the next tick or by another desk's."""
    (case, *_) = desk.unsure(3)
    desk.wait(120)
    for _ in range(2):
        with pytest.raises(ZeroDivisionError), desk.book() as book:
            clock.tick(book)
            raise ZeroDivisionError
    desk.tick(1)
    assert sorted(each.data["incident_id"] for each in desk.told("firefighters")) == sorted(desk.arrived)
    assert len(desk.lines(case, "failed_open")) == 1


def test_one_that_the_broker_has_no_longer_does_not_keep_the_others(desk: Desk) -> None:
    """It goes out on the boards alone, the others with their dispatches."""
    (case, *others) = desk.unsure(3)
    desk.broker.delete(incident_key(case))
    desk.tick(120)
    assert {each.data["incident_id"] for each in desk.told("firefighters")} == set(others)
    assert desk.states(case)["firefighters"] == "dispatched"


# People


def test_what_a_person_split_off_stays_apart(desk: Desk) -> None:
    """It goes out as a row of its own, and nothing puts it back."""
    case, *_, last = desk.unsure(3)
    assert desk.ask(Action.SPLIT, "review", case, other=last).accepted
    desk.tick(120)
    assert [len(numbers) for numbers in groups(desk).values()] == [2, 1]
    assert (
        desk.states(last) == desk.states(case) == {"review": "dispatched"} | dict.fromkeys(FIRE, "dispatched")
    )
    desk.unsure()
    assert sorted(len(numbers) for numbers in groups(desk).values()) in ([1, 3], [2, 2])


def test_two_rows_that_a_person_merges_are_one(desk: Desk) -> None:
    """One that waits goes into one that went out, and no later than alone."""
    case = gone_out(desk)
    (other,) = desk.unsure(place=near(500))
    desk.wait(30)
    assert desk.ask(Action.MERGE, "review", other, other=case).accepted
    assert desk.row(case)["unverified"]
    assert desk.part(case, "review")["due_at"] == "2026-11-24T12:04:00.000000Z"
    desk.tick(90)
    assert desk.revisions_told("firefighters", other) == [2]
    assert desk.part(case, "firefighters")["state"] == "dispatched"


def test_scores_of_the_fog_are_a_fires() -> None:
    """What these tests call a fire, perhaps, has no second guess."""
    assert FOG["accident"] < FOG["fire"] / 2 < CRASH["accident"]


def test_fog_that_lasts_calls_again(desk: Desk, monkeypatch: pytest.MonkeyPatch) -> None:
    """An hour after its first picture, or with so many, a row takes no further ones: the next has its own."""
    case = desk.unsure()[0]
    for _ in range(6):
        desk.tick(590)
        (later,) = desk.unsure()
        assert desk.case_of(later) == case
    desk.tick(590)
    (later,) = desk.unsure()
    assert desk.case_of(later) == later
    monkeypatch.setattr("console.desk.grouping.MOST_UNSURE", 1)
    (other,) = desk.unsure()
    assert desk.case_of(other) == other


def test_what_joins_a_row_that_went_out_is_news_to_reviewers(desk: Desk) -> None:
    """Their consoles ring for an assignment that began now, not for one that has been there."""
    case = gone_out(desk)
    desk.tick(40)
    desk.unsure(2)
    assert desk.part(case, "review")["state_at"] == iso(desk.now)
