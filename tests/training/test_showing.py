import pickle
from io import StringIO
from pathlib import Path

import numpy as np
import pytest
import torch
from rich.console import Console
from training_parts import TINY, class_folders

from shared.errors import ConfigError
from shared.preprocessing import decode
from training.augmentation import WHOLE
from training.dataset import Photograph, read_folder
from training.pictures import Pictures, Showing, decode_all, view_box

CPU = torch.device("cpu")


@pytest.fixture(scope="module")
def photographs(tmp_path_factory: pytest.TempPathFactory) -> list[Photograph]:
    return read_folder(class_folders(tmp_path_factory.mktemp("photographs"), fire=6, normal=7))


def decoded(photographs: list[Photograph], folder: Path, size_px: int = 64) -> Pictures:
    console = Console(file=StringIO())
    return decode_all(photographs, folder / "pixels", TINY, size_px=size_px, console=console)


def test_pixels_are_what_the_worker_would_see(photographs: list[Photograph], tmp_path: Path) -> None:
    """Every photograph lies in the file as decoding alone gives it, in order."""
    found = decoded(photographs, tmp_path)
    assert found.photographs == photographs
    for photograph, pixels in zip(photographs, found.pixels, strict=True):
        assert np.array_equal(pixels, decode(photograph.path.read_bytes(), TINY))


def test_what_cannot_be_read_is_left_out_and_named(photographs: list[Photograph], tmp_path: Path) -> None:
    """The others move up, and name and reason are kept."""
    bad = tmp_path / "bad.jpg"
    bad.write_bytes(b"no picture")
    broken = Photograph(path=bad, name="fire/bad.jpg", split="train", label="fire", group="bad")
    found = decoded([photographs[0], broken, photographs[1]], tmp_path)
    assert found.photographs == photographs[:2]
    assert len(found.pixels) == 2
    [(name, reason)] = found.unreadable
    assert name == "fire/bad.jpg"
    assert "not a JPEG" in reason


def test_nothing_readable_is_no_crash(tmp_path: Path) -> None:
    """No photograph gives no pixels, of the right shape."""
    assert decoded([], tmp_path).pixels.shape == (0, 64, 64, 3)


def test_a_full_disk_says_how_much_it_takes(photographs: list[Photograph]) -> None:
    """The kernel's own full device: thing, reason, and remedy."""
    full = Path("/dev/full")
    if not full.exists():
        pytest.skip("there is no /dev/full here")
    with pytest.raises(ConfigError, match=r"can't be kept.*No space left.*GB.*--out"):
        decode_all(photographs, full, TINY, size_px=1024, console=Console(file=StringIO()))


def test_view_0_is_the_whole_photograph_and_others_are_parts() -> None:
    """Boxes follow seed, photograph, and view, and nothing else."""
    assert view_box(0, 5, 0) == WHOLE
    boxes = {view_box(seed, position, view) for seed in (0, 1) for position in (0, 1) for view in (1, 2)}
    assert len(boxes) == 8
    assert view_box(0, 1, 2) == view_box(0, 1, 2)


def test_an_epoch_shows_every_photograph_once(photographs: list[Photograph], tmp_path: Path) -> None:
    """With a batch that fits, all of them, at the wanted size, in an order of the epoch's own."""
    pixels = decoded(photographs, tmp_path).pixels
    orders = []
    for epoch in (0, 1):
        showing = Showing(pixels, size_px=32, views=4, seed=0, epoch=epoch)
        [(shown, positions, views)] = showing.batches(13, CPU)
        assert shown.shape == (13, 32, 32, 3) and shown.dtype == torch.uint8
        assert sorted(positions.tolist()) == list(range(13))
        assert set(views.tolist()) <= {0, 1, 2, 3}
        orders.append(positions.tolist())
    assert orders[0] != orders[1]


def test_what_an_epoch_shows_can_be_repeated(photographs: list[Photograph], tmp_path: Path) -> None:
    """Same seed and epoch, same pixels in the same order; another epoch shows them otherwise."""
    pixels = decoded(photographs, tmp_path).pixels

    def run(epoch: int) -> list[torch.Tensor]:
        showing = Showing(pixels, size_px=32, views=4, seed=3, epoch=epoch)
        return [shown for shown, _, _ in showing.batches(4, CPU)]

    first, again, other = run(0), run(0), run(1)
    assert len(first) == 3, "a short last batch is left out"
    assert all(torch.equal(one, two) for one, two in zip(first, again, strict=True))
    assert not any(torch.equal(one, two) for one, two in zip(first, other, strict=True))


def test_a_few_photographs_are_one_batch(photographs: list[Photograph], tmp_path: Path) -> None:
    """Fewer than a batch are not left out: there would be nothing to learn from."""
    pixels = decoded(photographs[:3], tmp_path).pixels
    [(shown, _, _)] = Showing(pixels, size_px=32, views=2, seed=0, epoch=0).batches(64, CPU)
    assert len(shown) == 3


def test_loading_processes_are_sent_a_name_and_not_the_pixels(
    photographs: list[Photograph], tmp_path: Path
) -> None:
    """Where processes are not forked, gigabytes would cross to each of them."""
    pixels = decoded(photographs, tmp_path).pixels
    showing = Showing(pixels, size_px=32, views=2, seed=0, epoch=0)
    sent = pickle.dumps(showing)
    assert len(sent) < 2000
    assert torch.equal(pickle.loads(sent)[3][0], showing[3][0])  # noqa: S301 # our own, a line above
