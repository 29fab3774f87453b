"""Amending: a decision goes into the broker's record and the dispatch streams, and then into the desk's."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime

import structlog
from sqlalchemy import select

from console.desk.assignments import is_open, is_stood_down
from console.desk.book import Book
from console.desk.incidents import is_unverified, told
from console.desk.phrases import at_time, situation_name
from console.desk.refusals import RefusedError
from console.tables import DESK, Case, IncidentRecord, TimelineEntry
from shared.amendments import Amended, Amendment, amend, revision_of, was_made
from shared.incidents import Incident, IncidentState, RecordError
from shared.moves import NOTE_MAX_CHARACTERS, Action
from shared.routing import NORMAL, REVIEW
from shared.verdict import Verdict

log = structlog.get_logger()

_TRIES = 3


@dataclass(frozen=True, kw_only=True, slots=True)
class Ruling:
    """What is decided about a picture, by a person or by the clock.

    Attributes:
        decision_id: the same for the same decision, so that a repeat changes and sends nothing.
        verdict: as `shared.amendments.Amendment` has it.
        situation: what it shows, or None.
        departments: who must go, and is told; so is everybody who has a dispatch about it or its case.
        decided_by: name of the user, or `DESK`.
        unverified: it goes out without anybody having decided.
        note: what to tell them.
    """

    decision_id: str
    verdict: Verdict
    situation: str | None
    departments: Sequence[str]
    decided_by: str
    unverified: bool = False
    note: str = ""


def rule(book: Book, case: Case, record: IncidentRecord, ruling: Ruling, *, seen: int = 0) -> None:
    """Write a ruling on an incident of a case into the broker, with its dispatches, and then into the record.

    Where the broker has the incident no longer, or a worker looks at it anew after the broker lost its data,
    the ruling stands in the record alone, and on the boards.

    Args:
        seen: the revision that a person had before them; 0 for any.

    Raises:
        RefusedError: another person has decided since.
        RedisError: the broker is away; the record has not changed.
    """
    for _ in range(_TRIES):
        incident = standing_in_broker(book, record)
        if incident is not None and was_made(book.broker, incident, ruling.decision_id):
            if _replay(book, record, incident, ruling):
                return
            break
        _check_seen(book, record, incident, ruling, seen)
        if incident is None:
            break
        tell = (*ruling.departments, *told(incident), *departments_of(book, case))
        amendment = Amendment(
            incident=incident,
            decision_id=ruling.decision_id,
            verdict=ruling.verdict,
            situation=ruling.situation,
            tell=[word for word in dict.fromkeys(tell) if word in book.routing.departments],
            departments=ruling.departments,
            decided_by=ruling.decided_by,
            unverified=ruling.unverified,
            note=ruling.note,
        )
        outcome = amend(book.broker, amendment, book.routing, book.now)
        if outcome in (Amended.AMENDED, Amended.ALREADY):
            if _read_back(book, record):
                return
            break
        if outcome is not Amended.STALE:
            break
    else:
        # Only what holds no ledger can be in between: another Almenara on this broker.
        raise RefusedError(f"{record.number} is being changed elsewhere; try again", reason="stale")
    log.warning("decided without the broker, which has it no longer", incident=record.id)
    record.verdict, record.situation = ruling.verdict.value, ruling.situation
    record.decided_by, record.decided_at = ruling.decided_by, book.now
    record.revision += 1


def tell(
    book: Book, case: Case, departments: Sequence[str], *, decision_id: str, note: str, again: bool
) -> None:
    """Send what is known of every picture of a case to more departments; what was decided stays.

    Args:
        decision_id: the same for the same reason to tell them.
        note: why they are told.
        again: also about pictures that they have a dispatch about.

    Raises:
        RedisError: the broker is away.
    """
    goes = [each.department for each in book.assignments(case) if is_open(each) and not is_stood_down(each)]
    for record in book.incidents(case):
        incident = standing_in_broker(book, record)
        if incident is None:
            continue  # the boards tell them
        known = () if again else told(incident)
        if not (lacking := [word for word in departments if word not in known]):
            continue
        verdict = Verdict(incident.verdict)
        amendment = Amendment(
            incident=incident,
            decision_id=decision_id,
            verdict=verdict,
            situation=incident.fields.get("situation") or None,
            tell=lacking,
            departments=[word for word in goes if word != REVIEW],
            decided_by=incident.fields.get("decided_by", ""),
            unverified=is_unverified(incident) or verdict is Verdict.UNSURE,
            note=note[:NOTE_MAX_CHARACTERS],
        )
        amend(book.broker, amendment, book.routing, book.now)
        _read_back(book, record)


def standing_in_broker(book: Book, record: IncidentRecord) -> Incident | None:
    """A decided incident as the broker has it; None where it has not, or not in a form to go on with."""
    try:
        incident = Incident.fetch(book.broker, record.id)
        if incident is None or incident.state is not IncidentState.DECIDED:
            return None
        Verdict(incident.verdict)
    except (RecordError, ValueError) as error:
        log.warning("the broker's record of an incident is damaged", incident=record.id, error=str(error))
        return None
    return incident


def _replay(book: Book, record: IncidentRecord, incident: Incident, ruling: Ruling) -> bool:
    """Take a ruling into the record that stands in the broker, and that a transaction before lost.

    Where others followed it there, they come next: the record stays behind the broker until then.
    """
    is_last = incident.fields.get("decision") == ruling.decision_id
    was_behind = record.revision < revision_of(incident)
    if not _read_back(book, record):
        return False
    if was_behind and not is_last:
        record.verdict, record.situation = ruling.verdict.value, ruling.situation
        record.decided_by = ruling.decided_by
        record.revision -= 1
    return True


def departments_of(book: Book, case: Case) -> list[str]:
    """Departments that have a case before them, or had; `review` is none."""
    return [each.department for each in book.assignments(case) if each.department != REVIEW]


def _read_back(book: Book, record: IncidentRecord) -> bool:
    """Whether the record has what stands in the broker now."""
    try:
        return book.refresh(record) is not None
    except RecordError as error:
        log.warning("the broker's record of an incident is damaged", incident=record.id, error=str(error))
        return False


def _check_seen(
    book: Book, record: IncidentRecord, incident: Incident | None, ruling: Ruling, seen: int
) -> None:
    """Refuse who decided on what another person has decided meanwhile; the desk's own steps do not count."""
    revision, by, situation, verdict = record.revision, record.decided_by, record.situation, record.verdict
    if incident is not None:
        revision, by = revision_of(incident), incident.fields.get("decided_by", "")
        situation, verdict = incident.fields.get("situation") or None, incident.verdict
    if not seen or revision <= seen or by in ("", DESK, ruling.decided_by):
        return
    shown = situation_name(book.routing, NORMAL if verdict == Verdict.NO_EMERGENCY else situation)
    at = _decided_at(book, record, by)
    raise RefusedError(
        f"{by} decided {shown} for {record.number} at {at_time(at, book.now)}; look at it again",
        reason="stale",
    )


def _decided_at(book: Book, record: IncidentRecord, by: str) -> datetime:
    """When somebody decided; the record itself has the time of the last dispatch that went out since."""
    query = (
        select(TimelineEntry.at)
        .where(
            TimelineEntry.case_id == record.case_id,
            TimelineEntry.actor == by,
            TimelineEntry.action.in_((Action.DECIDE.value, Action.CORRECT.value)),
        )
        .order_by(TimelineEntry.id.desc())
    )
    return book.session.scalars(query).first() or record.decided_at
