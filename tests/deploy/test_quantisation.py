import csv
import hashlib
import importlib.util
import io
import os
import shutil
from collections.abc import Iterable, Sequence
from pathlib import Path

import numpy as np
import pytest
from conftest import photographs_folder, picture_bytes
from engine_parts import SHIPPED, random_checkpoint
from rich.console import Console

import deploy.quantisation
from deploy import cli
from deploy.quantisation import LEAST, Outcome, Row, lines, optimise
from shared.checkpoint import Checkpoint
from shared.errors import ConfigError
from shared.images import ImageStore
from shared.settings import Settings
from worker import int8
from worker.engines import make_engine

pytest.importorskip("nncf", reason="the extra `optimise` is not installed")
pytestmark = pytest.mark.timeout(900)  # of seconds where nobody else needs the processor
SIZE_PX = 32


@pytest.fixture(scope="module")
def checkpoint(tmp_path_factory: pytest.TempPathFactory) -> Checkpoint:
    return random_checkpoint(SIZE_PX).save(tmp_path_factory.mktemp("models") / "random.safetensors")


@pytest.fixture(scope="module")
def settings(tmp_path_factory: pytest.TempPathFactory) -> Settings:
    return Settings(state_dir=tmp_path_factory.mktemp("state"))


def fill(settings: Settings, seeds: Sequence[int]) -> None:
    """Keep pictures, and one that can't be read, each a second newer than the one before."""
    store, folder = ImageStore(settings.image_store_url), Path(settings.image_store_url)
    pictures = [picture_bytes(seed, size_px=(48, 40)) for seed in seeds]
    for at_s, content in enumerate([*pictures, b"no picture"]):
        place = store.put_picture(content, hashlib.sha256(content).hexdigest(), "jpeg")
        os.utime(folder / place, (1e9 + at_s, 1e9 + at_s))


def run(checkpoint: Checkpoint, folder: Path | None, settings: Settings) -> Outcome:
    return optimise(checkpoint, folder, settings, console=Console(file=io.StringIO()))


@pytest.fixture(scope="module")
def outcome(checkpoint: Checkpoint, settings: Settings) -> Outcome:
    """Of a store with few pictures more than are needed."""
    fill(settings, range(2 * LEAST + 20))
    return run(checkpoint, None, settings)


def test_a_good_one_is_kept_and_used(outcome: Outcome, checkpoint: Checkpoint, settings: Settings) -> None:
    """What agrees with f32 is in the state folder with what was measured, and workers take it."""
    assert (outcome.refusal, outcome.rows[0].engine, outcome.rows[-1].engine) == (
        "",
        "openvino-f32",
        "openvino-int8",
    )
    found = int8.measured(outcome.path, checkpoint)
    assert (found.model, found.pictures) == (checkpoint.model_id, outcome.pictures)
    assert found.agreement == outcome.rows[-1].agreement >= deploy.quantisation.LEAST_AGREEMENT
    engine = make_engine("openvino-int8", checkpoint, state_dir=settings.state_dir)
    assert engine.scores(np.zeros((2, SIZE_PX, SIZE_PX, 3), np.uint8)).shape == (2, 3)


def test_it_is_quantised(outcome: Outcome, checkpoint: Checkpoint) -> None:
    """Nearly all convolutions have int8 weights: the file is a quarter of the network in f32."""
    f32_bytes = 4 * sum(array.size for array in checkpoint.weights.values())
    assert outcome.path.stat().st_size < 0.35 * f32_bytes


def test_pictures_are_parted_and_one_that_is_bad_is_left_out(outcome: Outcome) -> None:
    """Of 221 files half are calibrated on and the others judged on; the unreadable one is in neither."""
    assert outcome.pictures == LEAST + 11  # the unreadable one is the newest, and so was to calibrate on
    assert [row.accuracy for row in outcome.rows] == [None] * len(outcome.rows)
    assert lines(outcome)[-1].startswith(f"on {outcome.pictures} pictures")


def test_the_newest_come_first(tmp_path: Path, checkpoint: Checkpoint) -> None:
    """Calibration takes the newest pictures of the store, and judging the next."""
    store = ImageStore(str(tmp_path))
    for age_s in range(8):
        place = store.put_picture(bytes([age_s]), f"{age_s:02}", "jpeg")
        os.utime(tmp_path / place, (1e9 - age_s, 1e9 - age_s))
    settings = Settings(image_store=str(tmp_path))
    calibrating, judging = deploy.quantisation._pictures(checkpoint, None, settings)
    assert [list(each.read()) for each in calibrating] == [[0], [1], [2], [3]]
    assert [list(each.read()) for each in judging] == [[4], [5], [6], [7]]


def test_a_labelled_folder_keeps_its_splits(tmp_path: Path, checkpoint: Checkpoint) -> None:
    """Training photographs are for calibration and validation photographs for judging, never one for both."""
    rows = [(f"{n}.jpeg", "train" if n < 6 else "val", ("fire", "normal")[n % 2]) for n in range(10)]
    index(tmp_path, rows)
    for name, _, __ in rows:
        (tmp_path / name).write_bytes(name.encode())
    calibrating, judging = deploy.quantisation._pictures(checkpoint, tmp_path, Settings())
    assert sorted(each.read() for each in calibrating) == [f"{n}.jpeg".encode() for n in range(6)]
    assert [each.read() for each in judging] == [f"{n}.jpeg".encode() for n in range(6, 10)]
    assert {each.label for each in judging} == {"fire", "normal"}


def index(folder: Path, rows: Iterable[tuple[str, str, str]]) -> None:
    """Write an index.csv: path, split and class of each, each a group of its own."""
    with (folder / "index.csv").open("w", newline="", encoding="utf-8") as file:
        writer = csv.writer(file)
        writer.writerow(["path", "split", "class", "group"])
        writer.writerows([*row, row[0]] for row in rows)


def test_a_class_that_the_model_lacks_is_named(tmp_path: Path, checkpoint: Checkpoint) -> None:
    """Labels that nothing can be compared with stop the command, as in `almenara evaluate`."""
    (tmp_path / "a.jpeg").write_bytes(picture_bytes(1))
    index(tmp_path, [("a.jpeg", "val", "flood_risk")])
    with pytest.raises(ConfigError, match="class flood_risk, which random does not know"):
        run(checkpoint, tmp_path, Settings(state_dir=tmp_path / "state"))


def test_a_refused_one_leaves_nothing(
    outcome: Outcome,
    checkpoint: Checkpoint,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    """Where int8 decides otherwise too often the command fails, and what was kept before goes."""
    old = int8.place(tmp_path / "state", checkpoint)
    old.parent.mkdir(parents=True)
    shutil.copy(outcome.path, old)
    for seed in range(2 * LEAST):
        (tmp_path / f"{seed}.jpeg").write_bytes(picture_bytes(seed))
    monkeypatch.setattr(deploy.quantisation, "LEAST_AGREEMENT", 1.01)  # as good as any that is missed
    monkeypatch.setenv("ALMENARA_STATE_DIR", str(tmp_path / "state"))
    assert cli.main(["optimise", str(checkpoint.path), str(tmp_path)]) == cli.EXIT_FOUND
    printed = capsys.readouterr()
    assert "openvino-int8" in printed.out
    assert "int8 is refused" in printed.err
    assert list(old.parent.iterdir()) == []


def row(agreement: float, accuracy: float | None) -> Row:
    return Row(engine="any", images_per_s=1.0, agreement=agreement, accuracy=accuracy)


@pytest.mark.parametrize(
    ("agreement", "accuracy_f32", "accuracy", "refused"),
    [
        (0.99, None, None, ""),
        (0.989, None, None, "98.90 %"),
        (0.995, 0.9, 0.8951, ""),
        (0.995, 0.9, 0.8949, "0.51 points"),
        (0.995, 0.9, 0.95, ""),
    ],
)
def test_the_limits(
    agreement: float, accuracy_f32: float | None, accuracy: float | None, refused: str
) -> None:
    """99 % agreement, and where labels are, half a point of accuracy."""
    found = deploy.quantisation._refusal(row(1.0, accuracy_f32), row(agreement, accuracy))
    assert bool(found) == bool(refused)
    assert refused in found


def test_too_few_pictures_stop_it(checkpoint: Checkpoint, tmp_path: Path) -> None:
    """A handful of pictures says too little; the remedy says how many are wanted."""
    (tmp_path / "a.jpeg").write_bytes(picture_bytes(1))
    with pytest.raises(ConfigError, match=f"0 readable pictures.*at least {LEAST}") as raised:
        run(checkpoint, tmp_path, Settings(state_dir=tmp_path / "state"))
    assert "800" in raised.value.remedy
    assert not (tmp_path / "state").exists()


def test_without_nncf_the_extra_is_named(checkpoint: Checkpoint, monkeypatch: pytest.MonkeyPatch) -> None:
    """What quantises is an extra, needed for nothing else."""
    monkeypatch.setattr(importlib.util, "find_spec", lambda _: None)
    with pytest.raises(ConfigError, match="NNCF") as raised:
        run(checkpoint, None, Settings())
    assert "optimise" in raised.value.remedy


def test_the_shipped_model_quantises_well(tmp_path: Path) -> None:
    """Even calibrated on 119 photographs, int8 finds f32's class for 97 % of 119 others."""
    shipped, source = Checkpoint.load(SHIPPED), photographs_folder()
    with (source / "index.csv").open(newline="", encoding="utf-8") as file:
        listed = sorted((row["class"], row["split"], row["path"]) for row in csv.DictReader(file))
    chosen = []
    for name in shipped.classes:
        for split in ("train", "val"):
            some = [row for row in listed if row[:2] == (name, split)][:17]
            chosen += [(Path(path).name, split, name) for _, _, path in some]
            for _, _, path in some:
                shutil.copy(source / path, tmp_path)
    index(tmp_path, chosen)
    found = run(shipped, tmp_path, Settings(state_dir=tmp_path / "state"))
    assert found.pictures == 119
    assert found.rows[-1].agreement >= 0.97
