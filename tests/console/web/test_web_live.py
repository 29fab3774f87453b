import contextlib
import json
import socket
from collections.abc import Iterator
from datetime import datetime

import httpx
import pytest
from conftest import wait_until
from web_parts import PATIENCE_S, Stream, WebRig

import console.web.following
import console.web.listeners
import console.web.pulse
import console.web.server
from shared.board import Row
from shared.broker import Broker
from shared.heartbeats import DESK, beat, end
from shared.incidents import iso, utc_now
from shared.keys import BOARD_VERSION, board_key, open_key
from shared.settings import Settings
from shared.verdict import Verdict


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


def test_a_page_opens_with_everything_open_and_then_hears_what_comes(rig: WebRig) -> None:
    """The first event has all open rows; a dispatch after it comes as a row with a higher version."""
    first = rig.arrive("fire")
    rig.read(first)
    with Stream(rig.client("ana")) as stream:
        opened = stream.wait("open")
        assert cases(opened["rows"]) == {first}
        second = rig.arrive("fire")
        row = stream.wait("row")
        assert (row["case"], row["situation"]) == (second, "fire")
        assert stream.version >= row["version"] > opened["version"]


def test_a_user_hears_of_their_own_departments_alone(rig: WebRig) -> None:
    """Robberies go to the police: firefighters see none; a supervisor sees all; a reviewer what is unsure."""
    fire, robbery = rig.arrive("fire"), rig.arrive("robbery")
    unsure = rig.arrive("protest", verdict=Verdict.UNSURE)
    rig.read(unsure)
    expected = {
        "ana": {fire},
        "tomas": {fire},
        "vera": {fire},
        "rita": {unsure},
        "sol": {fire, robbery, unsure},
    }
    for name, theirs in expected.items():
        assert cases(rig.client(name).get("/api/cases").json()["rows"]) == theirs, name
        with Stream(rig.client(name)) as stream:
            assert cases(stream.wait("open")["rows"]) == theirs, name
    with Stream(rig.client("ana")) as firefighter, Stream(rig.client("sol")) as supervisor:
        firefighter.wait("open")
        supervisor.wait("open")
        rig.arrive("robbery")
        supervisor.wait("row")
        mine = rig.arrive("fire")
        assert cases([firefighter.wait("row")]) == {mine}
        assert len(firefighter.of("row")) == 1


def test_one_reader_serves_all_browsers(rig: WebRig) -> None:
    """However many listen, the board is read once: the broker sees one waiting reader."""
    rig.read()
    with contextlib.ExitStack() as stack:
        for stream in [stack.enter_context(Stream(rig.client("ana"))) for _ in range(5)]:
            stream.wait("open")
        # Between two reads it asks for the version, and nobody waits.
        wait_until(lambda: _readers(rig), within_s=PATIENCE_S, what="somebody reads")
        assert max(_readers(rig) for _ in range(200)) <= 1


def _readers(rig: WebRig) -> int:
    """Connections that wait in the broker now; what a connection did last says nothing of that."""
    return sum("b" in each["flags"] for each in rig.broker.client_list())


def test_a_row_that_ends_is_told_and_leaves_the_board(rig: WebRig) -> None:
    """Closing is sent as a row, so that pages take it away; who opens later does not get it."""
    case = rig.arrive("fire")
    rig.read(case)
    with rig.desk(), Stream(rig.client("ana")) as stream:
        client = rig.client("sol")
        for department in ("firefighters", "transit-police"):
            answer = rig.move(client, case, department=department, action="false_alarm")
            assert answer.status_code == 200, answer.text
        row = stream.wait(
            "row", lambda row: {each["state"] for each in row["assignments"]} == {"false_alarm"}
        )
        assert row["case"] == case
        wait_until(lambda: rig.parts.live.row(case) is None, within_s=PATIENCE_S, what="it left the board")
        assert rig.client("ana").get("/api/cases").json()["rows"] == []


def test_an_outcome_goes_to_who_asked_alone(rig: WebRig) -> None:
    """Everybody sees the row change; only the user who pressed hears what became of the press."""
    case = rig.arrive("fire")
    rig.read(case)
    with rig.desk(), Stream(rig.client("ana")) as mine, Stream(rig.client("tomas")) as other:
        mine.wait("open")
        other.wait("open")
        done = rig.move(rig.client("ana"), case, department="firefighters", action="acknowledge").json()
        assert mine.wait("outcome") == done
        refused = rig.move(rig.client("ana"), case, department="firefighters", action="acknowledge").json()
        assert mine.wait("outcome", count=2) == refused
        other.wait("row")
        rig.move(rig.client("tomas"), case, department="transit-police", action="acknowledge")
        other.wait("outcome")
        assert [each["by"] for each in other.of("outcome")] == ["tomas"]


def test_an_outcome_cut_off_before_its_row_comes_again_with_it(rig: WebRig) -> None:
    """Outcome and row of one version: only the last has the id, so a cut between them loses neither."""
    case = rig.arrive("fire")
    rig.read(case)
    with rig.desk(), Stream(rig.client("ana")) as stream:
        stream.wait("open")
        rig.move(rig.client("ana"), case, department="firefighters", action="acknowledge")
        stream.wait("row")
        told = [each for each in stream.events if each["event"] in ("outcome", "row")]
        assert [each["event"] for each in told] == ["outcome", "row"]
        assert "id" not in told[0]
        assert int(told[1]["id"].partition("-")[0]) == told[1]["data"]["version"]


def test_the_pulse_says_who_is_there(rig: WebRig) -> None:
    """Desk, broker and workers are told with the time, and again whenever it changes."""
    rig.read()
    with Stream(rig.client("ana")) as stream:
        pulse = stream.wait("pulse", lambda pulse: pulse["broker"] and pulse["workers"] == 0)
        assert pulse["desk"] is False
        assert datetime.fromisoformat(pulse["at"]).tzinfo is not None
        beat(rig.broker, DESK, "a")
        stream.wait("pulse", lambda pulse: pulse["desk"])
        end(rig.broker, DESK, "a")
        wait_until(
            lambda: not stream.of("pulse")[-1]["desk"], within_s=PATIENCE_S, what="a pulse without a desk"
        )


def test_a_pulse_keeps_a_quiet_browser_up_to_date(rig: WebRig) -> None:
    """What others' departments do raises the version that a quiet browser comes back with."""
    rig.read(rig.arrive("fire"))
    with Stream(rig.client("ana")) as stream:
        stream.wait("open")
        before = stream.version
        rig.read(rig.arrive("robbery"))
        wait_until(lambda: stream.version > before, within_s=PATIENCE_S, what="a pulse with the new version")
        assert stream.of("row") == []


def test_a_browser_that_does_not_read_is_cut_off_and_slows_nobody(
    rig: WebRig, monkeypatch: pytest.MonkeyPatch
) -> None:
    """One takes nothing, the others get everything; the one is let go, and its memory with it."""
    monkeypatch.setattr(console.web.listeners, "QUEUE_MESSAGES", 20)
    rig.read(rig.arrive("fire", label="x" * 64))
    live = rig.parts.live
    lazy = rig.client("ana")
    with (
        socket.create_connection(("127.0.0.1", httpx.URL(rig.url).port)) as sock,
        Stream(rig.client("vera")) as stream,
    ):
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
        cookie = "; ".join(f"{name}={value}" for name, value in lazy.cookies.items())
        sock.sendall(f"GET /api/live HTTP/1.1\r\nHost: 127.0.0.1\r\nCookie: {cookie}\r\n\r\n".encode())
        wait_until(lambda: len(live.listeners) == 2, within_s=PATIENCE_S, what="both listen")
        sent: list[int] = []

        def flood() -> bool:
            # Half a queue: then the one that reads has all of it before there is more, however slow it is.
            for _ in range(10):
                sent.append(_publish_again(rig, len(sent)))
            stream.wait("row", count=len(sent))
            return len(live.listeners) == 1

        wait_until(flood, within_s=60, what="the lazy one is cut off")
        assert [row["version"] for row in stream.of("row")] == sent
        assert not stream.ended.is_set()


def _publish_again(rig: WebRig, number: int) -> int:
    """Put one more version of a long row on the board of all; the version."""
    version = 1_000_000 + number
    (text,) = rig.broker.hvals(open_key("all"))[:1]
    row = json.loads(text) | {"version": version}
    line = {"at": iso(utc_now()), "actor": "x", "department": "", "action": "note", "text": "y" * 2000}
    row["timeline"] = [line]
    rig.broker.xadd(board_key("all"), {"row": json.dumps(row)}, id=f"{version}-0")
    rig.broker.set(BOARD_VERSION, version)
    return version


def test_who_listens_while_the_server_stops_is_let_go(
    settings: Settings, broker: Broker, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A stopping server ends its streams itself, and is not kept waiting by them."""
    monkeypatch.setattr(console.web.server, "STOP_S", 600)  # it would not end, if it waited
    rig = WebRig(settings, broker)
    rig.add_everybody()
    with contextlib.ExitStack() as stack:
        with rig.serving():
            stream = stack.enter_context(Stream(rig.client("ana")))
            stream.wait("open")
        assert stream.ended.wait(timeout=PATIENCE_S)
    rig.close()
