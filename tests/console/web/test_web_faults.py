import json
import signal
import urllib.request
from collections.abc import Iterator

import pytest
from conftest import wait_until
from deployment import Deployment
from web_parts import PATIENCE_S, Stream, WebRig

import console.web.following
import console.web.listeners
import console.web.pulse
import console.web.server
from shared.board import Row
from shared.broker import Broker
from shared.keys import BOARD_VERSION, board_key, open_key
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
        wait_until(lambda: stream.of("pulse")[-1]["broker"], within_s=PATIENCE_S, what="the reader goes on")


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
        wait_until(lambda: stream.of("pulse")[-1]["broker"], within_s=PATIENCE_S, what="the broker is back")
        after = rig.arrive("fire")
        assert stream.wait("row")["case"] == after
        assert len(stream.of("open")) == 1


@pytest.mark.fault
def test_a_broker_that_lost_its_data_is_followed_again(faulty: WebRig) -> None:
    """Emptied, it is filled again from the record; until then pages keep what they have."""
    rig = faulty
    known = rig.arrive("fire")
    with rig.desk():
        rig.read(known)
        with Stream(rig.client("ana")) as stream:
            stream.wait("open")
            rig.broker.flushall()
            after = rig.arrive("fire", hear=False)
            wait_until(lambda: after in _shown(stream), within_s=90, what="the page has it")
            assert all(opened["rows"] for opened in stream.of("open")), "a page went blank"
            assert cases(rig.client("ana").get("/api/cases").json()["rows"]) == {known, after}


def _shown(stream: Stream) -> set[str]:
    """Cases that a page was told of, in the opening or by themselves."""
    return cases(stream.of("row")).union(*(cases(opened["rows"]) for opened in stream.of("open")))


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
    deployment.start("web", "web", "--port", "0")
    wait_until(lambda: _port_told(deployment), within_s=90, what="the console listens")
    rig.url = f"http://127.0.0.1:{_port_told(deployment)}"
    wait_until(lambda: _answers(rig.url), within_s=90, what="the console is ready")
    rig.app = rig.make_app()  # for its sessions: the secret is the same
    with Stream(rig.client("ana")) as stream:
        stream.wait("open")
        deployment.signal("web", signal.SIGTERM)
        assert deployment.processes["web"].wait(timeout=60) == 0
        assert stream.ended.wait(timeout=PATIENCE_S)
    rig.close()


def _port_told(deployment: Deployment) -> int:
    """The port that a console says it has; 0 until it does."""
    lines = (deployment.folder / "services.log").read_text().split("\n")[:-1]  # whole ones
    told = [json.loads(line) for line in lines if '"the web console listens"' in line]
    return int(told[0]["port"]) if told else 0


def _answers(url: str) -> bool:
    try:
        with urllib.request.urlopen(f"{url}/readyz", timeout=30) as answer:  # noqa: S310 - our own
            return bool(answer.status == 200)
    except OSError:
        return False
