"""What tests of training share: drawn photographs that can be told apart, and weights drawn by chance."""

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import numpy as np
import safetensors.numpy
import torch
from PIL import Image, ImageDraw
from torchvision.models import resnet34

from shared.checkpoint import Checkpoint
from shared.preprocessing import Preprocessing
from shared.verdict import Thresholds

TINY = Preprocessing(size_px=64, mean=(0.485, 0.456, 0.406), std=(0.229, 0.224, 0.225))


@contextmanager
def single_threaded() -> Iterator[None]:
    """Threads waiting for each other on tensors this small cost minutes where other work shares the cores."""
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        yield
    finally:
        torch.set_num_threads(before)


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


def indexed_folder(folder: Path) -> Path:
    """16 fires and 16 normal streets with an index; every fourth is for validation, each its own group."""
    random = np.random.default_rng(0)
    rows = ["path,split,class,source,group"]
    for label in ("fire", "normal"):
        for number in range(16):
            name = f"{label}_{number}.png"
            drawing(label, random).save(folder / name)
            rows.append(f"{name},{'val' if number >= 12 else 'train'},{label},drawn,{name}")
    (folder / "index.csv").write_text("\n".join(rows))
    return folder


def class_folders(folder: Path, **counts: int) -> Path:
    """One folder of drawings a class, so many of each."""
    random = np.random.default_rng(0)
    for label, count in counts.items():
        (folder / label).mkdir(parents=True)
        for number in range(count):
            drawing(label, random).save(folder / label / f"{number}.png")
    return folder


def random_state() -> dict[str, torch.Tensor]:
    """A ResNet-34 of real shapes with random weights, without its classifier."""
    with torch.random.fork_rng():
        torch.manual_seed(0)
        state = resnet34(weights=None).state_dict()
    return {name: tensor for name, tensor in state.items() if not name.startswith("fc.")}


def random_weights(path: Path) -> Path:
    """That state in a safetensors file, half precision."""
    safetensors.numpy.save_file(
        {name: tensor.numpy().astype(np.float16) for name, tensor in random_state().items()}, path
    )
    return path


def random_checkpoint(*classes: str) -> Checkpoint:
    """A model of real shapes that takes 64 px and knows nothing."""
    weights = {name: tensor.numpy() for name, tensor in random_state().items()}
    random = np.random.default_rng(0)
    classifier = {
        "fc.weight": random.normal(0, 0.1, (len(classes), 512)).astype(np.float16),
        "fc.bias": random.normal(0, 0.1, len(classes)).astype(np.float16),
    }
    return Checkpoint(
        weights=weights | classifier,
        classes=classes,
        preprocessing=TINY,
        temperature=1.0,
        thresholds=Thresholds(dispatch=0.6, no_emergency=0.7),
    )
