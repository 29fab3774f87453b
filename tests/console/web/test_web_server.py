import asyncio
import contextlib
import errno
import json
import resource
import socket
from collections.abc import Iterator

import httpx
import pytest
import structlog
from conftest import wait_until
from web_parts import PATIENCE_S, Stream, WebRig

import console.web.api_live
import console.web.connections
import console.web.pulse
import console.web.server
from console.web.connections import Doors
from console.web.server import listen
from shared.broker import Broker
from shared.errors import ConfigError
from shared.settings import Settings


@pytest.fixture
def rig(settings: Settings, broker: Broker) -> Iterator[WebRig]:
    """A console with one user of each kind."""
    made = WebRig(settings, broker)
    made.add_everybody()
    yield made
    made.close()


def test_a_port_that_is_taken_is_told(settings: Settings) -> None:
    """The start stops with what to do about it."""
    with socket.create_server(("127.0.0.1", 0)) as taken, pytest.raises(ConfigError, match="--port"):
        listen("127.0.0.1", taken.getsockname()[1])
    with pytest.raises(ConfigError, match="can't listen"):
        listen("192.0.2.1", 0)  # no machine's own, and no name that somebody would have to be asked about


def test_readiness_names_what_is_missing(rig: WebRig) -> None:
    """Ready once broker, record and board are there; each that is not is named, to any machine."""
    with rig.serving():
        rig.read()
        ready = rig.client().get("/readyz")
        assert (ready.status_code, ready.json()) == (200, {"status": "ok", "faults": []})
        with rig.engine.execution_options(almenara_writes=True).begin() as connection:
            connection.exec_driver_sql("UPDATE alembic_version SET version_num = 'newer'")
        answer = rig.client().get("/readyz")
        assert answer.status_code == 503
        assert answer.json()["faults"] == ["the desk's record can't be read"]
        assert rig.client().get("/livez").status_code == 200


def test_a_record_that_cannot_be_read_is_told(rig: WebRig) -> None:
    """The database away is 503 with a plain message; the board goes on."""
    with rig.serving():
        case = rig.arrive("fire")
        rig.read(case)
        with rig.engine.execution_options(almenara_writes=True).begin() as connection:
            connection.exec_driver_sql("ALTER TABLE cases RENAME TO elsewhere")
        client = rig.client("ana")
        for path in (f"/api/cases/{case}", "/api/history", f"/api/incidents/{case}/picture"):
            answer = client.get(path)
            assert (answer.status_code, answer.json()["reason"]) == (503, "record_away")
            assert "sqlite" not in answer.text.lower()
        assert [row["case"] for row in client.get("/api/cases").json()["rows"]] == [case]


def test_a_record_that_may_only_be_read_is_enough(settings: Settings, broker: Broker) -> None:
    """The console works with a database connection that cannot write, as it is meant to be given."""
    rig = WebRig(settings, broker)
    rig.add_everybody()
    case = rig.arrive("fire")
    rig.read_only()
    with rig.serving():
        rig.read(case)
        client = rig.client("ana")
        statuses = [
            client.get(path).status_code
            for path in (
                f"/api/cases/{case}",
                "/api/history",
                "/api/history.csv",
                "/api/history/summary",
                "/readyz",
            )
        ]
        assert statuses == [200] * 5
    rig.close()


def test_the_api_is_described_whole(rig: WebRig) -> None:
    """Every route under /api says what it answers, refusals in the one shape included, and who may ask."""
    with rig.serving():
        described = rig.client().get("/openapi.json").json()
    assert "HTTPValidationError" not in json.dumps(described)
    problem = {"$ref": "#/components/schemas/Problem"}
    routes = {
        (path, method): about for path, each in described["paths"].items() for method, about in each.items()
    }
    assert len(routes) >= 15
    for (path, method), about in routes.items():
        assert about["summary"], path
        for status, answer in about["responses"].items():
            if path.startswith("/api/") and status in ("401", "403", "404", "413", "422", "429"):
                assert answer["content"]["application/json"]["schema"] == problem, (path, status)
        if path.startswith("/api/") and (path, method) != ("/api/session", "post"):
            tokens = path in ("/api/feed.geojson", "/api/cases/{case}/cap")
            assert about["security"] == [{"APIKeyCookie": []}, {"HTTPBearer": []}][: 1 + tokens], path
    rows = described["components"]["schemas"]["Row"]["properties"]
    assert {"case", "version", "assignments", "incidents", "timeline"} <= set(rows)


def _connect(rig: WebRig, sent: bytes = b"") -> socket.socket:
    sock = socket.create_connection(("127.0.0.1", httpx.URL(rig.url).port), timeout=PATIENCE_S)
    sock.sendall(sent)
    return sock


def _is_let_go(sock: socket.socket) -> bool:
    """Wait until the server ends a connection, and say whether it does."""
    with sock:
        try:
            while sock.recv(65536):
                pass
        except ConnectionResetError:
            return True
        except TimeoutError:
            return False
        return True


_HEAD = b"POST /api/session HTTP/1.1\r\nHost: 127.0.0.1\r\n"


@pytest.mark.parametrize(
    "sent",
    [
        b"",
        b"GET /livez HTT",
        _HEAD + b"Content-Length: 100\r\n\r\n",
        _HEAD + b"Content-Length: 100\r\n\r\n{",
        b"GET /livez HTTP/1.1\r\nHost: 127.0.0.1\r\n\r\nGET /live",
        b"POST /livez HTTP/1.1\r\nHost: 127.0.0.1\r\nContent-Length: 9\r\n\r\n",
    ],
    ids=["silent", "half a head", "no body", "half a body", "half a second head", "answered before its body"],
)
def test_who_keeps_us_waiting_for_a_request_is_let_go(
    rig: WebRig, sent: bytes, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A connection that sends nothing, or never all of a request, ends."""
    monkeypatch.setattr(console.web.connections, "HEAD_S", 0.3)
    monkeypatch.setattr(console.web.connections, "BODY_S", 0.3)
    monkeypatch.setattr(console.web.server, "KEEP_ALIVE_S", 600)
    with rig.serving():
        assert _is_let_go(_connect(rig, sent))


def test_bytes_that_trickle_gain_no_time(rig: WebRig, monkeypatch: pytest.MonkeyPatch) -> None:
    """A head a byte at a time has no longer than one at once."""
    monkeypatch.setattr(console.web.connections, "HEAD_S", 0.3)
    with rig.serving(), _connect(rig, b"GET /livez HTTP/1.1\r\nX: ") as sock:

        def trickle() -> bool:
            try:
                sock.sendall(b"x")
            except (BrokenPipeError, ConnectionResetError):
                return True
            return False

        wait_until(trickle, within_s=PATIENCE_S, what="it is let go")


def test_who_waits_for_us_is_kept(rig: WebRig, monkeypatch: pytest.MonkeyPatch) -> None:
    """An event stream, and a connection that is idle between two requests, outlast the times of a request."""
    monkeypatch.setattr(console.web.connections, "HEAD_S", 0.3)
    monkeypatch.setattr(console.web.connections, "BODY_S", 0.3)
    monkeypatch.setattr(console.web.pulse, "PULSE_S", 0.1)
    request = b"GET /livez HTTP/1.1\r\nHost: 127.0.0.1\r\n\r\n"
    with rig.serving():
        rig.read()
        stream = Stream(rig.client("ana"))
        with rig.stalled():  # so that it meets connection and request at once, however slow we are
            sock = _connect(rig, request)
            stream.ask()
        with sock, stream:
            assert sock.recv(65536).startswith(b"HTTP/1.1 200")
            stream.wait("pulse", count=12)  # a second
            sock.sendall(request)
            assert sock.recv(65536).startswith(b"HTTP/1.1 200")
            assert not stream.ended.is_set()


def test_one_address_has_so_many_connections(rig: WebRig, monkeypatch: pytest.MonkeyPatch) -> None:
    """One more is ended at once, and those that are open stay; with one gone there is room for another."""
    monkeypatch.setattr(console.web.connections, "ADDRESS_CONNECTIONS", 3)
    request = b"GET /livez HTTP/1.1\r\nHost: 127.0.0.1\r\n\r\n"
    with rig.serving(), contextlib.ExitStack() as stack:
        socks = [stack.enter_context(_connect(rig)) for _ in range(3)]
        assert _is_let_go(_connect(rig))
        for sock in socks:
            sock.sendall(request)
            assert sock.recv(65536).startswith(b"HTTP/1.1 200")
        socks[0].close()

        def has_room() -> bool:
            try:
                with _connect(rig, request) as sock:
                    return sock.recv(65536).startswith(b"HTTP/1.1 200")
            except (BrokenPipeError, ConnectionResetError):
                return False

        wait_until(has_room, within_s=PATIENCE_S, what="there is room")


def test_a_proxy_speaks_for_many(settings: Settings, broker: Broker, monkeypatch: pytest.MonkeyPatch) -> None:
    """Behind a proxy every browser's connection has its address, and is not one too many for that."""
    monkeypatch.setattr(console.web.connections, "ADDRESS_CONNECTIONS", 1)
    rig = WebRig(settings.override(web_url="http://desk.example.org"), broker)
    with rig.serving(), contextlib.ExitStack() as stack:
        for _ in range(4):
            sock = stack.enter_context(_connect(rig, b"GET /livez HTTP/1.1\r\nHost: x\r\n\r\n"))
            assert sock.recv(65536).startswith(b"HTTP/1.1 200")
    rig.close()


def test_a_server_may_open_as_many_files_as_its_system_lets_it(rig: WebRig) -> None:
    """The soft limit, which is 1024 nearly everywhere, is raised when it starts."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    try:
        resource.setrlimit(resource.RLIMIT_NOFILE, (min(900, hard), hard))
        with rig.serving():
            assert resource.getrlimit(resource.RLIMIT_NOFILE) == (hard, hard)
    finally:
        resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))


def test_running_out_of_descriptors_is_a_line_a_minute(rig: WebRig) -> None:
    """The event loop says so hundreds of times a second; other faults of it are all told."""
    told: list[object] = []
    loop = asyncio.new_event_loop()
    loop.set_exception_handler(Doors((), 1024).fault)
    try:
        with structlog.testing.capture_logs() as told_all:
            for _ in range(1000):
                loop.call_exception_handler({"message": "accept", "exception": OSError(errno.EMFILE, "full")})
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(loop, "default_exception_handler", told.append)
            for _ in range(2):
                loop.call_exception_handler({"message": "x", "exception": ValueError()})
    finally:
        loop.close()
    lines = [line for line in told_all if "out of descriptors" in line["event"]]
    assert [line["log_level"] for line in lines] == ["error"]
    assert len(told) == 2


def test_the_oldest_of_too_many_streams_of_a_user_ends(rig: WebRig, monkeypatch: pytest.MonkeyPatch) -> None:
    """A program gone wild takes no more than its user's share; other users keep theirs."""
    monkeypatch.setattr(console.web.api_live, "USER_STREAMS", 2)
    with rig.serving(), contextlib.ExitStack() as stack:
        rig.read()
        other = stack.enter_context(Stream(rig.client("vera")))
        other.wait("open")
        streams: list[Stream] = []
        for _ in range(4):
            streams.append(stack.enter_context(Stream(rig.client("ana"))))
            streams[-1].wait("open")
        assert streams[0].ended.wait(timeout=PATIENCE_S)
        assert streams[1].ended.wait(timeout=PATIENCE_S)
        assert not any(each.ended.is_set() for each in (*streams[2:], other))
        assert len(rig.parts.live.listeners) == 3
    wait_until(lambda: not rig.parts.streams, within_s=PATIENCE_S, what="nothing is left of them")
