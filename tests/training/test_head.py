import hashlib
import json
from collections.abc import Sequence
from dataclasses import replace
from io import StringIO
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import safetensors.numpy
import torch
from PIL import Image, ImageDraw
from rich.console import Console
from torchvision.models import resnet34

from shared.checkpoint import Checkpoint
from shared.preprocessing import Preprocessing
from training.dataset import Photograph, read_folder
from training.features import read_backbone
from training.head import class_order, main, train_head

TINY = Preprocessing(size_px=64, mean=(0.485, 0.456, 0.406), std=(0.229, 0.224, 0.225))
VIEWS = ("plain", "crop_1")


def drawing(label: str, random: np.random.Generator) -> Image.Image:
    """Orange flames in the dark, or a pale road with a line."""
    image = Image.new("RGB", (64, 64), (30, 25, 35) if label == "fire" else (170, 175, 180))
    draw = ImageDraw.Draw(image)
    for _ in range(4):
        x, y = random.integers(8, 56, 2).tolist()
        if label == "fire":
            draw.polygon([(x - 8, y + 10), (x, y - 10), (x + 8, y + 10)], fill=(250, 120, 20))
        else:
            draw.line([(x, 0), (y, 64)], fill=(240, 240, 240), width=2)
    return image


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("photographs")
    random = np.random.default_rng(0)
    rows = ["path,split,class,source,group"]
    for label in ("fire", "normal"):
        for number in range(16):
            name = f"{label}_{number}.png"
            drawing(label, random).save(folder / name)
            rows.append(f"{name},{'val' if number >= 12 else 'train'},{label},drawn,{name}")
    (folder / "index.csv").write_text("\n".join(rows))
    return folder


@pytest.fixture(scope="module")
def weights(tmp_path_factory: pytest.TempPathFactory) -> Path:
    torch.manual_seed(0)
    path = tmp_path_factory.mktemp("weights") / "random.safetensors"
    state = {name: tensor.numpy() for name, tensor in resnet34(weights=None).state_dict().items()}
    safetensors.numpy.save_file(
        {name: array.astype(np.float16) for name, array in state.items() if not name.startswith("fc.")}, path
    )
    return path


def trained(photographs: Sequence[Photograph], weights: Path, **options: Any) -> Checkpoint:
    return train_head(
        photographs,
        read_backbone(weights),
        views=VIEWS,
        preprocessing=TINY,
        console=options.pop("console", Console(file=StringIO())),
        **options,
    )


def test_the_command_writes_a_checkpoint_that_knows_its_classes(
    folder: Path, weights: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """From a folder and weights to a file that loads, tells flames from roads, and prints its metrics."""
    out = tmp_path / "new" / "drawn.safetensors"
    assert main([str(folder), "--init", str(weights), "--out", str(out), "--views", "plain,mirrored"]) == 0
    checkpoint = Checkpoint.load(out)
    assert checkpoint.classes == ("fire", "normal")
    assert checkpoint.config["init"] == hashlib.sha256(weights.read_bytes()).hexdigest()[:12]
    assert checkpoint.metrics["val"]["n"] == 8
    assert checkpoint.metrics["val"]["accuracy"] >= 0.9
    assert checkpoint.metrics["held_out_train_all_views"]["missed_emergencies"] <= 0.03
    assert set(checkpoint.metrics["val_degraded"]) >= {"small", "surveillance"}
    printed = capsys.readouterr()
    assert json.loads(printed.out) == checkpoint.metrics
    assert checkpoint.model_id in printed.err.replace("\n", "")


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


@pytest.mark.parametrize(
    ("change", "complaint"),
    [
        ({"folder": "nowhere"}, "there is no folder"),
        ({"--init": "nowhere.safetensors"}, "can't be read"),
        ({"--views": "mirrored"}, "plain first"),
        ({"--views": "plain,infrared"}, "plain,infrared"),
    ],
)
def test_what_is_wrong_is_said_plainly(
    folder: Path,
    weights: Path,
    tmp_path: Path,
    *,
    change: dict[str, str],
    complaint: str,
    capsys: pytest.CaptureFixture[str],
) -> None:
    """A mistake in the command line ends with status 2 and a sentence, not with a traceback."""
    arguments = {"folder": str(folder), "--init": str(weights), "--out": str(tmp_path / "out"), **change}
    positional = arguments.pop("folder")
    status = main([positional, *(word for pair in arguments.items() for word in pair)])
    said = " ".join(capsys.readouterr().err.split())
    assert status == 2
    assert complaint in said and "Traceback" not in said
    assert not (tmp_path / "out").exists()


def test_weights_of_another_network_are_refused(folder: Path, tmp_path: Path) -> None:
    """A ResNet-18 lacks blocks, and the first missing tensor is named."""
    path = tmp_path / "other.safetensors"
    safetensors.numpy.save_file({"conv1.weight": np.zeros((64, 3, 7, 7), np.float16)}, path)
    assert main([str(folder), "--init", str(path), "--out", str(tmp_path / "out")]) == 2


def test_a_class_without_training_photographs_is_refused(folder: Path, weights: Path, tmp_path: Path) -> None:
    """A class that occurs only in val could never be learnt."""
    (tmp_path / "only.png").write_bytes((folder / "fire_0.png").read_bytes())
    extra = Photograph(path=tmp_path / "only.png", name="o", split="val", label="robbery", group="o")
    with pytest.raises(Exception, match="robbery has no training photograph"):
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
