"""An index: it decides, and what is wrong with it is said."""

from pathlib import Path

import pytest
from dataset_parts import folder_with, picture

from shared.errors import ConfigError
from training.dataset import labels, of_split, read_folder


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


def test_scoring_asks_an_index_for_less(tmp_path: Path) -> None:
    """Path and class are enough, any word is a split, and a group in two splits does no harm."""
    folder_with(tmp_path, "a.jpg,fire,sealed,g", "b.jpg,fire,val,g", header="path,class,split,group")
    assert [p.split for p in read_folder(tmp_path, for_training=False)] == ["sealed", "val"]
    folder_with(tmp_path, "a.jpg,fire", header="path,class")
    assert [p.label for p in read_folder(tmp_path, for_training=False)] == ["fire"]


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
