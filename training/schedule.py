"""How long, how fast, and at which size a network is trained."""

import math
from dataclasses import dataclass, replace
from typing import Self


@dataclass(frozen=True, kw_only=True, slots=True)
class Schedule:
    """A run's plan.

    Attributes:
        cycles: epochs, and AdamW's learning rate at its highest, of each cycle; layers take shares of the
            rate. An epoch shows every photograph once, but for what is left over of full batches.
        batch: photographs a step.
        decay: of weights, AdamW's.
        sizes_px: share of the epochs that have passed -> side of the pictures from then on. Small ones
            are quick, and by the time that detail matters the rest is known.
        views: parts of each photograph that are ever shown.
        average: how much of the running average of the weights a step keeps, in a run that is long enough.
        patience: epochs without a better validation cost after which it ends.
    """

    cycles: tuple[tuple[int, float], ...] = ((20, 2e-4),)
    batch: int = 64
    decay: float = 0.05
    sizes_px: tuple[tuple[float, int], ...] = ((0.0, 128), (0.45, 160), (0.8, 208))
    views: int = 8
    average: float = 0.998
    patience: int = 6

    @classmethod
    def under_teachers(cls) -> Self:
        """Longer, and at a higher rate: there is more to learn than the labels."""
        sizes_px = ((0.0, 128), (0.36, 160), (0.64, 208), (0.9, 224))
        return cls(cycles=((40, 8e-4), (10, 4e-4)), sizes_px=sizes_px)

    @property
    def epochs(self) -> int:
        """Of all cycles."""
        return sum(epochs for epochs, _ in self.cycles)

    def lasting(self, epochs: int) -> Self:
        """The same in another number of epochs, with one cycle, at the first one's rate."""
        return replace(self, cycles=((epochs, self.cycles[0][1]),))

    def size_px(self, epoch: int) -> int:
        """Side of the pictures in an epoch, counted from 0."""
        return [size for begin, size in self.sizes_px if epoch >= begin * self.epochs - 1e-9][-1]

    def average_of(self, photographs: int) -> float:
        """How much of the running average a step keeps: over a fifth of the run's steps at most."""
        steps = self.epochs * max(1, photographs // self.batch)
        return min(self.average, max(0.0, 1 - 5 / steps))

    def rate_at(self, passed: float) -> float:
        """The rate when so many epochs have passed: in each cycle up in the first, then down half a cosine.

        Source: Loshchilov and Hutter 2016, "SGDR: Stochastic Gradient Descent with Warm Restarts", section 3.
        """
        for epochs, rate in self.cycles[:-1]:
            if passed <= epochs:
                return _rate_in_cycle(passed, epochs, rate)
            passed -= epochs
        return _rate_in_cycle(passed, *self.cycles[-1])


def _rate_in_cycle(passed: float, epochs: int, rate: float) -> float:
    if passed < 1:
        return rate * passed
    share = min((passed - 1) / max(epochs - 1, 1), 1.0)
    return rate * max(0.01, (1 + math.cos(math.pi * share)) / 2)
