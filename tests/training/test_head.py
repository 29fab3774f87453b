from collections.abc import Iterator, Sequence
from dataclasses import replace
from io import StringIO
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from rich.console import Console
from training_parts import TINY, indexed_folder, random_weights, single_threaded

from shared.checkpoint import Checkpoint
from shared.errors import ConfigError
from training.backbone import read_backbone
from training.dataset import Photograph, read_folder
from training.head import chosen_views, class_order, train_head

VIEWS = ("plain", "crop_1")


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


def trained(photographs: Sequence[Photograph], weights: Path, **options: Any) -> Checkpoint:
    return train_head(
        photographs,
        read_backbone(weights),
        views=VIEWS,
        preprocessing=TINY,
        console=options.pop("console", Console(file=StringIO())),
        **options,
    ).checkpoint


def test_a_checkpoint_tells_what_it_was_trained_on(folder: Path, weights: Path, tmp_path: Path) -> None:
    """From a folder and weights to a file that loads, tells flames from roads, and carries its metrics."""
    made = trained(read_folder(folder), weights)
    checkpoint = Checkpoint.load(made.save(tmp_path / "drawn.safetensors").path or tmp_path)
    assert checkpoint.classes == ("fire", "normal")
    assert checkpoint.metrics == made.metrics
    assert checkpoint.metrics["val"]["n"] == 8
    assert checkpoint.metrics["val"]["accuracy"] >= 0.9
    assert checkpoint.metrics["held_out_train_all_views"]["missed_emergencies"] <= 0.03
    assert set(checkpoint.metrics["val_degraded"]) >= {"small", "surveillance"}


def test_the_same_seed_gives_the_same_checkpoint(folder: Path, weights: Path) -> None:
    """A run can be repeated to the last bit, and another seed is another run."""
    photographs = read_folder(folder)
    first, second, other = (trained(photographs, weights, seed=seed) for seed in (1, 1, 2))
    assert np.array_equal(first.weights["fc.weight"], second.weights["fc.weight"])
    assert first.metrics == second.metrics
    assert (first.temperature, first.thresholds) == (second.temperature, second.thresholds)
    assert not np.array_equal(first.weights["fc.weight"], other.weights["fc.weight"])


def test_validation_photographs_decide_nothing(folder: Path, weights: Path) -> None:
    """With every label of val wrong, only what is reported about val changes."""
    photographs = read_folder(folder)
    swapped = {"fire": "normal", "normal": "fire"}
    wrong = [replace(p, label=swapped[p.label]) if p.split == "val" else p for p in photographs]
    honest, fooled = trained(photographs, weights), trained(wrong, weights)
    assert np.array_equal(honest.weights["fc.weight"], fooled.weights["fc.weight"])
    assert np.array_equal(honest.weights["fc.bias"], fooled.weights["fc.bias"])
    assert (honest.temperature, honest.thresholds) == (fooled.temperature, fooled.thresholds)
    assert honest.metrics["val"]["accuracy"] == pytest.approx(1 - fooled.metrics["val"]["accuracy"])


def test_the_backbone_stays_as_it_was(folder: Path, weights: Path) -> None:
    """Only the classifier is trained."""
    before, after = read_backbone(weights), trained(read_folder(folder), weights).weights
    assert set(after) - set(before) == {"fc.weight", "fc.bias"}
    assert all(np.array_equal(after[name], array) for name, array in before.items())


def test_unreadable_photographs_are_listed_counted_and_left_out(
    folder: Path, weights: Path, tmp_path: Path
) -> None:
    """One broken file costs itself, and the others keep their views."""
    broken = tmp_path / "broken.jpg"
    broken.write_bytes(b"\xff\xd8\xff broken")
    extra = Photograph(path=broken, name="zz.jpg", split="train", label="fire", group="zz")
    spoken = StringIO()
    console = Console(file=spoken, width=200)
    photographs = read_folder(folder)
    checkpoint = trained([*photographs, extra], weights, console=console)
    assert "left out zz.jpg" in spoken.getvalue()
    assert "1 photographs left out" in spoken.getvalue()
    expected = trained(photographs, weights).weights["fc.weight"]
    assert np.array_equal(checkpoint.weights["fc.weight"], expected)


@pytest.mark.parametrize("names", ["mirrored", "plain,infrared", ""])
def test_views_that_are_unknown_are_refused(names: str) -> None:
    """Plain comes first, and every view is one that exists."""
    with pytest.raises(ConfigError, match="hoose from plain"):
        chosen_views(names)


def test_a_class_that_can_not_be_read_is_refused(folder: Path, weights: Path, tmp_path: Path) -> None:
    """A class whose training photographs are all broken could never be learnt."""
    (tmp_path / "broken.jpg").write_bytes(b"no picture")
    extra = [
        Photograph(path=tmp_path / "broken.jpg", name=f"z{n}", split="train", label="robbery", group=f"z{n}")
        for n in range(2)
    ]
    with pytest.raises(ConfigError, match="robbery has no training photograph"):
        trained([*read_folder(folder), *extra], weights)


def test_a_class_without_training_photographs_is_refused(folder: Path, weights: Path, tmp_path: Path) -> None:
    """A class that occurs only in val could never be learnt."""
    (tmp_path / "only.png").write_bytes((folder / "fire_0.png").read_bytes())
    extra = Photograph(path=tmp_path / "only.png", name="o", split="val", label="robbery", group="o")
    with pytest.raises(ConfigError, match="robbery has no training photograph"):
        trained([*read_folder(folder), extra], weights)


def test_classes_keep_their_usual_order() -> None:
    """Known situations first, new ones by name, normal last."""
    assert class_order(["normal", "storm", "fire", "flood_risk", "avalanche"]) == (
        "flood_risk",
        "fire",
        "avalanche",
        "storm",
        "normal",
    )
