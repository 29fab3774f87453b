"""The desk's record: its database, opened, brought up to date and waited for, and the rows in it."""

import sqlite3
from collections.abc import Sequence
from datetime import datetime
from pathlib import Path
from typing import Any
from urllib.parse import quote, unquote

import sqlalchemy.exc
from alembic import command
from alembic.config import Config
from alembic.migration import MigrationContext
from alembic.script import ScriptDirectory
from sqlalchemy import URL, Connection, Engine, create_engine, event, func, make_url, select, text
from sqlalchemy.orm import Session, aliased

from console import migrations
from console.outages import RecordAwayError, is_record_fault, said
from console.tables import Assignment, Case, IncidentRecord, TimelineEntry
from shared.board import (
    ROW_INCIDENTS,
    ROW_TIMELINE,
    SCHEMA_VERSION,
    AssignmentPart,
    IncidentPart,
    Row,
    TimelinePart,
)
from shared.errors import ConfigError
from shared.incidents import iso
from shared.verdict import Verdict

WRITES = {"almenara_writes": True}
"""Execution options of an engine whose transactions write: on SQLite they lock at once, since one that reads
first and writes later fails when another wrote in between, however long it waits."""

BUSY_S = 5.0
_MIGRATION_LOCK = 0x616C6D656E  # any number, the same in every desk


def open_database(url: str, *, read_only: bool = False) -> Engine:
    """The engine of the desk's record; connects at its first use.

    Args:
        url: SQLAlchemy's, of SQLite or PostgreSQL.
        read_only: nothing can be written through it, and a SQLite file is not made.

    Raises:
        ConfigError: the URL can't be used here.
    """
    parsed = _url(url)
    arguments: dict[str, Any] = {"pool_pre_ping": True}
    sqlite = parsed.get_backend_name() == "sqlite"
    if sqlite:
        parsed = _sqlite_url(parsed, read_only)
        arguments["connect_args"] = {"timeout": BUSY_S}
    else:
        options = f"-c default_transaction_read_only={'on' if read_only else 'off'}"
        # A desk that hangs must not keep the others waiting for the ledger's row for ever.
        options += " -c idle_in_transaction_session_timeout=60000"
        usual = {"connect_timeout": "5", "application_name": "almenara", "options": options}
        usual |= {"keepalives_idle": "5", "keepalives_interval": "2", "keepalives_count": "3"}
        arguments["connect_args"] = {word: value for word, value in usual.items() if word not in parsed.query}
    try:
        engine = create_engine(parsed, **arguments)
    except ModuleNotFoundError as error:
        raise ConfigError(
            f"ALMENARA_DATABASE_URL needs the Python package {error.name}, which is not installed",
            reason="no_driver",
            remedy="install psycopg[binary] beside Almenara, or leave the setting empty for SQLite",
        ) from error
    except (sqlalchemy.exc.ArgumentError, TypeError, ValueError) as error:
        raise _no_url(parsed.render_as_string(hide_password=True)) from error
    if sqlite:
        _prepare_sqlite(engine, read_only)
    return engine


def place_of_record(engine: Engine) -> str:
    """Where a record is, for people: its URL without the password."""
    url = engine.url
    if url.database is not None and url.database.startswith("file:"):  # as a reader of SQLite opens it
        url = url.set(database=unquote(url.database.removeprefix("file:")), query={})
    return url.render_as_string(hide_password=True)


def file_of(engine: Engine) -> tuple[int, int] | None:
    """Device and inode of a SQLite file, by which a new one is known; zeros: it is gone.

    None where the record is in no file.
    """
    if engine.url.get_backend_name() != "sqlite":
        return None
    try:
        # A reader opens it as `file:`, escaped.
        path = engine.url.database or ""
        about = Path(unquote(path.removeprefix("file:")) if path.startswith("file:") else path).stat()
    except OSError:
        return (0, 0)
    return (about.st_dev, about.st_ino)


def migrate(engine: Engine) -> None:
    """Bring the tables up to date. Safe while other desks do the same.

    Raises:
        ConfigError: the database is of a newer Almenara, refuses us, or is none.
        RecordAwayError: it does not answer, or is locked.
    """
    where = place_of_record(engine)
    config = _alembic()
    try:
        with engine.execution_options(**WRITES).begin() as connection:
            if connection.dialect.name == "postgresql":
                connection.execute(text("SELECT pg_advisory_xact_lock(:key)"), {"key": _MIGRATION_LOCK})
            _stands_at(connection, where)
            config.attributes["connection"] = connection
            command.upgrade(config, "head")
    except sqlalchemy.exc.DBAPIError as error:
        raise _fault(error, where) from error


def check_record(engine: Engine) -> None:
    """See that the database answers and its tables are those of this version.

    Raises:
        ConfigError: it is of a newer Almenara, or refuses us.
        RecordAwayError: it does not answer, or no desk of this version has brought it up to date yet.
    """
    where = place_of_record(engine)
    try:
        with engine.connect() as connection:
            heads = _stands_at(connection, where)
    except sqlalchemy.exc.DBAPIError as error:
        raise _fault(error, where) from error
    if heads != set(ScriptDirectory.from_config(_alembic()).get_heads()):
        raise RecordAwayError(
            f"the desk's record {where} is not ready",
            reason="not_ready",
            remedy="start `almenara desk`, which makes it ready",
        )


def row_of(session: Session, case: Case, *, whole: bool = False) -> Row:
    """A case as boards show it.

    Args:
        whole: every incident and the whole timeline, instead of the newest.
    """
    return rows_of(session, [case], whole=whole)[0]


def rows_of(session: Session, cases: Sequence[Case], *, whole: bool = False) -> list[Row]:
    """Cases as boards show them, in the same order: incidents newest first, the timeline oldest first."""
    ids = [case.id for case in cases]
    incidents = _incidents(session, ids, None if whole else ROW_INCIDENTS)
    timelines = _timelines(session, ids, None if whole else ROW_TIMELINE)
    assignments: dict[str, list[AssignmentPart]] = {}
    for each in session.scalars(
        select(Assignment)
        .where(Assignment.case_id.in_(ids))
        .order_by(Assignment.dispatched_at, Assignment.department)
    ):
        assignments.setdefault(each.case_id, []).append(_assignment_part(each))
    return [
        {
            "schema_version": SCHEMA_VERSION,
            "case": case.id,
            "version": case.version,
            "verdict": case.verdict,
            "situation": case.situation,
            "unverified": case.unverified,
            "opened_at": iso(case.opened_at),
            "last_incident_at": iso(case.last_incident_at),
            "latitude_deg": case.latitude_deg,
            "longitude_deg": case.longitude_deg,
            "merged_into": case.merged_into or "",
            "incident_count": incidents.get(case.id, (0, []))[0],
            "incidents": incidents.get(case.id, (0, []))[1],
            "assignments": assignments.get(case.id, []),
            "timeline": timelines.get(case.id, []),
        }
        for case in cases
    ]


def _incidents(
    session: Session, case_ids: Sequence[str], most: int | None
) -> dict[str, tuple[int, list[IncidentPart]]]:
    """How many incidents each case has, the newest of them, and the oldest that waits for a decision."""
    case_id = IncidentRecord.case_id
    newest = (IncidentRecord.received_at.desc(), IncidentRecord.id)
    oldest = (IncidentRecord.received_at, IncidentRecord.id.desc())
    ranked = (
        select(
            IncidentRecord,
            func.row_number().over(partition_by=case_id, order_by=newest).label("place"),
            func.row_number()
            .over(partition_by=(case_id, IncidentRecord.verdict), order_by=oldest)
            .label("age"),
            func.count().over(partition_by=case_id).label("total"),
        )
        .where(case_id.in_(case_ids))
        .subquery()
    )
    entity = aliased(IncidentRecord, ranked)
    query = select(entity, ranked.c.total).order_by(ranked.c.case_id, ranked.c.place)
    if most is not None:
        # Whoever decides begins with the oldest, however many have come since.
        first = (ranked.c.verdict == Verdict.UNSURE.value) & (ranked.c.age == 1)
        query = query.where((ranked.c.place <= most) | first)
    found: dict[str, tuple[int, list[IncidentPart]]] = {}
    for record, total in session.execute(query):
        found.setdefault(record.case_id, (total, []))[1].append(_incident_part(record))
    return found


def _timelines(session: Session, case_ids: Sequence[str], most: int | None) -> dict[str, list[TimelinePart]]:
    # What was merged brings its past along.
    belongs = func.coalesce(Case.merged_into, Case.id)
    source = select(TimelineEntry, belongs.label("belongs")).join(Case, Case.id == TimelineEntry.case_id)
    within = (Case.id.in_(case_ids)) | (Case.merged_into.in_(case_ids))
    ranked = (
        source.add_columns(
            func.row_number().over(partition_by=belongs, order_by=TimelineEntry.id.desc()).label("place")
        )
        .where(within)
        .subquery()
    )
    entity = aliased(TimelineEntry, ranked)
    query = select(entity, ranked.c.belongs).order_by(ranked.c.id)
    if most is not None:
        query = query.where(ranked.c.place <= most)
    found: dict[str, list[TimelinePart]] = {}
    for entry, owner in session.execute(query):
        found.setdefault(owner, []).append(_timeline_part(entry))
    return found


def _incident_part(record: IncidentRecord) -> IncidentPart:
    return {
        "id": record.id,
        "number": record.number,
        "verdict": record.verdict,
        "situation": record.situation,
        "confidence": record.confidence,
        "scores": record.scores,
        "latitude_deg": record.latitude_deg,
        "longitude_deg": record.longitude_deg,
        "label": record.label,
        "note": record.note,
        "image": record.image,
        "model": record.model,
        "reason": record.reason,
        "detail": record.detail,
        "received_at": iso(record.received_at),
        "decided_at": iso(record.decided_at),
        "seen_count": record.seen_count,
        "last_seen_at": iso(record.last_seen_at),
        "revision": record.revision,
        "decided_by": record.decided_by,
    }


def _assignment_part(assignment: Assignment) -> AssignmentPart:
    return {
        "department": assignment.department,
        "state": assignment.state,
        "dispatched_at": iso(assignment.dispatched_at),
        "state_at": iso(assignment.state_at),
        "holder": assignment.holder,
        "acknowledged_at": _iso(assignment.acknowledged_at),
        "due_at": _iso(assignment.due_at),
        "repeats": assignment.repeats,
        "fallback_of": assignment.fallback_of,
    }


def _timeline_part(entry: TimelineEntry) -> TimelinePart:
    return {
        "at": iso(entry.at),
        "actor": entry.actor,
        "department": entry.department,
        "action": entry.action,
        "text": entry.text,
    }


def _iso(moment: datetime | None) -> str:
    return iso(moment) if moment else ""


def _url(url: str) -> URL:
    try:
        parsed = make_url(url)
        backend = parsed.get_backend_name()
    except (sqlalchemy.exc.ArgumentError, ValueError) as error:
        raise _no_url() from error  # not as it stands: it may hold a password
    if backend in ("postgres", "postgresql"):
        return parsed.set(drivername="postgresql+psycopg")
    if parsed.drivername not in ("sqlite", "sqlite+pysqlite"):
        raise _no_url(parsed.render_as_string(hide_password=True))
    if parsed.database in (None, "", ":memory:"):
        raise ConfigError(
            "ALMENARA_DATABASE_URL names a database in memory, which no other process sees",
            reason="bad_database_url",
            remedy="name a file, as sqlite:////var/lib/almenara/desk.db",
        )
    return parsed


def _no_url(shown: str = "") -> ConfigError:
    return ConfigError(
        f"ALMENARA_DATABASE_URL{shown and '='}{shown} is no database that Almenara can use",
        reason="bad_database_url",
        remedy="use postgresql+psycopg://user:password@host/database or sqlite:////folder/desk.db",
    )


def _sqlite_url(parsed: URL, read_only: bool) -> URL:
    path = Path(parsed.database or "")
    if read_only:
        # Not `mode=ro`: the file beside it that readers share with writers must be there, or be made.
        return parsed.set(database=f"file:{quote(str(path))}", query={"mode": "rw", "uri": "true"})
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        # Names, notes and places are nobody else's; SQLite's files beside it take after it.
        path.touch(mode=0o600)
    except OSError as error:
        raise ConfigError(
            f"the desk's record {path} can't be made: {error.strerror}",
            reason="bad_database_url",
            remedy="let the desk's user write there, or set ALMENARA_DATABASE_URL to another place",
        ) from error
    return parsed


def _prepare_sqlite(engine: Engine, read_only: bool) -> None:
    pragmas = ["foreign_keys = ON", "synchronous = FULL"]
    pragmas += ["query_only = ON"] if read_only else ["journal_mode = WAL"]

    @event.listens_for(engine, "connect")
    def connected(connection: sqlite3.Connection, _: Any) -> None:
        connection.isolation_level = None  # the driver would begin transactions by itself, and too late
        for pragma in pragmas:
            connection.execute(f"PRAGMA {pragma}")

    @event.listens_for(engine, "checkin")
    def returned(connection: sqlite3.Connection | None, _: Any) -> None:
        # SQLite leaves a transaction open whose commit failed, and SQLAlchemy takes it for ended.
        if connection is not None and connection.in_transaction:
            connection.rollback()

    @event.listens_for(engine, "begin")
    def begin(connection: Connection) -> None:
        writes = connection.get_execution_options().get("almenara_writes")
        connection.exec_driver_sql("BEGIN IMMEDIATE" if writes else "BEGIN")


def _alembic() -> Config:
    config = Config()
    config.set_main_option("script_location", str(Path(migrations.__file__).parent).replace("%", "%%"))
    return config


def _stands_at(connection: Connection, where: str) -> set[str]:
    """The revisions that a database is at."""
    heads = set(MigrationContext.configure(connection).get_current_heads())
    known = {revision.revision for revision in ScriptDirectory.from_config(_alembic()).walk_revisions()}
    if heads - known:
        raise ConfigError(
            f"the desk's record {where} is of a newer Almenara ({', '.join(sorted(heads - known))})",
            reason="newer_database",
            remedy="run the newer version, or restore the backup made before it was upgraded",
        )
    return heads


def _fault(error: sqlalchemy.exc.DBAPIError, where: str) -> ConfigError | RecordAwayError:
    if is_record_fault(error):
        return RecordAwayError(
            f"the desk's record {where} does not answer ({said(error)})",
            remedy="start `almenara desk`, which makes it, or check ALMENARA_DATABASE_URL",
        )
    return ConfigError(
        f"the desk's record {where} can't be used: {said(error)}",
        reason="bad_database",
        remedy="check ALMENARA_DATABASE_URL, and what its user may do there",
    )
