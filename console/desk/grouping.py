"""Grouping: which cases are near enough in place and time for another picture of the same to belong there."""

from collections.abc import Iterable
from datetime import datetime, timedelta

from sqlalchemy import func, select
from sqlalchemy.orm import Session

from console.nearness import in_box
from console.tables import Case, IncidentRecord
from shared.coordinates import Coordinates
from shared.settings import Settings
from shared.verdict import Verdict

LONGEST_UNSURE = timedelta(hours=1)
MOST_UNSURE = 1000
"""A row of pictures that nobody has decided takes no further ones then: fog that lasts calls again, and no
step about one row takes long."""


def is_full(session: Session, case: Case) -> bool:
    """Whether a case has as many pictures as one of undecided ones may have."""
    query = select(func.count()).select_from(IncidentRecord).where(IncidentRecord.case_id == case.id)
    with session.no_autoflush:  # those on their way to the database make no difference
        return session.scalars(query).one() >= MOST_UNSURE


def place_of(case: Case | IncidentRecord) -> Coordinates:
    """Where it is."""
    return Coordinates(latitude_deg=case.latitude_deg, longitude_deg=case.longitude_deg)


def cases_near(
    session: Session,
    changed: Iterable[Case],
    settings: Settings,
    *,
    situation: str | None,
    verdict: Verdict,
    place: Coordinates,
    at: datetime,
) -> list[Case]:
    """Cases of a situation in reach of a picture of it; nearest first.

    Within `group_radius_m` of the case's place and `group_within_s` of its last incident.

    Args:
        session: is not flushed for this, which would cost more than all the rest of bringing an incident in.
        changed: cases that the session has made or changed, and the database may not have so yet.
        situation: None for what shows nobody anything.
        verdict: `DISPATCHED`, decided or sure; or `UNSURE`, waiting for a person, or gone out UNVERIFIED.
        at: when the picture was received.
    """
    radius_m, within = settings.group_radius_m, timedelta(seconds=settings.group_within_s)
    query = select(Case).where(
        Case.situation == situation,
        Case.verdict == verdict.value,
        in_box(Case.latitude_deg, Case.longitude_deg, place, radius_m),
        Case.last_incident_at.between(at - within, at + within),
    )
    with session.no_autoflush:
        found = {case.id: case for case in session.scalars(query)}
    found |= {case.id: case for case in changed if case.situation == situation}
    near = [
        (place.distance_m(place_of(case)), case.id, case)
        for case in found.values()
        if case.situation == situation
        and case.verdict == verdict
        and case.merged_into is None
        and abs(case.last_incident_at - at) <= within
        and (verdict is not Verdict.UNSURE or at - case.opened_at <= LONGEST_UNSURE)
    ]
    return [case for distance_m, _, case in sorted(near, key=lambda each: each[:2]) if distance_m <= radius_m]
