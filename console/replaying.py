"""Dispatches made again from the desk's record: for an integration that missed them."""

from collections.abc import Iterator
from datetime import datetime

from sqlalchemy import Engine, select
from sqlalchemy.orm import Session

from console.tables import Assignment, Case, IncidentRecord
from shared.coordinates import Coordinates
from shared.dispatches import Decision, Telling, entries_to
from shared.incidents import Incident, Photograph, iso
from shared.routing import REVIEW, Routing
from shared.verdict import Verdict

PAGE = 500


def replayed(engine: Engine, routing: Routing, department: str, since: datetime) -> Iterator[str]:
    """CloudEvents of every incident in a department's cases, oldest first, as each stands now.

    The id of each is that of the dispatch with the incident's last decision, so who had that one knows it.
    Earlier decisions on an incident, and what a person said with them, are not made again.

    Args:
        engine: the desk's record.
        routing: names of departments and situations.
        department: wire word, or ``review``.
        since: decided at or after, aware.
    """
    after: tuple[datetime, str] | None = None
    while True:
        query = (
            select(IncidentRecord, Case)
            .join(Case, Case.id == IncidentRecord.case_id)
            .join(Assignment, Assignment.case_id == Case.id)
            .where(Assignment.department == department, IncidentRecord.decided_at >= since)
            .order_by(IncidentRecord.decided_at, IncidentRecord.id)
            .limit(PAGE)
        )
        if after is not None:
            later = IncidentRecord.decided_at > after[0]
            same = (IncidentRecord.decided_at == after[0]) & (IncidentRecord.id > after[1])
            query = query.where(later | same)
        with Session(engine) as session:
            page = [(record, case, _called(session, case)) for record, case in session.execute(query)]
        for record, case, called in page:
            yield _event(record, case, called, routing, department)
        if len(page) < PAGE:
            return
        after = (page[-1][0].decided_at, page[-1][0].id)


def _called(session: Session, case: Case) -> tuple[str, ...]:
    words = select(Assignment.department).where(Assignment.case_id == case.id)
    ordered = words.order_by(Assignment.dispatched_at, Assignment.department)
    return tuple(word for word in session.scalars(ordered) if word != REVIEW)


def _event(
    record: IncidentRecord, case: Case, called: tuple[str, ...], routing: Routing, department: str
) -> str:
    photograph = Photograph(
        incident_id=record.id,
        image=record.image,
        coordinates=Coordinates(latitude_deg=record.latitude_deg, longitude_deg=record.longitude_deg),
        label=record.label,
        received_at=iso(record.received_at),
        name="",
        place_from="",
        note=record.note,
    )
    more = {"number": record.number, "state": "decided", "seen_count": str(record.seen_count)}
    more["last_seen_at"] = iso(record.last_seen_at)
    decision = Decision(
        verdict=Verdict(record.verdict),
        situation=record.situation,
        confidence=record.confidence,
        scores=record.scores,
        model=record.model,
        reason=record.reason,
        detail=record.detail,
    )
    telling = Telling(
        departments=called if record.verdict != Verdict.NO_EMERGENCY else (),
        revision=record.revision,
        decided_by=record.decided_by,
        unverified=case.unverified and record.verdict == Verdict.UNSURE,
    )
    incident = Incident.from_fields(photograph.to_fields() | more)
    made = entries_to([department], incident, decision, routing, record.decided_at, telling=telling)
    return made[0][1]
