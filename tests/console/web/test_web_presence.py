import threading
from collections.abc import Iterator
from typing import Any

import pytest
from conftest import wait_until
from web_parts import PATIENCE_S, Stream, WebRig

import console.web.pulse
from console.web.presence import Presence
from shared import heartbeats
from shared.broker import Broker, connect
from shared.keys import listening_key
from shared.settings import Settings


@pytest.fixture
def rig(settings: Settings, broker: Broker, monkeypatch: pytest.MonkeyPatch) -> Iterator[WebRig]:
    """A console with one user of each kind, whose pulse beats five times a second."""
    monkeypatch.setattr(console.web.pulse, "PULSE_S", 0.2)
    made = WebRig(settings, broker)
    made.add_everybody()
    with made.serving():
        yield made
    made.close()


def listening(broker: Broker) -> set[str]:
    """Departments that a console listens for."""
    prefix = listening_key("")
    return {key.decode().removeprefix(prefix) for key in broker.scan_iter(match=f"{prefix}*")}


def test_an_open_page_listens_for_its_users_departments(rig: WebRig) -> None:
    """While it is open and no longer; the server itself lives all the while."""
    wait_until(
        lambda: heartbeats.living(rig.broker, "web") == 1, within_s=PATIENCE_S, what="the server beats"
    )
    assert listening(rig.broker) == set()
    with Stream(rig.client("ana")) as stream:
        stream.wait("pulse")
        wait_until(
            lambda: listening(rig.broker) == {"firefighters"},
            within_s=PATIENCE_S,
            what="ana's department is heard",
        )
    wait_until(lambda: listening(rig.broker) == set(), within_s=PATIENCE_S, what="nobody listens any more")


def test_who_sees_all_listens_for_all(settings: Settings, broker: Broker) -> None:
    """A page of `all` stands for every department, and not for review; the end takes everything back."""
    presence = Presence(broker, ["firefighters", "ambulance"])
    presence.tell({"all"})
    assert listening(broker) == {"firefighters", "ambulance"}
    presence.tell({"review"})
    assert listening(broker) == {"review"}
    presence.end()
    assert listening(broker) == set()
    assert heartbeats.living(broker, "web") == 0


def test_nothing_is_told_after_the_end(
    settings: Settings, broker: Broker, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A pulse that the stopping server waits for no longer does not say that it lives and listens."""
    presence = Presence(broker, [])
    presence.tell({"review"})
    beat, ender = heartbeats.beat, threading.Thread(target=presence.end)

    def meanwhile(*told: Any) -> None:
        ender.start()
        ender.join(timeout=0.5)  # it would be through by then, if it did not wait for us
        beat(*told)

    monkeypatch.setattr(heartbeats, "beat", meanwhile)
    presence.tell({"review"})
    ender.join(timeout=PATIENCE_S)
    assert (listening(broker), heartbeats.living(broker, "web")) == (set(), 0)
    monkeypatch.setattr(heartbeats, "beat", beat)
    presence.tell({"review"})
    assert (listening(broker), heartbeats.living(broker, "web")) == (set(), 0)


def test_a_broker_that_is_away_holds_up_nobody(settings: Settings) -> None:
    """It is told with the next pulse instead."""
    with connect(settings.override(redis_url="redis://127.0.0.1:1/0")) as away:
        presence = Presence(away, [])
        presence.tell({"review"})
        presence.end()
