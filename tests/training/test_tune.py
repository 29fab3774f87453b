import os
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator
from dataclasses import replace
from io import StringIO
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image
from rich.console import Console
from training_parts import TINY, class_folders, indexed_folder, random_weights, single_threaded

from shared.checkpoint import Checkpoint
from shared.errors import ConfigError
from training.backbone import read_backbone
from training.dataset import Photograph, read_folder, read_unlabelled
from training.outcome import Outcome
from training.resume import NAME
from training.schedule import Schedule
from training.tune import train_tuned

pytestmark = pytest.mark.timeout(900)  # ten processes at once make minutes of seconds

SCHEDULE = Schedule(cycles=((8, 2e-3),), batch=6, sizes_px=((0.0, 32), (0.5, 64)), views=3, average=0.5)


@pytest.fixture(scope="module", autouse=True)
def one_thread() -> Iterator[None]:
    with single_threaded():
        yield


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return indexed_folder(tmp_path_factory.mktemp("photographs"))


@pytest.fixture(scope="module")
def weights(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return random_weights(tmp_path_factory.mktemp("weights") / "random.safetensors")


def tuned(photographs: list[Photograph], weights: Path, out: Path, **options: Any) -> Outcome:
    """A run at 32 and 64 px."""
    scratch = out / "scratch"
    scratch.mkdir(parents=True, exist_ok=True)
    return train_tuned(
        photographs,
        read_backbone(weights),
        schedule=options.pop("schedule", SCHEDULE),
        preprocessing=TINY,
        out=out,
        scratch=scratch,
        console=Console(file=StringIO()),
        say=options.pop("say", lambda _: None),
        **options,
    )


@pytest.fixture(scope="module")
def whole_run(folder: Path, weights: Path, tmp_path_factory: pytest.TempPathFactory) -> Outcome:
    """A run that nothing cuts off."""
    return tuned(read_folder(folder), weights, tmp_path_factory.mktemp("whole"))


def test_flames_are_told_from_roads(whole_run: Outcome, tmp_path: Path) -> None:
    """From drawings and random weights to a file that loads, tells them apart, and carries its figures."""
    made = whole_run.checkpoint
    checkpoint = Checkpoint.load(made.save(tmp_path / "drawn.safetensors").path or tmp_path)
    assert checkpoint.classes == ("fire", "normal")
    assert checkpoint.metrics == made.metrics
    assert checkpoint.metrics["val"]["n"] == 8
    assert checkpoint.metrics["val"]["accuracy"] >= 0.9
    assert set(checkpoint.metrics["val_degraded"]) >= {"small", "compressed", "grey", "blurred", "dark"}
    assert [row["size_px"] for row in whole_run.epochs] == [32] * 4 + [64] * 4
    assert (whole_run.scored.logits.argmax(axis=1) == [0] * 4 + [1] * 4).mean() >= 0.9


def test_every_layer_learns(whole_run: Outcome, weights: Path) -> None:
    """No layer is what it was, the first one and batch normalisation's statistics included."""
    before = read_backbone(weights)
    same = [
        name for name, array in before.items() if np.array_equal(array, whole_run.checkpoint.weights[name])
    ]
    assert same == []


@pytest.mark.fault
def test_a_killed_run_ends_with_the_same_model(
    folder: Path, weights: Path, whole_run: Outcome, tmp_path: Path
) -> None:
    """Killed after an epoch and begun again, the last bit of every weight is as if nothing had happened."""
    code = (
        "import sys, pathlib, torch, test_tune, training.dataset as d; torch.set_num_threads(1); "
        "f, w, o = map(pathlib.Path, sys.argv[1:]); "
        "test_tune.tuned(d.read_folder(f), w, o, say=test_tune.after_an_epoch(test_tune.killed))"
    )
    here = Path(__file__).parent
    environment = {**os.environ, "PYTHONPATH": f"{here}:{here.parent}:{here.parent.parent}"}
    command = [sys.executable, "-c", code, str(folder), str(weights), str(tmp_path)]
    died = subprocess.run(command, env=environment, start_new_session=True, check=False, timeout=600)
    assert died.returncode == -signal.SIGKILL, "it was still at work"
    assert (tmp_path / NAME / "epoch.pt").is_file()
    said: list[str] = []
    resumed = tuned(read_folder(folder), weights, tmp_path, say=said.append)
    assert resumed.epochs == whole_run.epochs
    for name, array in whole_run.checkpoint.weights.items():
        assert np.array_equal(array, resumed.checkpoint.weights[name]), name


def test_what_a_run_left_is_for_that_run_alone(folder: Path, weights: Path, tmp_path: Path) -> None:
    """With another seed, the error says what differs; nothing is trained on another run's half-done work."""
    with pytest.raises(KeyboardInterrupt):
        tuned(read_folder(folder), weights, tmp_path, say=after_an_epoch(interrupted))
    with pytest.raises(ConfigError, match="seed was 0 and is 1"):
        tuned(read_folder(folder), weights, tmp_path, seed=1)


def test_it_ends_early_when_nothing_gets_better(folder: Path, weights: Path, tmp_path: Path) -> None:
    """Where validation contradicts what is learnt, its cost rises, patience ends, and the best is kept."""
    swapped = {"fire": "normal", "normal": "fire"}
    wrong = [
        replace(each, label=swapped[each.label]) if each.split == "val" else each
        for each in read_folder(folder)
    ]
    said: list[str] = []
    schedule = replace(SCHEDULE.lasting(20), patience=2)
    run = tuned(wrong, weights, tmp_path, schedule=schedule, say=said.append)
    assert len(run.epochs) < 20
    assert any("ended early" in line for line in said)
    best = min(run.epochs, key=lambda row: row["val_cost"])
    assert run.checkpoint.metrics["best_epoch"] == best["epoch"] == run.epochs[-1]["epoch"] - 2


@pytest.mark.parametrize("schedule", [Schedule(), Schedule.under_teachers()])
def test_the_usual_schedules_can_end_early(schedule: Schedule) -> None:
    """Patience is shorter than the run."""
    assert schedule.patience < schedule.epochs / 2


def test_answers_that_are_no_numbers_end_the_run(folder: Path, weights: Path, tmp_path: Path) -> None:
    """A network that has run away is never kept as the best."""
    schedule = replace(SCHEDULE, cycles=((8, 1e30),))
    with pytest.raises(ConfigError, match="no longer numbers"):
        tuned(read_folder(folder), weights, tmp_path, schedule=schedule)


def test_what_could_not_be_written_is_not_trained_again(
    folder: Path, weights: Path, whole_run: Outcome, tmp_path: Path
) -> None:
    """When the disk is full at the very end, the same command goes on from the last epoch."""
    tuned(read_folder(folder), weights, tmp_path)  # and nobody writes its results
    again = tuned(read_folder(folder), weights, tmp_path, say=(said := list[str]()).append)
    assert again.epochs == whole_run.epochs
    assert [line for line in said if line.startswith("epoch ")] == []
    assert all(
        np.array_equal(array, again.checkpoint.weights[name])
        for name, array in whole_run.checkpoint.weights.items()
    )


def test_a_handful_of_photographs_is_enough(weights: Path, tmp_path: Path) -> None:
    """Two of each class train, calibrate, and are measured: small, and no crash."""
    few = read_folder(class_folders(tmp_path / "few", fire=4, normal=4))
    assert tuned(few, weights, tmp_path / "out", schedule=SCHEDULE.lasting(1)).epochs


def test_validation_of_one_event_is_refused(folder: Path, weights: Path, tmp_path: Path) -> None:
    """It can't both choose confidence and check it."""
    alone = [replace(each, group="event") if each.split == "val" else each for each in read_folder(folder)]
    with pytest.raises(ConfigError, match=r"fewer than two events.*val"):
        tuned(alone, weights, tmp_path)


def test_teachers_explain_photographs_without_labels(
    folder: Path, weights: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What can't be read is left out before views are counted, what is like val is not learnt from."""
    asked: list[list[str]] = []

    def look(photographs: list[Photograph], views: int, *_: Any, **__: Any) -> np.ndarray:
        """As a teacher would see colours: the mean of each channel."""
        asked.append([each.name for each in photographs])
        means = [np.asarray(Image.open(each.path).convert("RGB")).mean(axis=(0, 1)) for each in photographs]
        return np.repeat(np.array(means, np.float16)[:, None], views, axis=1)  # (N, V, 3)

    monkeypatch.setattr("training.teacher.check", lambda: None)
    monkeypatch.setattr("training.teacher.look", look)
    more = class_folders(tmp_path / "more", fire=3, normal=3)
    (more / "fire" / "broken.jpg").write_bytes(b"no picture")
    val = next(each for each in read_folder(folder) if each.split == "val")
    (more / "fire" / "of_val.png").write_bytes(val.path.read_bytes())
    said: list[str] = []
    options: dict[str, Any] = {"unlabelled": read_unlabelled(more), "taught": True, "say": said.append}
    schedule = SCHEDULE.lasting(3)
    run = tuned(read_folder(folder), weights, tmp_path / "out", schedule=schedule, **options)
    [names] = asked
    assert names[:24] == [each.name for each in read_folder(folder) if each.split == "train"]
    assert set(names[24:]) <= {f"{label}/{number}.png" for label in ("fire", "normal") for number in range(3)}
    assert any("like one in val and left out" in line for line in said)
    assert [name for name, _ in run.unreadable] == ["fire/broken.jpg"]
    tuned(read_folder(folder), weights, tmp_path / "out", schedule=schedule, **options)
    assert len(asked) == 1, "what they saw was kept"
    assert run.checkpoint.config["unlabelled"] == 8


def test_unreadable_photographs_are_left_out(folder: Path, weights: Path, tmp_path: Path) -> None:
    """A damaged file is named, and the run goes on with the others."""
    bad = tmp_path / "bad.jpg"
    bad.write_bytes(b"\xff\xd8\xff damaged")
    broken = Photograph(path=bad, name="bad.jpg", split="train", label="fire", group="bad")
    schedule = SCHEDULE.lasting(1)
    run = tuned([*read_folder(folder), broken], weights, tmp_path / "out", schedule=schedule)
    assert [name for name, _ in run.unreadable] == ["bad.jpg"]


def test_a_class_without_a_readable_photograph_is_named(folder: Path, weights: Path, tmp_path: Path) -> None:
    """Better said before hours of work than found in the figures."""
    only_val = [each for each in read_folder(folder) if each.split == "val" or each.label != "fire"]
    with pytest.raises(ConfigError, match=r"class fire has no training photograph.*--without fire"):
        tuned(only_val, weights, tmp_path)


def after_an_epoch(end: Callable[[], None]) -> Callable[[str], None]:
    """Takes what a run says, and ends it when it has said how its first epoch was."""
    lines: list[str] = []

    def say(line: str) -> None:
        lines.append(line)
        if len(lines) == 6:  # three sentences about the split, device, header, first epoch
            end()

    return say


def interrupted() -> None:
    """As by Ctrl-C."""
    raise KeyboardInterrupt


def killed() -> None:
    """This process and those that it has started, as by the system when memory is short."""
    os.killpg(0, signal.SIGKILL)
