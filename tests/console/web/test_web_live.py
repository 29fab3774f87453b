import contextlib
import json
import signal
import socket
import urllib.request
from collections.abc import Iterator
from datetime import datetime

import httpx
import pytest
from conftest import wait_until
from deployment import Deployment
from web_parts import Stream, WebRig

import console.web.following
import console.web.listeners
import console.web.pulse
import console.web.server
from console.web.access import view
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
        rig.arrive("robbery")
        supervisor.wait("row")
        mine = rig.arrive("fire")
        assert cases([firefighter.wait("row")]) == {mine}
        assert len(firefighter.of("row")) == 1


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


def test_one_reader_serves_all_browsers(rig: WebRig) -> None:
    """However many listen, the board is read once: the broker sees one waiting reader."""
    rig.read()
    with contextlib.ExitStack() as stack:
        for stream in [stack.enter_context(Stream(rig.client("ana"))) for _ in range(5)]:
            stream.wait("open")
        # Between two reads it asks for the version.
        assert max(_readers(rig) for _ in range(200)) == 1


def _readers(rig: WebRig) -> int:
    return sum(each["cmd"].startswith("xread") for each in rig.broker.client_list())


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
        wait_until(lambda: rig.parts.live.row(case) is None, within_s=10, what="it left the board")
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
        stream.wait("pulse", lambda pulse: not pulse["desk"], count=2)


def test_a_pulse_keeps_a_quiet_browser_up_to_date(rig: WebRig) -> None:
    """What others' departments do raises the version that a quiet browser comes back with."""
    rig.read(rig.arrive("fire"))
    with Stream(rig.client("ana")) as stream:
        stream.wait("open")
        before = stream.version
        rig.read(rig.arrive("robbery"))
        wait_until(lambda: stream.version > before, within_s=15, what="a pulse with the new version")
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
        wait_until(lambda: len(live.listeners) == 2, within_s=10, what="both listen")
        sent: list[int] = []

        def flood() -> bool:
            for _ in range(50):
                sent.append(_publish_again(rig, len(sent)))
            return len(live.listeners) == 1

        wait_until(flood, within_s=60, what="the lazy one is cut off")
        stream.wait("row", count=len(sent))
        assert [row["version"] for row in stream.of("row")] == sent


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
    settings: Settings, broker: Broker, caplog: pytest.LogCaptureFixture
) -> None:
    """A stopping server ends its streams itself, and is not kept waiting by them."""
    rig = WebRig(settings, broker)
    rig.add_everybody()
    with contextlib.ExitStack() as stack:
        with rig.serving():
            stream = stack.enter_context(Stream(rig.client("ana")))
            stream.wait("open")
        assert stream.ended.wait(timeout=5)
    assert "Cancel" not in caplog.text, "the server gave up waiting"
    rig.close()


def test_rows_that_the_record_forgot_are_taken_from_pages(rig: WebRig) -> None:
    """Of a case that a restored database has not, the desk writes a row without assignments."""
    case = rig.arrive("fire")
    rig.read(case)
    with Stream(rig.client("ana")) as stream:
        (row,) = stream.wait("open")["rows"]
        gone = row | {"assignments": [], "version": row["version"] + 1}
        rig.broker.xadd(board_key("all"), {"row": json.dumps(gone)}, id=f"{gone['version']}-0")
        assert stream.wait("row")["assignments"] == []
        assert rig.parts.live.row(case) is None


def test_a_board_of_a_newer_desk_is_said_and_not_shown(rig: WebRig, monkeypatch: pytest.MonkeyPatch) -> None:
    """A row that this version does not understand stops the reader while it lasts; browsers are told."""
    monkeypatch.setattr(console.web.following, "REST_S", 0.1)
    rig.read(rig.arrive("fire"))
    with Stream(rig.client("ana")) as stream:
        (row,) = stream.wait("open")["rows"]
        newer = json.dumps(row | {"schema_version": 99})
        version = row["version"] + 1
        rig.broker.xadd(board_key("all"), {"row": newer}, id=f"{version}-0")
        rig.broker.set(BOARD_VERSION, version)
        stream.wait("pulse", lambda pulse: not pulse["broker"])
        rig.broker.xdel(board_key("all"), f"{version}-0")
        wait_until(lambda: stream.of("pulse")[-1]["broker"], within_s=15, what="the reader goes on")


def test_a_difference_from_the_broker_is_found_and_mended(
    rig: WebRig, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Should a page and the broker ever differ at one version, the broker's board is shown anew."""
    kept, lost = rig.arrive("fire"), rig.arrive("fire")
    rig.read(lost)
    with Stream(rig.client("ana")) as stream:
        assert cases(stream.wait("open")["rows"]) == {kept, lost}
        rig.broker.hdel(open_key("all"), lost)
        monkeypatch.setattr(console.web.following, "LOOK_AGAIN_S", 0.1)
        assert cases(stream.wait("open", count=2)["rows"]) == {kept}


@pytest.fixture
def faulty(deployment: Deployment) -> Iterator[WebRig]:
    """A console whose broker is the test's own to kill."""
    made = WebRig(deployment.settings, deployment.client())
    made.add_everybody()
    with made.serving():
        yield made
    made.close()


@pytest.mark.fault
def test_a_broker_that_restarts_is_told_and_costs_nothing(faulty: WebRig, deployment: Deployment) -> None:
    """While it is away browsers know; when it is back the stream goes on, and nothing is lost or repeated."""
    rig = faulty
    before = rig.arrive("fire")
    rig.read(before)
    with Stream(rig.client("ana")) as stream:
        stream.wait("open")
        deployment.kill("broker")
        stream.wait("pulse", lambda pulse: not pulse["broker"])
        assert rig.client("ana").get("/readyz").status_code == 503
        assert cases(rig.client("ana").get("/api/cases").json()["rows"]) == {before}
        deployment.start_broker()
        wait_until(lambda: stream.of("pulse")[-1]["broker"], within_s=20, what="the broker is back")
        after = rig.arrive("fire")
        assert stream.wait("row")["case"] == after
        assert len(stream.of("open")) == 1


@pytest.mark.fault
def test_a_broker_that_lost_its_data_is_followed_again(faulty: WebRig) -> None:
    """Emptied, it is filled again from the record; until then pages keep what they have."""
    rig = faulty
    with rig.desk():
        known = rig.arrive("fire")
        rig.read(known)
        with Stream(rig.client("ana")) as stream:
            stream.wait("open")
            rig.broker.flushall()
            after = rig.arrive("fire", hear=False)
            stream.wait("row", lambda row: row["case"] == after)
            assert all(opened["rows"] for opened in stream.of("open")), "a page went blank"
            assert cases(rig.client("ana").get("/api/cases").json()["rows"]) == {known, after}


def test_a_record_that_began_anew_is_opened_anew(rig: WebRig) -> None:
    """Broker and record both lost: versions begin at one again, and pages are given the new board."""
    for _ in range(3):
        old = rig.arrive("fire")
    rig.read(old)
    with Stream(rig.client("ana")) as stream:
        stream.wait("open")
        (text,) = rig.broker.hmget(open_key("all"), [old])
        row = json.loads(text or b"") | {"version": 1}
        rig.broker.flushall()
        with rig.broker.pipeline(transaction=True) as pipeline:
            pipeline.hset(open_key("all"), old, json.dumps(row))
            pipeline.set(BOARD_VERSION, 1)
            pipeline.execute()
        again = stream.wait("open", count=2)
        assert (again["version"], cases(again["rows"])) == (1, {old})


def test_until_the_board_was_read_nothing_is_claimed(deployment: Deployment) -> None:
    """A server that starts while the broker is away shows no empty board: it waits, and opens when it can."""
    rig = WebRig(deployment.settings, deployment.client())
    rig.add_everybody()
    case = rig.arrive("fire")
    deployment.kill("broker")
    with rig.serving():
        answer = rig.client("ana").get("/api/cases")
        assert (answer.status_code, answer.json()["reason"]) == (503, "broker_away")
        with Stream(rig.client("ana"), "1") as stream:
            stream.wait("pulse", lambda pulse: not pulse["broker"])
            assert stream.of("open") == []
            assert all("id" not in each for each in stream.events)
            deployment.start_broker()
            assert cases(stream.wait("open")["rows"]) == {case}
    rig.close()


@pytest.mark.fault
def test_a_served_console_ends_within_seconds(deployment: Deployment) -> None:
    """SIGTERM ends the process cleanly though a browser holds its stream open."""
    rig = WebRig(deployment.settings, deployment.client())
    rig.add_everybody()
    with socket.create_server(("127.0.0.1", 0)) as free:
        port = free.getsockname()[1]
    deployment.start("web", "web", "--port", str(port))
    rig.url = f"http://127.0.0.1:{port}"
    wait_until(lambda: _answers(rig.url), within_s=60, what="the console answers")
    rig.app = rig.make_app()  # for its sessions: the secret is the same
    with Stream(rig.client("ana")) as stream:
        stream.wait("open")
        deployment.signal("web", signal.SIGTERM)
        assert deployment.processes["web"].wait(timeout=10) == 0
        assert stream.ended.wait(timeout=5)
    rig.close()


def _answers(url: str) -> bool:
    try:
        with urllib.request.urlopen(f"{url}/readyz") as answer:  # noqa: S310 - our own
            return bool(answer.status == 200)
    except OSError:
        return False
