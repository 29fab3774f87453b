import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass

import pytest
from conftest import checking, picture_bytes, wait_until

import console.desk.clock
from console.desk.service import DeskService
from console.records import migrate, open_database
from ingest.claims import claimed_files
from ingest.intake import Intake
from ingest.service import IngestService
from shared.broker import Broker, connect
from shared.images import ImageStore
from shared.liveness import Liveness
from shared.routing import Routing
from shared.settings import Settings

pytestmark = pytest.mark.timeout(600)

NOWHERE = "redis://127.0.0.1:1/0"
LONG_S = 1000.0


class Clock:
    """Goes on by itself, and leaps as it is told."""

    def __init__(self) -> None:
        self.ahead_s = 0.0

    def __call__(self) -> float:
        """Seconds."""
        return time.monotonic() + self.ahead_s


@dataclass
class Watched:
    """A running service's liveness, and the clock that it goes by."""

    liveness: Liveness
    clock: Clock


@contextmanager
def running(run: Callable[[Callable[[], bool]], None]) -> Iterator[Watched]:
    """A service's main loop in a thread, watched as deploy/services.py does."""
    clock, stopping = Clock(), threading.Event()
    liveness = Liveness(clock=clock)
    thread = threading.Thread(target=run, args=(liveness.watching(stopping.is_set),))
    thread.start()
    try:
        yield Watched(liveness, clock)
    finally:
        stopping.set()
        thread.join(120)
        assert not thread.is_alive()


def turns(service: Watched) -> None:
    """The loop turns again and again."""
    for _ in range(3):
        service.clock.ahead_s += LONG_S
        wait_until(lambda: service.liveness.silent_s() < LONG_S / 2, within_s=120, what="the loop turns")


@contextmanager
def hanging(monkeypatch: pytest.MonkeyPatch, where: object, what: str) -> Iterator[threading.Event]:
    """Something that never returns, until the end of the block; the event says that it was called."""
    called, released = threading.Event(), threading.Event()

    def hang(*_: object, **__: object) -> None:
        called.set()
        released.wait(400)
        raise OSError("the test is over")

    monkeypatch.setattr(where, what, hang)
    try:
        yield called
    finally:
        released.set()


def falls_silent(service: Watched, called: threading.Event) -> None:
    """Once it hangs nothing turns for the loop."""
    assert called.wait(120)
    wait_until(lambda: service.liveness.silent_s() > 2, within_s=120, what="nobody turns for it")


def test_an_ingester_that_waits_for_the_broker_lives(settings: Settings, store: ImageStore) -> None:
    """With a photograph in hand that it can't admit."""
    away = settings.override(redis_url=NOWHERE)
    with connect(away) as client:
        service = IngestService(away, client, store, checking(away))
        (away.inbox[0] / "33.8568, 151.2153.jpeg").write_bytes(picture_bytes(1))
        with running(service.run) as watched:
            wait_until(lambda: claimed_files(away.inbox[0]), within_s=120, what="the file is claimed")
            turns(watched)


def test_an_ingester_that_hangs_is_silent(
    settings: Settings, store: ImageStore, broker: Broker, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Examining a file never ends, though other threads go on."""
    service = IngestService(settings, broker, store, checking(settings))
    with running(service.run) as watched, hanging(monkeypatch, Intake, "examine") as called:
        (settings.inbox[0] / "33.8568, 151.2153.jpeg").write_bytes(picture_bytes(1))
        falls_silent(watched, called)


def test_a_desk_that_waits_for_the_broker_lives(settings: Settings) -> None:
    """From its start on, and without having reached it once."""
    away = settings.override(redis_url=NOWHERE)
    with connect(away) as client:
        engine = open_database(away.database)
        service = DeskService(away, client, Routing.load(away.routing), engine)
        with running(service.run) as watched:
            turns(watched)
        engine.dispose()


def test_a_desk_that_hangs_is_silent(
    settings: Settings, broker: Broker, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Its clock never comes back."""
    engine = open_database(settings.database)
    migrate(engine)
    service = DeskService(settings, broker, Routing.load(settings.routing), engine)
    with running(service.run) as watched, hanging(monkeypatch, console.desk.clock, "tick") as called:
        falls_silent(watched, called)
    engine.dispose()
