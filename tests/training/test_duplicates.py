import os
import tracemalloc
from collections import Counter
from collections.abc import Callable, Iterable
from io import BytesIO, StringIO
from pathlib import Path

import numpy as np
import pytest
from conftest import photographs_folder, picture_bytes
from numpy.typing import NDArray
from PIL import Image, ImageDraw, ImageEnhance
from rich.console import Console

from training import duplicates
from training.dataset import read_folder
from training.duplicates import NEAR_BITS, clusters, comparable, hashes, nearest

Picture = Image.Image


def scene(seed: int) -> Picture:
    """A picture of soft patches, another one for each seed."""
    return Image.open(BytesIO(picture_bytes(seed, size_px=(320, 240))))


def saved(folder: Path, pictures: Iterable[Picture]) -> list[Path]:
    """Files of these pictures."""
    paths = []
    for number, picture in enumerate(pictures):
        paths.append(folder / f"{number}.jpg")
        picture.save(paths[-1], quality=85)
    return paths


def captioned(picture: Picture) -> Picture:
    """With a black bar over the lowest eighth."""
    ImageDraw.Draw(picture).rectangle((0, picture.height * 7 // 8, picture.width, picture.height), "black")
    return picture


def compressed(picture: Picture) -> Picture:
    """As a poor JPEG has it."""
    buffer = BytesIO()
    picture.save(buffer, "JPEG", quality=15)
    return Image.open(buffer)


def some_hashes(count: int, seed: int = 0) -> NDArray[np.uint64]:
    """(count, 4) bits drawn by chance: about 128 apart."""
    return np.random.default_rng(seed).integers(1, 2**63, (count, 4), dtype=np.uint64)


def changed(hashed: NDArray[np.uint64], bits: Iterable[int]) -> NDArray[np.uint64]:
    """(4,) with these bits of (4,) the other way round."""
    result = hashed.copy()
    for bit in bits:
        result[bit // 64] ^= np.uint64(1 << bit % 64)
    return result


@pytest.mark.parametrize(
    "alter",
    [
        lambda picture: picture.resize((160, 120)),
        lambda picture: picture.resize((240, 240)),
        lambda picture: picture.crop((6, 5, 314, 235)),
        lambda picture: picture.convert("L"),
        lambda picture: picture.transpose(Image.Transpose.FLIP_LEFT_RIGHT),
        lambda picture: captioned(picture.transpose(Image.Transpose.FLIP_LEFT_RIGHT)),
        lambda picture: ImageEnhance.Brightness(picture).enhance(0.5),
        lambda picture: ImageEnhance.Contrast(picture).enhance(1.3),
        compressed,
        captioned,
    ],
)
def test_an_altered_picture_is_found(alter: Callable[[Picture], Picture], tmp_path: Path) -> None:
    """Scaled, squashed, cropped, greyed, mirrored, darkened, compressed or captioned, it is the same."""
    others = [scene(seed) for seed in range(1, 12)]
    found = clusters(hashes(saved(tmp_path, [scene(0), *others, alter(scene(0))])))
    assert found.tolist() == [*range(12), 0]


def test_a_phone_picture_is_compared_upright(tmp_path: Path) -> None:
    """A picture that lies on its side with a tag that says so is the same as the upright one."""
    tag = Image.Exif()
    tag[0x0112] = 6
    scene(0).save(tmp_path / "upright.jpg")
    scene(0).transpose(Image.Transpose.ROTATE_90).save(tmp_path / "lying.jpg", exif=tag)
    assert clusters(hashes([tmp_path / "upright.jpg", tmp_path / "lying.jpg"])).tolist() == [0, 0]


def test_what_can_not_be_compared_is_alone(tmp_path: Path) -> None:
    """Missing, broken and plain pictures have no hash, and are near duplicates of nothing."""
    plain = saved(tmp_path, [Image.new("RGB", (64, 64), "navy"), Image.new("RGB", (64, 64), "navy")])
    (tmp_path / "broken.jpg").write_bytes(b"\xff\xd8\xff broken")
    found = hashes([*plain, tmp_path / "broken.jpg", tmp_path / "missing.jpg", tmp_path])
    assert comparable(found).tolist() == [False] * 5
    assert clusters(found).tolist() == [0, 1, 2, 3, 4]
    assert nearest(found, found).tolist() == [-1] * 5


def test_the_limit_is_exact() -> None:
    """As many bits as allowed are near, one more is not; likewise for a mirror image."""
    [one] = some_hashes(1)
    mirrored = range(128, 256)
    for base in (set[int](), set(mirrored)):
        near, far = changed(one, base ^ set(range(NEAR_BITS))), changed(one, base ^ set(range(NEAR_BITS + 1)))
        assert clusters(np.stack([one, near])).tolist() == [0, 0]
        assert clusters(np.stack([one, far])).tolist() == [0, 1]


def test_a_chain_is_one_cluster() -> None:
    """Frames of a pan belong together although the first and the last have nothing in common."""
    [one] = some_hashes(1)
    pan = [changed(one, range(40 * step)) for step in range(4)]
    assert clusters(np.stack([pan[3], pan[0], pan[2], pan[1]])).tolist() == [0, 0, 0, 0]
    assert clusters(np.stack([pan[3], pan[0]])).tolist() == [0, 1]


def test_blocks_change_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    """Compared in small blocks or all at once, the same are together, and the closest is the closest."""
    random = np.random.default_rng(1)
    base = some_hashes(20)
    drawn = [changed(base[n], random.integers(0, 256, 25)) for n in random.integers(0, 20, 200)]
    hashed = np.stack([*drawn, np.zeros(4, np.uint64)])
    at_once = clusters(hashed), nearest(hashed[:50], hashed[50:])
    monkeypatch.setattr(duplicates, "_ROWS", 7)
    monkeypatch.setattr(duplicates, "_COLUMNS", 11)
    assert np.array_equal(clusters(hashed), at_once[0])
    assert np.array_equal(nearest(hashed[:50], hashed[50:]), at_once[1])
    assert len(set(at_once[0].tolist())) == 21


def test_the_closest_is_named() -> None:
    """Of several near duplicates the one with fewest bits apart, and none where all are strangers."""
    one, stranger, another = some_hashes(3)
    among = np.stack([stranger, changed(one, range(30)), changed(one, range(5)), changed(one, range(60))])
    assert nearest(np.stack([one, another]), among).tolist() == [2, -1]


def test_memory_does_not_grow_with_the_square() -> None:
    """4,000 photographs of one camera, 16 million pairs that are all near, take less than 100 MB."""
    hashed = np.repeat(some_hashes(1), 4_000, axis=0)
    tracemalloc.start()
    found = clusters(hashed)
    _, peak_bytes = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert not found.any()
    assert peak_bytes < 100e6


def test_a_file_is_read_once_unless_it_changes(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The second look costs nothing, and another picture under the same name is seen."""
    path = tmp_path / "frame.jpg"
    for seed in (0, 1):
        path.write_bytes(picture_bytes(seed).ljust(10_000, b"\0"))  # the same size
        os.utime(path, (seed, seed))
        found = hashes([path])
        with monkeypatch.context() as without_reading:
            without_reading.delattr(duplicates, "decode")
            assert np.array_equal(hashes([path]), found)
        path.rename(tmp_path / f"{seed}.jpg")
        assert np.array_equal(hashes([tmp_path / f"{seed}.jpg"]), found)


def test_progress_is_shown_to_those_who_ask(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """A bar on the console that was given, and nothing anywhere without one."""
    paths = saved(tmp_path, [scene(0)])
    spoken = StringIO()
    hashes(paths, Console(file=spoken))
    assert "comparing" in spoken.getvalue()
    hashes(paths)
    assert "comparing" not in "".join(capsys.readouterr())


def test_real_photographs_make_small_clusters() -> None:
    """Events are found, and no chain of chance swallows the data set or many photographs of other events."""
    photographs = read_folder(photographs_folder())
    found = clusters(hashes(photograph.path for photograph in photographs)).tolist()
    groups: dict[int, set[str]] = {}
    for photograph, cluster in zip(photographs, found, strict=True):
        groups.setdefault(cluster, set()).add(photograph.group)
    sizes = Counter(found)
    assert len(photographs) - len(sizes) >= 100  # joined to an earlier one
    assert max(sizes.values()) <= max(20, len(photographs) // 100)
    assert sum(len(each) > 1 for each in groups.values()) <= len(photographs) // 100
