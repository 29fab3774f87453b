"""Trimming: what leaves the streams once it is applied, and what stays."""

import time
from collections.abc import Iterator
from typing import Any

import pytest
from conftest import wait_until
from database_parts import migrated
from desk_parts import Desk, open_desk
from service_parts import running
from sqlalchemy.orm import Session

from console.desk import service
from console.desk.positions import positions
from console.desk.service import DeskService
from shared.broker import Broker
from shared.keys import CHANGED, dispatch_key, moves_key
from shared.settings import Settings

# Several waits in one test, each of which may really be long where nothing else is idle.


@pytest.fixture
def desk(settings: Settings, broker: Broker) -> Iterator[Desk]:
    """The record, and means to look at it; no desk runs yet."""
    with migrated(settings.database) as engine:
        yield open_desk(settings, broker, engine)


def test_what_is_applied_is_trimmed(
    settings: Settings, broker: Broker, desk: Desk, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Old entries go once they are applied; those that a restored backup may need stay."""
    monkeypatch.setattr(service, "TRIM_EVERY_S", 0.0)
    old_ms = int((time.time() - 2 * 86400) * 1000)
    for number in range(300):
        for stream in (CHANGED, moves_key("firefighters")):
            broker.xadd(stream, {"id": "none"}, id=f"{old_ms}-{number + 1}")
    yesterday_ms = old_ms + 36 * 3600 * 1000
    broker.xadd(moves_key("firefighters"), {"move": "recent"}, id=f"{yesterday_ms}-1")
    with running(settings):
        wait_until(lambda: broker.xlen(CHANGED) <= 200, within_s=30, what="wake-ups are trimmed")
        wait_until(
            lambda: broker.xlen(moves_key("firefighters")) <= 201, within_s=30, what="moves are trimmed"
        )
    newest: Any = broker.xrevrange(moves_key("firefighters"), count=1)
    assert newest[0][0] == f"{yesterday_ms}-1".encode()
    with Session(desk.engine) as session:
        assert positions(session, [CHANGED]) == {CHANGED: f"{old_ms}-300"}


def test_dispatches_live_as_long_as_their_incidents(
    settings: Settings, broker: Broker, desk: Desk, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What nobody can look up any more leaves the departments' streams; the rest stays."""
    monkeypatch.setattr(service, "TRIM_EVERY_S", 0.0)
    now_ms = int(time.time() * 1000)
    for days in (settings.retention_days + 1, settings.retention_days - 1):
        for number in range(300):
            entry_id = f"{now_ms - int(days * 86_400_000)}-{number}"
            broker.xadd(dispatch_key("review"), {"event": "old"}, id=entry_id)
    with running(settings):
        wait_until(lambda: broker.xlen(dispatch_key("review")) <= 400, within_s=30, what="old ones go")
    assert broker.xlen(dispatch_key("review")) >= 300


def test_nothing_is_trimmed_that_is_not_applied(settings: Settings, broker: Broker, desk: Desk) -> None:
    """A service that has applied nothing takes nothing away, however old it is."""
    broker.xadd(CHANGED, {"id": "none"}, id="5-1")
    unused = DeskService(settings, broker, desk.routing, desk.engine)
    unused._trim({CHANGED: "0-0", moves_key("review"): "7-1"})
    assert broker.xlen(CHANGED) == 1
