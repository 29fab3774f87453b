import os
import shutil
from collections import Counter
from io import StringIO
from pathlib import Path

import pytest
from conftest import picture_bytes
from rich.console import Console

from shared.checkpoint import Checkpoint
from shared.errors import ConfigError
from shared.preprocessing import Preprocessing
from shared.verdict import Thresholds
from training import dataset
from training.dataset import (
    VAL_SHARE,
    Photograph,
    fingerprint,
    folds,
    labels,
    of_split,
    read_folder,
    without,
)

HEADER = "path,split,class,source,group"


def folder_with(folder: Path, *rows: str, header: str = HEADER) -> Path:
    """An index with these rows; every path in them exists."""
    for row in rows:
        (folder / row.split(",")[0]).write_bytes(row.encode())
    (folder / "index.csv").write_text("\n".join([header, *rows]) + "\n")
    return folder


def many(*groups: tuple[str, str, int]) -> list[Photograph]:
    """Photographs by (group, label, how many)."""
    return [
        Photograph(path=Path("x"), name=f"{group}/{n}", split="train", label=label, group=group)
        for group, label, count in groups
        for n in range(count)
    ]


def test_an_index_decides(tmp_path: Path) -> None:
    """Splits, classes and groups come from the index; a photograph without a group is its own."""
    folder = folder_with(tmp_path, "b.jpg,val,fire,web,g2", "a.jpg,train,normal,web,")
    photographs = read_folder(folder)
    assert [(p.name, p.split, p.label, p.group) for p in photographs] == [
        ("a.jpg", "train", "normal", "a.jpg"),
        ("b.jpg", "val", "fire", "g2"),
    ]
    assert labels(photographs) == ["fire", "normal"]
    assert [p.name for p in of_split(photographs, "val")] == ["b.jpg"]


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


@pytest.mark.parametrize(
    ("rows", "complaint"),
    [
        (["../a.jpg,train,fire,web,g"], "line 2: the path '../a.jpg' is not inside"),
        (["a.jpg,test,fire,web,g"], "line 2: the split 'test'"),
        (["a.jpg,train,,web,g"], "line 2: the class is empty"),
        (["a.jpg,train,fire,web,g", "a.jpg,train,fire,web,g"], r"line 3: a\.jpg is on line 2 already"),
        (["a.jpg,train,fire,web,g", "a.jpg,train,protest,web,g"], r"line 3: a\.jpg is on line 2 already"),
        (["a.jpg,train,fire,web,g", "./a.jpg,train,fire,web,g"], r"line 3: \./a\.jpg is on line 2 already"),
        (["a.jpg,train,Big Fire!,web,g"], "'Big Fire!' is not a class name .* to big_fire"),
        (["a.jpg,train,fire,web,g", "b.jpg,val,fire,web,g"], "group g .* in train and in val"),
        ([], "no labelled photographs"),
    ],
)
def test_an_index_that_contradicts_itself_is_refused(tmp_path: Path, rows: list[str], complaint: str) -> None:
    """Escaping or repeated paths, unknown splits, bad classes and leaking groups are named."""
    (tmp_path / "data").mkdir()
    with pytest.raises(ConfigError, match=complaint):
        read_folder(folder_with(tmp_path / "data", *rows))


def test_a_missing_column_file_or_folder_is_refused(tmp_path: Path) -> None:
    """Each is named."""
    with pytest.raises(ConfigError, match="no folder"):
        read_folder(tmp_path / "nowhere")
    with pytest.raises(ConfigError, match="lacks the column split"):
        read_folder(folder_with(tmp_path, header="path,class,source,group"))
    folder = folder_with(tmp_path, "a.jpg,train,fire,web,g")
    (folder / "a.jpg").unlink()
    with pytest.raises(ConfigError, match=r"line 2: there is no file a\.jpg"):
        read_folder(folder)


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


def test_folds_never_part_a_group() -> None:
    """Every frame of an event is in one fold."""
    photographs = many(*((f"g{n}", "fire", 1 + n % 7) for n in range(40)))
    fold_of = folds(photographs, 5, seed=0)
    pairs = {(p.group, fold) for p, fold in zip(photographs, fold_of, strict=True)}
    assert len(pairs) == 40


def test_folds_are_balanced_by_class() -> None:
    """A rare class is spread over all folds as evenly as a common one."""
    photographs = many(
        *((f"f{n}", "fire", 1) for n in range(50)), *((f"r{n}", "robbery", 1) for n in range(10))
    )
    fold_of = folds(photographs, 5, seed=3)
    counts = Counter((p.label, fold) for p, fold in zip(photographs, fold_of, strict=True))
    assert {counts["fire", fold] for fold in range(5)} == {10}
    assert {counts["robbery", fold] for fold in range(5)} == {2}


def test_folds_follow_the_seed() -> None:
    """The same seed deals the same way, another one otherwise."""
    photographs = many(*((f"g{n}", "fire", 1) for n in range(30)))
    assert folds(photographs, 5, seed=1) == folds(photographs, 5, seed=1)
    assert folds(photographs, 5, seed=1) != folds(photographs, 5, seed=2)


def test_an_empty_class_folder_is_refused(tmp_path: Path) -> None:
    """A class without a picture is named, rather than silently not learnt."""
    for label in ("fire", "robbery"):
        (tmp_path / label).mkdir()
    (tmp_path / "fire" / "1.jpg").touch()
    (tmp_path / "robbery" / "notes.txt").touch()
    with pytest.raises(ConfigError, match=r"class folder .*robbery holds no picture"):
        read_folder(tmp_path)


def test_scoring_asks_an_index_for_less(tmp_path: Path) -> None:
    """Path and class are enough, any word is a split, and a group in two splits does no harm."""
    folder_with(tmp_path, "a.jpg,fire,sealed,g", "b.jpg,fire,val,g", header="path,class,split,group")
    assert [p.split for p in read_folder(tmp_path, for_training=False)] == ["sealed", "val"]
    folder_with(tmp_path, "a.jpg,fire", header="path,class")
    assert [p.label for p in read_folder(tmp_path, for_training=False)] == ["fire"]


def test_a_class_can_be_left_out() -> None:
    """Only the others stay; a class that is not there, or leaving out all, is refused."""
    photographs = many(("a", "fire", 2), ("b", "normal", 1))
    assert labels(without(photographs, ["normal"])) == ["fire"]
    assert without(photographs, []) == photographs
    with pytest.raises(ConfigError, match="no class fires to leave out"):
        without(photographs, ["fires"])
    with pytest.raises(ConfigError, match="every class is left out"):
        without(photographs, ["fire", "normal"])


def picture(folder: Path, name: str, seed: int, *, size_px: tuple[int, int] = (160, 120)) -> None:
    """The scene with this seed in a file; another size is a near duplicate."""
    path = folder / name
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(picture_bytes(seed, size_px=size_px))


def scenes(folder: Path, **counts: int) -> Path:
    """Class folders with so many scenes each, of three near duplicates each."""
    for place, (label, count) in enumerate(counts.items()):
        for number in range(count):
            for size in range(3):
                name = f"{label}/{size}-{number:03}.jpg"
                picture(folder, name, 1000 * place + number, size_px=(160 + 20 * size, 120))
    return folder


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


def test_missing_groups_of_an_index_are_filled_in(tmp_path: Path) -> None:
    """Near duplicates take the stated group, others their first one; stated groups and splits stay."""
    for seed, names in enumerate((("a", "b", "f"), ("c", "d"), ("e",))):
        for place, name in enumerate(names):
            picture(tmp_path, f"{name}.jpg", seed, size_px=(160 + 20 * place, 120))
    rows = [
        "a.jpg,train,fire,",
        "b.jpg,train,fire,g",
        "c.jpg,train,fire,",
        "d.jpg,val,fire,",
        "e.jpg,val,fire,g2",
        "f.jpg,val,fire,g3",
    ]
    (tmp_path / "index.csv").write_text("\n".join(["path,split,class,group", *rows]))
    photographs = read_folder(tmp_path)
    assert [photograph.group for photograph in photographs] == ["g", "g", "c.jpg", "c.jpg", "g2", "g3"]
    assert [photograph.split for photograph in photographs] == ["train"] * 3 + ["val"] * 3
    (tmp_path / "index.csv").write_text("path,split,class\na.jpg,train,fire\nb.jpg,train,fire\n")
    assert [photograph.group for photograph in read_folder(tmp_path)] == ["a.jpg", "a.jpg"]


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
    assert capsys.readouterr() == ("", "")


def test_a_mark_and_windows_line_ends_are_accepted(tmp_path: Path) -> None:
    """As a spreadsheet saves it, an index is read."""
    folder = folder_with(tmp_path, "a.jpg,train,fire,web,g", "b.jpg,val,fire,web,h")
    text = (folder / "index.csv").read_text()
    (folder / "index.csv").write_bytes(b"\xef\xbb\xbf" + text.replace("\n", "\r\n").encode())
    assert [photograph.group for photograph in read_folder(folder)] == ["g", "h"]


@pytest.mark.parametrize(
    ("content", "complaint"),
    [
        (
            "path,split,class\na.jpg,train,caf\xe9\n".encode("latin-1"),
            "is not UTF-8.*Save it as CSV in UTF-8",
        ),
        ("path,split,class\na.jpg,train,fire\n".encode("utf-16"), "is not UTF-8"),
        (b"", r"index\.csv is empty\. Begin it with a line path,split,class,group"),
        (b"path,split,class\n", "no labelled photographs"),
        (b"path,split,class\n" + b"a" * 200_000 + b",train,fire\n", "is no CSV file: field larger"),
        (b"path;split;class\na.jpg;train;fire\n", "lacks the column path"),
        (b"path,split,class\na\0.jpg,train,fire\n", "is not inside the folder"),
        (b"path,split,class\nfire\\a.jpg,train,fire\n", "there is no file .*forward slashes"),
        (b"path,split,class\na.jpg\n", "line 2: the split '' is not train or val"),
        (b"path,split,class\n\n\nb.jpg,train,fire\n", "line 4: there is no file"),
    ],
)
def test_an_index_that_can_not_be_read_is_refused(tmp_path: Path, content: bytes, complaint: str) -> None:
    """Other encodings, other separators, empty and cut files: what is wrong and what to do."""
    (tmp_path / "a.jpg").touch()
    (tmp_path / "index.csv").write_bytes(content)
    with pytest.raises(ConfigError, match=complaint):
        read_folder(tmp_path)


def test_an_index_that_can_not_be_opened_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A file or folder without permission is named with the system's reason, rather than a traceback."""

    def forbidden(path: Path, *_: object, **__: object) -> None:
        raise PermissionError(13, "Permission denied", str(path))

    folder = folder_with(tmp_path, "a.jpg,train,fire,web,g")
    monkeypatch.setattr(Path, "open", forbidden)
    with pytest.raises(ConfigError, match=r"index\.csv can't be read: Permission denied"):
        read_folder(folder)


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


def test_groups_are_drawn_in_order_until_the_share_is_full() -> None:
    """The first that fit; the smallest of a class of which none fits; never the last one of a class."""
    content = [Counter(fire=n) for n in (1, 3, 2, 4)]
    assert dataset.draw_groups(content, 0.3) == {0, 2}
    assert dataset.draw_groups([Counter(fire=5), Counter(fire=4), Counter(fire=1, protest=1)], 0.1) == {1}
    assert dataset.draw_groups([Counter(fire=5)], 0.9) == set()
