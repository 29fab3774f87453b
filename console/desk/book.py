"""The book: one transaction on the desk's record, and the steps that every change of a case is made of."""

import hashlib
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from datetime import datetime, timedelta

from sqlalchemy import Engine, select
from sqlalchemy.orm import Session

from console.desk.grouping import cases_near, is_full
from console.desk.incidents import columns_of, is_undecided, told
from console.desk.merging import become, replaced, take_over
from console.desk.phrases import number_of
from console.desk.tally import Tally
from console.records import WRITES
from console.tables import Assignment, Case, IncidentRecord, Ledger, MoveRecord, TimelineEntry
from shared.broker import Broker
from shared.coordinates import Coordinates
from shared.incidents import Incident, RecordError, utc_now
from shared.moves import OPEN_STATES, AssignmentState, Move
from shared.routing import REVIEW, Routing
from shared.settings import Settings
from shared.verdict import Verdict

_CERTAINTY = [verdict.value for verdict in (Verdict.NO_EMERGENCY, Verdict.UNSURE, Verdict.DISPATCHED)]
"""Which verdict counts for a case made of two."""


@contextmanager
def writing(
    engine: Engine, broker: Broker, routing: Routing, settings: Settings, *, now: datetime | None = None
) -> Iterator["Book"]:
    """One transaction: committed at the end of the block, undone where the block raises.

    Raises:
        sqlalchemy.exc.DBAPIError: the database is away or locked, before or at the end.
    """
    with (
        Session(engine.execution_options(**WRITES), expire_on_commit=False) as session,
        session.begin(),
    ):
        book = Book(session, broker, routing, settings, now)
        yield book
    book.tally.tell()


class Book:
    """One transaction on the record. Holds the ledger, so that no other desk writes until it ends.

    Attributes:
        session: its session; what is added or changed is written when the transaction ends.
        broker: where incidents are read and amended.
        routing: who goes to what.
        settings: times and distances.
        now: the moment of everything that this transaction does, aware UTC.
        tally: what it will have done, told once it is committed.
    """

    def __init__(
        self,
        session: Session,
        broker: Broker,
        routing: Routing,
        settings: Settings,
        now: datetime | None = None,
    ) -> None:
        self.session = session
        self.broker = broker
        self.routing = routing
        self.settings = settings
        self._ledger = session.scalars(select(Ledger).with_for_update()).one()
        self._began_at_version = self._ledger.version
        self.now = now or utc_now()  # after the lock: later transactions have later times
        self.tally = Tally()
        self._assignments: dict[str, dict[str, Assignment]] = {}
        self._touched: dict[str, Case] = {}

    @property
    def version(self) -> int:
        """The last version that was given."""
        return self._ledger.version

    def next_version(self) -> int:
        """A version that nothing has yet."""
        self._ledger.version += 1
        return self._ledger.version

    def continue_after(self, version: int) -> None:
        """Give no version up to this one again: the boards have it from a record that is lost."""
        self._ledger.version = max(self._ledger.version, version)

    def touch(self, case: Case) -> None:
        """Give a case a fresh version, so that its boards get it."""
        case.version = self.next_version()
        self._touched[case.id] = case

    def write(
        self,
        case: Case,
        action: str,
        *,
        actor: str,
        department: str = "",
        incident_id: str | None = None,
        text: str = "",
    ) -> None:
        """Add a line to a case's timeline, and touch the case.

        Args:
            action: an Action's word, or one of the desk's own (shared/board.py lists them).
            actor: name of the user, or ``desk``.
        """
        self.session.add(
            TimelineEntry(
                case_id=case.id,
                incident_id=incident_id,
                department=department,
                at=self.now,
                actor=actor,
                action=action,
                text=text,
            )
        )
        self.tally.line(self.session, case, action, actor, department, incident_id, text)
        self.touch(case)

    def case(self, case_id: str) -> Case | None:
        """The case with this id, also one that was merged into another."""
        return self.session.get(Case, case_id)

    def open_case(self, record: IncidentRecord, *, case_id: str = "", unverified: bool = False) -> Case:
        """A new case for an incident, without assignments or a line in its timeline yet.

        Args:
            case_id: another one than the incident's own.
        """
        case = Case(
            id=case_id or record.id,
            situation=record.situation,
            verdict=record.verdict,
            unverified=unverified,
            latitude_deg=record.latitude_deg,
            longitude_deg=record.longitude_deg,
            opened_at=record.received_at,
            last_incident_at=record.received_at,
            version=0,
        )
        self.session.add(case)
        self._assignments[case.id] = {}
        self.place(record, case)
        return case

    def place(self, record: IncidentRecord, case: Case) -> None:
        """Put an incident into a case. Touch the case after it: who saw an earlier version has not."""
        record.case_id, record.version, record.joined_at = case.id, self.version + 1, self.now

    def assignments(self, case: Case) -> list[Assignment]:
        """Those of a case, in the order in which they were made."""
        return list(self._assignments_of(case).values())

    def assignment(self, case: Case, department: str) -> Assignment | None:
        """How far a department, or ``review``, is with a case; None where it has nothing to do with it."""
        return self._assignments_of(case).get(department)

    def assign(
        self, case: Case, department: str, *, due_at: datetime | None, fallback_of: str = ""
    ) -> Assignment:
        """Send a case to a department; what is there already stays as it is.

        Args:
            due_at: when the clock looks at it first; None for never.
            fallback_of: the department in whose place it is called.
        """
        known = self._assignments_of(case)
        if department not in known:
            known[department] = Assignment(
                case_id=case.id,
                department=department,
                state=AssignmentState.DISPATCHED.value,
                dispatched_at=self.now,
                state_at=self.now,
                holder="",
                due_at=due_at,
                repeats=0,
                fallback_of=fallback_of,
                fell_back=False,
            )
            self.session.add(known[department])
            self.touch(case)
        return known[department]

    def due_to_acknowledge(self) -> datetime:
        """When the clock looks at what is assigned to a department now."""
        return self.now + timedelta(seconds=self.settings.acknowledge_within_s)

    def incidents(self, case: Case) -> list[IncidentRecord]:
        """Those of a case, newest first."""
        newest = (IncidentRecord.received_at.desc(), IncidentRecord.id)
        query = select(IncidentRecord).where(IncidentRecord.case_id == case.id).order_by(*newest)
        return list(self.session.scalars(query))

    def incident(self, incident_id: str) -> IncidentRecord | None:
        """The desk's record of an incident."""
        return self.session.get(IncidentRecord, incident_id)

    def refresh(self, record: IncidentRecord) -> Incident | None:
        """Read an incident anew from the broker, into its record; None where the broker has it no longer.

        Raises:
            RecordError: the broker's record is damaged.
            RedisError: the broker is away.
        """
        incident = Incident.fetch(self.broker, record.id)
        if incident is not None:
            for column, value in columns_of(incident).items():
                setattr(record, column, value)
        return incident

    def find_case(
        self,
        situation: str | None,
        place: Coordinates,
        at: datetime,
        departments: Sequence[str],
        *,
        verdict: Verdict = Verdict.DISPATCHED,
        exclude: Case | None = None,
    ) -> Case | None:
        """The nearest open case that an incident of a situation belongs to, if there is one.

        In reach (see `cases_near`), and none of the incident's departments has ended it.

        Args:
            at: when the incident was received.
            departments: who is told about the incident, or will be if nobody decides it.
            verdict: what joins what: sure or decided ones each other, and those that nobody has decided.
            exclude: a case that it may not be.
        """
        near = cases_near(
            self.session,
            self._touched.values(),
            self.settings,
            situation=situation,
            verdict=verdict,
            place=place,
            at=at,
        )
        return next(
            (case for case in near if case is not exclude and self._is_joinable(case, departments)), None
        )

    def merge(self, case: Case, into: Case, *, actor: str) -> None:
        """Move every incident of a case into another, and end the case. Writes its line of the timeline.

        Every department of either has the other one now, as far as whoever of both is further with it.
        """
        assert case is not into, "a case is not merged into itself"
        moved, numbers = self.incidents(case), (number_of(self.session, case), number_of(self.session, into))
        for record in moved:
            self.place(record, into)
        if _CERTAINTY.index(case.verdict) > _CERTAINTY.index(into.verdict):
            into.verdict, into.situation, into.unverified = case.verdict, case.situation, case.unverified
        elif into.verdict == Verdict.UNSURE.value:
            into.unverified = into.unverified or case.unverified
        into.opened_at = min(into.opened_at, case.opened_at)
        into.last_incident_at = max(into.last_incident_at, case.last_incident_at)
        for assignment in self.assignments(case):
            self._take_over(into, assignment, numbers, actor)
            assignment.due_at = None
        self.session.flush()
        for earlier in self.session.scalars(select(Case).where(Case.merged_into == case.id)):
            earlier.merged_into = into.id
            self.touch(earlier)
        case.merged_into = into.id
        text = ", ".join(record.number for record in reversed(moved[-12:]))
        self.write(case, "merged", actor=actor, text=text)
        self.touch(into)

    def split(self, case: Case, incident: IncidentRecord, *, actor: str) -> Case:
        """Make an incident of a case, of several, a case of its own. Writes the lines of both timelines.

        Its departments are those that were told about it, and have it before them as if it were new.
        """
        rest = [record for record in self.incidents(case) if record is not incident]
        assert incident.case_id == case.id, "the incident is one of the case"
        assert rest, "one of several"
        undecided = is_undecided(incident)
        made = self._case_to_split_into(incident, unverified=undecided and case.unverified)
        self.session.flush()
        try:
            known = Incident.fetch(self.broker, incident.id)
        except RecordError:  # damaged there: the record knows enough
            known = None
        ours = [each.department for each in self.assignments(case) if each.department != REVIEW]
        for department in (known and told(known)) or ours:
            self._assign_anew(made, department, self.due_to_acknowledge())
        review = self.assignment(case, REVIEW)
        if undecided and review is not None:
            self._assign_anew(made, REVIEW, review.due_at)
        if review is not None and not any(map(is_undecided, rest)):
            review.state, review.state_at, review.due_at = AssignmentState.CLOSED.value, self.now, None
        first = rest[-1]
        case.latitude_deg, case.longitude_deg = first.latitude_deg, first.longitude_deg
        case.opened_at, case.last_incident_at = first.received_at, rest[0].received_at
        self.write(case, "split", actor=actor, incident_id=incident.id, text=incident.number)
        self.write(made, "opened", actor=actor, incident_id=incident.id, text=incident.number)
        return made

    def known(self, move_id: str) -> MoveRecord | None:
        """What became of a move, if it was applied or refused before."""
        return self.session.get(MoveRecord, move_id)

    def record(self, move: Move, *, accepted: bool, reason: str, message: str, case_id: str = "") -> None:
        """Note what became of a move; who asked for it is told with the next publication.

        Args:
            case_id: the case that it was about in the end; empty for the one that was asked about.
            reason: ``applied``, or why not (shared/board.py's Outcome lists the words).
            message: the same for a dispatcher.
        """
        case_id = case_id or move.case
        case = self.case(case_id) if accepted else None
        touched = case is not None and case.version > self._began_at_version
        self.tally.move(move, case_id, reason)
        self.session.add(
            MoveRecord(
                move_id=move.move_id,
                version=case.version if case is not None and touched else self.next_version(),
                department=move.department,
                case_id=case_id,
                asked=move.digest(),
                action=move.action.value,
                by=move.by,
                at=self.now,
                accepted=accepted,
                reason=reason,
                message=message,
            )
        )

    def _assignments_of(self, case: Case) -> dict[str, Assignment]:
        if case.id not in self._assignments:
            made = (Assignment.dispatched_at, Assignment.department)
            query = select(Assignment).where(Assignment.case_id == case.id).order_by(*made)
            self._assignments[case.id] = {each.department: each for each in self.session.scalars(query)}
        return self._assignments[case.id]

    def _is_joinable(self, case: Case, departments: Sequence[str]) -> bool:
        states = {each.department: AssignmentState(each.state) for each in self.assignments(case)}
        if case.verdict != Verdict.UNSURE:
            states.pop(REVIEW, None)
        elif is_full(self.session, case):
            return False
        is_open = any(state in OPEN_STATES for state in states.values())
        return is_open and all(states[word] in OPEN_STATES for word in departments if word in states)

    def _take_over(self, into: Case, other: Assignment, numbers: tuple[str, str], actor: str) -> None:
        """Give a case the assignment of one merged into it, where its own is not as far.

        Args:
            numbers: of the other's case, and of this one.
            actor: who merges them.
        """
        mine = self.assignment(into, other.department)
        if mine is None:
            due_at, fallback_of = other.due_at, other.fallback_of
            become(self.assign(into, other.department, due_at=due_at, fallback_of=fallback_of), other)
            return
        had = {other.holder: numbers[0], mine.holder: numbers[1]} if replaced(mine, other) else {}
        take_over(mine, other)
        had.pop(mine.holder, None)
        for holder, number in had.items():
            text = f"{holder} had {number}; {mine.holder} has both"
            self.write(into, "merged", actor=actor, department=mine.department, text=text)

    def _assign_anew(self, case: Case, department: str, due_at: datetime | None) -> None:
        """Assign as if it never had been."""
        assignment = self.assign(case, department, due_at=due_at)
        assignment.state, assignment.holder, assignment.due_at = AssignmentState.DISPATCHED.value, "", due_at
        assignment.dispatched_at = assignment.state_at = self.now
        assignment.repeats, assignment.fallback_of, assignment.fell_back = 0, "", False

    def _case_to_split_into(self, incident: IncidentRecord, *, unverified: bool) -> Case:
        """A case under the incident's id, its old one again if it had one, or under another id."""
        before = self.case(incident.id)
        if before is None:
            return self.open_case(incident, unverified=unverified)
        if before.merged_into is None:
            another = hashlib.sha256(f"{incident.id}:{self.version}".encode()).hexdigest()[:32]
            return self.open_case(incident, case_id=another, unverified=unverified)
        for assignment in self.assignments(before):
            # Not removed: whoever had it and has it no longer must be told so.
            assignment.state, assignment.due_at = AssignmentState.CLOSED.value, None
        before.merged_into, before.unverified = None, unverified
        before.situation, before.verdict = incident.situation, incident.verdict
        before.last_incident_at = incident.received_at
        self.place(incident, before)
        return before
