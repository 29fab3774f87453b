"""The tally of one transaction: what the desk counts and says of it, once it is sure to have happened."""

from collections.abc import Callable

import structlog
from sqlalchemy.orm import Session

from console.tables import Case, IncidentRecord
from shared import metrics
from shared.moves import Move

log = structlog.get_logger()

_BRINGS_IN = frozenset({"opened", "joined"})


class Tally:
    """Lines of the log, and numbers, that wait for the transaction's end; undone, they go with it."""

    def __init__(self) -> None:
        self._waiting: list[Callable[[], None]] = []

    def tell(self) -> None:
        """The transaction is committed."""
        waiting, self._waiting = self._waiting, []
        for each in waiting:
            each()

    def line(  # noqa: PLR0917 - as `Book.write` has them
        self,
        session: Session,
        case: Case,
        action: str,
        actor: str,
        department: str,
        incident_id: str | None,
        text: str,
    ) -> None:
        """A line of a case's timeline. Notes of people stay out of the log."""
        incident = incident_id or case.id
        number = text  # of one that is being brought in: it is not in the session yet, and there are many
        if action not in _BRINGS_IN:
            record = session.get(IncidentRecord, incident)
            number = record.number if record else ""
        about = {"incident": incident, "number": number, "case": case.id}
        self._waiting.append(lambda: log.info(action, actor=actor, department=department, **about))

    def kept(self, record: IncidentRecord) -> None:
        """An incident that goes to nobody: there is no emergency."""
        incident, number = record.id, record.number
        self._waiting.append(lambda: log.info("kept, for nobody", incident=incident, number=number))

    def move(self, move: Move, case_id: str, outcome: str) -> None:
        """What became of a move that somebody asked for."""
        self.moved(outcome)
        about = {"incident": case_id, "department": move.department, "by": move.by, "move_id": move.move_id}
        self._waiting.append(
            lambda: log.info("a move is judged", action=move.action.value, outcome=outcome, **about)
        )

    def moved(self, outcome: str) -> None:
        """A move, by what became of it."""
        self._waiting.append(metrics.DESK_MOVES.labels(outcome=outcome).inc)

    def entries(self, kind: str, count: int) -> None:
        """Entries of streams that are applied: kind is incident or move."""
        child = metrics.DESK_ENTRIES.labels(kind=kind)
        self._waiting.append(lambda: child.inc(count))

    def clock(self, action: str) -> None:
        """Something that the clock did: repeated, fell_back, expired, unverified."""
        self._waiting.append(metrics.DESK_CLOCK.labels(action=action).inc)

    def acknowledged(self, department: str, after_s: float) -> None:
        """A department answered a call after so many seconds."""
        child = metrics.DESK_ACKNOWLEDGE.labels(department=department)
        self._waiting.append(lambda: child.observe(after_s))
