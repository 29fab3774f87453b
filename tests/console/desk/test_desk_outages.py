"""Brokers and databases that go away, come back, or lose what they had."""

import sqlite3
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
import structlog
from conftest import wait_until
from database_parts import migrated
from desk_parts import Desk, move, open_desk
from service_parts import decide, known, on_board, outcome, running

from console import records
from console.desk import service
from console.records import check_record
from shared import heartbeats
from shared.broker import Broker
from shared.errors import AlmenaraError
from shared.heartbeats import DESK, living
from shared.keys import moves_key
from shared.moves import Action, append
from shared.settings import Settings

if TYPE_CHECKING:
    from deployment import Deployment

# Several waits in one test, each of which may really be long where nothing else is idle.


@pytest.fixture
def desk(settings: Settings, broker: Broker) -> Iterator[Desk]:
    """The record, and means to look at it; no desk runs yet."""
    with migrated(settings.database) as engine:
        yield open_desk(settings, broker, engine)


def test_a_broker_that_restarts_is_waited_for(deployment: "Deployment") -> None:
    """The desk goes on where it was, and applies what came since."""
    settings = deployment.settings
    with migrated(settings.database) as engine, running(settings):
        desk = open_desk(settings, deployment.client(), engine)
        ids = decide(deployment.client(), settings, range(2))
        wait_until(lambda: known(desk) == set(ids), within_s=30, what="both are known")
        deployment.kill("broker")
        deployment.start_broker()
        ids += decide(deployment.client(), settings, range(2, 4))
        wait_until(lambda: known(desk) == set(ids), within_s=60, what="the later ones are known too")
        wait_until(lambda: living(deployment.client(), DESK) == 1, within_s=60, what="the desk says so again")


def test_a_broker_that_lost_everything_gets_the_boards_again(
    settings: Settings, broker: Broker, desk: Desk
) -> None:
    """What is open stands on the boards, and new moves and incidents are applied, though ids start over."""
    with running(settings):
        (case_id,) = decide(broker, settings, range(1))
        wait_until(lambda: on_board(broker, "firefighters"), within_s=30, what="the case is on the board")
        asked = move(Action.ACKNOWLEDGE, "firefighters", case_id)
        append(broker, asked)
        outcome(broker, asked)
        broker.flushall()
        wait_until(lambda: on_board(broker, "firefighters"), within_s=30, what="it is there again")
        again = move(Action.EN_ROUTE, "firefighters", case_id)
        broker.xadd(moves_key("firefighters"), {"move": again.encode()}, id="5-1")
        assert outcome(broker, again)["accepted"]
        (later,) = decide(broker, settings, range(1, 2))
        wait_until(lambda: later in known(desk), within_s=30, what="the new one is known")


def test_a_database_file_that_is_removed_is_made_again(
    settings: Settings, broker: Broker, desk: Desk
) -> None:
    """The desk notices, says so, and has everything that the broker has in the new file."""
    with structlog.testing.capture_logs() as logs, running(settings):
        ids = decide(broker, settings, range(2))
        wait_until(lambda: known(desk) == set(ids), within_s=30, what="both are known")
        path = Path(desk.engine.url.database or "")
        desk.engine.dispose()
        # The file itself last: as soon as it is gone the desk makes new ones, which are not to be removed.
        for each in sorted(path.parent.glob(f"{path.name}*"), reverse=True):
            each.unlink()
        wait_until(lambda: path.exists() and file_is_ready(desk), within_s=60, what="there is a new one")
        wait_until(lambda: known(desk) == set(ids), within_s=60, what="both are known again")
        ids += decide(broker, settings, range(2, 3))
        wait_until(lambda: known(desk) == set(ids), within_s=30, what="what comes later too")
    assert [line["log_level"] for line in logs if "removed or replaced" in line["event"]] == ["error"]


def file_is_ready(desk: Desk) -> bool:
    """Whether the tables are there."""
    try:
        check_record(desk.engine)
    except AlmenaraError:
        return False
    return True


def test_a_locked_database_is_waited_for(
    settings: Settings, broker: Broker, desk: Desk, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What comes waits while another process holds the database, and nothing says that a desk serves it."""
    monkeypatch.setattr(records, "BUSY_S", 0.1)
    monkeypatch.setattr(service, "BEAT_S", 0.1)
    monkeypatch.setattr(heartbeats, "SILENT_AFTER_S", 1.0)
    with structlog.testing.capture_logs() as logs, running(settings):
        wait_until(lambda: living(broker, DESK) == 1, within_s=30, what="a desk runs")
        other = sqlite3.connect(desk.engine.url.database or "")
        other.execute("BEGIN IMMEDIATE")
        (incident,) = decide(broker, settings, range(1))
        wait_until(
            lambda: any("database away" in line["event"] for line in logs), within_s=60, what="it waits"
        )
        wait_until(lambda: living(broker, DESK) == 0, within_s=60, what="it says nothing any more")
        assert incident not in known(desk)
        other.rollback()
        other.close()
        wait_until(lambda: incident in known(desk), within_s=60, what="the desk goes on")
        wait_until(lambda: living(broker, DESK) == 1, within_s=30, what="and says so")
    told = [line["event"] for line in logs if "database" in line["event"]]
    assert told == ["database away, waiting", "database is back"]


def test_a_desk_stops_while_it_waits(settings: Settings, desk: Desk) -> None:
    """Without a broker it waits, and a signal ends that."""
    nowhere = settings.override(redis_url="unix:///tmp/nowhere.sock")
    with structlog.testing.capture_logs() as logs, running(nowhere) as stopping:
        wait_until(lambda: any("broker away" in line["event"] for line in logs), within_s=30, what="it waits")
        stopping.set()
    assert logs[-1]["event"] == "desk stopped"
