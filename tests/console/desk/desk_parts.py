"""What tests of the desk's rules share: a desk whose clock the test turns, on a real broker and database."""

import hashlib
import uuid
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from typing import Any

from sqlalchemy import Engine, select
from sqlalchemy.orm import Session

from console.desk import clock, feed, moves
from console.desk.book import Book, writing
from console.records import row_of
from console.tables import Assignment, Case, IncidentRecord, MoveRecord, TimelineEntry
from shared.board import AssignmentPart, IncidentPart, Row, TimelinePart
from shared.broker import Broker
from shared.coordinates import Coordinates
from shared.dispatches import Decision, Dispatch, decision_fields, entries
from shared.incidents import Incident, Photograph, incident_id, iso
from shared.keys import INCIDENTS, dispatch_key, incident_key
from shared.moves import Action, Move
from shared.routing import Routing
from shared.settings import Settings
from shared.verdict import Verdict

BEGIN = datetime(2026, 11, 24, 12, 0, 0, tzinfo=UTC)
HERE = Coordinates(latitude_deg=33.8568, longitude_deg=151.2153)
ELSEWHERE = Coordinates(latitude_deg=19.4326, longitude_deg=-99.1332)

FOG = {"fire": 0.3, "accident": 0.1}
"""Scores of a picture that shows a fire, perhaps."""


@dataclass
class Desk:
    """A desk without its loop: each call is one transaction, at the time that `now` says."""

    settings: Settings
    broker: Broker
    engine: Engine
    routing: Routing
    now: datetime = BEGIN
    arrived: list[str] = field(default_factory=list)

    def wait(self, seconds: float) -> None:
        """Let time pass, or turn the clock back."""
        self.now += timedelta(seconds=seconds)

    @contextmanager
    def book(self) -> Iterator[Book]:
        """A transaction."""
        with writing(self.engine, self.broker, self.routing, self.settings, now=self.now) as book:
            yield book

    def arrive(
        self,
        situation: str | None = "fire",
        *,
        verdict: Verdict = Verdict.DISPATCHED,
        scores: Mapping[str, float] | None = None,
        place: Coordinates | None = None,
    ) -> str:
        """A worker decides a photograph, another one each time, and the desk hears of it; the incident's id.

        Each lies at a place of its own, unless it is given, so that nothing is grouped.
        """
        number = len(self.arrived) + 1
        apart = Coordinates(latitude_deg=HERE.latitude_deg - number, longitude_deg=HERE.longitude_deg)
        where: dict[str, Any] = {"scores": scores, "place": place or apart, "now": self.now}
        incident = decided(self.broker, self.routing, number, situation, verdict, **where)
        self.arrived.append(incident)
        self.hear(incident)
        return incident

    def unsure(
        self,
        count: int = 1,
        *,
        guess: Mapping[str, float] = FOG,
        place: Coordinates = HERE,
        every_s: float = 0,
    ) -> list[str]:
        """Pictures that the model is unsure of, so many seconds apart, heard of in one page; their ids."""
        ids = []
        for _ in range(count):
            number = len(self.arrived) + 1
            ids.append(
                decided(
                    self.broker,
                    self.routing,
                    number,
                    max(guess, key=guess.__getitem__, default=None),
                    Verdict.UNSURE,
                    scores=guess,
                    place=place,
                    now=self.now,
                )
            )
            self.arrived.append(ids[-1])
            self.wait(every_s)
        with self.book() as book:
            feed.apply(book, feed.fetch(self.broker, ids))
        return ids

    def forget(self) -> None:
        """The record is a new one; the broker has what it had."""
        with self.engine.begin() as connection:
            for table in reversed(Case.metadata.sorted_tables):
                if table.name != "ledger":
                    connection.execute(table.delete())

    def hear(self, incident: str) -> None:
        """The desk takes up an incident as it stands in the broker."""
        with self.book() as book:
            feed.apply(book, feed.fetch(self.broker, [incident]))

    def ask(self, action: Action, department: str, case: str, by: str = "Ana", **more: Any) -> MoveRecord:
        """A console asks, and the desk answers."""
        return self.give(move(action, department, case, by, **more))

    def give(self, asked: Move, asked_at: datetime | None = None) -> MoveRecord:
        """The desk applies a move, one that came just now if nothing else is said; what became of it."""
        with self.book() as book:
            moves.apply(book, asked, asked_at)
        with Session(self.engine) as session:
            return session.get_one(MoveRecord, asked.move_id)

    def tick(self, after_s: float = 0) -> None:
        """Let time pass, and the clock strike."""
        self.wait(after_s)
        with self.book() as book:
            clock.tick(book)

    def due(self) -> float | None:
        """Seconds until the clock has something to do."""
        with Session(self.engine) as session:
            due_at = clock.next_due(session)
        return None if due_at is None else (due_at - self.now).total_seconds()

    def row(self, case: str) -> Row:
        """A case with everything in it."""
        with Session(self.engine) as session:
            return row_of(session, session.get_one(Case, case), whole=True)

    def part(self, case: str, department: str) -> AssignmentPart:
        """How far a department is."""
        return next(part for part in self.row(case)["assignments"] if part["department"] == department)

    def states(self, case: str) -> dict[str, str]:
        """department -> state."""
        return {part["department"]: part["state"] for part in self.row(case)["assignments"]}

    def lines(self, case: str, action: str) -> list[TimelinePart]:
        """The lines of the timeline of one kind."""
        return [part for part in self.row(case)["timeline"] if part["action"] == action]

    def picture(self, incident: str) -> IncidentPart:
        """An incident as the desk's record has it."""
        with Session(self.engine) as session:
            case = session.get_one(IncidentRecord, incident).case_id
        return next(part for part in self.row(case)["incidents"] if part["id"] == incident)

    def case_of(self, incident: str) -> str:
        """The case that an incident is in."""
        with Session(self.engine) as session:
            return session.get_one(IncidentRecord, incident).case_id

    def told(self, department: str) -> list[Dispatch]:
        """What a department got, oldest first."""
        got: Any = self.broker.xrange(dispatch_key(department))
        return [Dispatch.decode(fields[b"event"]) for _, fields in got]

    def revisions_told(self, department: str, incident: str) -> list[int]:
        """Which revisions of an incident a department got."""
        return [
            each.data["revision"] for each in self.told(department) if each.data["incident_id"] == incident
        ]

    def in_broker(self, incident: str) -> Incident:
        """The incident as it stands in the broker."""
        found = Incident.fetch(self.broker, incident)
        assert found is not None
        return found

    def rows_of(self, table: type[Any]) -> list[Any]:
        """Everything in a table."""
        with Session(self.engine) as session:
            return list(session.scalars(select(table)))

    def everything(self) -> dict[str, list[tuple[Any, ...]]]:
        """What the record holds of cases, for comparing."""
        tables = (Case, Assignment, IncidentRecord, TimelineEntry, MoveRecord)
        with self.engine.connect() as connection:
            return {
                table.__tablename__: sorted(map(tuple, connection.execute(select(table.__table__))), key=repr)
                for table in tables
            }


def move(action: Action, department: str, case: str, by: str = "Ana", **more: Any) -> Move:
    """A move as a console asks for it."""
    fields = {"note": "look out"} if action is Action.NOTE else {}
    return Move(
        move_id=more.pop("move_id", uuid.uuid4().hex),
        department=department,
        case=case,
        action=action,
        by=by,
        at=iso(BEGIN),
        **fields | more,
    )


def decided(
    broker: Broker,
    routing: Routing,
    number: int,
    situation: str | None = "fire",
    verdict: Verdict = Verdict.DISPATCHED,
    *,
    scores: Mapping[str, float] | None = None,
    place: Coordinates = HERE,
    now: datetime,
) -> str:
    """An incident as worker and scripts leave it: its hash, its place in the list, its dispatches; its id."""
    photograph = _photograph(number, place, now)
    decision = _decision(situation, verdict, scores)
    fields: dict[Any, Any] = photograph.to_fields() | {
        "number": f"{number:04d}",
        "state": "decided",
        "seen_count": "1",
        "last_seen_at": iso(now),
        **decision_fields(decision, decision.addressees(routing), now),
    }
    broker.hset(incident_key(photograph.incident_id), mapping=fields)
    broker.zadd(INCIDENTS, {photograph.incident_id: now.timestamp()})
    for department, event in entries(Incident.from_fields(fields), decision, routing, now):
        broker.xadd(dispatch_key(department), {"event": event})
    return photograph.incident_id


def _photograph(number: int, place: Coordinates, now: datetime) -> Photograph:
    sha256 = hashlib.sha256(f"picture {number}".encode()).hexdigest()
    return Photograph(
        incident_id=incident_id(sha256, place),
        image=f"pictures/{sha256[:2]}/{sha256}.jpeg",
        coordinates=place,
        label="cam 7",
        received_at=iso(now),
        name=f"{place} cam 7.jpeg",
        place_from="name",
    )


def _decision(situation: str | None, verdict: Verdict, scores: Mapping[str, float] | None) -> Decision:
    if scores is None:
        scores = {situation: 0.8, "normal": 0.2} if situation else {}
    return Decision(
        verdict=verdict,
        situation=situation,
        confidence=max(scores.values(), default=0.0),
        scores=scores,
        model="test@0 torch-cpu",
    )


def open_desk(settings: Settings, broker: Broker, engine: Engine, **changes: Any) -> Desk:
    """A desk on an empty record; `changes` are settings by name."""
    return Desk(settings.override(**changes), broker, engine, Routing.load(settings.routing))
