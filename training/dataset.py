"""Labelled photographs in a folder: which there are, what they show, and what they are for."""

import csv
import hashlib
import os
import re
from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from rich.console import Console

from shared.checkpoint import CLASS_NAME, CLASS_NAME_CHARACTERS
from shared.errors import ConfigError
from training.duplicates import clusters, hashes

INDEX_NAME = "index.csv"
SPLITS = ("train", "val")
VAL_SHARE = 0.2
"""Share of a folder without an index that is kept aside for validation."""

_COLUMNS = ("path", "split", "class")
_PICTURES = {".jpg", ".jpeg", ".png", ".webp", ".bmp", ".tif", ".tiff"}


@dataclass(frozen=True, kw_only=True, slots=True)
class Photograph:
    """One labelled photograph.

    Attributes:
        path: where it lies.
        name: its path inside the folder, with forward slashes.
        split: ``train`` or ``val``.
        label: the class that it shows; empty where nobody has said.
        group: frames of one video or event share it; they must not be parted.
    """

    path: Path
    name: str
    split: str
    label: str
    group: str


def read_folder(
    folder: Path, *, for_training: bool = True, console: Console | None = None
) -> list[Photograph]:
    """List the photographs of a folder, by name.

    With an ``index.csv`` (columns path, split, class and, for those that have one, group) that decides.
    Without one, every sub-folder is a class; what lies beside or below these is passed over. Pictures that
    can't be read are listed all the same: whoever looks at them leaves them out and says so.

    A photograph without a group gets that of its near duplicates, of whatever class: the stated group of one
    of them, else the name of the first. That is less than stated groups: of 102 videos and events that were
    known, a draw by near duplicates parted 29, and a draw by photograph 53.

    Without an index, about a fifth of every class, by whole groups, is for validation. The draw goes by the
    groups' names: the same folder is parted the same way, and where photographs are added, most of the others
    stay where they were.

    Links are followed, wherever they lead, except that an index can't name a file outside its folder.

    Args:
        folder: where they are.
        for_training: False asks an index for path and class alone, takes any word for a split and a class,
            and looks for no near duplicates: to score photographs, it does not matter what they were meant
            for.
        console: for progress while near duplicates are looked for; None for none.

    Raises:
        ConfigError: there is no such folder, no photograph, a class is empty or has a name that no checkpoint
            takes, or the index can't be read or contradicts itself.
    """
    if not folder.is_dir():
        raise ConfigError(f"there is no folder {folder}", remedy="name a folder of labelled photographs")
    try:
        index = folder / INDEX_NAME
        indexed = index.is_file()
        found = _from_index(folder, index, for_training) if indexed else _from_classes(folder)
    except OSError as error:
        raise ConfigError(
            f"{error.filename or folder} can't be read: {error.strerror or error}",
            remedy="see to its permissions",
        ) from error
    photographs = sorted(found, key=lambda photograph: photograph.name)
    if not photographs:
        raise _without_photographs(folder)
    if not for_training:
        return [replace(each, group=each.group or each.name) for each in photographs]
    _check_class_names(photographs, folder)
    _check_groups(photographs, folder)
    grouped = _with_groups(photographs, console)
    return grouped if indexed else _split_by_groups(grouped)


def read_unlabelled(folder: Path) -> list[Photograph]:
    """List the pictures in a folder and below it, by name; their label is empty, and all are to learn from.

    Raises:
        ConfigError: there is no such folder, it can't be read, or it holds no picture.
    """
    try:
        pictures = [
            path for each in [folder, *folder.rglob("*")] if each.is_dir() for path in _pictures(each)
        ]
    except OSError as error:
        raise ConfigError(f"{folder} can't be read: {error.strerror or error}") from error
    if not pictures:
        raise ConfigError(f"{folder} holds no pictures", remedy="name a folder of photographs")
    names = [path.relative_to(folder).as_posix() for path in pictures]
    found = [
        Photograph(path=path, name=name, split="train", label="", group=name)
        for path, name in zip(pictures, names, strict=True)
    ]
    return sorted(found, key=lambda photograph: photograph.name)


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

    A file that can't be read counts by its name alone.
    """
    digest = hashlib.sha256()
    for photograph in photographs:
        words = (photograph.name, photograph.split, photograph.label, photograph.group)
        digest.update(_encoded("\0".join(words)))
        try:
            digest.update(hashlib.sha256(photograph.path.read_bytes()).digest())
        except OSError:
            digest.update(b"unreadable")
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
        return -len(groups[group]), hashlib.sha256(_encoded(f"{seed}:{group}")).hexdigest()

    dealt: Counter[tuple[str, int]] = Counter()
    size: Counter[int] = Counter()
    fold_of = [0] * len(photographs)
    for group in sorted(groups, key=order):
        members = groups[group]
        label = photographs[members[0]].label
        fold = min(range(count), key=lambda each: (dealt[label, each], size[each], each))
        size[fold] += len(members)
        for position in members:
            fold_of[position] = fold
            dealt[photographs[position].label, fold] += 1
    return fold_of


def draw_groups(content: Sequence["Counter[str]"], share: float) -> set[int]:
    """Draw whole groups, the first ones first, until about a share of every class is drawn.

    Args:
        content: how many photographs of each class are in each group.
        share: of each class that is wanted, in (0, 1).

    Returns:
        Positions in ``content``. No class goes over its share, rounded, except that the smallest group of
        a class is drawn where none fitted. The last group of a class is never drawn: it stays to learn from.
    """
    total = sum(content, Counter[str]())
    room = Counter({label: round(share * count) for label, count in total.items()})
    chosen: set[int] = set()
    for index, counts in enumerate(content):
        if counts <= room:
            chosen.add(index)
            room -= counts  # drops labels without room left, which then count as 0
    for label in sorted(total):
        drawn = sum((content[index] for index in chosen), Counter[str]())
        if drawn[label]:
            continue
        for index in sorted(range(len(content)), key=lambda each: (content[each].total(), each)):
            after = drawn + content[index]
            if content[index][label] and all(after[other] < total[other] for other in content[index]):
                chosen.add(index)
                break
    return chosen


def _from_index(folder: Path, index: Path, for_training: bool) -> list[Photograph]:
    needed = _COLUMNS if for_training else ("path", "class")
    photographs: list[Photograph] = []
    line_of: dict[str, int] = {}
    try:
        with index.open(newline="", encoding="utf-8-sig") as file:  # spreadsheets put a mark at the beginning
            rows = csv.DictReader(file)
            if rows.fieldnames is None:
                raise ConfigError(
                    f"{index} is empty", remedy=f"begin it with a line {','.join(needed)},group"
                )
            if missing := [column for column in needed if column not in rows.fieldnames]:
                raise ConfigError(
                    f"{index} lacks the column {missing[0]}", remedy=f"give it {', '.join(needed)}"
                )
            for row in rows:
                photograph = _from_row(folder, f"{index} line {rows.line_num}", row, for_training)
                before = line_of.setdefault(os.path.normpath(photograph.name), rows.line_num)
                if before != rows.line_num:
                    raise ConfigError(
                        f"{index} line {rows.line_num}: {photograph.name} is on line {before} already",
                        remedy="keep one line for each photograph, with one class",
                    )
                photographs.append(photograph)
    except UnicodeDecodeError as error:
        raise ConfigError(
            f"{index} is not UTF-8: {error.reason}", remedy="save it as CSV in UTF-8"
        ) from error
    except csv.Error as error:
        raise ConfigError(f"{index} is no CSV file: {error}", remedy="save it as CSV in UTF-8") from error
    return photographs


def _from_row(folder: Path, where: str, row: dict[str, str | None], for_training: bool) -> Photograph:
    name, split, label = row["path"] or "", row.get("split") or "", row["class"] or ""
    path = folder / name
    if not name or "\0" in name or not path.resolve().is_relative_to(folder.resolve()):
        raise ConfigError(
            f"{where}: the path {name!r} is not inside the folder",
            remedy="name files inside it, and no link that leads elsewhere",
        )
    if for_training and split not in SPLITS:
        raise ConfigError(
            f"{where}: the split {split!r} is not {' or '.join(SPLITS)}",
            remedy=f"write {' or '.join(SPLITS)}",
        )
    if not label:
        raise ConfigError(f"{where}: the class is empty", remedy="write what the photograph shows")
    if not path.is_file():
        slashes = "write paths with forward slashes" if "\\" in name else "add it, or remove the line"
        raise ConfigError(f"{where}: there is no file {name}", remedy=slashes)
    return Photograph(path=path, name=name, split=split, label=label, group=row.get("group") or "")


def _from_classes(folder: Path) -> list[Photograph]:
    photographs: list[Photograph] = []
    for directory in sorted(folder.iterdir()):
        if not directory.is_dir() or directory.name.startswith("."):
            continue
        pictures = _pictures(directory)
        if not pictures:
            raise ConfigError(
                f"the class folder {directory} holds no picture",
                remedy="put photographs into it (folders inside it are not looked into), or remove it",
            )
        photographs += [
            Photograph(
                path=path,
                name=path.relative_to(folder).as_posix(),
                split="train",  # until groups are known
                label=directory.name,
                group="",
            )
            for path in pictures
        ]
    return photographs


def _pictures(directory: Path) -> list[Path]:
    """Files named as pictures, links and unreadable ones included; hidden ones, as macOS leaves, are not."""
    return sorted(
        path
        for path in directory.iterdir()
        if path.suffix.lower() in _PICTURES and not path.name.startswith(".") and not path.is_dir()
    )


def _without_photographs(folder: Path) -> ConfigError:
    if not (folder / INDEX_NAME).is_file() and (strays := _pictures(folder)):
        return ConfigError(
            f"{len(strays)} pictures lie in {folder} itself, so nothing says what they show",
            remedy=f"move them into folders named by class, or add {INDEX_NAME}",
        )
    return ConfigError(
        f"{folder} holds no labelled photographs", remedy=f"add {INDEX_NAME}, or folders named by class"
    )


def _check_class_names(photographs: Iterable[Photograph], folder: Path) -> None:
    for label in labels(photographs):
        if len(label) > CLASS_NAME_CHARACTERS or not CLASS_NAME.fullmatch(label):
            fitting = "_".join(re.findall("[a-z0-9]+", label.lower()))[:CLASS_NAME_CHARACTERS].strip("_")
            suitable = (
                f"rename it, for instance to {fitting}" if CLASS_NAME.fullmatch(fitting) else "rename it"
            )
            raise ConfigError(
                f"in {folder}, {label!r} is not a class name such as flood_risk", remedy=suitable
            )


def _check_groups(photographs: Iterable[Photograph], folder: Path) -> None:
    split_of: dict[str, str] = {}
    for photograph in photographs:
        group, split = photograph.group, photograph.split
        if group and split_of.setdefault(group, split) != split:
            raise ConfigError(
                f"group {group} of {folder} is in train and in val, so val would flatter",
                remedy="move the whole group to one split",
            )


def _with_groups(photographs: Sequence[Photograph], console: Console | None) -> list[Photograph]:
    """Give those without a group that of their near duplicates; stated groups stay as they are."""
    if all(photograph.group for photograph in photographs):
        return list(photographs)
    first = clusters(hashes((photograph.path for photograph in photographs), console)).tolist()
    group_of: dict[int, str] = {}
    for photograph, cluster in zip(photographs, first, strict=True):
        if photograph.group:
            group_of.setdefault(cluster, photograph.group)
    return [
        replace(photograph, group=photograph.group or group_of.get(cluster, photographs[cluster].name))
        for photograph, cluster in zip(photographs, first, strict=True)
    ]


def _split_by_groups(photographs: Sequence[Photograph]) -> list[Photograph]:
    content: dict[str, Counter[str]] = {}
    for photograph in photographs:
        content.setdefault(photograph.group, Counter())[photograph.label] += 1
    groups = sorted(content, key=lambda group: hashlib.sha256(_encoded(group)).digest())
    drawn = draw_groups([content[group] for group in groups], VAL_SHARE)
    val = {groups[index] for index in drawn}
    return [replace(each, split="val" if each.group in val else "train") for each in photographs]


def _encoded(text: str) -> bytes:
    return text.encode(errors="surrogateescape")  # a file name need not be UTF-8
