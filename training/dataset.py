"""Labelled photographs in a folder: which there are, what they show, and what they are for."""

import csv
import hashlib
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path

from shared.errors import ConfigError

INDEX_NAME = "index.csv"
SPLITS = ("train", "val")
VAL_SHARE = 0.2
"""Share of a folder without an index that is kept aside for validation."""

_COLUMNS = ("path", "split", "class", "source", "group")
_PICTURES = {".jpg", ".jpeg", ".png", ".webp", ".bmp", ".tif", ".tiff"}


@dataclass(frozen=True, kw_only=True, slots=True)
class Photograph:
    """One labelled photograph.

    Attributes:
        path: where it lies.
        name: its path inside the folder, with forward slashes.
        split: ``train`` or ``val``.
        label: the class that it shows.
        group: frames of one video or event share it; they must not be parted.
    """

    path: Path
    name: str
    split: str
    label: str
    group: str


def read_folder(folder: Path, *, for_training: bool = True) -> list[Photograph]:
    """List the photographs of a folder, by name.

    With an ``index.csv`` (columns path, split, class, source, group) that decides. Without one, every
    sub-folder is a class, every picture its own group, and a fifth, chosen by name, is for validation.

    Args:
        folder: where they are.
        for_training: False asks an index for path and class alone, and takes any word for a split: to
            score photographs, it does not matter what they were meant for.

    Raises:
        ConfigError: there is no such folder, no photograph, a class is empty, or the index contradicts
            itself.
    """
    if not folder.is_dir():
        raise ConfigError(f"there is no folder {folder}", remedy="name a folder of labelled photographs")
    index = folder / INDEX_NAME
    photographs = _from_index(folder, index, for_training) if index.is_file() else _from_classes(folder)
    if not photographs:
        raise ConfigError(
            f"{folder} holds no labelled photographs", remedy=f"add {INDEX_NAME}, or folders named by class"
        )
    if for_training:
        _check_groups(photographs, folder)
    return sorted(photographs, key=lambda photograph: photograph.name)


def labels(photographs: Iterable[Photograph]) -> list[str]:
    """The classes that occur, in alphabetical order."""
    return sorted({photograph.label for photograph in photographs})


def of_split(photographs: Iterable[Photograph], split: str) -> list[Photograph]:
    """The photographs of one split, order kept."""
    return [photograph for photograph in photographs if photograph.split == split]


def without(photographs: Iterable[Photograph], left_out: Iterable[str]) -> list[Photograph]:
    """The photographs of all other classes, order kept.

    Raises:
        ConfigError: there is no such class, or nothing is left.
    """
    everything, unwanted = list(photographs), set(left_out)
    if unknown := sorted(unwanted - set(labels(everything))):
        raise ConfigError(
            f"there is no class {unknown[0]} to leave out",
            remedy=f"the classes are {', '.join(labels(everything))}",
        )
    kept = [photograph for photograph in everything if photograph.label not in unwanted]
    if not kept:
        raise ConfigError("every class is left out", remedy="name fewer with --without")
    return kept


def fingerprint(photographs: Sequence[Photograph]) -> str:
    """Name exactly these photographs, labels and splits: 12 hexadecimal digits of a SHA-256.

    Raises:
        ConfigError: a file can't be read.
    """
    digest = hashlib.sha256()
    for photograph in photographs:
        words = (photograph.name, photograph.split, photograph.label, photograph.group)
        digest.update("\0".join(words).encode())
        try:
            digest.update(hashlib.sha256(photograph.path.read_bytes()).digest())
        except OSError as error:
            raise ConfigError(f"{photograph.path} can't be read: {error.strerror or error}") from error
    return digest.hexdigest()[:12]


def folds(photographs: Sequence[Photograph], count: int, seed: int) -> list[int]:
    """Deal whole groups out to ``count`` folds with about as many of each class in each.

    Returns:
        The fold, in [0, count), of every photograph.
    """
    groups: dict[str, list[int]] = {}
    for position, photograph in enumerate(photographs):
        groups.setdefault(photograph.group, []).append(position)

    def order(group: str) -> tuple[int, str]:
        # Large groups first, because they are the hard ones to balance; the rest as the seed has it.
        return -len(groups[group]), hashlib.sha256(f"{seed}:{group}".encode()).hexdigest()

    dealt: dict[tuple[str, int], int] = {}
    fold_of = [0] * len(photographs)
    for group in sorted(groups, key=order):
        members = groups[group]
        label = photographs[members[0]].label
        fold = min(range(count), key=lambda candidate: (dealt.get((label, candidate), 0), candidate))
        for position in members:
            fold_of[position] = fold
            key = (photographs[position].label, fold)
            dealt[key] = dealt.get(key, 0) + 1
    return fold_of


def _from_index(folder: Path, index: Path, for_training: bool) -> list[Photograph]:
    needed = _COLUMNS if for_training else ("path", "class")
    with index.open(newline="", encoding="utf-8") as file:
        rows = csv.DictReader(file)
        if missing := [column for column in needed if column not in (rows.fieldnames or ())]:
            raise ConfigError(f"{index} lacks the column {missing[0]}", remedy=f"give it {', '.join(needed)}")
        return [
            _from_row(folder, index, number, row, for_training) for number, row in enumerate(rows, start=2)
        ]


def _from_row(
    folder: Path, index: Path, line: int, row: dict[str, str | None], for_training: bool
) -> Photograph:
    name, split, label = row["path"] or "", row.get("split") or "", row["class"] or ""
    path = folder / name
    if not name or not path.resolve().is_relative_to(folder.resolve()):
        raise ConfigError(f"{index} line {line}: the path {name!r} is not inside the folder")
    if for_training and split not in SPLITS:
        raise ConfigError(f"{index} line {line}: the split {split!r} is not {' or '.join(SPLITS)}")
    if not label:
        raise ConfigError(f"{index} line {line}: the class is empty")
    if not path.is_file():
        raise ConfigError(f"{index} line {line}: there is no file {name}")
    return Photograph(path=path, name=name, split=split, label=label, group=row.get("group") or name)


def _from_classes(folder: Path) -> list[Photograph]:
    photographs: list[Photograph] = []
    for directory in sorted(folder.iterdir()):
        if not directory.is_dir() or directory.name.startswith("."):
            continue
        pictures = sorted(path for path in directory.iterdir() if path.suffix.lower() in _PICTURES)
        if not pictures:
            raise ConfigError(
                f"the class folder {directory} holds no picture",
                remedy="put photographs into it, or remove it",
            )
        photographs += [_from_path(path, path.relative_to(folder).as_posix()) for path in pictures]
    return photographs


def _from_path(path: Path, name: str) -> Photograph:
    first = int.from_bytes(hashlib.sha256(name.encode()).digest()[:4], "big") / 2**32
    split = "val" if first < VAL_SHARE else "train"
    return Photograph(path=path, name=name, split=split, label=path.parent.name, group=name)


def _check_groups(photographs: Sequence[Photograph], folder: Path) -> None:
    split_of: dict[str, str] = {}
    for photograph in photographs:
        if split_of.setdefault(photograph.group, photograph.split) != photograph.split:
            raise ConfigError(
                f"group {photograph.group} of {folder} is in train and in val, so val would flatter",
                remedy="move the whole group to one split",
            )
