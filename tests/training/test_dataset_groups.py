"""Groups of near duplicates, and the draw of validation by whole groups."""

from collections import Counter
from io import StringIO
from pathlib import Path

import pytest
from dataset_parts import folder_with, picture, scenes
from rich.console import Console

from training import dataset
from training.dataset import VAL_SHARE, labels, of_split, read_folder


def test_near_duplicates_are_a_group(tmp_path: Path) -> None:
    """Without an index they are named after the first of them, across classes too; the others are alone."""
    picture(tmp_path, "fire/b.jpg", 1)
    picture(tmp_path, "fire/c.jpg", 2)
    picture(tmp_path, "normal/a.jpg", 1, size_px=(200, 100))
    picture(tmp_path, "normal/z.jpg", 3)
    groups = {photograph.name: photograph.group for photograph in read_folder(tmp_path)}
    assert groups == {
        "fire/b.jpg": "fire/b.jpg",
        "fire/c.jpg": "fire/c.jpg",
        "normal/a.jpg": "fire/b.jpg",
        "normal/z.jpg": "normal/z.jpg",
    }


def test_whole_groups_are_for_validation(tmp_path: Path) -> None:
    """No group is parted, and of every class about a fifth is for validation, rare ones included."""
    photographs = read_folder(scenes(tmp_path, fire=40, protest=10, robbery=2))
    sides = {(photograph.group, photograph.split) for photograph in photographs}
    assert len(sides) == len({group for group, _ in sides}) == 52
    val = Counter(photograph.label for photograph in of_split(photographs, "val"))
    assert val == {"fire": round(VAL_SHARE * 120), "protest": round(VAL_SHARE * 30), "robbery": 3}


def test_added_photographs_leave_most_where_they_were(tmp_path: Path) -> None:
    """A tenth more of a class moves few of the others to the other side."""
    for number in range(200):
        picture(tmp_path, f"fire/{number:03}.jpg", number, size_px=(48, 36))
    before = {photograph.name: photograph.split for photograph in read_folder(tmp_path)}
    for number in range(200, 220):
        picture(tmp_path, f"fire/{number:03}.jpg", number, size_px=(48, 36))
    after = {photograph.name: photograph.split for photograph in read_folder(tmp_path)}
    assert sum(after[name] != split for name, split in before.items()) <= 10


def test_a_class_of_one_scene_is_for_learning(tmp_path: Path) -> None:
    """It is not parted: one photograph, or one event, can't be on both sides."""
    picture(tmp_path, "robbery/only.jpg", 5000)
    photographs = read_folder(scenes(tmp_path, fire=10, protest=1))
    assert {photograph.label for photograph in of_split(photographs, "val")} == {"fire"}
    assert labels(of_split(photographs, "train")) == ["fire", "protest", "robbery"]


def test_hashing_is_for_training_without_groups_alone(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """To score photographs, or where every group is stated, no picture is opened."""
    monkeypatch.delattr(dataset, "hashes")
    folder = scenes(tmp_path / "classes", fire=2)
    assert len({photograph.group for photograph in read_folder(folder, for_training=False)}) == 6
    (tmp_path / "indexed").mkdir()
    assert len(read_folder(folder_with(tmp_path / "indexed", "a.jpg,train,fire,web,g"))) == 1


def test_progress_is_shown_to_those_who_ask(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """While pictures are compared a bar is on the console that was given, and nothing without one."""
    spoken = StringIO()
    folder = scenes(tmp_path, fire=2)
    read_folder(folder, console=Console(file=spoken))
    assert "comparing" in spoken.getvalue()
    read_folder(folder)
    assert "comparing" not in "".join(capsys.readouterr())


def test_groups_are_drawn_in_order_until_the_share_is_full() -> None:
    """The first that fit; the smallest of a class of which none fits; never the last one of a class."""
    content = [Counter(fire=n) for n in (1, 3, 2, 4)]
    assert dataset.draw_groups(content, 0.3) == {0, 2}
    assert dataset.draw_groups([Counter(fire=5), Counter(fire=4), Counter(fire=1, protest=1)], 0.1) == {1}
    assert dataset.draw_groups([Counter(fire=5)], 0.9) == set()
