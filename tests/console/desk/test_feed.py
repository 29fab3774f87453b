from collections.abc import Iterator
from datetime import timedelta
from typing import Any

import pytest
import structlog
from conftest import make_photograph
from database_parts import migrated
from desk_parts import BEGIN, HERE, Desk, open_desk
from sqlalchemy.orm import Session

from console.desk import feed
from console.tables import Case, IncidentRecord
from ingest.admission import admit
from shared.broker import Broker
from shared.incidents import all_ids, iso
from shared.keys import CHANGED, INCIDENTS, incident_key
from shared.moves import Action
from shared.settings import Settings
from shared.verdict import Verdict

NORMAL = {"normal": 0.97, "fire": 0.03}


@pytest.fixture
def desk(settings: Settings, broker: Broker) -> Iterator[Desk]:
    """A desk on an empty record, that samples nothing."""
    with migrated(settings.database) as engine:
        yield open_desk(settings, broker, engine, sample_rate=0.0)


def change(desk: Desk, incident: str, **fields: str) -> None:
    """The broker's record of an incident changes, and the desk hears of it."""
    everything: dict[Any, Any] = dict(fields)
    desk.broker.hset(incident_key(incident), mapping=everything)
    desk.hear(incident)


def forget(desk: Desk) -> None:
    """The record is a new one; the broker has what it had."""
    with desk.engine.begin() as connection:
        for table in reversed(Case.metadata.sorted_tables):
            if table.name != "ledger":
                connection.execute(table.delete())


def actions(desk: Desk, case_id: str) -> list[str]:
    """What happened to a case, in order."""
    return [part["action"] for part in desk.row(case_id)["timeline"]]


def test_a_dispatched_incident_opens_a_case(desk: Desk) -> None:
    """Each department that was told has it before it, and the clock runs."""
    case_id = desk.arrive("accident")
    row = desk.row(case_id)
    assert (row["situation"], row["verdict"], row["unverified"]) == ("accident", "dispatched", False)
    assert desk.states(case_id) == dict.fromkeys(("towing-unit", "ambulance", "transit-police"), "dispatched")
    due_at = iso(BEGIN + timedelta(seconds=desk.settings.acknowledge_within_s))
    assert {part["due_at"] for part in row["assignments"]} == {due_at}
    assert actions(desk, case_id) == ["opened"]
    picture = row["incidents"][0]
    assert (picture["number"], picture["label"], picture["confidence"]) == ("0001", "cam 7", 0.8)
    assert picture["scores"] == {"accident": 0.8, "normal": 0.2}


def test_an_incident_is_in_the_record_once(desk: Desk) -> None:
    """Hearing of it again, or of everything again, changes nothing."""
    for situation in ("fire", "robbery", None):
        verdict = Verdict.DISPATCHED if situation else Verdict.NO_EMERGENCY
        desk.arrive(situation, verdict=verdict)
    before = desk.everything()
    for incident in [*desk.arrived, *desk.arrived]:
        desk.hear(incident)
    assert desk.everything() == before


def test_a_repeat_joins_without_a_new_alarm(desk: Desk) -> None:
    """One row, a counter, each picture kept; who has it still has it."""
    case_id = desk.arrive("fire", place=HERE)
    desk.ask(Action.ACKNOWLEDGE, "firefighters", case_id)
    desk.wait(60)
    picture = desk.arrive("fire", place=HERE)
    assert desk.case_of(picture) == case_id
    row = desk.row(case_id)
    assert (row["incident_count"], row["last_incident_at"]) == (2, iso(desk.now))
    assert [part["number"] for part in row["incidents"]] == ["0002", "0001"]
    assert desk.part(case_id, "firefighters")["holder"] == "Ana"
    assert desk.part(case_id, "transit-police")["repeats"] == 0
    assert actions(desk, case_id) == ["opened", "acknowledge", "joined"]


def test_many_at_once_are_grouped_as_one_after_another(desk: Desk) -> None:
    """Pictures that come in one page find the case that the page itself opened."""
    for _ in range(6):
        desk.arrive("fire", place=HERE)
    one_by_one = [desk.case_of(incident) for incident in desk.arrived]
    assert one_by_one == [desk.arrived[0]] * 6
    incidents = desk.arrived
    forget(desk)
    with desk.book() as book:
        assert feed.apply(book, feed.fetch(desk.broker, incidents)) == 6
    assert [desk.case_of(incident) for incident in incidents] == one_by_one


def test_joining_calls_departments_that_are_missing(desk: Desk) -> None:
    """A picture that was sent to one more department brings it into the case."""
    first, second = desk.arrive("fire", place=HERE), desk.arrive("fire", place=HERE)
    forget(desk)
    desk.hear(first)
    change(desk, second, departments="firefighters,ambulance")
    assert desk.case_of(second) == first
    assert set(desk.states(first)) == {"firefighters", "transit-police", "ambulance"}


def test_an_unsure_incident_waits_for_a_person(desk: Desk) -> None:
    """It has a case of its own, with reviewers, and a time at which it goes out all the same."""
    desk.arrive("fire", place=HERE)
    case_id = desk.arrive("fire", verdict=Verdict.UNSURE, place=HERE)
    assert desk.states(case_id) == {"review": "dispatched"}
    due_at = iso(BEGIN + timedelta(seconds=desk.settings.review_within_s))
    assert desk.part(case_id, "review")["due_at"] == due_at
    assert desk.row(case_id)["verdict"] == "unsure"


def test_a_quarantined_picture_waits_for_a_person(desk: Desk) -> None:
    """Without a guess, but with the reason why no model saw it."""
    case_id = desk.arrive(None, verdict=Verdict.UNSURE)
    change(
        desk, case_id, reason="crashed_twice", detail="it killed two workers", revision="2", unverified="1"
    )
    picture = desk.picture(case_id)
    assert (picture["situation"], picture["scores"], picture["reason"]) == (None, {}, "crashed_twice")
    assert set(desk.states(case_id)) == {"review"}


def test_what_waited_too_long_is_due_at_once(desk: Desk) -> None:
    """A desk that was down sends out what nobody reviewed meanwhile."""
    desk.wait(-3600)
    case_id = desk.arrive("fire", verdict=Verdict.UNSURE)
    desk.wait(3600)
    desk.tick()
    assert "firefighters" in desk.states(case_id)
    assert desk.row(case_id)["unverified"]


def test_no_emergency_is_kept_and_shown_to_nobody(desk: Desk) -> None:
    """It is in the record to be searched, in a case of its own that is on no board."""
    case_id = desk.arrive(None, verdict=Verdict.NO_EMERGENCY, scores=NORMAL)
    row = desk.row(case_id)
    assert (row["verdict"], row["version"], row["assignments"]) == ("no_emergency", 0, [])
    assert desk.picture(case_id)["scores"] == NORMAL
    change(desk, case_id, seen_count="2")
    assert desk.row(case_id)["version"] == 0
    assert desk.picture(case_id)["seen_count"] == 2


def test_a_sample_of_no_emergency_is_checked(settings: Settings, broker: Broker) -> None:
    """Reviewers see the share that is set, always the same ones, and nothing is due for them."""
    with migrated(settings.database) as engine:
        desk = open_desk(settings, broker, engine, sample_rate=0.3)
        cases = [desk.arrive(None, verdict=Verdict.NO_EMERGENCY, scores=NORMAL) for _ in range(60)]
        sampled = [case_id for case_id in cases if desk.states(case_id)]
        assert 6 <= len(sampled) <= 34
        assert {desk.part(case_id, "review")["due_at"] for case_id in sampled} == {""}
        assert desk.due() is None


def test_a_resend_shows_on_the_case(desk: Desk) -> None:
    """How often and when the same picture came last stands on its row."""
    photograph = make_photograph(1)
    admit(desk.broker, [("claim-1", photograph)])
    case_id = photograph.incident_id
    assert feed.fetch(desk.broker, [case_id]) == []
    decided = {
        "state": "decided",
        "verdict": "dispatched",
        "situation": "fire",
        "departments": "firefighters",
    }
    change(desk, case_id, **decided, decided_at=iso(BEGIN), confidence="0.9", scores="{}")
    version = desk.row(case_id)["version"]
    assert admit(desk.broker, [("claim-2", photograph)]) == ["seen"]
    desk.hear(case_id)
    assert desk.picture(case_id)["seen_count"] == 2
    assert desk.row(case_id)["version"] > version
    assert [part["text"] for part in desk.lines(case_id, "seen_again")] == ["2"]
    changed: Any = desk.broker.xrange(CHANGED)
    assert [fields for _, fields in changed] == [{b"id": case_id.encode()}]


def test_a_broker_that_forgot_its_last_seconds_takes_nothing_back(desk: Desk) -> None:
    """An older state of an incident than the record has is passed over."""
    case_id = desk.arrive()
    change(desk, case_id, seen_count="3", revision="2", decided_by="Ana", situation="robbery")
    before = desk.everything()
    change(desk, case_id, seen_count="1", revision="1", decided_by="", situation="fire")
    assert desk.everything() == before


def test_a_decision_that_only_the_broker_has_is_taken_over(desk: Desk) -> None:
    """After an old backup of the database is restored, whoever was told has the case before them again."""
    case_id = desk.arrive("fire", verdict=Verdict.UNSURE)
    told = "review,police-department"
    decision = {"verdict": "dispatched", "situation": "robbery", "departments": told, "decided_by": "Ana"}
    change(desk, case_id, **decision, revision="2")
    row = desk.row(case_id)
    assert (row["verdict"], row["situation"], row["unverified"]) == ("dispatched", "robbery", False)
    assert desk.states(case_id) == {"review": "closed", "police-department": "dispatched"}
    assert desk.picture(case_id)["decided_by"] == "Ana"


def test_what_went_out_unverified_before_the_desk_knew_it_is_shown_so(desk: Desk) -> None:
    """A new database takes over what was sent without a decision, and a person must still decide."""
    case_id = desk.arrive("fire", verdict=Verdict.UNSURE)
    desk.tick(desk.settings.review_within_s)
    before = desk.states(case_id)
    forget(desk)
    desk.hear(case_id)
    assert desk.states(case_id) == before == dict.fromkeys(before, "dispatched")
    assert desk.row(case_id)["unverified"]
    assert desk.part(case_id, "review")["due_at"] == ""


DAMAGES: dict[str, dict[Any, Any]] = {
    "verdict": {"verdict": "perhaps"},
    "place": {"latitude_deg": "far north"},
    "time": {"decided_at": "2026-11-24T12:00:00"},
    "received": {"received_at": "yesterday"},
    "revision": {"revision": "second"},
    "another's": {"id": "0" * 32},
    "state": {"state": "asleep"},
}


@pytest.mark.parametrize("damage", DAMAGES)
def test_a_damaged_record_is_passed_over(desk: Desk, damage: str) -> None:
    """It is logged by its id, and what comes with it is taken in."""
    bad, good = desk.arrive("fire"), desk.arrive("robbery")
    forget(desk)
    desk.broker.hset(incident_key(bad), mapping=DAMAGES[damage])
    with structlog.testing.capture_logs() as logs, desk.book() as book:
        feed.apply(book, feed.fetch(desk.broker, [bad, good, "\ufffd"]))
    assert [record.id for record in desk.rows_of(IncidentRecord)] == [good]
    assert [line["incident"] for line in logs if line["log_level"] == "warning"] == [bad]


def test_a_key_of_another_kind_is_passed_over(desk: Desk) -> None:
    """What is no hash where an incident should be hurts no other."""
    good = desk.arrive("robbery")
    desk.broker.set(incident_key("f" * 32), "not a hash")
    assert [each.id for each in feed.fetch(desk.broker, ["f" * 32, good])] == [good]


def test_hostile_text_is_stored_as_text(desk: Desk) -> None:
    """Whatever whoever writes to the broker puts into a field fits its column."""
    nasty = {
        "label": "\x00<script>\u202e" + "x" * 100,
        "number": "9" * 40,
        "reason": "r" * 200,
        "detail": "\x00" + "d" * 10_000,
        "situation": "s" * 100,
        "departments": "review,\x00firefighters," + "d" * 100,
        "seen_count": str(10**12),
        "scores": '{"fire\\ud800": 1e999, "\\u0000": NaN, "normal": 0.5}',
        "confidence": "inf",
        "decided_by": "b" * 100,
    }
    case_id = desk.arrive("fire")
    forget(desk)
    change(desk, case_id, **nasty)
    picture = desk.picture(case_id)
    for column in IncidentRecord.__table__.columns:
        length = getattr(column.type, "length", None)
        value = getattr(desk.rows_of(IncidentRecord)[0], column.name)
        assert length is None or value is None or len(value) <= length
    assert "\x00" not in repr(picture)
    assert picture["seen_count"] == 2**31 - 1
    assert picture["scores"] == {"fire?": 0.0, "\ufffd": 0.0, "normal": 0.5}


def test_what_nobody_told_the_desk_is_found(desk: Desk, monkeypatch: pytest.MonkeyPatch) -> None:
    """Walking over all incidents finds the decided ones that the record lacks, page by page."""
    monkeypatch.setattr(feed, "PAGE", 4)
    for _ in range(9):
        desk.arrive()
    admit(desk.broker, [("claim", make_photograph(1))])
    desk.broker.zadd(INCIDENTS, {"expired": 1.0})
    with desk.book() as book:
        for incident in desk.arrived[2:5]:
            record = book.incident(incident)
            assert record is not None
            book.session.delete(record)
    found: list[str] = []
    begin, more = 0, True
    with Session(desk.engine) as session:
        while more:
            ids, more = feed.undiscovered(session, desk.broker, begin)
            found += ids
            begin += feed.PAGE
    assert sorted(found) == sorted(desk.arrived[2:5])
    assert begin >= len(all_ids(desk.broker)) > begin - 2 * feed.PAGE
