"""Databases for tests: SQLite files, and a PostgreSQL of our own where its programs are installed."""

import os
import shutil
import signal
import subprocess
import tempfile
import uuid
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
from conftest import wait_until
from sqlalchemy import Engine, create_engine, text

from console.records import migrate, open_database


@contextmanager
def postgresql_cluster() -> Iterator[Path]:
    """The folder with the socket of a PostgreSQL that runs meanwhile; skips the test where there is none."""
    programs = _programs()
    folder = Path(tempfile.mkdtemp(prefix="almenara-pg-"))  # short: a socket's path has a limit
    user = _unprivileged(folder)
    data = folder / "data"
    made: list[str | Path] = [
        programs / "initdb",
        "-D",
        data,
        "-U",
        "almenara",
        "-A",
        "trust",
        "--no-sync",
        "-E",
        "UTF8",
    ]
    subprocess.run(made, user=user, check=True, capture_output=True, cwd=folder)
    options: list[str | Path] = [
        "-c",
        "listen_addresses=",
        "-c",
        "fsync=off",
        "-c",
        "max_connections=40",
        "-k",
        folder,
    ]
    with (folder / "log").open("wb") as log:
        server = subprocess.Popen(
            [programs / "postgres", "-D", data, *options], user=user, stdout=log, stderr=log, cwd=folder
        )
    try:
        wait_until(lambda: _answers(folder), within_s=30, what=f"PostgreSQL answers; log: {folder}/log")
        yield folder
    finally:
        server.send_signal(signal.SIGINT)  # SIGTERM would wait for whoever is still connected
        server.wait(timeout=60)
        shutil.rmtree(folder, ignore_errors=True)


def postgresql_url(folder: Path) -> str:
    """A new, empty database there."""
    name = f"desk_{uuid.uuid4().hex[:8]}"
    engine = _administrator(folder)
    with engine.connect() as connection:
        connection.execute(text(f"CREATE DATABASE {name}"))
    engine.dispose()
    # A busy machine may need longer for a connection than a console would wait.
    return f"postgresql+psycopg://almenara@/{name}?host={folder}&connect_timeout=60"


@contextmanager
def migrated(url: str) -> Iterator[Engine]:
    """The engine of a database with every table, closed at the end."""
    engine = open_database(url)
    try:
        migrate(engine)
        yield engine
    finally:
        engine.dispose()


def _programs() -> Path:
    on_path = shutil.which("postgres")
    found = [Path(on_path)] if on_path else sorted(Path("/usr/lib/postgresql").glob("*/bin/postgres"))
    if not found or not (found[-1].resolve().parent / "initdb").exists():
        pytest.skip("PostgreSQL's initdb and postgres are not installed: nothing to test against")
    return found[-1].resolve().parent


def _unprivileged(folder: Path) -> str | None:
    """PostgreSQL refuses to run as root: whom to run it as, who then owns the folder."""
    if os.geteuid() != 0:
        return None
    shutil.chown(folder, "nobody")
    return "nobody"


def _administrator(folder: Path) -> Engine:
    return create_engine(
        f"postgresql+psycopg://almenara@/postgres?host={folder}", isolation_level="AUTOCOMMIT"
    )


def _answers(folder: Path) -> bool:
    engine = _administrator(folder)
    try:
        with engine.connect():
            return True
    except Exception:
        return False
    finally:
        engine.dispose()
