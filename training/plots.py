"""Curves and diagrams of a training run, where matplotlib is installed."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

WITHOUT = "no plots: matplotlib is not installed; `pip install '.[train]'` in the project's folder brings it"


def draw(epochs: Sequence[float], curves: Mapping[str, Sequence[float]], folder: Path) -> str:
    """Draw each curve against epochs into ``NAME.png``.

    Args:
        epochs: what lies along the horizontal axis.
        curves: name -> one figure an epoch; NaN where there is none.
        folder: where the pictures go.

    Returns:
        Why there are none, or an empty string.
    """
    for name, values in curves.items():
        figure = _figure(6, 4)
        if figure is None:
            return WITHOUT
        axes = figure.subplots()
        axes.plot(epochs, values, marker="o", markersize=3 if len(epochs) > 30 else 6)
        axes.set_xlabel("epoch")
        axes.set_ylabel(name)
        axes.grid(alpha=0.3)
        _save(figure, folder / f"{name}.png")
    return ""


def draw_confusion(counts: NDArray[np.int64], classes: Sequence[str], folder: Path) -> str:
    """Draw what was shown against what was said into ``confusion.png``.

    Args:
        counts: (C, C) photographs, a row for each class shown, a column for each said.
        classes: C names.
        folder: where the picture goes.

    Returns:
        Why there is none, or an empty string.
    """
    side = max(5.0, 0.8 * len(classes) + 2)
    figure = _figure(side, side)
    if figure is None:
        return WITHOUT
    axes = figure.subplots()
    shares = counts / np.maximum(counts.sum(axis=1, keepdims=True), 1)  # (C, C), each row by itself
    axes.imshow(shares, cmap="Blues", vmin=0, vmax=1)
    for (row, column), count in np.ndenumerate(counts):
        colour = "white" if shares[row, column] > 0.5 else "black"
        axes.text(column, row, str(count), ha="center", va="center", color=colour)
    axes.set_xticks(range(len(classes)), classes, rotation=45, ha="right")
    axes.set_yticks(range(len(classes)), classes)
    axes.set_xlabel("what the model said")
    axes.set_ylabel("what the photograph shows")
    _save(figure, folder / "confusion.png")
    return ""


def draw_reliability(confidences: Sequence[float], shares: Sequence[float], folder: Path) -> str:
    """Draw how often the model was right against how sure it was into ``reliability.png``.

    Args:
        confidences: mean confidence of each bin, in [0, 1].
        shares: share of each bin that was right, in [0, 1].
        folder: where the picture goes.

    Returns:
        Why there is none, or an empty string.
    """
    figure = _figure(5, 5)
    if figure is None:
        return WITHOUT
    axes = figure.subplots()
    axes.plot([0, 1], [0, 1], linestyle="--", color="grey", label="as sure as it is right")
    axes.plot(confidences, shares, marker="o", label="this model", clip_on=False)
    axes.set(xlim=(0, 1), ylim=(0, 1.02), aspect="equal")
    axes.set_xlabel("how sure the model was")
    axes.set_ylabel("how often it was right")
    axes.grid(alpha=0.3)
    axes.legend(loc="upper left")
    _save(figure, folder / "reliability.png")
    return ""


def _figure(width_in: float, height_in: float) -> Any:
    """An empty figure of so many inches, or None without matplotlib."""
    try:
        # The one optional dependency, and slow to load: a figure alone, which asks for no screen.
        from matplotlib.figure import Figure
    except ImportError:
        return None
    return Figure(figsize=(width_in, height_in), layout="constrained")


def _save(figure: Any, path: Path) -> None:
    # Without the version of matplotlib in it, the same run gives the same file.
    figure.savefig(path, dpi=120, metadata={"Software": None})
