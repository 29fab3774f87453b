"""Calls that nobody has answered yet: how many, and how old the oldest is, by department."""

from collections.abc import Iterable, Iterator, Mapping
from datetime import datetime
from typing import Any

from prometheus_client.registry import Collector
from sqlalchemy import func, or_, select
from sqlalchemy.orm import Session

from console.tables import Assignment, Case
from shared import metrics
from shared.incidents import utc_now
from shared.moves import AssignmentState
from shared.routing import REVIEW


class OpenCalls(Collector):
    """What the desk saw last. Ages grow until it looks again, also where it hangs."""

    def __init__(self) -> None:
        self._calls: Mapping[str, tuple[int, datetime]] = {}

    def look(self, session: Session, departments: Iterable[str]) -> None:
        """Count anew; departments without a call are 0.

        Raises:
            sqlalchemy.exc.DBAPIError: the database is away.
        """
        known = [*departments, REVIEW]
        query = (
            select(Assignment.department, func.count(), func.min(Assignment.state_at))
            .join(Case)
            .where(
                Case.merged_into.is_(None),
                Assignment.department.in_(known),  # by the index of department and state: a year is long
                Assignment.state == AssignmentState.DISPATCHED.value,
                # A department without a time was stood down; a review goes on after it went out undecided.
                or_(Assignment.due_at.is_not(None), Assignment.department == REVIEW),
            )
            .group_by(Assignment.department)
        )
        found = {department: (number, oldest_at) for department, number, oldest_at in session.execute(query)}
        now = utc_now()
        self._calls = dict.fromkeys(known, (0, now)) | found

    def describe(self) -> Iterable[Any]:
        """Nothing is asked to know the names."""
        return []

    def collect(self) -> Iterator[Any]:
        """Both metrics."""
        calls, now = self._calls, utc_now()
        yield metrics.DESK_UNACKNOWLEDGED.family([((word,), number) for word, (number, _) in calls.items()])
        yield metrics.DESK_OLDEST.family(
            [
                ((word,), max(0.0, (now - oldest_at).total_seconds()) if number else 0.0)
                for word, (number, oldest_at) in calls.items()
            ]
        )
