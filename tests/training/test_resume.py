from pathlib import Path
from typing import Any

import pytest
import torch

from shared.errors import ConfigError
from training.resume import NAME, Progress, forget

RUN = {"recipe": "tune", "seed": 0, "schedule": {"cycles": ((12, 0.5),), "batch": 64}}


class CutError(Exception):
    """Ends a run before it is complete."""


def cut_off(out: Path, name: str, value: Any) -> None:
    """A run that saves something and is cut off."""
    with pytest.raises(CutError), Progress(out, RUN) as progress:
        progress.save(name, value)
        raise CutError


def test_what_was_saved_is_found_again_by_the_same_run(tmp_path: Path) -> None:
    """Tensors, numbers, and words come back as they were; what was never saved is None."""
    weights, rows = torch.arange(6.0).reshape(2, 3), [{"epoch": 0, "cost": 0.5}]
    cut_off(tmp_path, "epoch", {"weights": weights, "rows": rows})
    with Progress(tmp_path, RUN) as progress:
        found = progress.load("epoch")
        assert torch.equal(found["weights"], weights)
        assert found["rows"] == rows
        assert progress.load("seen") is None


def test_another_run_does_not_go_on_with_it(tmp_path: Path) -> None:
    """The error names what differs and what to do about it, and the folder stays as it is."""
    cut_off(tmp_path, "epoch", {"epoch": 0})
    with (
        pytest.raises(ConfigError, match=r"seed was 0 and is 1.*--out"),
        Progress(tmp_path, {**RUN, "seed": 1}),
    ):
        pass
    with Progress(tmp_path, RUN) as progress:
        assert progress.load("epoch") == {"epoch": 0}


def test_what_differs_is_named_and_nothing_else(tmp_path: Path) -> None:
    """Of a schedule, only the setting that changed."""
    cut_off(tmp_path, "epoch", {"epoch": 0})
    other = {**RUN, "schedule": {"cycles": ((13, 0.5),), "batch": 64}}
    with pytest.raises(ConfigError) as refused, Progress(tmp_path, other):
        pass
    assert "cycles was [[12, 0.5]] and is [[13, 0.5]]. Repeat" in str(refused.value)
    assert "batch" not in str(refused.value)


def test_two_runs_at_once_are_told_apart(tmp_path: Path) -> None:
    """The second of two equal commands is refused while the first is at work, and let in afterwards."""
    with (
        Progress(tmp_path, RUN),
        pytest.raises(ConfigError, match="another run is at work"),
        Progress(tmp_path, RUN),
    ):
        pass
    with Progress(tmp_path, RUN):
        pass


def test_a_damaged_file_is_named(tmp_path: Path) -> None:
    """Half a file is neither used nor a riddle."""
    cut_off(tmp_path, "epoch", {"cost": torch.zeros(1000)})
    path = tmp_path / NAME / "epoch.pt"
    path.write_bytes(path.read_bytes()[:-500])
    with (
        pytest.raises(ConfigError, match=r"epoch\.pt can't be read.*Remove"),
        Progress(tmp_path, RUN) as progress,
    ):
        progress.load("epoch")


def test_nothing_in_the_file_is_run(tmp_path: Path) -> None:
    """A pickle that would do something on loading is refused."""
    cut_off(tmp_path, "epoch", {"path": Path("/")})  # a class that is not on the list
    with pytest.raises(ConfigError, match=r"can't be read"), Progress(tmp_path, RUN) as progress:
        progress.load("epoch")


def test_a_full_disk_keeps_what_was_there(tmp_path: Path) -> None:
    """A state that does not fit leaves the one before it, and says why."""
    cut_off(tmp_path, "epoch", {"epoch": 0})
    (tmp_path / NAME / "epoch.new").symlink_to("/dev/full")  # the kernel's own full device
    with (
        pytest.raises(ConfigError, match=r"progress can't be kept.*No space left.*Make room"),
        Progress(tmp_path, RUN) as progress,
    ):
        progress.save("epoch", {"epoch": torch.zeros(100_000)})
    with Progress(tmp_path, RUN) as progress:
        assert progress.load("epoch") == {"epoch": 0}


def test_a_complete_run_leaves_nothing(tmp_path: Path) -> None:
    """What was kept stays until it is forgotten: the results still have to be written."""
    with Progress(tmp_path, RUN) as progress:
        progress.save("epoch", {})
    assert (tmp_path / NAME / "epoch.pt").is_file()
    forget(tmp_path)
    assert list(tmp_path.iterdir()) == []


def test_a_run_that_kept_nothing_is_in_nobodys_way(tmp_path: Path) -> None:
    """Cut off before the first epoch, it leaves no folder, and another run may begin."""
    with pytest.raises(CutError), Progress(tmp_path, RUN):
        raise CutError
    assert list(tmp_path.iterdir()) == []
