"""The ingester tells another master what the one before it has taken with it."""

import threading
from collections.abc import Iterator

import pytest
from conftest import checking, make_photograph, picture_bytes, wait_until

import ingest.recent
from ingest.recent import Recent
from ingest.service import IngestService
from shared.broker import Broker
from shared.images import ImageStore
from shared.incidents import all_ids
from shared.settings import Settings

pytestmark = pytest.mark.timeout(600)


@pytest.fixture
def led(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """How often Sentinels would have led us to a master: the last of these."""
    times = [1]
    monkeypatch.setattr(ingest.recent, "times_led", lambda _: times[-1])
    return times


@pytest.fixture
def running(settings: Settings, broker: Broker, store: ImageStore, led: list[int]) -> Iterator[None]:
    """An ingester in a thread."""
    assert led
    service = IngestService(settings, broker, store, checking(settings))
    stopping = threading.Event()
    thread = threading.Thread(target=service.run, args=(stopping.is_set,))
    thread.start()
    try:
        yield
    finally:
        stopping.set()
        thread.join(120)
        assert not thread.is_alive()


@pytest.mark.usefixtures("running")
def test_a_photograph_that_the_new_master_lacks_is_admitted_again(
    settings: Settings, broker: Broker, led: list[int]
) -> None:
    """Without its file, which was let go; and what it has is counted once."""
    for seed, place in ((1, "33.8568, 151.2153.jpeg"), (2, "33.8570, 151.2153.jpeg")):
        aside = settings.inbox[0] / f".{seed}.tmp"
        aside.write_bytes(picture_bytes(seed))
        aside.rename(settings.inbox[0] / place)
    wait_until(lambda: len(all_ids(broker)) == 2, within_s=120, what="both are admitted")
    lost, kept = all_ids(broker)
    wait_until(lambda: not list(settings.inbox[0].glob("*.jpeg")), within_s=120, what="the files are gone")
    broker.delete(f"almenara:incident:{lost}", f"rq:job:{lost}")
    broker.zrem("almenara:incidents", lost)
    led.append(2)
    wait_until(lambda: set(all_ids(broker)) == {lost, kept}, within_s=120, what="the lost one is back")
    assert {broker.hget(f"almenara:incident:{each}", "seen_count") for each in (lost, kept)} == {b"1"}


def test_nothing_is_remembered_without_sentinels(broker: Broker) -> None:
    """There is one broker, which forgets nothing."""
    recent = Recent(broker)
    assert recent.led() is None
    assert recent.tell_again() == 0


def test_what_no_master_was_told_yet_is_kept(
    broker: Broker, led: list[int], monkeypatch: pytest.MonkeyPatch
) -> None:
    """However long there was none: it is forgotten by age only once it was told."""
    recent = Recent(broker)
    recent.note([("claim", make_photograph(1))], 1)
    monkeypatch.setattr(ingest.recent, "KEEP_S", -1.0)
    led.append(2)
    assert recent.tell_again() == 1
    broker.flushall()
    led.append(3)
    assert recent.tell_again() == 1
    assert recent.tell_again() == 0
    led.append(4)
    broker.flushall()
    assert recent.tell_again() == 0
