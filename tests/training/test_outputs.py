import csv
import errno
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
from training_parts import drawing, random_checkpoint, single_threaded

from shared.checkpoint import Checkpoint
from shared.errors import ConfigError
from training.dataset import Photograph
from training.outcome import Outcome, Scored
from training.outputs import RunFolder

ROWS = (
    {"epoch": 0, "size_px": 160, "loss": 1.5},
    {"epoch": 1, "size_px": 160, "loss": 1.25, "val_accuracy": 0.5},
)
ROOT = Path(__file__).parents[2]


@pytest.fixture(scope="module", autouse=True)
def one_thread() -> Iterator[None]:
    with single_threaded():
        yield


@pytest.fixture(autouse=True)
def without_plots(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "matplotlib.figure", None)


@pytest.fixture(scope="module")
def checkpoint() -> Checkpoint:
    return random_checkpoint("fire", "normal")


@pytest.fixture
def outcome(checkpoint: Checkpoint, tmp_path_factory: pytest.TempPathFactory) -> Outcome:
    path = tmp_path_factory.mktemp("photographs") / "fire.jpg"
    drawing("fire", np.random.default_rng(0)).save(path)
    photograph = Photograph(path=path, name="fire.jpg", split="val", label="fire", group="fire")
    scored = Scored(photographs=[photograph], logits=np.array([[1.0, 0.0]]))
    return Outcome(checkpoint=checkpoint, scored=scored, epochs=ROWS, split=[], unreadable=[])


def names(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.iterdir())


def test_any_recipe_has_its_own_columns(outcome: Outcome, tmp_path: Path) -> None:
    """The table has whatever was measured, and an empty cell where it was not."""
    with RunFolder(tmp_path / "out") as results:
        results.write(outcome)
    with (tmp_path / "out" / "epochs.csv").open(newline="") as file:
        table = list(csv.DictReader(file))
    assert [row["val_accuracy"] for row in table] == ["", "0.5"]
    assert list(table[0]) == ["epoch", "size_px", "loss", "val_accuracy"]
    assert names(tmp_path / "out") == [
        "epochs.csv",
        "metrics.json",
        "report.html",
        "street1-resnet34.safetensors",
    ]


def test_the_report_is_of_what_was_saved(outcome: Outcome, tmp_path: Path) -> None:
    """It names the checkpoint as its file has it, and shows the epochs of the table."""
    with RunFolder(tmp_path / "out") as results:
        saved, no_plots = results.write(outcome)
    page = (tmp_path / "out" / "report.html").read_text(encoding="utf-8")
    assert saved.fingerprint != ""
    assert saved.model_id in page
    assert "1.25" in page
    assert "matplotlib" in no_plots


def test_a_full_disk_leaves_nothing(
    outcome: Outcome, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """When the last file does not fit, none has appeared, and the folder is gone again."""
    write = Path.write_text

    def full(self: Path, text: str, encoding: str) -> int:
        if self.name == "report.html":
            raise OSError(errno.ENOSPC, "No space left on device")
        return write(self, text, encoding=encoding)

    monkeypatch.setattr(Path, "write_text", full)
    with (
        pytest.raises(ConfigError, match=r"nothing is written .*No space left"),
        RunFolder(tmp_path / "out") as run,
    ):
        run.write(outcome)
    assert not (tmp_path / "out").exists()


def test_a_folder_in_the_way_leaves_nothing(outcome: Outcome, tmp_path: Path) -> None:
    """What can't be put in its place is known before anything else is."""
    (tmp_path / "out" / "report.html").mkdir(parents=True)
    with pytest.raises(ConfigError, match=r"report\.html is a folder"), RunFolder(tmp_path / "out") as run:
        run.write(outcome)
    assert names(tmp_path / "out") == ["report.html"]


def test_what_a_killed_run_has_left_is_removed(tmp_path: Path) -> None:
    """A run that was killed could not clean up; the next one does."""
    killed = (
        "import os, signal, sys; from pathlib import Path; from training.outputs import RunFolder\n"
        "with RunFolder(Path(sys.argv[1])):\n"
        "    os.kill(os.getpid(), signal.SIGKILL)\n"
    )
    died = subprocess.run([sys.executable, "-c", killed, str(tmp_path)], cwd=ROOT, check=False)
    assert died.returncode == -signal.SIGKILL
    [left] = names(tmp_path)
    assert left.startswith(".unfinished-")
    with RunFolder(tmp_path):
        assert left not in names(tmp_path)
        assert len(names(tmp_path)) == 1
    assert names(tmp_path) == []


def test_two_runs_at_once_leave_each_other_alone(outcome: Outcome, tmp_path: Path) -> None:
    """A run that began meanwhile takes nothing away from one that lives, nor does its end."""
    with RunFolder(tmp_path) as first:
        with RunFolder(tmp_path):
            assert len(names(tmp_path)) == 2
        first.write(outcome)
    assert names(tmp_path) == ["epochs.csv", "metrics.json", "report.html", "street1-resnet34.safetensors"]


def test_where_folders_can_not_be_locked_nothing_is_removed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Some network file systems can't tell a dead run from a living one."""

    def unsupported(_descriptor: int, _operation: int) -> None:
        raise OSError(errno.EBADF, "Bad file descriptor")

    (tmp_path / ".unfinished-other").mkdir()
    monkeypatch.setattr("fcntl.flock", unsupported)
    with RunFolder(tmp_path):
        assert len(names(tmp_path)) == 2
    assert names(tmp_path) == [".unfinished-other"]
