"""Liveness: what a service manager and probes are told of a main loop."""

import socket
from collections.abc import Iterator
from pathlib import Path

import pytest

from shared.liveness import Liveness


@pytest.fixture
def manager(tmp_path: Path) -> Iterator[socket.socket]:
    """The service manager's side of the socket."""
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as sock:
        sock.bind(str(tmp_path / "notify"))
        sock.settimeout(30)
        yield sock


class Clock:
    """Seconds that go on by so many at each look."""

    def __init__(self, step_s: float) -> None:
        self._now_s, self._step_s = 1000.0, step_s

    def __call__(self) -> float:
        self._now_s += self._step_s
        return self._now_s


def supervised(manager: socket.socket, watchdog_s: float = 0.0, *, step_s: float = 0.001) -> Liveness:
    """What a service makes of the variables that systemd sets; its clock goes on by a step at each look."""
    environ = {"NOTIFY_SOCKET": manager.getsockname()}
    if watchdog_s:
        environ["WATCHDOG_USEC"] = str(int(watchdog_s * 1e6))
    return Liveness.from_env(environ, clock=Clock(step_s))


def test_a_service_says_when_it_is_ready_and_when_it_stops(manager: socket.socket) -> None:
    """The manager hears READY once all is set up, and STOPPING when it was told to stop."""
    liveness = supervised(manager)
    liveness.begin()
    assert manager.recv(100) == b"READY=1"
    assert liveness.ready
    liveness.end()
    assert manager.recv(100) == b"STOPPING=1"
    assert not liveness.ready


def test_asking_whether_to_stop_is_a_sign_of_life(manager: socket.socket) -> None:
    """Each look at `stop` feeds the watchdog, and the answer is passed on."""
    liveness = supervised(manager, watchdog_s=3, step_s=1.0)
    liveness.begin()
    stop = liveness.watching(lambda: True)
    assert stop()
    assert [manager.recv(100) for _ in range(3)] == [b"WATCHDOG=1", b"READY=1", b"WATCHDOG=1"]


def test_a_start_that_waits_asks_for_time(manager: socket.socket) -> None:
    """Before it is ready a turning service asks for more time instead of being given up."""
    supervised(manager, watchdog_s=3, step_s=1.0).turn()
    assert manager.recv(100).startswith(b"EXTEND_TIMEOUT_USEC=")


def test_the_manager_is_not_told_of_every_round(manager: socket.socket) -> None:
    """A loop may turn a million times a second; its manager hears of it a few times a watchdog's time."""
    liveness = supervised(manager, watchdog_s=3600, step_s=0.001)
    for _ in range(1000):
        liveness.turn()
    manager.setblocking(False)
    with pytest.raises(BlockingIOError):
        manager.recv(100)
    assert liveness.silent_s() == pytest.approx(0.001)


def test_without_a_manager_nothing_is_sent() -> None:
    """The same service runs from a terminal, and beside a manager that has gone."""
    for environ in ({}, {"NOTIFY_SOCKET": "/nowhere/notify", "WATCHDOG_USEC": "1"}):
        liveness = Liveness.from_env(environ)
        liveness.begin()
        liveness.end()
