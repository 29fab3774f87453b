"""From a dispatch to every browser: a hundred event streams on one web console, incidents at a steady rate.

The desk is the real one: an incident is written as a worker leaves it, the desk takes it up, records it and
puts it on the boards, and the console sends it. The clock runs from the write that wakes the desk to the row
read by a browser. One browser more never reads.
"""

import contextlib
import json
import os
import secrets
import signal
import socket
import subprocess
import sys
import time
import urllib.error
import urllib.request
from collections.abc import Iterator
from http.cookies import SimpleCookie

from benchmarks.figures import percentile
from benchmarks.processes import cpu_s, end
from benchmarks.rig import Row
from console.users import add_user
from console.web.sessions import COOKIE
from shared.broker import Broker, connect
from shared.coordinates import Coordinates
from shared.dispatches import Decision, decision_fields
from shared.incidents import Photograph, incident_id, iso, utc_now
from shared.keys import CHANGED, INCIDENTS, incident_key
from shared.routing import Routing
from shared.settings import Settings
from shared.verdict import Verdict

BROWSERS = 100
RATE_PER_S = 10
SECONDS = 30
USERS = 10
"""The browsers are theirs in turn: one user may have so many pages open, and no more."""
PATIENCE_S = 30.0
AIM_P99_MS = 500.0

WHAT = f"dispatch to {BROWSERS} browsers, {RATE_PER_S} incidents/s, one more browser never reads"
TAIL = "99th percentile"


def measure(settings: Settings, repeats: int) -> list[Row]:
    """Milliseconds, and the console's processor time; nothing is compared.

    Raises:
        RuntimeError: a browser missed a row, or a service did not start.
    """
    middle, tail, worst = (Row(WHAT, name, "ms", []) for name in ("median", TAIL, "slowest"))
    busy = Row(WHAT, "the console's processor time", "% of a core", [])
    with _console(settings) as (port, cookies, console_pid):
        broker = connect(settings)
        for turn in range(repeats):
            began_s, used_s = time.monotonic(), cpu_s([console_pid])
            taken_ms = _run(settings, broker, port, cookies, turn)
            busy.figures.append(100 * (cpu_s([console_pid]) - used_s) / (time.monotonic() - began_s))
            middle.figures.append(percentile(taken_ms, 0.5))
            tail.figures.append(percentile(taken_ms, 0.99))
            worst.figures.append(max(taken_ms))
    return [middle, tail, worst, busy]


def _run(settings: Settings, broker: Broker, port: int, cookies: list[str], turn: int) -> list[float]:
    """Latency of each row to each browser, in milliseconds."""
    command = [sys.executable, "-m", "benchmarks.live_clients", str(port), str(BROWSERS), *cookies]
    clients = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
    assert clients.stdin is not None
    assert clients.stdout is not None
    with _lazy_browser(port, cookies[0]):
        if clients.stdout.readline().strip() != "ready":
            raise RuntimeError("the browsers could not open the console")
        sent_s = _dispatch(settings, broker, turn)
        _wait_for_desk(broker, list(sent_s))
        time.sleep(2)  # what was published last is on its way
    clients.stdin.close()
    came_s = [json.loads(line) for line in clients.stdout]
    clients.wait(timeout=PATIENCE_S)
    if lacking := sum(len(sent_s.keys() - each.keys()) for each in came_s) or len(came_s) != BROWSERS:
        raise RuntimeError(f"{lacking} rows did not come to their browsers")
    return [1000 * (each[case] - at_s) for each in came_s for case, at_s in sent_s.items()]


def _dispatch(settings: Settings, broker: Broker, turn: int) -> dict[str, float]:
    """Write incidents at the steady rate; when each was, monotonic seconds."""
    routing, sent_s = Routing.load(settings.routing), dict[str, float]()
    begin_s = time.monotonic()
    for index in range(RATE_PER_S * SECONDS):
        time.sleep(max(0.0, begin_s + index / RATE_PER_S - time.monotonic()))
        number = turn * RATE_PER_S * SECONDS + index + 1
        fields = _decided(routing, number)
        with broker.pipeline(transaction=True) as pipeline:
            pipeline.hset(incident_key(fields["id"]), mapping=fields)  # type: ignore[arg-type]
            pipeline.zadd(INCIDENTS, {fields["id"]: time.time()})
            pipeline.xadd(CHANGED, {"id": fields["id"]})
            sent_s[fields["id"]] = time.monotonic()
            pipeline.execute()
    return sent_s


def _decided(routing: Routing, number: int) -> dict[str, str]:
    """The record of an incident as a worker leaves it, at a place of its own."""
    place = Coordinates(latitude_deg=-80 + number // 300 * 0.01, longitude_deg=-170 + number % 300 * 1.0)
    sha256, now = secrets.token_hex(32), utc_now()
    photograph = Photograph(
        incident_id=incident_id(sha256, place),
        image=f"pictures/{sha256[:2]}/{sha256}.jpeg",
        coordinates=place,
        label=f"cam {number}",
        received_at=iso(now),
        name=f"{place} cam {number}.jpeg",
        place_from="name",
    )
    scores = {"fire": 0.9, "protest": 0.02, "accident": 0.02, "robbery": 0.02, "normal": 0.04}
    decision = Decision(
        verdict=Verdict.DISPATCHED, situation="fire", confidence=0.9, scores=scores, model="bench@0"
    )
    more = {"number": f"{number:04d}", "state": "decided", "seen_count": "1", "last_seen_at": iso(now)}
    return photograph.to_fields() | more | decision_fields(decision, decision.addressees(routing), now)


def _wait_for_desk(broker: Broker, cases: list[str]) -> None:
    deadline_s = time.monotonic() + PATIENCE_S
    while not all(broker.hmget("open:all", cases)):
        if time.monotonic() > deadline_s:
            raise RuntimeError("the desk did not take up what was dispatched")
        time.sleep(0.1)


@contextlib.contextmanager
def _lazy_browser(port: int, cookie: str) -> Iterator[None]:
    """Opens the stream and reads nothing, with as small a buffer as the system gives."""
    with socket.socket() as sock:
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
        sock.connect(("127.0.0.1", port))
        sock.sendall(f"GET /api/live HTTP/1.1\r\nHost: 127.0.0.1\r\nCookie: {cookie}\r\n\r\n".encode())
        yield


@contextlib.contextmanager
def _console(settings: Settings) -> Iterator[tuple[int, list[str], int]]:
    """A desk and a web console, each a process: the port, supervisors' cookies, the console's pid."""
    password = secrets.token_urlsafe()
    routing = Routing.load(settings.routing)
    names = [f"sol{number}" for number in range(USERS)]
    for name in names:
        add_user(settings.users_path, name, password, roles=["supervisor"], departments=[], routing=routing)
    with socket.create_server(("127.0.0.1", 0)) as free:
        port = free.getsockname()[1]
    environ = {**os.environ, **settings.to_env(), "ALMENARA_LOG_LEVEL": "warning"}
    started = [
        subprocess.Popen([sys.executable, "-m", "deploy", *command], env=environ)
        for command in (("desk",), ("web", "--port", str(port)))
    ]
    try:
        _wait_until_ready(port)
        yield port, [_log_in(port, name, password) for name in names], started[1].pid
    finally:
        end(started)
        if any(each.returncode not in (0, -signal.SIGTERM) for each in started):
            raise RuntimeError("a service did not end well")


def _wait_until_ready(port: int) -> None:
    deadline_s = time.monotonic() + PATIENCE_S
    while True:
        try:
            with urllib.request.urlopen(f"http://127.0.0.1:{port}/readyz"):
                return
        except (OSError, urllib.error.HTTPError) as error:
            if time.monotonic() > deadline_s:
                raise RuntimeError("the console did not start") from error
            time.sleep(0.1)


def _log_in(port: int, name: str, password: str) -> str:
    body = json.dumps({"name": name, "password": password}).encode()
    request = urllib.request.Request(
        f"http://127.0.0.1:{port}/api/session", body, {"Content-Type": "application/json"}
    )
    with urllib.request.urlopen(request) as answer:  # noqa: S310 - our own
        return f"{COOKIE}={SimpleCookie(answer.headers['set-cookie'])[COOKIE].value}"
