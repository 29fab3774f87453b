"""What services say to systemd that started them: that they are ready, that they live, that they stop."""

import os
import signal
import socket
import subprocess
import sys
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path

import pytest
from conftest import wait_until
from deployment import Deployment
from unit_parts import REPOSITORY, unit

from console.users import Role, first_user


class Manager:
    """systemd's side of one service: a notify socket, and what has been said on it."""

    def __init__(self, folder: Path, name: str, everybody: "list[Manager]") -> None:
        self._everybody = everybody
        everybody.append(self)
        self._socket = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
        self.address = folder / f"{name}.notify"
        self._socket.bind(str(self.address))
        self._socket.setblocking(False)
        self.heard: list[str] = []

    def listen(self) -> list[str]:
        """Everything that the service has said so far."""
        while True:
            try:
                self.heard.append(self._socket.recv(200).decode())
            except BlockingIOError:
                return self.heard

    def hear_until(self, condition: Callable[[], bool], *, within_s: float, what: str) -> None:
        """Wait for something, and listen meanwhile.

        The kernel keeps ten lines for each; whose manager listened to another alone would lose some.
        """

        def is_so() -> bool:
            for each in self._everybody:
                each.listen()
            return condition()

        wait_until(is_so, within_s=within_s, what=what)

    def wait_for(self, line: str, *, times: int = 1, within_s: float = 100) -> None:
        """Wait until the service has said a line so often."""
        self.hear_until(
            lambda: self.heard.count(line) >= times,
            within_s=within_s,
            what=f"{line} from {self.address.stem}; heard {self.heard[-3:]}",
        )

    def wait_for_more(self, line: str, *, times: int = 2) -> None:
        """Wait until it has said a line so much more often."""
        self.wait_for(line, times=self.listen().count(line) + times)

    def close(self) -> None:
        """Stop listening."""
        self._socket.close()


@pytest.fixture
def managed(deployment: Deployment) -> Iterator[dict[str, Manager]]:
    """Every service as its unit starts it, each with a manager of its own, ready."""
    first_user(deployment.settings.users_path, "ana", tuple(Role))
    managers: dict[str, Manager] = {}
    everybody: list[Manager] = []
    for name in ("ingest", "worker@", "desk", "web"):
        _, *arguments = unit(name)["Service"]["ExecStart"].split()
        managers[name] = Manager(deployment.folder, name, everybody)
        deployment.extra_environ = {
            "NOTIFY_SOCKET": str(managers[name].address),
            "WATCHDOG_USEC": "900000",
        }
        deployment.start(name, *arguments)
    try:
        for manager in managers.values():
            manager.wait_for("READY=1", within_s=200)
        yield managers
    finally:
        for manager in managers.values():
            manager.close()


def frozen(deployment: Deployment, name: str) -> bool:
    """Whether a stopped service has stopped in every thread: one may end what it is doing after the first."""
    threads = Path(f"/proc/{deployment.processes[name].pid}/task").iterdir()
    return {(thread / "stat").read_text().rpartition(")")[2].split()[0] for thread in threads} == {"T"}


def stopped(deployment: Deployment, name: str, manager: Manager) -> int:
    """SIGTERM a service and hear what it says until its end; its exit code."""
    process = deployment.processes[name]
    process.terminate()
    manager.hear_until(lambda: process.poll() is not None, within_s=100, what=f"{name} ends")
    return process.wait()


@pytest.mark.fault
@pytest.mark.timeout(600)
def test_services_feed_the_watchdog_also_without_a_broker(
    deployment: Deployment, managed: dict[str, Manager]
) -> None:
    """They are ready, live while the broker is away, are silent when frozen, and end well at SIGTERM."""
    deployment.kill("broker")
    for manager in managed.values():
        manager.wait_for_more("WATCHDOG=1")

    for name, manager in managed.items():
        deployment.signal(name, signal.SIGSTOP)
        wait_until(partial(frozen, deployment, name), within_s=60, what=f"{name} is frozen")
        said = len(manager.listen())
        other = next(each for each in managed.values() if each is not manager)
        other.wait_for_more("WATCHDOG=1")  # meanwhile a service that turns would have spoken
        assert len(manager.listen()) == said, f"{name} is frozen and says that it lives"
        deployment.signal(name, signal.SIGCONT)
        manager.wait_for_more("WATCHDOG=1", times=1)

    deployment.start_broker()
    for name, manager in managed.items():
        manager.wait_for_more("WATCHDOG=1")
        assert stopped(deployment, name, manager) == 0, name
        assert manager.listen().count("STOPPING=1") == 1


def test_wrong_settings_end_a_service_with_the_status_that_ends_restarts(tmp_path: Path) -> None:
    """The exit status that the units don't restart after is the one that wrong settings give."""
    environ = {**os.environ, "ALMENARA_SETTLE_S": "soon"}
    command = [sys.executable, "-m", "deploy", "ingest"]
    out = subprocess.run(command, env=environ, cwd=REPOSITORY, capture_output=True, check=False, timeout=60)
    assert str(out.returncode) == unit("ingest")["Service"]["RestartPreventExitStatus"]
