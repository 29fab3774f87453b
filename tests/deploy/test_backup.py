"""`backup.sh` on its own; what its copies are worth, tests/pipeline/test_restore_drill.py proves."""

import sqlite3
import subprocess
from contextlib import closing
from pathlib import Path

import pytest

pytestmark = pytest.mark.timeout(600)
SCRIPT = Path(__file__).parents[2] / "deploy" / "systemd" / "backup.sh"


@pytest.fixture
def state(tmp_path: Path) -> Path:
    """A state folder with a record, users and a picture."""
    folder = tmp_path / "state"
    (folder / "images").mkdir(parents=True)
    (folder / "images" / "a.jpeg").write_bytes(b"picture")
    (folder / "users.json").write_text("{}")
    with closing(sqlite3.connect(folder / "desk.db")) as record, record:
        record.execute("create table incidents (id text)")
    return folder


def back_up(*arguments: Path) -> "subprocess.CompletedProcess[str]":
    """Run it. It ends only when all that was written lately is on the disk, others' files too."""
    command = ["sh", str(SCRIPT), *map(str, arguments)]
    return subprocess.run(command, capture_output=True, text=True, check=False, timeout=280)


def test_a_copy_is_whole(state: Path, tmp_path: Path) -> None:
    """Record, users and pictures are there, for their owner alone."""
    out = back_up(state, tmp_path / "copies" / "one")
    assert (out.returncode, out.stderr) == (0, "")
    copy = tmp_path / "copies" / "one"
    assert {each.name for each in copy.iterdir()} == {"desk.db", "users.json", "images"}
    assert copy.stat().st_mode & 0o077 == 0


def test_an_older_copy_is_left_as_it_is(state: Path, tmp_path: Path) -> None:
    """Into a folder that is there nothing is written: neither copy would be one."""
    copy = tmp_path / "copy"
    assert back_up(state, copy).returncode == 0
    (state / "users.json").write_text('{"users": []}')
    out = back_up(state, copy)
    assert out.returncode == 2
    assert str(copy) in out.stderr
    assert (copy / "users.json").read_text() == "{}"
    assert not (copy / "images" / "images").exists()


def test_it_says_what_it_needs(state: Path) -> None:
    """Without a target nothing is copied anywhere."""
    out = back_up(state)
    assert out.returncode == 2
    assert "TARGET" in out.stderr
