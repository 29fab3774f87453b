"""Outages of the desk's database: which faults pass by themselves, and waiting for that."""

import random
import sqlite3
import time
from collections.abc import Callable
from typing import TypeVar

import sqlalchemy.exc
import structlog

from shared.errors import TransientError

log = structlog.get_logger()

T = TypeVar("T")

MAX_WAIT_S = 2.0
_WAITING_CURES_SQLITE = ("locked", "busy", "disk i/o", "is full", "unable to open", "readonly")
_WAITING_CURES_NOT = ("password authentication failed", "no pg_hba.conf", "does not exist", "no password")
_READ_ONLY_SQLSTATE = "25006"  # a PostgreSQL that is failing over


class RecordAwayError(TransientError):
    """Raised when the database can't serve just now."""

    default_reason = "database_away"


def is_record_fault(error: BaseException) -> bool:
    """Whether waiting can cure it: locked, away, restarting, full. A missing table or a bad value is not."""
    if isinstance(error, RecordAwayError | sqlalchemy.exc.TimeoutError):
        return True
    if not isinstance(error, sqlalchemy.exc.DBAPIError):
        return False
    words = str(error.orig).lower()
    if isinstance(error.orig, sqlite3.Error):
        return any(part in words for part in _WAITING_CURES_SQLITE)
    if any(part in words for part in _WAITING_CURES_NOT):
        return False
    return (
        error.connection_invalidated
        or isinstance(error, sqlalchemy.exc.OperationalError | sqlalchemy.exc.InterfaceError)
        or getattr(error.orig, "sqlstate", None) == _READ_ONLY_SQLSTATE
    )


def outlast(
    work: Callable[[], T],
    *,
    stop: Callable[[], bool] = lambda: False,
    sleep: Callable[[float], None] = time.sleep,
) -> T:
    """Do `work`, again and again while the database is away or locked, saying so once and when it is back.

    Args:
        work: must be safe to repeat.
        stop: gives up waiting when true.
        sleep: seconds to wait; jittered, growing from 0.05 s to MAX_WAIT_S.

    Raises:
        RecordAwayError: `stop` turned true while the database was away.
    """
    since_s, wait_s = 0.0, 0.05
    while True:
        try:
            outcome = work()
        except Exception as error:
            if not is_record_fault(error):
                raise
            if not since_s:
                since_s = time.monotonic()
                log.warning("database away, waiting", error=said(error))
            if stop():
                raise RecordAwayError(f"stopped while the database was away ({said(error)})") from error
            sleep(wait_s * random.uniform(0.5, 1.0))  # noqa: S311 - jitter, not a secret
            wait_s = min(wait_s * 2, MAX_WAIT_S)
        else:
            if since_s:
                log.info("database is back", away_s=round(time.monotonic() - since_s, 1))
            return outcome


def said(error: Exception) -> str:
    """The driver's own words, on one line."""
    return " ".join(str(getattr(error, "orig", None) or error).split())
