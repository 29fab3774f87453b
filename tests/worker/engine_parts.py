"""What tests of engines share: a checkpoint with random weights, and what probabilities its scores mean."""

import csv
from pathlib import Path

import numpy as np

from shared.checkpoint import Checkpoint, resnet34_shapes
from shared.preprocessing import Preprocessing, decode
from shared.verdict import Thresholds, judge

SHIPPED = Path(__file__).parents[2] / "models" / "street6-resnet34.safetensors"


def random_checkpoint(size_px: int = 64) -> Checkpoint:
    """A network of three classes that nobody has trained."""
    random = np.random.default_rng(0)
    weights = {}
    for name, shape in resnet34_shapes(3).items():
        # Kaiming's scale keeps the signal alive through 34 layers; one-dimensional tensors leave it alone.
        scale = (2 / np.prod(shape[1:])) ** 0.5 if len(shape) > 1 else 0.05
        centre = 1.0 if name.endswith(("running_var", "weight")) and len(shape) == 1 else 0.0
        weights[name] = (centre + scale * random.standard_normal(shape, np.float32)).astype(np.float16)
    return Checkpoint(
        weights=weights,
        classes=("fire", "protest", "normal"),
        preprocessing=Preprocessing(size_px=size_px, mean=(0.4, 0.5, 0.6), std=(0.2, 0.25, 0.3)),
        temperature=1.0,
        thresholds=Thresholds(dispatch=0.5, no_emergency=0.5),
    )


def noise(count: int, size_px: int = 64) -> np.ndarray:
    """(count, size_px, size_px, 3) random pixels."""
    return np.random.default_rng(1).integers(0, 256, (count, size_px, size_px, 3), dtype=np.uint8)


def probabilities(logits: np.ndarray, checkpoint: Checkpoint) -> np.ndarray:
    """What records would say: (N, C)."""
    judged = [judge(row, checkpoint.classes, checkpoint.temperature, checkpoint.thresholds) for row in logits]
    return np.array([[each.scores[name] for name in checkpoint.classes] for each in judged])


def validation(folder: Path, checkpoint: Checkpoint, per_class: int) -> tuple[np.ndarray, list[str]]:
    """Pixels (N, S, S, 3) and labels of so many validation photographs of each class."""
    with (folder / "index.csv").open(newline="", encoding="utf-8") as file:
        rows = sorted((row["class"], row["path"]) for row in csv.DictReader(file) if row["split"] == "val")
    chosen = [
        pair for name in checkpoint.classes for pair in [row for row in rows if row[0] == name][:per_class]
    ]
    pixels = [decode((folder / path).read_bytes(), checkpoint.preprocessing) for _, path in chosen]
    return np.stack(pixels), [label for label, _ in chosen]
