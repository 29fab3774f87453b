"""History: what of the desk's record a user may search, as queries. Reads only."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from sqlalchemy import ColumnElement, Engine, Select, and_, exists, func, or_, select
from sqlalchemy.orm import InstrumentedAttribute, Session

from console.nearness import in_box
from console.records import rows_of
from console.tables import Assignment, Case, IncidentRecord, TimelineEntry
from console.users import Role, User
from console.web.access import reviews
from shared.board import Row
from shared.coordinates import Coordinates
from shared.moves import Action
from shared.routing import ALL, REVIEW
from shared.verdict import Verdict

PAGE = 500
"""Cases read at once for an export: between pages nothing of the database is held."""

_NEWEST_FIRST = (Case.opened_at.desc(), Case.id.desc())


@dataclass(frozen=True, kw_only=True)
class Search:
    """What is looked for; None and empty texts mean anything.

    Attributes:
        since: opened at or after, aware.
        until: opened before, aware.
        number: of an incident, leading zeros or not.
        text: in labels, in what is known of places, and in notes; any case.
    """

    since: datetime | None = None
    until: datetime | None = None
    situation: str = ""
    department: str = ""
    verdict: str = ""
    place: Coordinates | None = None
    radius_m: float = 500.0
    number: str = ""
    text: str = ""


class History:
    """The cases of a record that match a search and are a user's to see, newest first."""

    def __init__(self, engine: Engine, user: User, search: Search) -> None:
        self._engine = engine
        self._search = search
        self._where = and_(Case.merged_into.is_(None), _theirs(user), *_conditions(search))

    def page(self, page: int, page_size: int) -> tuple[int, list[Row]]:
        """How many there are, and the rows of one page, counted from 1."""
        first = (page - 1) * page_size
        with Session(self._engine) as session:
            if self._search.place is not None:
                near = list(self._near(session))
                return len(near), _rows(session, near[first : first + page_size])
            total = session.scalar(select(func.count()).select_from(Case).where(self._where)) or 0
            query = select(Case.id).where(self._where).order_by(*_NEWEST_FIRST)
            return total, _rows(session, session.scalars(query.offset(first).limit(page_size)).all())

    def rows(self) -> Iterator[Row]:
        """All of them, however many: a page at a time, so that a slow reader holds nothing."""
        if self._search.place is not None:
            with Session(self._engine) as session:
                near = list(self._near(session))
            for start in range(0, len(near), PAGE):
                with Session(self._engine) as session:
                    rows = _rows(session, near[start : start + PAGE])
                yield from rows
            return
        after: tuple[datetime, str] | None = None
        while True:
            query = select(Case.id, Case.opened_at).where(self._where).order_by(*_NEWEST_FIRST).limit(PAGE)
            if after is not None:
                older = and_(Case.opened_at == after[0], Case.id < after[1])
                query = query.where(or_(Case.opened_at < after[0], older))
            with Session(self._engine) as session:
                found = session.execute(query).all()
                rows = _rows(session, [case_id for case_id, _ in found])
            yield from rows
            if len(found) < PAGE:
                return
            after = (found[-1][1], found[-1][0])

    def cases(self, *columns: Any) -> Iterator[Any]:
        """Columns of every matching case."""
        return self._each(select(Case.id, *columns).where(self._where))

    def assignments(self, *columns: Any) -> Iterator[Any]:
        """Columns of every assignment of a matching case."""
        joined = select(Case.id, *columns).join(Assignment, Assignment.case_id == Case.id)
        return self._each(joined.where(self._where))

    def _each(self, query: Select[Any]) -> Iterator[Any]:
        with Session(self._engine) as session:
            near = frozenset(self._near(session)) if self._search.place is not None else None
            for row in session.execute(query.execution_options(yield_per=PAGE)):
                if near is None or row[0] in near:
                    yield row[1:]

    def _near(self, session: Session) -> Iterator[str]:
        """Ids of matching cases with an incident within the radius: the box by index, the circle here."""
        search, seen = self._search, set[str]()
        assert search.place is not None
        query = (
            select(Case.id, IncidentRecord.latitude_deg, IncidentRecord.longitude_deg)
            .join(IncidentRecord, IncidentRecord.case_id == Case.id)
            .where(self._where, _in_box(search.place, search.radius_m))
            .order_by(*_NEWEST_FIRST)
        )
        for case_id, latitude_deg, longitude_deg in session.execute(query):
            place = Coordinates(latitude_deg=latitude_deg, longitude_deg=longitude_deg)
            if case_id not in seen and search.place.distance_m(place) <= search.radius_m:
                seen.add(case_id)
                yield case_id


def _in_box(place: Coordinates, radius_m: float) -> ColumnElement[bool]:
    return in_box(IncidentRecord.latitude_deg, IncidentRecord.longitude_deg, place, radius_m)


def _rows(session: Session, case_ids: Sequence[str]) -> list[Row]:
    found = {case.id: case for case in session.scalars(select(Case).where(Case.id.in_(case_ids)))}
    return rows_of(session, [found[case_id] for case_id in case_ids if case_id in found])


def _theirs(user: User) -> ColumnElement[bool]:
    """The rule of console/web/access.py `sees`, in the database's words."""
    if user.has(Role.SUPERVISOR):
        return Case.id.is_not(None)
    assigned: ColumnElement[bool] = Assignment.department.in_(user.departments)
    if ALL in user.departments:
        assigned = Assignment.department != REVIEW
    ways = [_assigned(assigned)]
    if reviews(user):
        ways += [_assigned(Assignment.department == REVIEW), Case.verdict == Verdict.NO_EMERGENCY.value]
    return or_(*ways)


def _assigned(condition: ColumnElement[bool]) -> ColumnElement[bool]:
    return _has(Assignment.case_id, condition)


def _has(case_id: InstrumentedAttribute[str], condition: ColumnElement[bool]) -> ColumnElement[bool]:
    """Whether a row of another table belongs to the case and meets a condition, whatever else is joined."""
    return exists().where(case_id == Case.id, condition).correlate(Case)


def _conditions(search: Search) -> Iterator[ColumnElement[bool]]:
    if search.since is not None:
        yield Case.opened_at >= search.since
    if search.until is not None:
        yield Case.opened_at < search.until
    if search.situation:
        yield Case.situation == search.situation
    if search.department:
        yield _assigned(Assignment.department == search.department)
    if search.verdict:
        yield Case.verdict == search.verdict
    if search.number:
        number = f"{int(search.number):04d}"
        yield _has(IncidentRecord.case_id, IncidentRecord.number == number)
    if search.text:
        found = [
            column.icontains(search.text, autoescape=True)
            for column in (IncidentRecord.label, IncidentRecord.note)
        ]
        yield or_(
            _has(IncidentRecord.case_id, or_(*found)),
            _has(
                TimelineEntry.case_id,
                and_(
                    TimelineEntry.action == Action.NOTE.value,
                    TimelineEntry.text.icontains(search.text, autoescape=True),
                ),
            ),
        )
