"""The restore drill of docs/operators-guide.md: a machine is backed up at work, lost, and made again."""

import json
import shutil
import signal
import sqlite3
import subprocess
import time
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest
from conftest import wait_until
from deployment import Deployment

from console.users import Role, Users, first_user

pytestmark = [pytest.mark.fault, pytest.mark.timeout(1200)]

REPOSITORY = Path(__file__).parents[2]
BACK_UP = REPOSITORY / "deploy" / "systemd" / "backup.sh"

BEFORE, AFTER, LATER = range(8), range(8, 14), range(14, 18)
"""Seeds of photographs that come before the backup, between it and the disaster, and after the restore."""


class Machine(Deployment):
    """A deployment with ingester, worker and desk."""

    def work(self) -> None:
        """Start all three."""
        for name in ("ingest", "worker", "desk"):
            self.start(name, name)

    def drop_all(self, seeds: range, *, decided: int) -> None:
        """Photographs come in, and all so far are decided and known to the desk."""
        for seed in seeds:
            self.drop(seed)
        self.wait_decided(decided, within_s=240)
        wait_until(lambda: self.on_desk() >= decided, within_s=120, what=f"{decided} incidents with the desk")

    def on_desk(self) -> int:
        """Incidents in the desk's record; none while it is not made yet."""
        try:
            with closing(
                sqlite3.connect(f"file:{self.settings.state_dir / 'desk.db'}?mode=ro", uri=True)
            ) as record:
                (count,) = record.execute("select count(*) from incidents").fetchone()
        except sqlite3.OperationalError:
            return 0
        return int(count)

    def numbers(self) -> dict[str, str]:
        """Incident id -> number, as the broker has them."""
        return {each["id"]: each["number"] for each in self.incidents()}

    def audit(self, *more: str) -> dict[str, Any]:
        """What `almenara audit` finds."""
        report: dict[str, Any] = json.loads(self.run_once_broker_answers("audit", "--json", *more).stdout)
        return report

    def back_up(self, to: Path) -> float:
        """Run the script of the guide while all is at work; seconds that it took."""
        began_s = time.monotonic()
        command = ["sh", str(BACK_UP), str(self.settings.state_dir), str(to)]
        subprocess.run(command, check=True, capture_output=True)
        return time.monotonic() - began_s

    def lose(self) -> None:
        """Everything stops at once, and the disk is gone."""
        for process in self.processes.values():
            process.send_signal(signal.SIGKILL)
        for process in self.processes.values():
            process.wait(timeout=30)


@pytest.fixture
def machines() -> Iterator[tuple[Machine, Machine]]:
    """The machine that is lost, at work with its broker, and an empty one that takes its place."""
    lost, made = Machine(), Machine()
    try:
        lost.start_broker()
        first_user(lost.settings.users_path, "ana", tuple(Role))
        lost.work()
        yield lost, made
    finally:
        lost.close()
        made.close()


def test_a_lost_machine_comes_back_from_its_backup_and_the_store(
    machines: tuple[Machine, Machine], tmp_path: Path
) -> None:
    """What was backed up is there as it was; what came later is made again from the image store, once.

    Where the store is lost too, the backup alone makes a machine whose books balance.
    """
    lost, made = machines
    lost.drop_all(BEFORE, decided=len(BEFORE))
    backed_up = lost.numbers()
    back_up_s = lost.back_up(tmp_path / "backup")
    lost.drop_all(AFTER, decided=len(BEFORE) + len(AFTER))
    lost.lose()

    began_s = time.monotonic()
    shutil.copytree(tmp_path / "backup", made.settings.state_dir, dirs_exist_ok=True)
    made.start_broker()
    assert made.audit()["balanced"]
    assert made.numbers() == backed_up

    shutil.copytree(
        lost.settings.state_dir / "images", made.settings.state_dir / "images", dirs_exist_ok=True
    )
    assert made.on_desk() == len(BEFORE)
    assert Users.load(made.settings.users_path).names() == ["ana"]

    found = made.audit("--repair")
    assert found["repaired"] == len(AFTER)
    made.work()
    everything = len(BEFORE) + len(AFTER)
    made.wait_decided(everything, within_s=240)
    restore_s = time.monotonic() - began_s
    made.drop_all(LATER, decided=everything + len(LATER))
    assert {incident: made.numbers()[incident] for incident in backed_up} == backed_up
    made.assert_books_balance(everything + len(LATER))
    print(f"backup {back_up_s:.1f} s, restored and all decided in {restore_s:.1f} s")
