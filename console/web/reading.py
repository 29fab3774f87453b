"""Reading the desk's record for one user: what is not theirs is refused, what is not there is unknown."""

from sqlalchemy import Engine, select
from sqlalchemy.orm import Session

from console.records import row_of
from console.tables import Assignment, Case, IncidentRecord, MoveRecord
from console.users import User
from console.web.access import sees, sees_row
from console.web.errors import RefusedError
from shared.board import Outcome, Row


def unknown(what: str) -> RefusedError:
    """Nothing has that id: 404."""
    return RefusedError(404, "unknown_id", f"There is no {what} with that id")


def foreign(what: str) -> RefusedError:
    """It went to departments that the user does not belong to: 403."""
    return RefusedError(403, "not_yours", f"This {what} went to other departments than yours")


def case(engine: Engine, user: User, case_id: str, *, whole: bool = True) -> Row:
    """A case as it stands in the record.

    Raises:
        RefusedError: 404 or 403.
    """
    with Session(engine) as session:
        found = session.get(Case, case_id)
        if found is None:
            raise unknown("case")
        row = row_of(session, found, whole=whole)
    if not sees_row(user, row):
        raise foreign("case")
    return row


def incident(engine: Engine, user: User, incident_id: str) -> IncidentRecord:
    """An incident, detached: its case decides who may see it.

    Raises:
        RefusedError: 404 or 403.
    """
    with Session(engine, expire_on_commit=False) as session:
        record = session.get(IncidentRecord, incident_id)
        if record is None:
            raise unknown("incident")
        verdict = session.scalar(select(Case.verdict).where(Case.id == record.case_id)) or ""
        departments = session.scalars(
            select(Assignment.department).where(Assignment.case_id == record.case_id)
        ).all()
        session.expunge(record)
    if not sees(user, departments, verdict):
        raise foreign("incident")
    return record


def outcome(engine: Engine, move_id: str) -> tuple[Outcome, str] | None:
    """What became of a move, if the desk has judged it, and `Move.digest` of what was asked."""
    with Session(engine) as session:
        record = session.get(MoveRecord, move_id)
        if record is None:
            return None
        found: Outcome = {
            "move_id": record.move_id,
            "department": record.department,
            "case": record.case_id,
            "action": record.action,
            "by": record.by,
            "accepted": record.accepted,
            "reason": record.reason,
            "message": record.message,
            "version": record.version,
        }
        return found, record.asked
