import io
import re
from collections.abc import Iterator
from pathlib import Path

import pytest
from conftest import picture_bytes
from PIL import Image

from deploy.demo import DEFAULT_BOX, DRAWN, Box, drawings, find_pictures, parse_box, replay
from ingest.names import parse_name
from ingest.pictures import check_picture
from shared.errors import ConfigError

MADRID: Box = (40.38, -3.75, 40.45, -3.65)


def replayed(inbox: Path, pictures: list[bytes], *, box: Box = MADRID, seed: int = 0) -> list[Path]:
    """The files that a replay puts into an inbox, without waiting."""
    return list(replay(iter(pictures), inbox, box=box, rate_per_s=10.0, seed=seed, sleep=lambda _: None))


def test_pictures_land_under_places_in_the_box(tmp_path: Path) -> None:
    """Each file's name is read back as a place between the two corners, and tells its turn."""
    files = replayed(tmp_path / "inbox", [picture_bytes(seed) for seed in range(20)])
    for turn, path in enumerate(files, 1):
        parsed = parse_name(path.name)
        assert parsed.coordinates is not None
        assert 40.38 <= parsed.coordinates.latitude_deg <= 40.45
        assert -3.75 <= parsed.coordinates.longitude_deg <= -3.65
        assert parsed.label == f"demo {turn}"


def test_pictures_land_whole(tmp_path: Path) -> None:
    """A file has its bytes from the moment it has its name, and nothing else is left in the inbox."""
    pictures = [picture_bytes(1), picture_bytes(2, kind="PNG")]
    inbox = tmp_path / "new" / "inbox"
    found = []
    for path in replay(iter(pictures), inbox, box=MADRID, rate_per_s=10.0, seed=0, sleep=lambda _: None):
        assert {each.name for each in inbox.iterdir()} >= {path.name}
        found.append(path.read_bytes())
    assert found == pictures
    assert sorted(path.suffix for path in inbox.iterdir()) == [".jpeg", ".png"]


def test_the_same_seed_gives_the_same_places(tmp_path: Path) -> None:
    """A replay can be repeated exactly, and another seed is another replay."""
    pictures = [picture_bytes(seed) for seed in range(5)]
    one, same, other = (
        [path.name for path in replayed(tmp_path / str(turn), pictures, seed=seed)]
        for turn, seed in enumerate((7, 7, 8))
    )
    assert one == same
    assert one != other


def test_the_rate_is_kept(tmp_path: Path) -> None:
    """At two a second each picture waits for its half second, however long the others took."""
    now_s, slept = 1000.0, list[float]()

    def pictures() -> Iterator[bytes]:
        nonlocal now_s
        for seed, takes_s in enumerate((0.125, 0.25, 0.75, 0.0)):
            now_s += takes_s
            yield picture_bytes(seed)

    def sleep(seconds: float) -> None:
        nonlocal now_s
        slept.append(seconds)
        now_s += seconds

    list(replay(pictures(), tmp_path, box=MADRID, rate_per_s=2.0, seed=0, sleep=sleep, clock=lambda: now_s))
    assert slept == [0.375, 0.25, 0.25]  # none after the third, which was late; the fourth makes up for it


def test_a_box_is_two_corners() -> None:
    """Any two opposite corners will do, with spaces or without."""
    assert parse_box("40.38,-3.75, 40.45,-3.65") == MADRID
    assert parse_box("-33.92,151.13,-33.80,151.28") == DEFAULT_BOX


def test_corners_may_come_in_any_order(tmp_path: Path) -> None:
    """North before south, or east before west, is the same box."""
    (path,) = replayed(tmp_path, [picture_bytes(1)], box=(40.45, -3.65, 40.38, -3.75))
    place = parse_name(path.name).coordinates
    assert place is not None
    assert 40.38 <= place.latitude_deg <= 40.45


@pytest.mark.parametrize("text", ["", "1,2,3", "1,2,3,4,5", "a,b,c,d", "95,0,1,1", "0,0,1,181", "nan,0,1,1"])
def test_a_wrong_box_is_refused(text: str) -> None:
    """What is no pair of places on the Earth is said with an example."""
    with pytest.raises(ConfigError, match="--box") as caught:
        parse_box(text)
    assert caught.value.remedy.startswith("such as ")


def test_pictures_are_found_in_folders_below(tmp_path: Path) -> None:
    """A data set with a folder for each class is replayed as it lies, other files left out."""
    for name in ("fire/b.JPG", "fire/a.jpeg", "protest/c.png", "index.csv", "fire/notes.txt"):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).write_bytes(b"")
    (tmp_path / "folder.jpg").mkdir()
    assert find_pictures(tmp_path) == [
        tmp_path / name for name in ("fire/a.jpeg", "fire/b.JPG", "protest/c.png")
    ]


def test_a_folder_without_pictures_is_refused(tmp_path: Path) -> None:
    """An empty folder, a missing one, or one of other files is named."""
    for folder in (tmp_path, tmp_path / "none"):
        with pytest.raises(ConfigError, match=re.escape(str(folder))):
            find_pictures(folder)


def test_drawings_are_pictures(tmp_path: Path) -> None:
    """Every drawing passes the ingester's own check, and no two are the same."""
    drawn = list(drawings(tmp_path, seed=0))
    assert len(set(drawn)) == DRAWN
    for data in drawn:
        assert check_picture(data, max_bytes=10**6, max_pixels=10**6).format == "jpeg"
        assert Image.open(io.BytesIO(data)).size == (400, 300)


def test_drawings_are_the_same_for_the_same_seed(tmp_path: Path) -> None:
    """A demo can be repeated: the second time every picture is a resend."""
    assert list(drawings(tmp_path, seed=3)) == list(drawings(tmp_path, seed=3))
    assert next(drawings(tmp_path, seed=3)) != next(drawings(tmp_path, seed=4))
