"""`almenara up`, as a newcomer uses it."""

import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import psutil
import pytest
from conftest import picture_bytes, wait_until
from deployment import Deployment, photograph_name

pytestmark = pytest.mark.fault


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
        wait_until(lambda: "Ready" in self.err.read_text(), within_s=90, what="almenara up is ready")

    def lines(self) -> list[str]:
        """What the console has shown."""
        return self.out.read_text().splitlines()

    def children(self) -> dict[str, psutil.Process]:
        """Its services by name."""
        found = {}
        for child in psutil.Process(self.process.pid).children():
            command = child.cmdline()
            found["broker" if "valkey" in command[0] or "redis" in command[0] else command[3]] = child
        return found


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
    up.scratch.wait_decided(12, within_s=60)
    up.scratch.assert_books_balance(12)
    shown = {incident["number"] for incident in up.scratch.incidents() if incident["departments"]}
    wait_until(lambda: len(up.lines()) >= len(shown), within_s=20, what="the console shows them")
    assert sorted(line.split()[1] for line in up.lines()) == sorted(shown)
    family = psutil.Process(up.process.pid).children(recursive=True)
    up.process.send_signal(signal.SIGINT)
    assert up.process.wait(timeout=60) == 0
    assert not [child for child in family if child.is_running()]


def test_up_restarts_what_dies_and_goes_on_where_it_was(up: Up) -> None:
    """Each service is killed in turn, the launcher last; every photograph is still decided once."""
    for turn, name in enumerate(("ingest", "worker", "broker", "console")):
        up.children()[name].kill()
        for seed in range(turn * 5, turn * 5 + 5):
            up.scratch.drop(seed)
        up.scratch.wait_decided(turn * 5 + 5, within_s=90)
    up.process.kill()
    up.process.wait(timeout=30)
    wait_until(
        lambda: not up.scratch.settings.broker_socket.exists(), within_s=60, what="its children end too"
    )
    up.scratch.drop(20)
    up.start()
    up.scratch.wait_decided(21, within_s=60)
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
