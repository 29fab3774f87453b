import sys
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from training.plots import WITHOUT, draw, draw_confusion, draw_reliability

COUNTS = np.array([[8, 1], [0, 4]])


def colours(path: Path) -> int:
    """How many shades of grey a picture has."""
    with Image.open(path) as picture:
        assert picture.width > 400
        return len(picture.convert("L").getcolors() or ())


def test_curves_are_drawn(tmp_path: Path) -> None:
    """One picture a curve, and it shows something."""
    pytest.importorskip("matplotlib", reason="matplotlib, of the extra `train`, is not installed")
    assert draw([0, 1, 2], {"cost": [1.0, 0.5, 0.4], "accuracy": [0.6, 0.8, 0.9]}, tmp_path) == ""
    assert min(colours(tmp_path / f"{name}.png") for name in ("cost", "accuracy")) > 10


def test_an_epoch_without_a_figure_is_no_failure(tmp_path: Path) -> None:
    """A curve has a gap where nothing was measured."""
    pytest.importorskip("matplotlib", reason="matplotlib, of the extra `train`, is not installed")
    assert draw([0, 1, 2], {"accuracy": [0.5, float("nan"), 0.9]}, tmp_path) == ""
    assert colours(tmp_path / "accuracy.png") > 10


def test_diagrams_are_drawn(tmp_path: Path) -> None:
    """Confusion matrix and reliability diagram show something, and twice the same."""
    pytest.importorskip("matplotlib", reason="matplotlib, of the extra `train`, is not installed")
    drawn = []
    for _ in range(2):
        assert draw_confusion(COUNTS, ("fire", "normal"), tmp_path) == ""
        assert draw_reliability([0.4, 0.9], [0.5, 0.8], tmp_path) == ""
        drawn.append({path.name: path.read_bytes() for path in tmp_path.iterdir()})
    assert sorted(drawn[0]) == ["confusion.png", "reliability.png"]
    assert drawn[0] == drawn[1]
    assert min(colours(tmp_path / name) for name in drawn[0]) > 10


def test_without_matplotlib_it_says_what_to_install(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """No picture, no failure, and the line names the extra."""
    monkeypatch.setitem(sys.modules, "matplotlib.figure", None)
    assert draw([0], {"cost": [1.0]}, tmp_path) == WITHOUT
    assert draw_confusion(COUNTS, ("fire", "normal"), tmp_path) == WITHOUT
    assert draw_reliability([0.5], [0.5], tmp_path) == WITHOUT
    assert "[train]" in WITHOUT
    assert list(tmp_path.iterdir()) == []
