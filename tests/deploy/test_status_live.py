import contextlib
import fcntl
import json
import os
import pty
import select
import signal
import struct
import subprocess
import sys
import termios
import threading
import time
from collections.abc import Callable, Iterator
from io import StringIO
from pathlib import Path

import pytest
from conftest import wait_until
from deployment import Deployment
from rich.console import Console

import deploy.watching
from deploy.status import gather
from deploy.watching import picture, stream, watch
from shared.broker import Broker, BrokerAwayError
from shared.errors import ConfigError
from shared.settings import Settings

ROOT = Path(__file__).parents[2]
TERMINAL = {"TERM": "xterm"}
"""What rich is to know of the terminal, whatever tests are run from."""
pytestmark = pytest.mark.timeout(600)


@pytest.fixture(autouse=True)
def hasty(monkeypatch: pytest.MonkeyPatch) -> None:
    """It looks a hundred times a second."""
    monkeypatch.setattr(deploy.watching, "EVERY_S", 0.01)


def rounds(count: int) -> Callable[[], bool]:
    """A stop that is asked so many times before it is true."""
    asked = iter([False] * count)
    return lambda: next(asked, True)


def test_it_goes_on_while_the_broker_is_away(broker: Broker, settings: Settings) -> None:
    """The alarm stands first, what was known last below it; once it is back the alarm goes."""
    answers = iter([gather(broker, settings), None, gather(broker, settings)])

    def ask() -> dict[str, object]:
        found = next(answers)
        if found is None:
            raise BrokerAwayError("the broker does not answer")
        return found

    out = StringIO()
    screen = Console(file=out, force_terminal=True, width=160, height=60, _environ=TERMINAL)
    watch(ask, screen, rounds(3))
    shown = out.getvalue()
    assert "does not answer" in shown and "since" in shown
    assert shown.count("Queue") >= 3  # the second time too


def test_at_a_terminal_lines_are_whole_and_q_ends_it(broker: Broker, settings: Settings) -> None:
    """On 80 columns what is longer goes on in the next line; `q` ends it, and the terminal is as it was."""
    word = "w" * 100
    broker.hset("rq:worker:w1", mapping={"hostname": word + "END", "pid": "7", "state": "idle"})
    broker.sadd("rq:workers:classify", "rq:worker:w1")
    ours, theirs = pty.openpty()
    fcntl.ioctl(theirs, termios.TIOCSWINSZ, struct.pack("HHHH", 50, 80, 0, 0))
    before = termios.tcgetattr(theirs)
    environ = {**os.environ, "TERM": "xterm", "ALMENARA_REDIS_URL": settings.redis_url}
    environ.pop("COLUMNS", None)
    environ["ALMENARA_STATE_DIR"] = str(settings.state_dir)
    command = [sys.executable, "-m", "deploy", "status", "--live"]
    with subprocess.Popen(
        command, env=environ, cwd=ROOT, stdin=theirs, stdout=theirs, stderr=theirs
    ) as process:
        try:
            shown = read_until(ours, b"Broker ")
            os.write(ours, b"q")
            reader = threading.Thread(target=drain, args=(ours,), daemon=True)
            reader.start()
            assert process.wait(timeout=60) == 0
        finally:
            process.kill()
    assert termios.tcgetattr(theirs)[3] == before[3]
    os.close(theirs)
    reader.join(timeout=60)
    os.close(ours)
    assert b"wEND" in shown
    assert b"q ends" in shown


def read_until(terminal: int, word: bytes) -> bytes:
    """What a program writes to its terminal until it has written a word."""
    shown, deadline_s = b"", time.monotonic() + 100
    while word not in shown:
        assert time.monotonic() < deadline_s, f"no {word!r} in {shown!r}"
        if select.select([terminal], [], [], 1.0)[0]:
            shown += os.read(terminal, 4096)
    return shown


def drain(terminal: int) -> None:
    """Read what a program writes to its terminal, so that it never waits for us."""
    with contextlib.suppress(OSError):
        while os.read(terminal, 4096):
            pass


def test_alarms_come_first_and_in_red(broker: Broker, settings: Settings) -> None:
    """Right below the clock, before anything that only informs."""
    lines = picture(gather(broker, settings), "").renderables
    assert str(lines[1]).startswith("ALARM      no worker runs")
    assert "red" in str(getattr(lines[1], "style", ""))


def test_a_pipe_gets_a_line_each_time(capsys: pytest.CaptureFixture[str], settings: Settings) -> None:
    """JSON, also while the broker is away; without --json a pipe is refused, and so is a mere teletype."""

    def ask() -> dict[str, object]:
        raise BrokerAwayError("the broker does not answer")

    stream(ask, rounds(2))
    assert [json.loads(line)["reason"] for line in capsys.readouterr().out.splitlines()] == [
        "broker_away"
    ] * 2
    pipe = Console(file=StringIO(), force_terminal=False)
    teletype = Console(file=StringIO(), force_terminal=True, _environ={"TERM": "dumb"})
    for console in (pipe, teletype):
        with pytest.raises(ConfigError, match="--live --json"):
            watch(ask, console)


@pytest.fixture
def interruptible() -> Iterator[None]:
    """Ctrl-C reaches who is started, also from tests in the background, which have to ignore it."""
    before = signal.signal(signal.SIGINT, signal.default_int_handler)
    yield
    signal.signal(signal.SIGINT, before)


@pytest.mark.usefixtures("interruptible")
def test_the_command_ends_on_a_signal_and_outlives_the_broker(deployment: Deployment) -> None:
    """`almenara status --live --json` goes on across a broker that is killed and comes back."""
    deployment.log.close()
    out = deployment.folder / "status.log"
    deployment.log = out.open("ab")
    process = deployment.start("status", "status", "--live", "--json")

    def said(word: str) -> int:
        return sum(word in line for line in out.read_text().splitlines() if line.startswith("{"))

    wait_until(lambda: said('"queue"'), within_s=60, what="the first look")
    deployment.kill("broker")
    wait_until(lambda: said("broker_away"), within_s=60, what="it is said to be away")
    before = said('"queue"')
    deployment.start_broker()
    wait_until(lambda: said('"queue"') > before, within_s=60, what="it is back")
    process.send_signal(signal.SIGINT)
    assert process.wait(timeout=60) == 0
