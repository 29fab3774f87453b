"""What a frozen ResNet-34 sees in photographs: 512 numbers each, computed once."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from rich.console import Console
from rich.progress import track

from shared.labels import escape_label
from shared.preprocessing import ImageError, Preprocessing, decode
from training.backbone import WIDTH, Backbone, Weights
from training.dataset import Photograph
from training.views import view

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


def extract(
    weights: Weights,
    photographs: Iterable[Photograph],
    views: Sequence[str],
    preprocessing: Preprocessing,
    *,
    seed: int,
    console: Console,
) -> Features:
    """Look at every view of every photograph; what can't be read is left out and listed."""
    backbone = Backbone(weights, preprocessing)
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


def list_unreadable(unreadable: Sequence[tuple[str, str]], console: Console) -> None:
    """Say which photographs were left out, why, and how many."""
    for name, reason in unreadable:
        console.print(f"left out {escape_label(name)}: {reason}", highlight=False, markup=False)
    if unreadable:
        console.print(f"{len(unreadable)} photographs left out", highlight=False)
