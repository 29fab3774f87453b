"""What was measured of a contender: one record a repeat, and what the repeats come to."""

import math
import statistics
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass, field
from typing import Any


@dataclass(frozen=True)
class Figures:
    """One contender in one repeat.

    Attributes:
        images_per_s: when flooded; None where it is not flooded.
        cpu_s_per_image: while flooded, of its processes, and of the broker where it uses one.
        latencies_ms: from a file closed or a request sent to its result, at a low steady rate.
        peak_bytes: the most memory that its processes took, over flood and steady rate.
    """

    images_per_s: float | None
    cpu_s_per_image: float | None
    latencies_ms: tuple[float, ...]
    peak_bytes: int


@dataclass
class Contest:
    """A contender's repeats.

    Attributes:
        name: who.
        engine: what runs the model.
        about: how it is set up, and where that setting comes from.
        repeats: one for each.
        reason: why it could not be measured, or an empty string.
    """

    name: str
    engine: str
    about: str
    repeats: list[Figures] = field(default_factory=list)
    reason: str = ""

    @property
    def images_per_s(self) -> "Spread | None":
        """Flooded."""
        return spread([each.images_per_s for each in self.repeats])

    @property
    def cpu_s_per_image(self) -> "Spread | None":
        """Flooded."""
        return spread([each.cpu_s_per_image for each in self.repeats])

    @property
    def peak_bytes(self) -> "Spread | None":
        """Of memory."""
        return spread([each.peak_bytes for each in self.repeats])

    def latency_ms(self, share: float) -> "Spread | None":
        """A percentile: of all repeats' latencies together, with its range over the repeats.

        Args:
            share: 0.5 for the median.
        """
        of_each = [percentile(each.latencies_ms, share) for each in self.repeats if each.latencies_ms]
        if not of_each:
            return None
        together = percentile([ms for each in self.repeats for ms in each.latencies_ms], share)
        return Spread(together, min(of_each), max(of_each))

    def record(self) -> dict[str, Any]:
        """For JSON."""
        return asdict(self)


@dataclass(frozen=True)
class Spread:
    """A middle figure and the range of the repeats."""

    middle: float
    least: float
    most: float


def spread(figures: Sequence[float | None]) -> Spread | None:
    """Median and range of those figures that there are."""
    there = [figure for figure in figures if figure is not None]
    return Spread(statistics.median(there), min(there), max(there)) if there else None


def percentile(figures: Sequence[float], share: float) -> float:
    """The smallest of the figures that at least this share of them does not exceed (nearest rank)."""
    ordered = sorted(figures)
    return ordered[max(0, math.ceil(share * len(ordered)) - 1)]


def flood_long_enough(flood: Callable[[int], float], aim_s: float, first: int = 8) -> tuple[int, float]:
    """Flood with more and more pictures until that lasts at least half of the aim.

    What comes before the last flood warms the contender up; so the first one never counts.

    Args:
        flood: floods with so many pictures, and returns the seconds it took.
        aim_s: about how long the last one should last.
        first: pictures in the first one.

    Returns:
        Pictures and seconds of the last one.
    """
    count = first
    took_s = flood(count)
    while True:
        if took_s < aim_s / 2:
            count = math.ceil(count * min(8.0, aim_s / took_s))
        took_s = flood(count)
        if took_s >= aim_s / 2:
            return count, took_s
