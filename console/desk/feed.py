"""The feed: decided incidents, from the broker into cases. What is there already stays as it is."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import timedelta
from typing import Any

import structlog
from sqlalchemy import select
from sqlalchemy.orm import Session

from console.desk.assignments import is_open
from console.desk.book import Book
from console.desk.grouping import place_of
from console.desk.guesses import concerned, likely, waits
from console.desk.incidents import columns_of, is_news, is_unverified, told
from console.desk.reviews import close_review, is_sampled
from console.tables import DESK, Case, IncidentRecord
from shared.broker import Broker, words
from shared.errors import PermanentError
from shared.incidents import Incident, IncidentState, RecordError
from shared.keys import INCIDENTS, incident_key
from shared.moves import AssignmentState
from shared.routing import REVIEW
from shared.verdict import Verdict

log = structlog.get_logger()

PAGE = 500
"""Incidents in one transaction, at most."""


@dataclass(frozen=True, slots=True)
class Decided:
    """A decided incident as it stands in the broker, and its columns in the desk's record."""

    incident: Incident
    columns: Mapping[str, Any]

    @property
    def id(self) -> str:
        """The incident's."""
        return self.incident.photograph.incident_id


def fetch(broker: Broker, ids: Sequence[str]) -> list[Decided]:
    """The decided ones of some incidents, in one round trip. Damaged records are logged and passed over."""
    wanted = list(dict.fromkeys(ids))
    with broker.pipeline(transaction=False) as pipeline:
        for incident_id in wanted:
            pipeline.hgetall(incident_key(incident_id))
        replies = pipeline.execute(raise_on_error=False)
    found = []
    for incident_id, reply in zip(wanted, replies, strict=True):
        if not reply:
            continue  # its time is over
        try:
            decided = _decided(incident_id, reply)
        except PermanentError as error:
            log.warning("incident passed over", incident=incident_id, error=str(error))
            continue
        if decided is not None:
            found.append(decided)
    return found


def apply(book: Book, page: Sequence[Decided]) -> int:
    """Bring incidents into the book; how many were new or had changed. Safe to repeat."""
    query = select(IncidentRecord).where(IncidentRecord.id.in_([each.id for each in page]))
    known = {record.id: record for record in book.session.scalars(query)}
    changed = 0
    for each in page:
        record = known.get(each.id)
        if record is None:
            record = IncidentRecord(id=each.id, **each.columns)
            _enter(book, record, each.incident)
            book.session.add(record)
        elif is_news(record, each.columns):
            _update(book, record, each)
        else:
            continue
        changed += 1
    return changed


def undiscovered(session: Session, broker: Broker, begin: int) -> tuple[list[str], bool]:
    """A page of the incidents in the broker, oldest first: those that are decided and not in the record.

    Args:
        begin: how many to pass over.

    Returns:
        Their ids, and whether there are more incidents after this page.
    """
    page: Any = broker.zrange(INCIDENTS, begin, begin + PAGE - 1)
    ids = [incident_id.decode("utf-8", "replace") for incident_id in page]
    known = set(session.scalars(select(IncidentRecord.id).where(IncidentRecord.id.in_(ids))))
    unknown = [incident_id for incident_id in ids if incident_id not in known]
    with broker.pipeline(transaction=False) as pipeline:
        for incident_id in unknown:
            pipeline.hget(incident_key(incident_id), "state")
        states = pipeline.execute(raise_on_error=False) if unknown else []
    decided = IncidentState.DECIDED.value.encode()
    return (
        [incident_id for incident_id, state in zip(unknown, states, strict=True) if state == decided],
        len(ids) == PAGE,
    )


def _decided(incident_id: str, reply: Any) -> Decided | None:
    if isinstance(reply, Exception):
        raise RecordError(f"the record of incident {incident_id} can't be read: {reply}")
    incident = Incident.from_fields(words(reply))
    if incident.photograph.incident_id != incident_id:
        raise RecordError(f"the record of incident {incident_id} is that of another")
    if incident.state is not IncidentState.DECIDED:
        return None  # a resend of one that waits
    return Decided(incident, columns_of(incident))


def _enter(book: Book, record: IncidentRecord, incident: Incident) -> None:
    """A new incident goes into a case: its own, or that of others of its kind that are near."""
    if record.verdict == Verdict.NO_EMERGENCY:
        case = book.open_case(record)
        if is_sampled(record.id, book.settings.sample_rate):
            book.assign(case, REVIEW, due_at=None)
            book.write(case, "opened", actor=DESK, incident_id=record.id, text=record.number)
        else:
            book.tally.kept(record)
        return
    near = _near(book, record, incident)
    if near is None:
        near = book.open_case(record, unverified=is_unverified(incident))
        if record.verdict == Verdict.UNSURE:
            near.situation = _guess(book, record)
        book.write(near, "opened", actor=DESK, incident_id=record.id, text=record.number)
    else:
        book.place(record, near)
        near.last_incident_at = max(near.last_incident_at, record.received_at)
        near.unverified = near.unverified or is_unverified(incident)
        book.write(near, "joined", actor=DESK, incident_id=record.id, text=record.number)
    _assign_told(book, near, record, incident)


def _near(book: Book, record: IncidentRecord, incident: Incident) -> Case | None:
    """The case of others of its kind: of one situation, or of one guess where nobody has decided."""
    verdict, situation, departments = Verdict(record.verdict), record.situation, list(told(incident))
    if verdict is Verdict.UNSURE:
        situation, departments = _guess(book, record), concerned(likely(record, book.routing), book.routing)
    elif situation is None:
        return None
    at = record.received_at
    return book.find_case(situation, place_of(record), at, departments, verdict=verdict)


def _guess(book: Book, record: IncidentRecord) -> str | None:
    return next(iter(likely(record, book.routing)), None)


def _assign_told(book: Book, case: Case, record: IncidentRecord, incident: Incident) -> None:
    departments = told(incident)
    for department in departments:
        book.assign(case, department, due_at=book.due_to_acknowledge())
    if record.verdict == Verdict.UNSURE or not departments:
        # Where it went out unverified already, a person must still decide, and nothing else is due.
        within = timedelta(seconds=book.settings.review_within_s)
        due_at = None if is_unverified(incident) else record.decided_at + within
        review = book.assign(case, REVIEW, due_at=due_at)
        review.fell_back = review.fell_back or due_at is None
        if due_at is not None:
            if review.due_at is None or not is_open(review):
                # Nothing of it waited any more: this is news to reviewers, and rings.
                review.state, review.state_at, review.holder = AssignmentState.DISPATCHED.value, book.now, ""
            # It goes out with those that wait already, or in its turn after those that have gone out.
            review.due_at = min(review.due_at or due_at, due_at)


def _update(book: Book, record: IncidentRecord, each: Decided) -> None:
    seen_again = each.columns["seen_count"] > record.seen_count
    amended = each.columns["revision"] > record.revision
    for column, value in each.columns.items():
        setattr(record, column, value)
    case = book.case(record.case_id)
    assert case is not None, "the database holds the cases of its incidents"
    if amended:
        _catch_up(book, case, record, each.incident)
    if seen_again and case.version:
        count = str(record.seen_count)
        book.write(case, "seen_again", actor=DESK, incident_id=record.id, text=count)


def _catch_up(book: Book, case: Case, record: IncidentRecord, incident: Incident) -> None:
    """A decision stands in the broker, and the record does not have it.

    The desk died before it could note it, and does so when it comes to the move anew; or the database is an
    older one that was restored. Either way whoever was told has the case before them.
    """
    if record.verdict != Verdict.NO_EMERGENCY:
        case.situation, case.verdict = record.situation, record.verdict
        case.unverified = is_unverified(incident)
        _assign_told(book, case, record, incident)
    review = book.assignment(case, REVIEW)
    others = [each for each in book.incidents(case) if each is not record]
    if review is not None and is_unverified(incident) and not any(map(waits, others)):
        review.due_at, review.fell_back = None, True
    close_review(book, case, record.decided_by)
    book.touch(case)
