"""Photographs decoded once, and what an epoch shows of them."""

from collections.abc import Iterable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from rich.console import Console
from rich.progress import track
from torch.utils.data import DataLoader, Dataset

from shared.cores import usable_cores
from shared.errors import ConfigError
from shared.preprocessing import ImageError, Preprocessing, decode
from training.augmentation import WHOLE, Box, altered, cut, draw_box
from training.dataset import Photograph

_LOADERS_MAX = 16
_AT_ONCE = 128
"""Photographs that are decoded before any of them is written: what is held in memory."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Pictures:
    """Photographs as pixels, in one file that the loading processes share.

    Attributes:
        photographs: N of them, those that could be read.
        pixels: (N, S, S, 3) uint8 RGB, mapped from the file.
        unreadable: name and reason of each photograph that was left out.
    """

    photographs: list[Photograph]
    pixels: NDArray[np.uint8]
    unreadable: list[tuple[str, str]]


def decode_all(
    photographs: Iterable[Photograph],
    file: Path,
    preprocessing: Preprocessing,
    *,
    size_px: int,
    console: Console,
) -> Pictures:
    """Decode each photograph once, squashed to a square; what can't be read is left out and listed.

    Args:
        photographs: which.
        file: a new file for the pixels; it goes when its folder goes.
        preprocessing: as for the model, but for the size.
        size_px: S, side of the square.
        console: for progress.

    Raises:
        ConfigError: the disk is full.
    """
    wanted, sized = list(photographs), replace(preprocessing, size_px=size_px)
    needed_gb = len(wanted) * 3 * size_px**2 / 1e9

    def pixels_of(photograph: Photograph) -> NDArray[np.uint8] | str:
        try:
            return decode(photograph.path.read_bytes(), sized)  # (S, S, 3)
        except (ImageError, OSError) as error:
            return str(error)

    kept: list[Photograph] = []
    unreadable: list[tuple[str, str]] = []
    try:
        with file.open("wb") as out, ThreadPoolExecutor(usable_cores()) as pool:
            for begin in track(range(0, len(wanted), _AT_ONCE), "decoding", console=console):
                some = wanted[begin : begin + _AT_ONCE]
                for photograph, pixels in zip(some, pool.map(pixels_of, some), strict=True):
                    if isinstance(pixels, str):
                        unreadable.append((photograph.name, pixels))
                    else:
                        kept.append(photograph)
                        out.write(pixels.tobytes())
    except OSError as error:
        raise ConfigError(
            f"the decoded photographs can't be kept in {file.parent}: {error.strerror or error}",
            remedy=f"they take {needed_gb:.1f} GB: make room, or choose another folder with --out",
        ) from error
    shape = (len(kept), size_px, size_px, 3)
    mapped = np.memmap(file, np.uint8, "r", shape=shape) if kept else np.zeros(shape, np.uint8)
    return Pictures(photographs=kept, pixels=mapped, unreadable=unreadable)


def view_box(seed: int, position: int, view: int) -> Box:
    """Which part of a photograph a view shows: view 0 all of it, the others what chance has drawn."""
    return draw_box(np.random.default_rng((seed, position, view))) if view else WHOLE


class Showing(Dataset[tuple[torch.Tensor, int, int]]):
    """Every photograph once, in one of its views and altered, as an epoch shows it.

    What is drawn depends on seed, epoch, and position alone: not on who loads it, or in which order.
    An item is (S, S, 3) uint8 RGB, the photograph's position, and the view.
    """

    def __init__(self, pixels: NDArray[np.uint8], *, size_px: int, views: int, seed: int, epoch: int) -> None:
        """Show ``pixels`` (N, H, W, 3) at ``size_px``, each in one of so many ``views``."""
        self._pixels, self._size_px, self._views = pixels, size_px, views
        self._seed, self._epoch = seed, epoch

    def __getstate__(self) -> dict[str, Any]:
        # Where loading processes are not forked, they are sent this: the file's name, not its content.
        state = self.__dict__.copy()
        if isinstance(self._pixels, np.memmap):
            state["_pixels"] = (self._pixels.filename, self._pixels.shape)
        return state

    def __setstate__(self, state: dict[str, Any]) -> None:
        if isinstance(state["_pixels"], tuple):
            file, shape = state["_pixels"]
            state["_pixels"] = np.memmap(file, np.uint8, "r", shape=shape)
        self.__dict__ = state

    def __len__(self) -> int:
        return len(self._pixels)

    def __getitem__(self, position: int) -> tuple[torch.Tensor, int, int]:
        chance = np.random.default_rng((self._seed, self._epoch, position))
        view = int(chance.integers(self._views))
        box = view_box(self._seed, position, view)
        shown = altered(cut(self._pixels[position], box, self._size_px), chance)
        return torch.from_numpy(shown), position, view

    def batches(self, size: int, device: torch.device) -> DataLoader[tuple[torch.Tensor, int, int]]:
        """All items in an order of the epoch's own, ``size`` at a time; a last one that is short is left out.

        Other processes do the drawing, so that the network does not wait for it.
        """
        [order_seed] = np.random.SeedSequence((self._seed, self._epoch)).generate_state(1)
        order = torch.Generator().manual_seed(int(order_seed))
        return DataLoader(
            self,
            batch_size=min(size, len(self)),
            shuffle=True,
            drop_last=True,
            generator=order,
            num_workers=min(max(usable_cores() - 1, 1), _LOADERS_MAX),
            prefetch_factor=4,
            pin_memory=device.type == "cuda",
        )
