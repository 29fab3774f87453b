import io
from pathlib import Path

import pytest
from conftest import photographs_folder
from PIL import Image

from benchmarks.photographs import make_album, resized


def test_drawn_pictures_are_the_same_each_time(tmp_path: Path) -> None:
    """Two runs look at the same pictures."""
    first, second = (make_album(tmp_path / name, None, count=3) for name in ("a", "b"))
    assert first.pictures == second.pictures
    assert len(set(first.pictures)) == 3
    assert first.about.startswith("3 drawn pictures")


def test_an_album_goes_round(tmp_path: Path) -> None:
    """There is a picture for every number, in memory and on disk the same."""
    album = make_album(tmp_path, None, count=3)
    assert album.picture(7) == album.pictures[1] == album.path(7).read_bytes()


@pytest.mark.parametrize("megapixels", [0.1, 1.0])
def test_resizing_gives_the_size_and_keeps_the_shape(tmp_path: Path, megapixels: float) -> None:
    """Resized pictures have the size that was asked for, and the shape that they had."""
    album = resized(make_album(tmp_path / "a", None, count=1), tmp_path / "b", megapixels, 1)
    with Image.open(io.BytesIO(album.picture(0))) as image:
        assert image.width * image.height == pytest.approx(megapixels * 1e6, rel=0.01)
        assert image.width / image.height == pytest.approx(4 / 3, rel=0.01)


def test_a_sample_of_photographs_is_fixed(tmp_path: Path) -> None:
    """Where there are real photographs, a fixed sample of the validation ones is taken, from every class."""
    folder = photographs_folder()
    first, second = (make_album(tmp_path / name, folder, count=50) for name in ("a", "b"))
    assert first.pictures == second.pictures
    assert len(first.pictures) == 50
    assert first.about.startswith("50 photographs")
