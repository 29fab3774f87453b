"""What tests of the desk's service share: one that runs in a thread, and what its boards say."""

import threading
from collections.abc import Iterator
from contextlib import contextmanager

from conftest import make_photograph, wait_until
from desk_parts import Desk
from sqlalchemy import Engine

from console.desk.service import DeskService
from console.records import open_database
from console.tables import IncidentRecord
from ingest.admission import admit
from shared.board import Outcome, changes, open_rows
from shared.broker import Broker, connect
from shared.dispatches import Decision
from shared.moves import Move
from shared.routing import Routing
from shared.settings import Settings
from shared.verdict import Verdict
from worker.executions import Terms, finish, new_ids, start

SURE = Decision(
    verdict=Verdict.DISPATCHED, situation="fire", confidence=0.9, scores={"fire": 0.9}, model="m@0"
)


@contextmanager
def running(settings: Settings, engine: Engine | None = None) -> Iterator[threading.Event]:
    """A desk in a thread of its own, stopped at the end; the event stops it sooner."""
    stopping = threading.Event()
    own = engine or open_database(settings.database)
    client = connect(settings)
    desk = DeskService(settings, client, Routing.load(settings.routing), own)
    thread = threading.Thread(target=desk.run, args=(stopping.is_set,))
    thread.start()
    try:
        yield stopping
    finally:
        stopping.set()
        thread.join(60)
        assert not thread.is_alive()
        client.close()
        own.dispose()


def decide(broker: Broker, settings: Settings, seeds: range, decision: Decision = SURE) -> list[str]:
    """Photographs are admitted and decided as ingester and worker do it; their ids."""
    photographs = [make_photograph(seed) for seed in seeds]
    admit(broker, [(f"claim-{seed}", each) for seed, each in zip(seeds, photographs, strict=True)])
    started = start(broker, "w", new_ids(len(photographs)), 60.0)
    terms = Terms(routing=Routing.load(settings.routing), keep_s=3600)
    finish(broker, [(each, decision) for each in started], terms)
    return [photograph.incident_id for photograph in photographs]


def known(desk: Desk) -> set[str]:
    """Incidents in the record."""
    return {record.id for record in desk.rows_of(IncidentRecord)}


def on_board(broker: Broker, department: str) -> dict[str, dict[str, str]]:
    """case -> department -> state, of everything open there."""
    return {
        row["case"]: {part["department"]: part["state"] for part in row["assignments"]}
        for row in open_rows(broker, department).rows
    }


def outcome(broker: Broker, asked: Move) -> Outcome:
    """What became of a move, once its board says so."""
    found: list[Outcome] = []

    def told() -> bool:
        page = changes(broker, asked.department, 0)
        found[:] = [each for change in page for each in change.outcomes if each["move_id"] == asked.move_id]
        return bool(found)

    wait_until(told, within_s=30, what="the move's outcome is told")
    assert len(found) == 1
    return found[0]
