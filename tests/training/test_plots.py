import sys
from pathlib import Path

import pytest
from PIL import Image

from training.plots import WITHOUT, draw


def test_curves_are_drawn(tmp_path: Path) -> None:
    """One picture a curve, and it shows something."""
    pytest.importorskip("matplotlib", reason="matplotlib, of the extra `train`, is not installed")
    assert draw([0, 1, 2], {"cost": [1.0, 0.5, 0.4], "accuracy": [0.6, 0.8, 0.9]}, tmp_path) == ""
    for name in ("cost", "accuracy"):
        with Image.open(tmp_path / f"{name}.png") as picture:
            assert picture.width > 400
            assert len(picture.convert("L").getcolors() or ()) > 10


def test_without_matplotlib_it_says_what_to_install(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """No picture, no failure, and the line names the extra."""
    monkeypatch.setitem(sys.modules, "matplotlib.figure", None)
    assert draw([0], {"cost": [1.0]}, tmp_path) == WITHOUT
    assert "[train]" in WITHOUT
    assert list(tmp_path.iterdir()) == []
