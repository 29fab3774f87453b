import re
import sqlite3
import sys
import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
import sqlalchemy.exc
import structlog
from alembic.autogenerate import compare_metadata
from alembic.migration import MigrationContext
from conftest import wait_until
from database_parts import migrated, postgresql_cluster, postgresql_url
from sqlalchemy import Engine, select, text
from sqlalchemy.orm import Session

from console import records
from console.outages import RecordAwayError, is_record_fault, outlast
from console.records import WRITES, check_record, migrate, open_database
from console.tables import Ledger, Record, TimelineEntry
from shared.errors import ConfigError
from shared.incidents import utc_now


@pytest.fixture(scope="module")
def postgresql() -> Iterator[Path]:
    """A PostgreSQL for the module."""
    with postgresql_cluster() as folder:
        yield folder


@pytest.fixture(params=["sqlite", "postgresql"])
def url(request: pytest.FixtureRequest, tmp_path: Path) -> str:
    """An empty database of either kind."""
    if request.param == "sqlite":
        return f"sqlite:///{tmp_path / 'record' / 'desk.db'}"
    return postgresql_url(request.getfixturevalue("postgresql"))


@pytest.fixture
def engine(url: str) -> Iterator[Engine]:
    """The same, with its tables."""
    with migrated(url) as made:
        yield made


def test_migrations_make_exactly_the_models(engine: Engine) -> None:
    """Nobody changes a table without a step that brings old databases along."""
    with engine.connect() as connection:
        context = MigrationContext.configure(connection, opts={"compare_server_default": True})
        assert compare_metadata(context, Record.metadata) == []


def test_desks_that_start_together_make_the_tables_once(url: str) -> None:
    """Several may run `migrate` at once on an empty database, and again on a full one."""
    engines = [open_database(url) for _ in range(6)]
    together = threading.Barrier(len(engines))

    def start(engine: Engine) -> None:
        together.wait()
        outlast(lambda: migrate(engine))

    with ThreadPoolExecutor(len(engines)) as pool:
        list(pool.map(start, engines))
    with Session(engines[0]) as session:
        assert session.scalars(select(Ledger.version)).all() == [0]
        assert session.scalar(text("SELECT count(*) FROM alembic_version")) == 1
    for engine in engines:
        engine.dispose()


def test_the_web_console_needs_no_right_to_write(postgresql: Path) -> None:
    """With a role made by the guide's lines it reads every table, and PostgreSQL refuses its writes."""
    guide = (Path(__file__).parents[3] / "docs" / "operators-guide.md").read_text(encoding="utf-8")
    lines = re.findall(r"(?m)^    ((?:CREATE ROLE|GRANT|ALTER DEFAULT PRIVILEGES) .*almenara_web.*);$", guide)
    assert len(lines) == 3
    url = postgresql_url(postgresql)
    with migrated(url) as desk:
        with desk.begin() as connection:
            for line in lines:
                connection.execute(text(line))
            connection.execute(text("CREATE TABLE of_a_later_version (id integer)"))
        web = open_database(url.replace("almenara@", "almenara_web@"), read_only=True)
        check_record(web)
        with Session(web) as session:
            for table in Record.metadata.tables.values():
                session.execute(select(table)).all()
            session.execute(text("SELECT * FROM of_a_later_version")).all()
        web.dispose()
        writing = open_database(url.replace("almenara@", "almenara_web@"))
        with (
            pytest.raises(sqlalchemy.exc.ProgrammingError, match="permission denied"),
            writing.begin() as tried,
        ):
            tried.execute(text("UPDATE ledger SET version = 9"))
        writing.dispose()


def test_a_newer_database_is_left_alone(engine: Engine) -> None:
    """An old desk on the database of a newer one stops, and says what to do."""
    with engine.begin() as connection:
        connection.execute(text("UPDATE alembic_version SET version_num = '9999'"))
    for look in (migrate, check_record):
        with pytest.raises(ConfigError, match=r"newer Almenara \(9999\).*restore the backup") as caught:
            look(engine)
        assert caught.value.reason == "newer_database"


def test_what_no_desk_has_made_is_not_ready(url: str) -> None:
    """Who reads the record learns that it is not there yet, and that it is."""
    reading = open_database(url, read_only=True)
    with pytest.raises(RecordAwayError):
        check_record(reading)
    with migrated(url):
        check_record(reading)
    reading.dispose()


def test_who_only_reads_can_not_write(url: str, engine: Engine) -> None:
    """The web console's engine refuses every change."""
    reading = open_database(url, read_only=True)
    with Session(reading) as session:
        session.scalars(select(Ledger)).one().version = 5
        with pytest.raises(sqlalchemy.exc.DBAPIError, match=r"readonly|read-only"):
            session.commit()
    reading.dispose()


def test_who_only_reads_makes_no_file(tmp_path: Path) -> None:
    """A web console that starts before the desk leaves no empty database behind."""
    path = tmp_path / "desk.db"
    reading = open_database(f"sqlite:///{path}", read_only=True)
    with pytest.raises(RecordAwayError, match="unable to open"):
        check_record(reading)
    assert not path.exists()
    reading.dispose()


def test_what_belongs_to_no_case_is_refused(engine: Engine) -> None:
    """The database itself refuses it when the transaction ends, and the next one starts afresh."""
    for _ in range(2):
        with pytest.raises(sqlalchemy.exc.IntegrityError), Session(engine) as session, session.begin():
            session.add(TimelineEntry(case_id="none", at=utc_now(), actor="desk", action="opened"))
    with Session(engine) as session:
        assert session.scalars(select(TimelineEntry)).all() == []


def test_a_sqlite_record_survives_the_power(tmp_path: Path) -> None:
    """Its writes are flushed at each commit, and readers do not wait for them."""
    with migrated(f"sqlite:///{tmp_path / 'desk.db'}") as engine, engine.connect() as connection:
        asked = [
            connection.execute(text(f"PRAGMA {word}")).scalar() for word in ("journal_mode", "synchronous")
        ]
        assert asked == ["wal", 2]


@pytest.mark.parametrize(
    "url",
    [
        "mysql://ana:hunter2@host/desk",
        "no address hunter2",
        "sqlite://",
        "sqlite:///:memory:",
        "postgresql+asyncpg",
    ],
)
def test_an_address_of_no_use_is_refused(url: str) -> None:
    """What names no database that Almenara can use is said at once, without what might be a password."""
    with pytest.raises(ConfigError, match="ALMENARA_DATABASE_URL") as caught:
        open_database(url)
    assert caught.value.reason == "bad_database_url"
    assert caught.value.remedy
    assert "hunter2" not in str(caught.value)


def test_every_spelling_of_postgresql_uses_the_one_driver() -> None:
    """`postgres://` and `postgresql://`, as hosts hand them out, mean psycopg 3."""
    for scheme in ("postgresql", "postgres", "postgresql+psycopg"):
        engine = open_database(f"{scheme}://ana:hunter2@host/desk")
        assert (engine.dialect.name, engine.driver) == ("postgresql", "psycopg")


def test_a_missing_driver_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    """Without psycopg the message says what to install."""
    monkeypatch.setitem(sys.modules, "psycopg", None)
    with pytest.raises(ConfigError, match=r"psycopg.*not installed.*[Ii]nstall psycopg") as caught:
        open_database("postgresql://host/desk")
    assert caught.value.reason == "no_driver"


def test_a_folder_that_can_not_be_made_is_named(tmp_path: Path) -> None:
    """Where the record's folder can't be, the desk says so and stops."""
    (tmp_path / "file").touch()
    with pytest.raises(ConfigError, match=r"desk\.db can't be made"):
        open_database(f"sqlite:///{tmp_path}/file/desk.db")


def test_a_file_that_is_no_database_is_refused(tmp_path: Path) -> None:
    """Waiting cures nothing there, so the desk does not wait."""
    path = tmp_path / "desk.db"
    path.write_bytes(b"a photograph, perhaps" * 500)
    engine = open_database(f"sqlite:///{path}")
    with pytest.raises(ConfigError, match="not a database"):
        migrate(engine)
    engine.dispose()


def test_a_wrong_name_is_refused_and_an_absent_server_waited_for(postgresql: Path) -> None:
    """A database that is not there needs a person; a server that is away comes back."""
    for name, error in (("nobody", ConfigError), ("postgres", RecordAwayError)):
        host = postgresql if error is ConfigError else postgresql / "elsewhere"
        engine = open_database(f"postgresql://almenara@/{name}?host={host}")
        with pytest.raises(error, match="the desk's record"):
            migrate(engine)
        engine.dispose()


def test_a_locked_database_is_waited_for(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """While another process holds it, work is tried again, and the wait is told once and ended once."""
    monkeypatch.setattr(records, "BUSY_S", 0.1)
    path = tmp_path / "desk.db"
    with migrated(f"sqlite:///{path}") as engine, structlog.testing.capture_logs() as logs:
        other = sqlite3.connect(path, check_same_thread=False)
        other.execute("BEGIN IMMEDIATE")

        def write() -> None:
            writer = engine.execution_options(**WRITES)
            with writer.connect() as connection, connection.begin():
                connection.execute(text("UPDATE ledger SET version = 7"))

        waiting = threading.Thread(target=lambda: outlast(write))
        waiting.start()
        wait_until(lambda: logs, within_s=30, what="the wait is told")
        other.rollback()
        waiting.join(timeout=60)
        other.close()
        with Session(engine) as session:
            assert session.scalars(select(Ledger.version)).one() == 7
    assert [line["event"] for line in logs] == ["database away, waiting", "database is back"]


def test_what_waiting_does_not_cure_is_raised(engine: Engine) -> None:
    """A missing table is no outage, on either kind of database."""
    with engine.connect() as connection, pytest.raises(sqlalchemy.exc.DBAPIError) as caught:
        connection.execute(text("SELECT * FROM nowhere"))
    assert not is_record_fault(caught.value)
    with pytest.raises(ZeroDivisionError):
        outlast(lambda: 1 // 0)


def test_who_waits_for_a_database_can_be_stopped() -> None:
    """`stop` ends the wait with what was waited for."""

    def work() -> None:
        raise RecordAwayError("it is away")

    with pytest.raises(RecordAwayError, match="stopped while the database was away"):
        outlast(work, stop=lambda: True, sleep=lambda _: None)
