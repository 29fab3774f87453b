import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from conftest import picture_bytes

from deploy.predict import BATCH, line, predict
from shared.checkpoint import Checkpoint, resnet34_shapes
from shared.errors import ConfigError
from shared.preprocessing import Preprocessing
from shared.settings import Settings
from shared.verdict import Thresholds

CLASSES = ("fire", "protest", "normal")


def save_random(path: Path, classes: tuple[str, ...]) -> Path:
    """A checkpoint with random weights that takes small pictures and dispatches everything."""
    random = np.random.default_rng(0)
    weights = {}
    for name, shape in resnet34_shapes(len(classes)).items():
        # Kaiming's scale keeps the signal alive through 34 layers; one-dimensional tensors leave it alone.
        scale = (2 / np.prod(shape[1:])) ** 0.5 if len(shape) > 1 else 0.05
        centre = 1.0 if name.endswith(("running_var", "weight")) and len(shape) == 1 else 0.0
        weights[name] = (centre + scale * random.standard_normal(shape, np.float32)).astype(np.float16)
    Checkpoint(
        weights=weights,
        classes=classes,
        preprocessing=Preprocessing(size_px=32, mean=(0.4, 0.5, 0.6), std=(0.2, 0.25, 0.3)),
        temperature=50.0,
        thresholds=Thresholds(dispatch=0.0, no_emergency=1.0),
    ).save(path)
    return path


@pytest.fixture(scope="module")
def settings(tmp_path_factory: pytest.TempPathFactory) -> Settings:
    """A model that dispatches everything."""
    path = save_random(tmp_path_factory.mktemp("models") / "random.safetensors", CLASSES)
    return Settings(checkpoint=path, engine="torch-cpu")


def pictures(folder: Path, count: int) -> list[Path]:
    """Files with a picture each."""
    paths = [folder / f"{seed}.jpeg" for seed in range(count)]
    for seed, path in enumerate(paths):
        path.write_bytes(picture_bytes(seed))
    return paths


@pytest.fixture(scope="module")
def asked(tmp_path_factory: pytest.TempPathFactory) -> list[Path]:
    """More photographs than a batch; the third is missing, the fourth is text, the first comes again."""
    folder = tmp_path_factory.mktemp("photographs")
    paths = pictures(folder, BATCH + 3)
    paths[2].unlink()
    paths[3].write_text("no picture")
    return [*paths, paths[0]]


@pytest.fixture(scope="module")
def records(asked: list[Path], settings: Settings) -> list[dict[str, Any]]:
    """What is said of them."""
    return list(predict(asked, settings))


def test_each_photograph_is_one_record(asked: list[Path], records: list[dict[str, Any]]) -> None:
    """A record has the fields of DESIGN section 7, and can be written as JSON."""
    fields = ["path", "verdict", "situation", "confidence", "scores", "departments"]
    assert list(json.loads(json.dumps(records[0]))) == fields
    assert (records[0]["path"], records[0]["verdict"]) == (str(asked[0]), "dispatched")


def test_a_record_agrees_with_itself(records: list[dict[str, Any]]) -> None:
    """Scores add up to 1, the confidence is that of the best situation, and its departments are named."""
    departments = {"fire": ["firefighters", "transit-police"], "protest": ["police-force", "transit-police"]}
    for record in records:
        if "error" not in record:
            assert sum(record["scores"].values()) == pytest.approx(1, abs=1e-3)
            best = max(("fire", "protest"), key=record["scores"].__getitem__)
            assert (record["situation"], record["confidence"]) == (best, record["scores"][best])
            assert record["departments"] == departments[best]


def test_records_come_in_order_across_batches(asked: list[Path], records: list[dict[str, Any]]) -> None:
    """Whatever the batch they are in, records stand in the order of the photographs; so do their scores."""
    assert [record["path"] for record in records] == [str(path) for path in asked]
    assert records[-1]["scores"] == pytest.approx(records[0]["scores"], abs=1e-3)
    assert records[-1]["scores"] != pytest.approx(records[1]["scores"], abs=1e-3)


def test_one_bad_file_hurts_only_itself(records: list[dict[str, Any]]) -> None:
    """What is missing or no picture has its error in its place, and the others are judged."""
    assert [number for number, record in enumerate(records) if "error" in record] == [2, 3]
    assert "No such file" in records[2]["error"]


def test_an_unsure_photograph_calls_nobody(settings: Settings, tmp_path: Path) -> None:
    """Below the threshold the verdict is unsure and no department is named."""
    never = Thresholds(dispatch=1.0, no_emergency=1.0)
    path = tmp_path / "unsure.safetensors"
    replace(Checkpoint.load(settings.checkpoint), thresholds=never).save(path)
    (record,) = predict(pictures(tmp_path, 1), settings.override(checkpoint=path))
    assert (record["verdict"], record["departments"]) == ("unsure", [])
    assert record["situation"] in ("fire", "protest")


def test_bad_files_alone_are_no_batch(settings: Settings, tmp_path: Path) -> None:
    """Where nothing can be decoded, nothing is asked of the model."""
    (record,) = predict([tmp_path / "none.jpeg"], settings)
    assert "error" in record


def test_a_model_without_routes_is_refused(settings: Settings, tmp_path: Path) -> None:
    """A class that goes nowhere is a fault of the set-up, here as in the worker."""
    path = save_random(tmp_path / "meteor.safetensors", ("fire", "meteor"))
    with pytest.raises(ConfigError, match="meteor"):
        list(predict(pictures(tmp_path, 1), settings.override(checkpoint=path)))


def test_a_missing_model_is_refused(settings: Settings, tmp_path: Path) -> None:
    """The setting to change is named."""
    with pytest.raises(ConfigError, match="ALMENARA_CHECKPOINT"):
        list(predict(pictures(tmp_path, 1), settings.override(checkpoint=tmp_path / "none")))


def test_a_line_for_people() -> None:
    """Path, verdict, situation, how sure, who is called; or the error."""
    record = {"path": "a.jpg", "verdict": "dispatched", "situation": "fire", "confidence": 0.874}
    assert line(record | {"departments": ["firefighters"]}) == "a.jpg: dispatched, fire 0.87 => firefighters"
    quiet = record | {"verdict": "no_emergency", "situation": None, "departments": []}
    assert line(quiet) == "a.jpg: no_emergency, normal 0.87"
    assert line({"path": "a.jpg", "error": "can't be read"}) == "a.jpg: can't be read"


@pytest.mark.parametrize("name", ["\x1b[31m.jpg", "caf\udce9.jpg", "two\nlines.jpg"])
def test_a_strange_name_stays_in_its_line(name: str) -> None:
    """Escape codes, line ends and bytes that are no text are shown, and do nothing."""
    record = {"path": name, "verdict": "unsure", "situation": "fire", "confidence": 0.5, "departments": []}
    for text in (line(record), line({"path": name, "error": "no picture"})):
        assert text.isprintable()
        text.encode("utf-8")
