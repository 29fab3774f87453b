"""Folders of classes: what is read, what is refused, and what a data set is called."""

import os
import shutil
from collections import Counter
from pathlib import Path

import pytest
from dataset_parts import folder_with, many, picture, scenes

from shared.checkpoint import Checkpoint
from shared.errors import ConfigError
from shared.preprocessing import Preprocessing
from shared.verdict import Thresholds
from training.dataset import Photograph, fingerprint, labels, of_split, read_folder, without


def test_folders_are_classes_where_there_is_no_index(tmp_path: Path) -> None:
    """Pictures are labelled by their folder, other files passed over, and about a fifth kept for val."""
    for label in ("fire", "normal"):
        (tmp_path / label).mkdir()
        (tmp_path / label / "notes.txt").touch()
        for number in range(100):
            (tmp_path / label / f"{number}.JPG").touch()
    photographs = read_folder(tmp_path)
    assert Counter(p.label for p in photographs) == {"fire": 100, "normal": 100}
    assert 20 <= len(of_split(photographs, "val")) <= 60
    assert photographs == read_folder(tmp_path)


def test_the_fingerprint_names_content_and_labels(tmp_path: Path) -> None:
    """Another picture or another label is another data set; the same again is the same."""
    rows = ["a.jpg,train,fire,web,g", "b.jpg,val,fire,web,h"]
    first = fingerprint(read_folder(folder_with(tmp_path, *rows)))
    assert fingerprint(read_folder(tmp_path)) == first
    (tmp_path / "a.jpg").write_bytes(b"another picture")
    second = fingerprint(read_folder(tmp_path))
    relabelled = [
        Photograph(path=tmp_path / "a.jpg", name="a.jpg", split="train", label="protest", group="g")
    ]
    assert len({first, second, fingerprint(relabelled)}) == 3


def test_an_empty_class_folder_is_refused(tmp_path: Path) -> None:
    """A class without a picture is named, rather than silently not learnt."""
    for label in ("fire", "robbery"):
        (tmp_path / label).mkdir()
    (tmp_path / "fire" / "1.jpg").touch()
    (tmp_path / "robbery" / "notes.txt").touch()
    with pytest.raises(ConfigError, match=r"class folder .*robbery holds no picture"):
        read_folder(tmp_path)


def test_a_class_can_be_left_out() -> None:
    """Only the others stay; a class that is not there, or leaving out all, is refused."""
    photographs = many(("a", "fire", 2), ("b", "normal", 1))
    assert labels(without(photographs, ["normal"])) == ["fire"]
    assert without(photographs, []) == photographs
    with pytest.raises(ConfigError, match="no class fires to leave out"):
        without(photographs, ["fires"])
    with pytest.raises(ConfigError, match="every class is left out"):
        without(photographs, ["fire", "normal"])


def test_names_of_class_folders_are_checked_for_training(tmp_path: Path) -> None:
    """Capital letters and spaces are refused with a name that would do; for scoring the model decides."""
    picture(tmp_path, "Flood Risk/1.jpg", 1)
    with pytest.raises(ConfigError, match=r"'Flood Risk' is not a class name .*instance to flood_risk\."):
        read_folder(tmp_path)
    assert labels(read_folder(tmp_path, for_training=False)) == ["Flood Risk"]
    (tmp_path / "Flood Risk").rename(tmp_path / "洪水")
    with pytest.raises(ConfigError, match=r"'洪水' is not a class name such as flood_risk\. Rename it\."):
        read_folder(tmp_path)


@pytest.mark.parametrize(
    "name", ["fire", "a1_b2", "Fire", "1fire", "fire_", "big-fire", "x" * 64, "x" * 65, "é"]
)
def test_class_names_are_what_a_checkpoint_takes(name: str, tmp_path: Path) -> None:
    """A folder is refused where its checkpoint would be, and for nothing else."""
    (tmp_path / name).mkdir()
    (tmp_path / name / "1.jpg").touch()
    refused = False
    try:
        read_folder(tmp_path)
    except ConfigError:
        refused = True
    checkpoint = Checkpoint(
        weights={},
        classes=(name, "normal"),
        preprocessing=Preprocessing(size_px=64, mean=(0.5, 0.5, 0.5), std=(0.5, 0.5, 0.5)),
        temperature=1.0,
        thresholds=Thresholds(dispatch=0.5, no_emergency=0.5),
    )
    with pytest.raises(ValueError) as complaint:  # there are no weights either
        checkpoint.checked()
    assert refused == ("is not a class name" in str(complaint.value))


def test_pictures_without_a_class_are_refused(tmp_path: Path) -> None:
    """Pictures at the top are counted, and the remedy says where they belong."""
    for name in ("1.jpg", "2.png", "notes.txt"):
        (tmp_path / name).touch()
    with pytest.raises(
        ConfigError, match=r"2 pictures lie in .* itself.*Move them into folders named by class"
    ):
        read_folder(tmp_path)


def test_what_can_not_be_read_is_listed_all_the_same(tmp_path: Path) -> None:
    """Broken pictures and links keep a group of their own, and the data set still has a name."""
    folder = scenes(tmp_path, fire=2)
    (folder / "fire" / "broken.jpg").write_bytes(b"no picture")
    (folder / "fire" / "dangling.jpg").symlink_to(tmp_path / "nowhere")
    (folder / "fire" / "folder.jpg").mkdir()
    (folder / "fire" / "._hidden.jpg").touch()
    photographs = read_folder(folder)
    unreadable = [each for each in photographs if each.name[5:] in ("broken.jpg", "dangling.jpg")]
    assert [each.group for each in unreadable] == ["fire/broken.jpg", "fire/dangling.jpg"]
    assert len(photographs) == 8
    first = fingerprint(photographs)
    (folder / "fire" / "dangling.jpg").unlink()
    assert fingerprint(photographs) == first
    picture(folder, "fire/dangling.jpg", 9)
    assert fingerprint(photographs) != first


def test_links_are_followed_but_not_out_of_an_indexed_folder(tmp_path: Path) -> None:
    """A class folder may be made of links to an archive; an index can't make a file of elsewhere its own."""
    picture(tmp_path, "archive/1.jpg", 1)
    (tmp_path / "data" / "fire").mkdir(parents=True)
    (tmp_path / "data" / "fire" / "1.jpg").symlink_to(tmp_path / "archive" / "1.jpg")
    (tmp_path / "data" / "fire" / "2.jpg").symlink_to(tmp_path / "archive" / "1.jpg")
    assert [p.group for p in read_folder(tmp_path / "data")] == ["fire/1.jpg", "fire/1.jpg"]
    (tmp_path / "data" / "index.csv").write_text("path,split,class\nfire/1.jpg,train,fire\n")
    with pytest.raises(ConfigError, match=r"line 2: the path 'fire/1\.jpg' is not inside .* no link"):
        read_folder(tmp_path / "data")


def test_a_name_that_is_no_utf_8_is_only_a_name(tmp_path: Path) -> None:
    """A file name from an old archive does not stop the reading, the draw or the fingerprint."""
    folder = scenes(tmp_path, fire=5)
    shutil.copy(folder / "fire" / "0-000.jpg", folder / "fire" / os.fsdecode(b"caf\xe9.jpg"))
    photographs = read_folder(folder)
    assert len(photographs) == 16
    assert len(fingerprint(photographs)) == 12
