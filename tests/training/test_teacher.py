import sys
from io import StringIO

import numpy as np
import pytest
from rich.console import Console
from training_parts import TINY, class_folders

from shared.errors import ConfigError
from training.dataset import Photograph, read_folder
from training.teacher import FEATURES, look

QUIET = Console(file=StringIO())


@pytest.fixture(scope="module")
def photographs(tmp_path_factory: pytest.TempPathFactory) -> list[Photograph]:
    return read_folder(class_folders(tmp_path_factory.mktemp("photographs"), fire=2, normal=2))


def test_without_the_packages_the_extra_is_named(
    photographs: list[Photograph], monkeypatch: pytest.MonkeyPatch
) -> None:
    """What to install, or what to leave out, before any work is done."""
    monkeypatch.setitem(sys.modules, "openvino", None)
    with pytest.raises(ConfigError, match=r"teachers are not installed.*\[distil\].*--teacher"):
        look(photographs, 1, TINY, seed=0, console=QUIET)


def test_teachers_see_every_view_of_every_photograph(photographs: list[Photograph]) -> None:
    """Each view has its own features, the same each time; a fire looks more like a fire than like a road."""
    for package in ("openvino", "efficientnet_lite_pytorch"):
        pytest.importorskip(package, reason=f"{package}, of the extra `distil`, is not installed")
    seen = look(photographs, 3, TINY, seed=0, console=QUIET)
    assert seen.shape == (4, 3, FEATURES)
    assert np.isfinite(seen).all()
    assert not np.array_equal(seen[0, 0], seen[0, 1])
    alone = look(photographs, 1, TINY, seed=0, console=QUIET)
    assert np.array_equal(alone[:, 0], seen[:, 0]), "the whole photograph, whatever parts are looked at"
    whole = seen[:, 0].astype(float)
    whole /= np.linalg.norm(whole, axis=1, keepdims=True)
    likeness = whole @ whole.T
    assert likeness[0, 1] > likeness[0, 2:].max()
    assert likeness[2, 3] > likeness[2:, :2].max()
