"""What every engine does, whatever it runs on: one interface, the same checks, the same stopwatch."""

import time
from collections.abc import Callable
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from shared.errors import AlmenaraError

Pixels = NDArray[np.uint8]
Logits = NDArray[np.float32]
_WARM_UP_RUNS = 3


class EngineError(AlmenaraError):
    """Raised when the model itself, not a photograph, is at fault: its scores are not finite."""

    default_reason = "engine"


class Engine(Protocol):
    """Scores batches of photographs. For one thread at a time, whichever that is."""

    @property
    def name(self) -> str:
        """What it runs on, for logs and metrics, such as ``torch-cpu``."""
        ...

    def scores(self, batch: Pixels) -> Logits:
        """Score photographs, keeping their order.

        Args:
            batch: (N, size_px, size_px, 3) uint8 RGB, as ``shared.preprocessing.decode`` gives them.

        Returns:
            (N, C) float32 logits in the checkpoint's class order.

        Raises:
            EngineError: a score is not finite.
            RuntimeError: the device failed, or its memory was too small for the batch.
            ValueError: the batch has another shape or type.
        """
        ...

    def warm_up(self) -> float:
        """Run a few batches of noise, so that the first photograph is not slow, and time them.

        Returns:
            Seconds a photograph, the best of the runs; used to cap a batch.
        """
        ...


def check_batch(batch: Pixels, size_px: int) -> None:
    """Raise ValueError for what is not (N, size_px, size_px, 3) uint8."""
    if batch.dtype != np.uint8 or batch.ndim != 4 or batch.shape[1:] != (size_px, size_px, 3):
        raise ValueError(f"a batch of {batch.dtype} {batch.shape}, not (N, {size_px}, {size_px}, 3) uint8")


def check_scores(logits: Logits, name: str) -> None:
    """Raise EngineError where a score of the engine called ``name`` is not finite."""
    if not np.isfinite(logits).all():
        raise EngineError(
            f"{name} gave scores that are not finite",
            remedy="check the checkpoint with 'almenara evaluate', or choose another ALMENARA_ENGINE",
        )


def seconds_an_image(scores: Callable[[Pixels], Logits], images: int, size_px: int) -> float:
    """Time ``scores`` on batches of so many images of noise: the best of a few, after one not counted."""
    noise = np.random.default_rng(0).integers(0, 256, (images, size_px, size_px, 3), dtype=np.uint8)
    scores(noise)  # allocates memory and picks kernels
    seconds = []
    for _ in range(_WARM_UP_RUNS):
        started_s = time.perf_counter()
        scores(noise)
        seconds.append(time.perf_counter() - started_s)
    return min(seconds) / images
