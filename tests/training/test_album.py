from base64 import b64decode
from collections.abc import Iterator
from dataclasses import replace
from io import BytesIO
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from training_parts import drawing, random_checkpoint, single_threaded

from shared.checkpoint import Checkpoint
from shared.preprocessing import decode
from training.album import THUMBNAIL_PX, Album
from training.attention import Attention, brightest_place, lay_over
from training.dataset import Photograph

CLASSES = ("fire", "protest", "normal")


@pytest.fixture(scope="module", autouse=True)
def one_thread() -> Iterator[None]:
    with single_threaded():
        yield


@pytest.fixture(scope="module")
def checkpoint() -> Checkpoint:
    return random_checkpoint(*CLASSES)


def photograph(path: Path) -> Photograph:
    return Photograph(path=path, name=path.name, split="val", label="fire", group="fire")


def drawn(path: Path, size_px: tuple[int, int] = (64, 64), turned: int = 1) -> Photograph:
    """Flames in JPEG, with the orientation that its tag says."""
    exif = Image.Exif()
    exif[0x0112] = turned
    drawing("fire", np.random.default_rng(0)).resize(size_px).save(path, exif=exif, quality=95)
    return photograph(path)


def shown(address: str) -> Image.Image:
    """The picture inside a ``data:`` address."""
    return Image.open(BytesIO(b64decode(address.removeprefix("data:image/jpeg;base64,"))))


def test_the_map_is_that_of_what_was_said(checkpoint: Checkpoint, tmp_path: Path) -> None:
    """Of three maps, the one of the class that the model chose lies over the photograph."""
    flames = drawn(tmp_path / "fire.jpg")
    pixels = decode(flames.path.read_bytes(), checkpoint.preprocessing)
    maps = Attention(checkpoint)(pixels[None])[0]
    for said in range(len(CLASSES)):
        picture = Album(checkpoint).picture(flames, said, 0.75)
        assert (picture.said, picture.brightest) == (CLASSES[said], brightest_place(maps[said]))
        laid = np.asarray(shown(picture.attention), np.float64)
        gaps = [np.abs(laid - lay_over(pixels, each)).mean() for each in maps]
        assert int(np.argmin(gaps)) == said
        assert np.abs(np.asarray(shown(picture.photograph), np.float64) - pixels).mean() < 6


@pytest.mark.parametrize(("turned", "size_px"), [(1, (64, 32)), (6, (32, 64)), (3, (64, 32))])
def test_a_picture_keeps_its_proportions(
    checkpoint: Checkpoint, tmp_path: Path, turned: int, size_px: tuple[int, int]
) -> None:
    """The model sees a square; people see what the camera saw, upright, without what else its file told."""
    picture = Album(checkpoint).picture(drawn(tmp_path / "fire.jpg", (80, 40), turned), 0, 0.5)
    for address in (picture.photograph, picture.attention):
        assert shown(address).size == size_px
        assert not shown(address).getexif()


def test_a_picture_is_small(checkpoint: Checkpoint, tmp_path: Path) -> None:
    """Whatever size the model takes, a report holds thumbnails."""
    large = replace(checkpoint, preprocessing=replace(checkpoint.preprocessing, size_px=320))
    picture = Album(large).picture(drawn(tmp_path / "fire.jpg", (500, 250)), 0, 0.5)
    assert (
        shown(picture.photograph).size == shown(picture.attention).size == (THUMBNAIL_PX, THUMBNAIL_PX // 2)
    )


def test_what_can_not_be_read_any_more_says_so(checkpoint: Checkpoint, tmp_path: Path) -> None:
    """Gone or broken since it was scored: its place has the reason, and the others their pictures."""
    (tmp_path / "broken.jpg").write_bytes(b"no picture")
    for name, reason in (("broken.jpg", "not a JPEG"), ("gone.jpg", "No such file")):
        picture = Album(checkpoint).picture(photograph(tmp_path / name), 1, 0.5)
        assert reason in picture.trouble
        assert (picture.name, picture.said, picture.photograph) == (name, "protest", "")
