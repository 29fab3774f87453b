"""Decoding as our worker does it, for every peer but the original script."""

import functools
import os
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from shared.checkpoint import Checkpoint
from shared.preprocessing import Preprocessing, decode
from shared.settings import Settings

Pixels = NDArray[np.uint8]


def decode_picture(data: bytes) -> Pixels:
    """Pixels of a picture file: (size_px, size_px, 3)."""
    return decode(data, _preprocessing())


def decode_files(paths: list[str]) -> list[Pixels]:
    """Pixels of picture files, read and decoded by as many threads as there are cores."""
    return list(_pool().map(lambda path: decode_picture(Path(path).read_bytes()), paths))


@functools.cache
def _preprocessing() -> Preprocessing:
    return Checkpoint.load(Settings.from_env(os.environ).checkpoint).preprocessing


@functools.cache
def _pool() -> ThreadPoolExecutor:
    return ThreadPoolExecutor(os.cpu_count() or 1)
