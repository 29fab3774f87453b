"""The desk's record: its tables. The desk alone writes them; consoles read. console/migrations makes them."""

from datetime import UTC, datetime
from typing import Any

from sqlalchemy import (
    JSON,
    BigInteger,
    DateTime,
    Dialect,
    Float,
    ForeignKey,
    Index,
    Integer,
    String,
    Text,
    TypeDecorator,
)
from sqlalchemy.orm import DeclarativeBase, Mapped, mapped_column

DESK = "desk"
"""Who acted and decided where no person did; no user may have this name."""


class Moment(TypeDecorator[datetime]):
    """An aware time in UTC, in databases that keep time zones and in those that don't."""

    impl = DateTime(timezone=True)
    cache_ok = True

    def process_bind_param(self, value: datetime | None, dialect: Dialect) -> Any:
        """To UTC; a time without a zone is our own mistake."""
        if value is None:
            return None
        assert value.tzinfo is not None, "times are aware"
        return value.astimezone(UTC)

    def process_result_value(self, value: Any, dialect: Dialect) -> datetime | None:
        """From the database, which may have dropped the zone."""
        if value is None:
            return None
        moment: datetime = value
        return moment.replace(tzinfo=UTC) if moment.tzinfo is None else moment.astimezone(UTC)


class Record(DeclarativeBase):
    """Base of every table."""


def _case() -> ForeignKey:
    """A case's id. Looked at when the transaction ends: within it, rows are written in any order."""
    return ForeignKey("cases.id", deferrable=True, initially="DEFERRED")


class Ledger(Record):
    """One row. Its `version` counts every change of a case and every outcome of a move.

    Whoever changes the record raises it first: the row's lock then keeps desks apart, and versions become
    visible in their order.
    """

    __tablename__ = "ledger"
    id: Mapped[int] = mapped_column(primary_key=True)
    version: Mapped[int] = mapped_column(BigInteger, default=0)


class Position(Record):
    """How far a stream of the broker has been applied; written in the same transaction as what it brought."""

    __tablename__ = "positions"
    stream: Mapped[str] = mapped_column(String(120), primary_key=True)
    entry_id: Mapped[str] = mapped_column(String(48))


class Case(Record):
    """One emergency: one incident, or several of one situation that are close in place and time.

    `id` is the id of the incident that opened it. A case that was merged stays, and says into which.
    """

    __tablename__ = "cases"
    id: Mapped[str] = mapped_column(String(32), primary_key=True)
    situation: Mapped[str | None] = mapped_column(String(64))
    verdict: Mapped[str] = mapped_column(String(16))
    unverified: Mapped[bool] = mapped_column(default=False)
    latitude_deg: Mapped[float] = mapped_column(Float)
    longitude_deg: Mapped[float] = mapped_column(Float)
    opened_at: Mapped[datetime] = mapped_column(Moment, index=True)
    last_incident_at: Mapped[datetime] = mapped_column(Moment)
    merged_into: Mapped[str | None] = mapped_column(String(32), index=True)
    version: Mapped[int] = mapped_column(BigInteger, index=True)
    """0 where it never was on a board: no emergency, and nobody to check it."""

    __table_args__ = (Index("cases_place", "situation", "latitude_deg", "longitude_deg"),)


class IncidentRecord(Record):
    """One photograph, as the broker's record of it stood when it was last read."""

    __tablename__ = "incidents"
    id: Mapped[str] = mapped_column(String(32), primary_key=True)
    case_id: Mapped[str] = mapped_column(_case(), index=True)
    version: Mapped[int] = mapped_column(BigInteger)
    """The version of its case with which it came into it: who saw an earlier one did not see this."""
    joined_at: Mapped[datetime] = mapped_column(Moment)
    """When it came into its case."""
    number: Mapped[str] = mapped_column(String(16), index=True)
    verdict: Mapped[str] = mapped_column(String(16))
    situation: Mapped[str | None] = mapped_column(String(64))
    confidence: Mapped[float] = mapped_column(Float)
    scores: Mapped[dict[str, float]] = mapped_column(JSON)
    latitude_deg: Mapped[float] = mapped_column(Float)
    longitude_deg: Mapped[float] = mapped_column(Float)
    label: Mapped[str] = mapped_column(String(64))
    note: Mapped[str] = mapped_column(Text)
    image: Mapped[str] = mapped_column(Text)
    model: Mapped[str] = mapped_column(Text)
    reason: Mapped[str] = mapped_column(String(64))
    detail: Mapped[str] = mapped_column(Text)
    received_at: Mapped[datetime] = mapped_column(Moment, index=True)
    decided_at: Mapped[datetime] = mapped_column(Moment)
    seen_count: Mapped[int] = mapped_column(Integer)
    last_seen_at: Mapped[datetime] = mapped_column(Moment)
    revision: Mapped[int] = mapped_column(Integer)
    decided_by: Mapped[str] = mapped_column(String(64))
    """Who said what it shows: a user's name, ``desk`` where the time was over, empty for the model."""

    __table_args__ = (Index("incidents_place", "latitude_deg", "longitude_deg"),)


class Assignment(Record):
    """How far one department, or ``review``, is with one case (shared/moves.py has its states and moves)."""

    __tablename__ = "assignments"
    case_id: Mapped[str] = mapped_column(_case(), primary_key=True)
    department: Mapped[str] = mapped_column(String(64), primary_key=True)
    state: Mapped[str] = mapped_column(String(16))
    dispatched_at: Mapped[datetime] = mapped_column(Moment)
    state_at: Mapped[datetime] = mapped_column(Moment)
    acknowledged_at: Mapped[datetime | None] = mapped_column(Moment)
    """The first time; kept when an acknowledgement expires, for the history."""
    holder: Mapped[str] = mapped_column(String(64), default="")
    due_at: Mapped[datetime | None] = mapped_column(Moment, index=True)
    """When the clock looks at it next; None where nothing is awaited."""
    repeats: Mapped[int] = mapped_column(Integer, default=0)
    fallback_of: Mapped[str] = mapped_column(String(64), default="")
    """The department that did not answer, where this one was called in its place."""
    fell_back: Mapped[bool] = mapped_column(default=False)

    __table_args__ = (Index("assignments_department", "department", "state"),)


class TimelineEntry(Record):
    """One thing that happened to a case; never changed, never removed."""

    __tablename__ = "timeline"
    id: Mapped[int] = mapped_column(
        BigInteger().with_variant(Integer, "sqlite"), primary_key=True, autoincrement=True
    )
    case_id: Mapped[str] = mapped_column(_case(), index=True)
    incident_id: Mapped[str | None] = mapped_column(String(32))
    department: Mapped[str] = mapped_column(String(64), default="")
    at: Mapped[datetime] = mapped_column(Moment)
    actor: Mapped[str] = mapped_column(String(64))
    action: Mapped[str] = mapped_column(String(24))
    text: Mapped[str] = mapped_column(Text, default="")


class MoveRecord(Record):
    """A move that was asked for, and what became of it: `reason` is ``applied`` or why not."""

    __tablename__ = "moves"
    move_id: Mapped[str] = mapped_column(String(32), primary_key=True)
    version: Mapped[int] = mapped_column(BigInteger, index=True)
    department: Mapped[str] = mapped_column(String(64))
    case_id: Mapped[str] = mapped_column(String(32), index=True)
    """Where it ended up: the case that was asked about may have gone into this one."""
    asked: Mapped[str] = mapped_column(String(64), default="")
    """`Move.digest` of what was asked, which its id alone stands for; empty where it was none."""
    action: Mapped[str] = mapped_column(String(24))
    by: Mapped[str] = mapped_column(String(64))
    at: Mapped[datetime] = mapped_column(Moment)
    accepted: Mapped[bool] = mapped_column()
    reason: Mapped[str] = mapped_column(String(24))
    message: Mapped[str] = mapped_column(Text)
