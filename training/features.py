"""What a frozen ResNet-34 sees in photographs: 512 numbers each, computed once."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import safetensors.numpy
import torch
from numpy.typing import NDArray
from rich.console import Console
from rich.progress import track
from safetensors import SafetensorError
from torchvision.models import resnet34

from shared.checkpoint import resnet34_shapes
from shared.errors import ConfigError
from shared.preprocessing import ImageError, Preprocessing, decode
from training.dataset import Photograph
from training.views import view

WIDTH = 512
"""Numbers a photograph: ResNet-34's last stage, averaged over the picture."""

_BATCH = 32


@dataclass(frozen=True, kw_only=True, slots=True)
class Features:
    """What the backbone saw.

    Attributes:
        photographs: N of them, those that could be read.
        views: V names.
        values: (N, V, 512) float32.
        unreadable: name and reason of each photograph that was left out.
    """

    photographs: list[Photograph]
    views: tuple[str, ...]
    values: NDArray[np.float32]
    unreadable: list[tuple[str, str]]

    def of_view(self, name: str) -> NDArray[np.float32]:
        """(N, 512) float32 of one view."""
        return self.values[:, self.views.index(name)]  # (N, 512)


def read_backbone(path: Path) -> dict[str, NDArray[Any]]:
    """Read ResNet-34 weights with torchvision's names; a classifier among them is left out.

    Returns:
        Arrays by name, batch normalisation's step counters left out too.

    Raises:
        ConfigError: the file can't be read or is not a ResNet-34.
    """
    remedy = "name a .safetensors file with torchvision's resnet34 names"
    try:
        found = safetensors.numpy.load(path.read_bytes())
    except (OSError, SafetensorError, KeyError, TypeError) as error:
        raise ConfigError(f"the weights {path} can't be read: {error}", remedy=remedy) from error
    expected = {name: shape for name, shape in resnet34_shapes(2).items() if not name.startswith("fc.")}
    for name, shape in expected.items():
        if name not in found or found[name].shape != shape:
            raise ConfigError(f"the weights {path} have no {name} of shape {shape}", remedy=remedy)
    return {name: found[name] for name in expected}


def extract(
    weights: dict[str, NDArray[Any]],
    photographs: Iterable[Photograph],
    views: Sequence[str],
    preprocessing: Preprocessing,
    *,
    seed: int,
    console: Console,
) -> Features:
    """Look at every view of every photograph; what can't be read is left out and listed."""
    backbone = _Backbone(weights, preprocessing)
    kept: list[Photograph] = []
    unreadable: list[tuple[str, str]] = []
    rows: list[NDArray[np.float32]] = []
    waiting: list[NDArray[np.uint8]] = []
    for position, photograph in enumerate(track(list(photographs), "looking", console=console)):
        try:
            pixels = decode(photograph.path.read_bytes(), preprocessing)
        except (ImageError, OSError) as error:
            unreadable.append((photograph.name, str(error)))
            continue
        kept.append(photograph)
        # A generator for each photograph, so that leaving one out does not change the others' views.
        random = np.random.default_rng((seed, position))
        waiting += [view(pixels, name, random) for name in views]
        if len(waiting) >= _BATCH:
            rows.append(backbone(np.stack(waiting)))  # (B, H, W, 3) in, (B, 512) out
            waiting = []
    if waiting:
        rows.append(backbone(np.stack(waiting)))  # (B, H, W, 3) in, (B, 512) out
    values = np.concatenate(rows) if rows else np.zeros((0, WIDTH), np.float32)  # (N * V, 512)
    return Features(
        photographs=kept,
        views=tuple(views),
        values=values.reshape(len(kept), len(views), WIDTH),  # (N, V, 512)
        unreadable=unreadable,
    )


class _Backbone:
    def __init__(self, weights: dict[str, NDArray[Any]], preprocessing: Preprocessing) -> None:
        model = resnet34(weights=None)
        model.fc = torch.nn.Identity()
        model.load_state_dict({name: torch.from_numpy(array) for name, array in weights.items()})
        self._model: torch.nn.Module = model.float().eval().to(memory_format=torch.channels_last)
        self._mean = torch.tensor(preprocessing.mean).view(1, 3, 1, 1)  # (1, 3, 1, 1)
        self._std = torch.tensor(preprocessing.std).view(1, 3, 1, 1)  # (1, 3, 1, 1)

    @torch.inference_mode()
    def __call__(self, batch: NDArray[np.uint8]) -> NDArray[np.float32]:
        images = torch.from_numpy(batch).permute(0, 3, 1, 2).float()  # (B, 3, H, W)
        values: NDArray[np.float32] = self._model((images / 255 - self._mean) / self._std).numpy()  # (B, 512)
        return values
