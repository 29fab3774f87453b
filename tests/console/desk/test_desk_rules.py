"""Whatever people and clocks do, in whatever order: what the desk's record promises holds."""

from collections.abc import Iterator
from datetime import datetime, timedelta
from typing import Any

import pytest
from database_parts import migrated
from desk_parts import BEGIN, HERE, Desk, move, open_desk
from hypothesis import HealthCheck, Phase, given
from hypothesis import settings as trying
from hypothesis import strategies as st
from sqlalchemy import delete, update
from sqlalchemy.orm import Session

from console.tables import Assignment, Case, IncidentRecord, Ledger, MoveRecord, Record, TimelineEntry
from shared.broker import Broker
from shared.coordinates import Coordinates
from shared.moves import OPEN_STATES, Action
from shared.routing import REVIEW
from shared.settings import Settings
from shared.verdict import Verdict

PLACES = [HERE, Coordinates(latitude_deg=HERE.latitude_deg + 0.001, longitude_deg=HERE.longitude_deg)]
DEPARTMENTS = ["firefighters", "transit-police", "police-department", "ambulance", REVIEW]
SITUATIONS = ["fire", "accident", "robbery"]

arrivals = st.tuples(
    st.just("arrive"),
    st.sampled_from([*SITUATIONS, None]),
    st.sampled_from(Verdict),
    st.sampled_from(PLACES),
)
asks = st.tuples(
    st.just("ask"),
    st.sampled_from([*Action, Action.ACKNOWLEDGE, Action.DECIDE, Action.MERGE, Action.SPLIT]),
    st.sampled_from(DEPARTMENTS),
    st.integers(0, 5),
    st.integers(0, 5),
    st.sampled_from([*SITUATIONS, "normal"]),
    st.sampled_from(["Ana", "Bob"]),
    st.integers(0, 3),
)
ticks = st.tuples(
    st.just("tick"), st.sampled_from([1.0, 59.5, 60.0, 120.0, 181.0, 1800.0, 7200.0, -30.0, -4000.0])
)
repeats = st.tuples(st.just("repeat"), st.integers(0, 20))


@pytest.fixture
def desk(settings: Settings, broker: Broker) -> Iterator[Desk]:
    """A desk that samples about half of what shows no emergency."""
    with migrated(settings.database) as engine:
        yield open_desk(settings, broker, engine, sample_rate=0.5)


# No explaining: on a busy machine its tracing of every line takes longer than the test may.
@pytest.mark.timeout(400)
@trying(
    max_examples=40,
    deadline=None,
    suppress_health_check=list(HealthCheck),
    phases=(Phase.explicit, Phase.reuse, Phase.generate, Phase.shrink),
)
@given(st.lists(st.one_of(arrivals, asks, asks, ticks, repeats), min_size=3, max_size=30))
def test_whatever_happens_the_record_keeps_its_promises(desk: Desk, steps: list[tuple[Any, ...]]) -> None:
    """Moves, ticks, clocks set back and repeated moves lose no picture and no line, and tell nobody twice."""
    begin_anew(desk)
    desk.arrive("fire", place=HERE)
    asked: list[Any] = []
    seen = {"version": 0, "cases": {}}
    for step in steps:
        take(desk, step, asked)
        check_places(desk)
        check_versions(desk, seen)
    check_timeline(desk, len(asked))
    check_dispatches(desk)
    check_clock(desk)


def begin_anew(desk: Desk) -> None:
    """An empty broker and record: each example is a desk of its own."""
    desk.broker.flushall()
    desk.now, desk.arrived = BEGIN, []
    with Session(desk.engine) as session:
        for table in reversed(Record.metadata.sorted_tables):
            if table.name != Ledger.__tablename__:
                session.execute(delete(table))
        session.execute(update(Ledger).values(version=0))
        session.commit()


def take(desk: Desk, step: tuple[Any, ...], asked: list[Any]) -> None:
    """One thing happens."""
    kind, *more = step
    if kind == "arrive":
        situation, verdict, place = more
        situation = situation or (None if verdict is not Verdict.DISPATCHED else "fire")
        scores = {situation: 0.5, "normal": 0.5} if situation else {}
        situation = None if verdict is Verdict.NO_EMERGENCY else situation
        desk.arrive(situation, verdict=verdict, scores=scores, place=place)
    elif kind == "tick":
        desk.tick(*more)
    elif kind == "repeat" and asked:
        before = desk.everything()
        desk.give(asked[more[0] % len(asked)])
        assert desk.everything() == before
    elif kind == "ask":
        action, department, case, other, situation, by, revision = more
        ids = desk.arrived
        words = {"situation": situation, "to": "ambulance", "other": ids[other % len(ids)]}
        which = ids[case % len(ids)]
        asked.append(move(action, department, which, by, revision=revision, **words))
        desk.give(asked[-1])


def check_places(desk: Desk) -> None:
    """Every picture is in one case that was not merged, and every such case has pictures and assignments."""
    cases = {case.id: case for case in desk.rows_of(Case)}
    incidents = desk.rows_of(IncidentRecord)
    assignments: dict[str, dict[str, str]] = {}
    for each in desk.rows_of(Assignment):
        assignments.setdefault(each.case_id, {})[each.department] = each.state
    assert sorted(record.id for record in incidents) == sorted(desk.arrived)
    for record in incidents:
        assert cases[record.case_id].merged_into is None
        assert record.revision == int(desk.in_broker(record.id).fields.get("revision") or 1)
        if record.verdict == Verdict.UNSURE:
            assert assignments[record.case_id][REVIEW] in OPEN_STATES
    occupied = {record.case_id for record in incidents}
    for case in cases.values():
        if case.merged_into is not None:
            assert cases[case.merged_into].merged_into is None
            assert case.id not in occupied
            continue
        assert case.id in occupied
        if case.verdict != Verdict.NO_EMERGENCY:
            assert assignments.get(case.id)


def check_versions(desk: Desk, seen: dict[str, Any]) -> None:
    """Whatever changed has a version that nothing had before; none is given twice, none goes down."""
    with Session(desk.engine) as session:
        version = session.get_one(Ledger, 1).version
    rows = {case.id: desk.row(case.id) for case in desk.rows_of(Case)}
    given = [row["version"] for row in rows.values() if row["version"]]
    assert len(given) == len(set(given))
    assert max([0, *given, *(each.version for each in desk.rows_of(MoveRecord))]) <= version
    for case, row in rows.items():
        before = seen["cases"].get(case)
        if before is not None and before != row:
            assert row["version"] > seen["version"]
    assert version >= seen["version"]
    seen.update(version=version, cases=rows)


def check_timeline(desk: Desk, asked: int) -> None:
    """Each move has one answer, and each that was applied a line with who asked."""
    answers = desk.rows_of(MoveRecord)
    assert len(answers) == asked
    lines = [(line.action, line.actor) for line in desk.rows_of(TimelineEntry)]
    for answer in answers:
        assert answer.message
        assert (answer.reason == "applied") == answer.accepted
        if answer.accepted:
            word = "merged" if answer.action == Action.MERGE else answer.action
            applied = sum(
                1 for each in answers if each.accepted and (each.action, each.by) == (word, answer.by)
            )
            assert lines.count((word, answer.by)) >= max(1, applied)


def check_dispatches(desk: Desk) -> None:
    """No department gets one revision of an incident twice."""
    for department in desk.routing.departments:
        got = [(each.data["incident_id"], each.data["revision"]) for each in desk.told(department)]
        assert len(got) == len(set(got))


def check_clock(desk: Desk) -> None:
    """After a tick nothing that waits is forgotten, and nothing waits longer than its time."""
    desk.tick()
    desk.tick()
    cases = {case.id: case for case in desk.rows_of(Case)}
    merged = {case.id for case in cases.values() if case.merged_into is not None}
    waits = {"dispatched": 60, "acknowledged": 1800, "en_route": 1800}
    needed = needed_of(desk, cases)
    for each in desk.rows_of(Assignment):
        if each.case_id in merged:
            assert each.due_at is None
        elif each.department == REVIEW:
            assert each.due_at is None or each.due_at <= desk.now + timedelta(seconds=125)
        elif each.state == "dispatched" and each.due_at is None:
            # Sent home by a correction or a decision: it really is something else, in all its pictures.
            assert (each.case_id, each.department) not in needed
        elif each.state in waits:
            assert isinstance(each.due_at, datetime)
            within = timedelta(seconds=waits[each.state] + 5)
            assert desk.now < each.due_at <= desk.now + within
        else:
            assert each.due_at is None


def needed_of(desk: Desk, cases: dict[str, Case]) -> set[tuple[str, str]]:
    """(case, department) of whoever must go to what a case, or one of its pictures, shows."""
    shown = [(case.id, case.situation) for case in cases.values()]
    shown += [
        (record.case_id, record.situation)
        for record in desk.rows_of(IncidentRecord)
        if record.verdict == Verdict.DISPATCHED
    ]
    return {
        (case, department)
        for case, situation in shown
        if situation is not None
        for department in desk.routing.streams(situation)
    }
