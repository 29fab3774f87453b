import fcntl
import os
import pty
import select
import signal
import struct
import subprocess
import sys
import termios
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
from conftest import make_entries, wait_until
from screen_parts import ToldDesk, make_row

from console.terminal import Form, is_before_a_person
from shared.broker import Broker
from shared.keys import dispatch_key
from shared.settings import Settings

ALTERNATE, NORMAL_AGAIN = b"\x1b[?1049h", b"\x1b[?1049l"


class Terminal:
    """A process on a terminal of 80 by 24, and what it has written."""

    def __init__(self, process: "subprocess.Popen[bytes]", end: int) -> None:
        self.process = process
        self._end = end
        self.written = b""

    def shows(self, words: bytes) -> None:
        """Wait until it has written something."""
        deadline_s = time.monotonic() + 60
        while words not in self.written:
            over = time.monotonic() > deadline_s  # before the look: whoever was held up looks once more
            ready, _, _ = select.select([self._end], [], [], 0.1)
            if ready:
                try:
                    self.written += os.read(self._end, 65536)
                except OSError:  # it has ended
                    break
            assert not over or ready, f"{words!r} not in {self.written[-2000:]!r}"
        assert words in self.written

    def press(self, keys: bytes) -> None:
        """Write to it."""
        os.write(self._end, keys)


def environ(settings: Settings) -> dict[str, str]:
    """The environment of a command."""
    outside = {name: value for name, value in os.environ.items() if not name.startswith("ALMENARA_")}
    return {**outside, **settings.to_env(), "TERM": "xterm-256color"}


@contextmanager
def terminal(settings: Settings, *arguments: str) -> Iterator[Terminal]:
    """`almenara console ...` on a terminal."""
    ours, theirs = pty.openpty()
    fcntl.ioctl(theirs, termios.TIOCSWINSZ, struct.pack("HHHH", 24, 80, 0, 0))
    process = subprocess.Popen(
        [sys.executable, "-m", "deploy", "console", *arguments],
        stdin=theirs,
        stdout=theirs,
        stderr=theirs,
        env=environ(settings),
        cwd=Path(__file__).parents[3],
        start_new_session=True,
    )
    os.close(theirs)
    try:
        yield Terminal(process, ours)
    finally:
        process.kill()
        process.wait(timeout=60)
        os.close(ours)


@pytest.mark.parametrize("key", [b"q", b"\x03"])
def test_on_a_terminal_it_is_a_screen(broker: Broker, settings: Settings, key: bytes) -> None:
    """It takes the whole terminal, names who acts, and gives the terminal back at `q` or Ctrl-C."""
    ToldDesk(broker).publish(make_row(1))
    with terminal(settings, "firefighters", "--by", "Ana Ruiz") as on:
        on.shows(ALTERNATE)
        on.shows(b"0001")
        on.shows(b"Ana Ruiz")
        on.press(key)
        on.shows(NORMAL_AGAIN)
        assert on.process.wait(timeout=60) == 0


def test_a_user_who_may_not_move_is_told_at_the_start(broker: Broker, settings: Settings) -> None:
    """Not when a fire is called; and asking whether one may leaves nothing in the stream."""
    reading = ["+@all", "-xadd", "-flushall"]
    broker.acl_setuser("reader", enabled=True, nopass=True, keys=["*"], commands=reading)
    limited = settings.override(redis_url=settings.redis_url.replace("unix://", "unix://reader:any@"))
    try:
        with terminal(limited, "firefighters", "--by", "Ana Ruiz") as on:
            on.shows(b"may not move anything of firefighters")
            assert on.process.wait(timeout=60) == 2
    finally:
        broker.acl_deluser("reader")
    with terminal(settings, "firefighters", "--by", "Ana Ruiz") as on:
        on.shows(ALTERNATE)
    assert broker.xlen("moves:firefighters") == 0


def test_a_signal_gives_the_terminal_back(broker: Broker, settings: Settings) -> None:
    """SIGTERM ends it as `q` does, and leaves no terminal that can't be typed into."""
    ToldDesk(broker).publish(make_row(1))
    with terminal(settings, "review") as on:
        on.shows(b"waiting")
        on.process.send_signal(signal.SIGTERM)
        on.shows(NORMAL_AGAIN)
        assert on.process.wait(timeout=60) == 0


def test_plain_lines_stay_plain_on_a_terminal(broker: Broker, settings: Settings) -> None:
    """Who asks for lines gets lines, on a terminal too."""
    for department, event in make_entries(1, situation="fire"):
        broker.xadd(dispatch_key(department), {"event": event})
    with terminal(settings, "firefighters", "--plain", "--no-follow") as on:
        wait_until(lambda: on.process.poll() is not None, within_s=60, what="the end")
        on.shows(b"ID: 0001     Coordinates: 33.8568, 151.2153     Units of Assistance: ")
        assert ALTERNATE not in on.written


def test_in_a_pipe_it_is_lines(broker: Broker, settings: Settings) -> None:
    """Without a terminal nothing is drawn, whatever the form; it follows as before."""
    for department, event in make_entries(1, situation="fire"):
        broker.xadd(dispatch_key(department), {"event": event})
    command = [sys.executable, "-m", "deploy", "console", "firefighters"]
    process = subprocess.Popen(
        command,
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        env=environ(settings),
        cwd=Path(__file__).parents[3],
    )
    try:
        assert process.stdout is not None
        line = process.stdout.readline()
        assert b"0001" in line and b"\x1b" not in line
        assert process.poll() is None
    finally:
        process.terminate()
        process.communicate(timeout=60)


@pytest.mark.parametrize("arguments", [("navy",), ("firefighters", "--by", "x" * 65)])
def test_nonsense_draws_nothing(broker: Broker, settings: Settings, arguments: tuple[str, ...]) -> None:
    """A message and an exit code, before the terminal is taken."""
    broker.ping()
    with terminal(settings, *arguments) as on:
        on.shows(b"almenara: ")
        assert on.process.wait(timeout=60) == 2
        assert ALTERNATE not in on.written


@pytest.mark.parametrize(
    ("form", "since", "follow"),
    [(Form.PLAIN, "0", True), (Form.JSON, "0", True), (Form.PRETTY, "5-1", True), (Form.PRETTY, "0", False)],
)
def test_who_asks_for_lines_is_no_person(form: Form, since: str, follow: bool) -> None:
    """Each of these flags is about the stream's lines, which the screen does not have."""
    assert not is_before_a_person(form, since=since, follow=follow)
