from collections.abc import Iterator

import pytest
from conftest import wait_until
from web_parts import Stream, WebRig

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
    wait_until(lambda: heartbeats.living(rig.broker, "web") == 1, within_s=20, what="the server beats")
    assert listening(rig.broker) == set()
    with Stream(rig.client("ana")) as stream:
        stream.wait("pulse")
        wait_until(
            lambda: listening(rig.broker) == {"firefighters"}, within_s=20, what="ana's department is heard"
        )
    wait_until(lambda: listening(rig.broker) == set(), within_s=20, what="nobody listens any more")


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


def test_a_broker_that_is_away_holds_up_nobody(settings: Settings) -> None:
    """It is told with the next pulse instead."""
    with connect(settings.override(redis_url="redis://127.0.0.1:1/0")) as away:
        presence = Presence(away, [])
        presence.tell({"review"})
        presence.end()
