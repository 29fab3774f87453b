"""`almenara up`, as a newcomer uses it."""

import base64
import contextlib
import os
import signal
import socket
import subprocess
import sys
import urllib.request
from collections.abc import Iterator
from functools import partial
from pathlib import Path

import psutil
import pytest
from conftest import picture_bytes, wait_until
from deployment import Deployment, free_port, keep_port, photograph_name

pytestmark = [pytest.mark.fault, pytest.mark.timeout(1200)]


class Up:
    """One `almenara up` in a process of its own, its two outputs in files."""

    def __init__(self, scratch: Deployment) -> None:
        self.scratch = scratch
        self.out = scratch.folder / "out.txt"
        self.err = scratch.folder / "err.txt"
        self.start()

    def start(self) -> None:
        """Start it, and wait until it says that it is ready."""
        with self.out.open("ab") as out, self.err.open("wb") as err:
            self.process = subprocess.Popen(
                [sys.executable, "-m", "deploy", "up"],
                env=self.scratch.environ(),
                cwd=self.scratch.folder,
                stdout=out,
                stderr=err,
                stdin=subprocess.DEVNULL,
            )
        self.scratch.processes["up"] = self.process
        wait_until(lambda: "Ready" in self.err.read_text(), within_s=240, what="almenara up is ready")

    def lines(self) -> list[str]:
        """What the console has shown."""
        whole, _, _ = self.out.read_text().rpartition("\n")  # the last one may be half written
        return whole.splitlines()

    def children(self) -> dict[str, psutil.Process]:
        """Its services by name; not those that are about to begin, or have just ended."""
        found = {}
        for child in psutil.Process(self.process.pid).children():
            with contextlib.suppress(psutil.NoSuchProcess, IndexError):
                command = child.cmdline()
                found["broker" if "valkey" in command[0] or "redis" in command[0] else command[3]] = child
        return found

    def kill(self, name: str) -> None:
        """SIGKILL a service, once it is there."""
        wait_until(lambda: name in self.children(), within_s=120, what=f"{name} runs")
        self.children()[name].kill()


@pytest.fixture
def up() -> Iterator[Up]:
    """A running `almenara up` on a scratch folder."""
    scratch = Deployment()
    try:
        yield Up(scratch)
    finally:
        scratch.close()


def drop_three_ways(folder: Path, inbox: Path, seeds: range) -> None:
    """Put pictures into an inbox with cp, with mv, and with a writer that keeps the file open."""
    for seed in seeds:
        aside = folder / f"{seed}.jpeg"
        aside.write_bytes(picture_bytes(seed))
        target = inbox / photograph_name(seed)
        if seed % 3 == 0:
            subprocess.run(["cp", str(aside), str(target)], check=True)
        elif seed % 3 == 1:
            subprocess.run(["mv", str(aside), str(target)], check=True)
        else:
            with target.open("wb", buffering=0) as file:
                file.write(aside.read_bytes()[:300])
                os.fsync(file.fileno())
                file.write(aside.read_bytes()[300:])


def test_up_shows_each_photograph_once_and_stops_cleanly(up: Up) -> None:
    """Photographs that come by cp, mv and a slow writer are decided; Ctrl-C ends every process with 0."""
    drop_three_ways(up.scratch.folder, up.scratch.inbox, range(12))
    up.scratch.wait_decided(12, within_s=240)
    up.scratch.assert_books_balance(12)
    shown = {incident["number"] for incident in up.scratch.incidents() if incident["departments"]}
    wait_until(lambda: len(up.lines()) >= len(shown), within_s=120, what="the console shows them")
    assert sorted(line.split()[1] for line in up.lines()) == sorted(shown)
    family = psutil.Process(up.process.pid).children(recursive=True)
    up.process.send_signal(signal.SIGINT)
    assert up.process.wait(timeout=120) == 0
    wait_until(lambda: not any(map(runs, family)), within_s=60, what="none of its processes runs")


def runs(process: psutil.Process) -> bool:
    """Whether a process is there, and has not ended."""
    try:
        return bool(process.is_running() and process.status() != psutil.STATUS_ZOMBIE)
    except psutil.NoSuchProcess:
        return False


def test_up_restarts_what_dies_and_goes_on_where_it_was(up: Up) -> None:
    """Each service is killed in turn, the launcher last; every photograph is still decided once."""
    for turn, name in enumerate(("ingest", "worker", "broker", "console")):
        up.kill(name)
        for seed in range(turn * 5, turn * 5 + 5):
            up.scratch.drop(seed)
        up.scratch.wait_decided(turn * 5 + 5, within_s=240)
    up.process.kill()
    up.process.wait(timeout=60)
    wait_until(
        lambda: not up.scratch.settings.broker_socket.exists(), within_s=120, what="its children end too"
    )
    up.scratch.drop(20)
    up.start()
    up.scratch.wait_decided(21, within_s=240)
    up.scratch.assert_books_balance(21)


def test_a_second_up_on_the_same_state_is_refused(up: Up) -> None:
    """The message names the folder and the remedy, and the first one goes on."""
    second = up.scratch.run("up")
    assert second.returncode == 2
    assert str(up.scratch.settings.state_dir.resolve()) in second.stderr
    assert "ALMENARA_STATE_DIR" in second.stderr
    assert up.process.poll() is None


def test_wrong_settings_end_up_with_their_reason() -> None:
    """A checkpoint that is not there is said on the screen, and not tried for ever."""
    scratch = Deployment(checkpoint=Path("/nowhere/model.safetensors"))
    try:
        ended = scratch.run("up")
    finally:
        scratch.close()
    assert ended.returncode == 2
    assert "/nowhere/model.safetensors" in ended.stderr
    assert "Ready" not in ended.stderr


def test_up_runs_webhooks_too_and_gives_each_service_a_port_for_its_metrics(tmp_path: Path) -> None:
    """The ingester has METRICS_PORT, the others the next ones; whoever asks there hears that they live."""
    ports = consecutive_ports(5)
    (tmp_path / "secret").write_text("whsec_" + base64.b64encode(bytes(32)).decode())
    (tmp_path / "secret").chmod(0o600)
    (tmp_path / "webhooks.toml").write_text(WEBHOOKS)
    scratch = Deployment(metrics_port=ports[0], webhooks=str(tmp_path / "webhooks.toml"))
    try:
        up = Up(scratch)
        services = {"broker", "ingest", "worker", "desk", "web", "webhooks", "console"}
        wait_until(
            lambda: set(up.children()) == services, within_s=120, what="each service runs, and no more"
        )
        for port in ports:
            wait_until(partial(lives, port), within_s=120, what=f"/livez at {port}")
    finally:
        scratch.close()


WEBHOOKS = """
[[webhook]]
name = "city"
department = "firefighters"
url = "http://127.0.0.1:9/hook"
secret_file = "secret"
"""


def lives(port: int) -> bool:
    """Whether a service says at its metrics port that its loop turns."""
    try:
        with urllib.request.urlopen(f"http://127.0.0.1:{port}/livez", timeout=10) as answer:
            return bool(answer.status == 200)
    except OSError:
        return False


def consecutive_ports(count: int) -> range:
    """That many TCP ports in a row that nobody listens on."""
    while True:
        first = free_port()
        try:
            for port in range(first + 1, first + count):
                with socket.socket() as alone:  # which shares with nobody, so that it is nobody's
                    alone.bind(("127.0.0.1", port))
                keep_port(port)
        except OSError:
            continue
        return range(first, first + count)
