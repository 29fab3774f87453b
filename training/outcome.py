"""What a training run came to: the model, how it was trained, and how it does on photographs new to it."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from shared.checkpoint import Checkpoint
from shared.verdict import Judgement
from training.dataset import Photograph

Row = Mapping[str, float]
"""One row of an epoch table: the first column ``epoch``, then whatever the recipe measures."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Scored:
    """What a model made of photographs that it has not learnt from.

    Attributes:
        photographs: N of them, at least 1, those that could be read.
        logits: (N, C) scores before the softmax, of the plain view.
        judgements: N decisions, where those of the checkpoint would flatter, because its temperature and
            thresholds were chosen on these photographs; None takes the checkpoint's.
    """

    photographs: list[Photograph]
    logits: NDArray[np.float64]
    judgements: Sequence[Judgement] | None = None


@dataclass(frozen=True, kw_only=True, slots=True)
class Outcome:
    """What a recipe hands over.

    Attributes:
        checkpoint: the model.
        scored: how it did.
        epochs: rows of the epoch table, the first column ``epoch``, every other a curve; may be empty.
        split: sentences about the split and its check for leaks, shown as they are.
        unreadable: name and reason of each photograph that was left out.
    """

    checkpoint: Checkpoint
    scored: Scored
    epochs: Sequence[Row]
    split: Sequence[str]
    unreadable: Sequence[tuple[str, str]]
