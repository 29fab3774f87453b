"""The model that every peer but the original script runs: our weights on our eager PyTorch engine.

The same for all, so that what differs is how pictures get to the model and verdicts away from it.
"""

import functools
import os
from typing import Any

import numpy as np

from benchmarks.peers.decoding import Pixels
from shared.checkpoint import Checkpoint
from shared.settings import Settings
from worker.engines import make_engine


class Model:
    """Says what pictures show."""

    def __init__(self) -> None:
        checkpoint = Checkpoint.load(Settings.from_env(os.environ).checkpoint)
        self._classes = checkpoint.classes
        self._engine = make_engine("torch-cpu", checkpoint)
        size_px = checkpoint.preprocessing.size_px
        # The engine makes its network in its first pass, and that belongs to loading.
        self._engine.scores(np.zeros((1, size_px, size_px, 3), np.uint8))

    def verdicts(self, pictures: list[Pixels]) -> list[dict[str, Any]]:
        """For each picture its situation and the confidence, of one forward pass."""
        logits = self._engine.scores(np.stack(pictures))  # (N, C)
        shares = np.exp(logits - logits.max(axis=1, keepdims=True))  # (N, C)
        shares /= shares.sum(axis=1, keepdims=True)  # (N, C)
        return [
            {"situation": self._classes[int(row.argmax())], "confidence": float(row.max())} for row in shares
        ]


@functools.cache
def model() -> Model:
    """The one of this process, loaded when it is first asked for."""
    return Model()
