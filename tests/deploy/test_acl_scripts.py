"""Scripts in the broker: who may run them, and that none lends its caller a right."""

import socket
from collections.abc import Iterator
from concurrent import futures
from pathlib import Path

import pytest
from acl_parts import DENIED, PASSWORDS, ROLES, Server
from conftest import make_photograph, wait_until
from redis.exceptions import NoPermissionError, RedisError, ResponseError

import shared.keys
from ingest.admission import admit
from shared.broker import Script

SCRIPTS = sorted(path.stem for path in Path(shared.keys.__file__).parent.glob("scripts/*.lua"))
OTHERS = [role for role in ROLES if role.startswith("console-")] + ["web", "webhooks", "metrics"]
"""Who has no business with scripts."""


@pytest.fixture(scope="module")
def running() -> Iterator[Server]:
    """One for all tests of this file."""
    with Server.started() as made:
        yield made


@pytest.fixture
def server(running: Server) -> Iterator[Server]:
    """That one, with nothing in it, whatever a test has left there."""
    running.root.flushall()
    yield running
    running.root.flushall()


@pytest.mark.parametrize("role", OTHERS)
def test_no_script_helps_whoever_runs_none(server: Server, role: str) -> None:
    """Consoles, web and webhooks can't have a script do what they can't; nor load one that others run."""
    with server.client(role) as client:
        for name in SCRIPTS:
            server.root.script_load(Script(name).source)
            with pytest.raises(NoPermissionError):
                Script(name)(client, {"id": "1"})
            with pytest.raises(NoPermissionError):
                client.script_load(Script(name).source)
        if role != "metrics":  # which is told the length of the queue in that way
            with pytest.raises(NoPermissionError):
                client.eval("return 1", 0)
    assert server.root.dbsize() == 0


def test_a_script_does_not_lend_rights(server: Server) -> None:
    """Who may run scripts runs them with their own rights: no board by a worker, no job by a desk."""
    change = {"version": 1, "department": "all", "case": "c", "row": "{}", "open": True, "outcomes": ""}
    with server.client("worker") as worker, pytest.raises(ResponseError, match=DENIED):
        Script("board")(worker, {"keep": 10, "changes": [change]})
    with server.client("desk") as desk, pytest.raises(ResponseError, match=DENIED):
        admit(desk, [("claim", make_photograph(1))])
    entry = {"entries": [["firefighters", "{}"]], "incident": {"verdict": "dispatched"}, "keep_s": 60}
    with server.client("ingester") as ingester:
        assert admit(ingester, [("claim", make_photograph(2))]) == ["admitted"]
        with pytest.raises(ResponseError, match=DENIED):
            Script("amend")(
                ingester, {"id": make_photograph(2).incident_id, "revision": 1, "decision": "d", **entry}
            )
    there = {key.decode() for key in server.root.scan_iter()}
    assert not [key for key in there if key.startswith(("board:", "open:", "dispatch:"))]
    assert server.root.llen("rq:queue:classify") == 1  # the ingester's


def test_an_operator_ends_a_script_that_stops_everybody(server: Server) -> None:
    """Who may run scripts can stop the broker with one; AUTH and SCRIPT KILL are let through."""
    server.root.config_set("busy-reply-threshold", 50)
    try:
        with server.client("metrics") as metrics, futures.ThreadPoolExecutor() as pool:
            endless = pool.submit(metrics.eval, "while true do end", 1, "rq:queue:classify")
            try:
                wait_until(
                    lambda: "BUSY" in _said(server, "metrics", "PING"), within_s=60, what="nobody is served"
                )
            finally:
                killed = _said(server, "operator", "SCRIPT KILL")
            assert "+OK" in killed
            assert isinstance(endless.exception(timeout=60), RedisError)
        wait_until(lambda: "PONG" in _said(server, "metrics", "PING"), within_s=60, what="all are served")
    finally:
        server.root.config_set("busy-reply-threshold", 5000)


def _said(server: Server, role: str, command: str) -> str:
    """What a plain client such as valkey-cli is told, after its login."""
    with socket.socket(socket.AF_UNIX) as line:
        line.settimeout(60)
        line.connect(str(server.settings.broker_socket))
        line.sendall(f"AUTH {role} {PASSWORDS[role]}\r\n{command}\r\n".encode())
        said = b""
        while said.count(b"\r\n") < 2 and (more := line.recv(1000)):
            said += more
    return said.decode().partition("\r\n")[2]


def test_keda_can_ask_how_long_the_queue_is(server: Server) -> None:
    """By the script that its Redis scaler sends, as `metrics`."""
    asks = "if redis.call('type', KEYS[1]).ok == 'list' then return redis.call('llen', KEYS[1]) end return 0"
    server.root.rpush("rq:queue:classify", "1", "2")
    with server.client("metrics") as metrics:
        assert metrics.eval(asks, 1, "rq:queue:classify") == 2
        for forbidden in ("'RPUSH', 'rq:queue:classify', 'x'", "'GET', 'almenara:number'"):
            with pytest.raises(ResponseError, match=DENIED):
                metrics.eval(f"return redis.call({forbidden})", 1, "rq:queue:classify")
