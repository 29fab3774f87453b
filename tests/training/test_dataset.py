from collections import Counter
from pathlib import Path

import pytest

from shared.errors import ConfigError
from training.dataset import Photograph, fingerprint, folds, labels, of_split, read_folder, without

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
        (["a.jpg,train,fire,web,g", "b.jpg,val,fire,web,g"], "group g .* in train and in val"),
        ([], "no labelled photographs"),
    ],
)
def test_an_index_that_contradicts_itself_is_refused(tmp_path: Path, rows: list[str], complaint: str) -> None:
    """Escaping paths, unknown splits, empty classes and leaking groups name their line or group."""
    (tmp_path / "data").mkdir()
    with pytest.raises(ConfigError, match=complaint):
        read_folder(folder_with(tmp_path / "data", *rows))


def test_a_missing_column_file_or_folder_is_refused(tmp_path: Path) -> None:
    """Each is named."""
    with pytest.raises(ConfigError, match="no folder"):
        read_folder(tmp_path / "nowhere")
    with pytest.raises(ConfigError, match="lacks the column group"):
        read_folder(folder_with(tmp_path, header="path,split,class,source"))
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
