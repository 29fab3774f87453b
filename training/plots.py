"""Curves against epochs, where matplotlib is installed."""

from collections.abc import Mapping, Sequence
from pathlib import Path

WITHOUT = "no plots: matplotlib is not installed; `pip install '.[train]'` in the project's folder brings it"


def draw(epochs: Sequence[int], curves: Mapping[str, Sequence[float]], folder: Path) -> str:
    """Draw each curve against epochs into ``NAME.png``.

    Args:
        epochs: what lies along the horizontal axis.
        curves: name -> one figure an epoch.
        folder: where the pictures go.

    Returns:
        Why there are none, or an empty string.
    """
    try:
        # The one optional dependency, and slow to load: a figure alone, which asks for no screen.
        from matplotlib.figure import Figure
    except ImportError:
        return WITHOUT
    for name, values in curves.items():
        figure = Figure(figsize=(6, 4), layout="constrained")
        axes = figure.subplots()
        axes.plot(epochs, values, marker="o")
        axes.set_xlabel("epoch")
        axes.set_ylabel(name)
        axes.grid(alpha=0.3)
        figure.savefig(folder / f"{name}.png", dpi=120)
    return ""
