from collections.abc import Iterator

import pytest
from web_parts import Stream, WebRig

import console.web.following
import console.web.listeners
import console.web.pulse
import console.web.server
from console.web.access import view
from shared.board import Row
from shared.broker import Broker
from shared.settings import Settings


@pytest.fixture
def rig(settings: Settings, broker: Broker) -> Iterator[WebRig]:
    """A console with one user of each kind."""
    made = WebRig(settings, broker)
    made.add_everybody()
    with made.serving():
        yield made
    made.close()


@pytest.fixture(autouse=True)
def hasty(monkeypatch: pytest.MonkeyPatch) -> None:
    """The pulse beats five times a second, not once in five; the kernel lets nobody go in our stead."""
    monkeypatch.setattr(console.web.pulse, "PULSE_S", 0.2)
    monkeypatch.setattr(console.web.server, "UNANSWERED_S", 600)


def cases(rows: list[Row]) -> set[str]:
    """Ids."""
    return {row["case"] for row in rows}


def test_a_browser_that_comes_back_misses_and_repeats_nothing(rig: WebRig) -> None:
    """With the last event id the stream goes on where it was, without everything open anew."""
    rig.read(rig.arrive("fire"))
    with Stream(rig.client("ana")) as stream:
        stream.wait("open")
        seen = [rig.arrive("fire") for _ in range(3)]
        stream.wait("row", count=3)
        last = stream.last_event_id
    missed = [rig.arrive("fire") for _ in range(4)]
    rig.read(missed[-1])
    with Stream(rig.client("ana"), last) as stream:
        stream.wait("row", count=4)
        later = rig.arrive("fire")
        stream.wait("row", count=5)
        assert [row["case"] for row in stream.of("row")] == [*missed, later]
        assert stream.of("open") == []
        assert not set(seen) & set(missed)


@pytest.mark.parametrize(
    "last",
    [
        "0-{view}",
        "999999-{view}",
        "{version}",
        "{version}-",
        "{version}-ab12cd34",
        "x",
        "-1",
        "9" * 40,
        "²-{view}",
    ],
)
def test_a_browser_that_was_too_far_away_opens_anew(rig: WebRig, last: str) -> None:
    """An id that is unknown here, of another record, or without the user's own word gives everything open."""
    rig.read(rig.arrive("fire"))
    rig.parts.live._since = 1
    user = rig.users.find("ana")
    assert user is not None
    last = last.format(view=view(user), version=rig.parts.live.version)
    with Stream(rig.client("ana"), last.encode().decode("latin-1")) as stream:
        assert len(stream.wait("open")["rows"]) == 1


def test_another_users_event_id_opens_anew(rig: WebRig) -> None:
    """Whoever logs in at somebody else's browser gets their own open rows, and is told who they are."""
    fire, robbery = rig.arrive("fire"), rig.arrive("robbery")
    rig.read(robbery)
    with Stream(rig.client("ana")) as stream:
        opened = stream.wait("open")
        assert (opened["user"]["name"], cases(opened["rows"])) == ("ana", {fire})
        last = stream.last_event_id
    rig.add_user("pia", "operator", departments=["police-department"])
    with Stream(rig.client("pia"), last) as stream:
        opened = stream.wait("open")
        assert opened["user"] == rig.client("pia").get("/api/session").json()["user"]
        assert cases(opened["rows"]) == {robbery}


def test_who_was_given_another_department_opens_anew(rig: WebRig) -> None:
    """The same person with other departments or roles did not have what is theirs now."""
    fire, robbery = rig.arrive("fire"), rig.arrive("robbery")
    rig.read(robbery)
    for roles, departments, theirs in (
        (["operator"], ["firefighters", "police-department"], {fire, robbery}),
        (["supervisor"], ["firefighters"], {fire, robbery}),
    ):
        rig.add_user("ana", "operator", departments=["firefighters"])
        with Stream(rig.client("ana")) as stream:
            stream.wait("open")
            last = stream.last_event_id
        rig.add_user("ana", *roles, departments=departments)
        with Stream(rig.client("ana"), last) as stream:
            assert cases(stream.wait("open")["rows"]) == theirs


def test_a_restarted_server_goes_on_where_browsers_were(settings: Settings, broker: Broker) -> None:
    """A new process knows the latest changes: browsers get what they missed, and nothing twice."""
    rig = WebRig(settings, broker)
    rig.add_everybody()
    with rig.serving():
        rig.read(rig.arrive("fire"))
        with Stream(rig.client("ana")) as stream:
            stream.wait("open")
            rig.arrive("fire")
            stream.wait("row")
            last = stream.last_event_id
    missed = rig.arrive("fire")
    with rig.serving():
        rig.read(missed)
        with Stream(rig.client("ana"), last) as stream:
            assert stream.wait("row")["case"] == missed
            assert stream.of("open") == []
    rig.close()
