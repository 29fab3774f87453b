from types import SimpleNamespace
from typing import Any

import pytest

import ingest.cameras
from ingest.cameras import Cameras
from shared import heartbeats
from shared.broker import Broker, connect
from shared.keys import LABEL_SEEN
from shared.settings import Settings


def seen(broker: Broker) -> Any:
    """What is known of cameras."""
    return broker.hgetall(LABEL_SEEN)


def test_a_camera_counts_from_when_it_is_first_watched(broker: Broker) -> None:
    """Also where it never sends anything; a restart of the ingester changes nothing."""
    began_s = heartbeats.now(broker)
    Cameras(broker, ["plaza"]).begin()
    first = seen(broker)
    at_s, word = first[b"plaza"].split()
    assert (float(at_s) >= began_s - 0.01, word) == (True, b"watched")
    Cameras(broker, ["plaza"]).begin()
    assert seen(broker) == first


def test_only_watched_labels_are_noted(broker: Broker) -> None:
    """Whoever names files chooses labels, and must not fill the broker with them."""
    cameras = Cameras(broker, ["plaza", "north bridge"])
    cameras.note(["plaza", "made up", "", "plaza"])
    assert set(seen(broker)) == {b"plaza"}


def test_a_flood_is_noted_once(broker: Broker, monkeypatch: pytest.MonkeyPatch) -> None:
    """Each camera once a second at most, and then again."""
    cameras = Cameras(broker, ["plaza"])
    for now_s, noted in ((100.0, True), (100.9, False), (101.0, True), (101.5, False)):
        monkeypatch.setattr(ingest.cameras, "time", SimpleNamespace(monotonic=lambda now_s=now_s: now_s))
        broker.hset(LABEL_SEEN, "plaza", "before")
        cameras.note(["plaza"])
        assert (seen(broker)[b"plaza"] != b"before") is noted, now_s


def test_a_broker_that_is_away_holds_up_nobody(settings: Settings, broker: Broker) -> None:
    """The next picture is noted as if nothing had been."""
    with connect(settings.override(redis_url="redis://127.0.0.1:1/0")) as away:
        cameras = Cameras(away, ["plaza"])
        cameras.begin()
        cameras.note(["plaza"])
        cameras._broker = broker
        cameras.begin()
        cameras.note(["plaza"])
    assert set(seen(broker)) == {b"plaza"}
