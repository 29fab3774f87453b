"""The comparison as a picture: images a second when flooded, and latency at a low rate."""

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from matplotlib.figure import Figure

from benchmarks import limit, ours
from benchmarks.figures import Contest, Spread

COLOURS = {ours.NAME: "#c8442f", limit.NAME: "#b9b4a8"}
PEER_COLOUR = "#4d6a8a"


def draw(contests: Sequence[Contest], path: Path) -> None:
    """Two panels of bars, the range of the repeats on each; contenders from top to bottom as they come."""
    there = [each for each in contests if each.repeats][::-1]
    figure = Figure(figsize=(12, 1.5 + 0.34 * len(there)), layout="constrained")
    left, right = figure.subplots(1, 2, sharey=True)
    _bars(left, there, lambda each: each.images_per_s)
    left.set_title("images a second, flooded: more is better")
    _bars(right, there, lambda each: each.latency_ms(0.5))
    right.set_title("ms to a verdict, median at a low rate: less is better")
    right.set_xscale("log")
    left.set_yticks(range(len(there)), [f"{each.name}  ({each.engine})" for each in there])
    figure.savefig(path, dpi=120)


def _bars(axes: Any, contests: Sequence[Contest], figure_of: Callable[[Contest], Spread | None]) -> None:
    for place, each in enumerate(contests):
        if spread := figure_of(each):
            reach = [[max(0.0, spread.middle - spread.least)], [max(0.0, spread.most - spread.middle)]]
            colour = COLOURS.get(each.name, PEER_COLOUR)
            axes.barh(place, spread.middle, xerr=reach, color=colour, error_kw={"lw": 1, "capsize": 2})
            axes.text(
                spread.most,
                place,
                f"  {spread.middle:,.{0 if spread.middle >= 100 else 1}f}",
                va="center",
                fontsize=8,
            )
    axes.margins(x=0.15)
    axes.spines[["top", "right"]].set_visible(False)
