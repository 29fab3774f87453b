from collections import Counter
from io import StringIO
from pathlib import Path

import pytest
from conftest import picture_bytes
from rich.console import Console

from training.dataset import Photograph
from training.splits import draw_test, leaks, parted, split_check, untested


def many(*groups: tuple[str, str, int]) -> list[Photograph]:
    """Photographs by (group, label, how many)."""
    return [
        Photograph(path=Path("x"), name=f"{group}/{label}/{n}", split="train", label=label, group=group)
        for group, label, count in groups
        for n in range(count)
    ]


def shares(photographs: list[Photograph], test: list[int]) -> dict[str, float]:
    """The share of each class that is for testing."""
    tested = Counter(photographs[position].label for position in test)
    return {label: tested[label] / count for label, count in Counter(p.label for p in photographs).items()}


@pytest.mark.parametrize("seed", range(5))
def test_seventy_thirty_of_every_class(seed: int) -> None:
    """A rare class is parted as a common one, to the photograph."""
    photographs = many(
        *((f"f{n}", "fire", 1) for n in range(100)), *((f"r{n}", "robbery", 1) for n in range(10))
    )
    assert shares(photographs, draw_test(photographs, 0.3, seed)) == {"fire": 0.3, "robbery": 0.3}


@pytest.mark.parametrize("seed", range(5))
def test_whole_groups_stay_together(seed: int) -> None:
    """Groups of many sizes, some with two classes, are on one side each, and the share is about kept."""
    photographs = many(
        *((f"g{n}", "fire", 1 + n % 7) for n in range(60)),
        *((f"g{n}", "accident", 1 + n % 3) for n in range(0, 60, 2)),
    )
    test = draw_test(photographs, 0.3, seed)
    assert parted(photographs, test) == []
    assert all(0.25 <= share <= 0.3 for share in shares(photographs, test).values())


def test_without_groups_frames_of_one_event_are_parted() -> None:
    """The study's own split leaks, and which groups leak is known."""
    photographs = many(*((f"g{n}", "fire", 10) for n in range(10)))
    test = draw_test(photographs, 0.3, 0, grouped=False)
    assert len(test) == 30
    assert len(parted(photographs, test)) >= 8


def test_two_large_groups_are_one_for_each_side() -> None:
    """A group larger than its share is for testing where there is no smaller one."""
    photographs = many(("a", "fire", 5), ("b", "fire", 6), *((f"p{n}", "protest", 1) for n in range(10)))
    test = draw_test(photographs, 0.3, 0)
    assert {photographs[p].group for p in test if photographs[p].label == "fire"} == {"a"}
    assert untested(photographs, test) == []


def test_a_class_that_is_one_group_is_for_learning() -> None:
    """It is not parted, and named as untested."""
    photographs = many(("a", "fire", 9), *((f"p{n}", "protest", 1) for n in range(10)))
    assert untested(photographs, draw_test(photographs, 0.3, 0)) == ["fire"]


def test_the_draw_follows_the_seed() -> None:
    """The same seed draws the same, another one otherwise."""
    photographs = many(*((f"g{n}", "fire", 1) for n in range(30)))
    assert draw_test(photographs, 0.3, 1) == draw_test(photographs, 0.3, 1)
    assert draw_test(photographs, 0.3, 1) != draw_test(photographs, 0.3, 2)


def placed(folder: Path, *rows: tuple[str, int, str, str]) -> list[Photograph]:
    """Photographs by (name, seed of the scene, split, group); same seeds are near duplicates."""
    photographs = []
    for place, (name, seed, split, group) in enumerate(rows):
        path = folder / name
        path.write_bytes(picture_bytes(seed, size_px=(160 + 10 * place, 120)))
        photographs.append(Photograph(path=path, name=name, split=split, label="fire", group=group))
    return photographs


def test_near_duplicates_on_both_sides_are_found_whatever_the_groups_say(tmp_path: Path) -> None:
    """Each photograph of val comes with its double in train; doubles on one side are no leak."""
    photographs = placed(
        tmp_path,
        ("a", 1, "train", "g1"),
        ("b", 2, "train", "g2"),
        ("c", 2, "train", "g2"),
        ("d", 2, "val", "g3"),
        ("e", 3, "val", "g4"),
        ("f", 3, "val", "g5"),
        ("g", 1, "val", "g1"),
    )
    found = [(each.name, other.name) for each, other in leaks(photographs)]
    assert [name for name, _ in found] == ["d", "g"]
    assert found[0][1] in "bc"
    assert found[1][1] == "a"


def test_a_split_that_does_not_leak_is_said_to_be_clean(tmp_path: Path) -> None:
    """Two sentences, one about groups and one about near duplicates."""
    photographs = placed(tmp_path, ("a", 1, "train", "g1"), ("b", 1, "train", "g1"), ("c", 2, "val", "g2"))
    assert split_check(photographs) == [
        "Of 2 groups, none is both in train and in val.",
        "Of 1 photographs in val, none has a near duplicate in train.",
    ]


def test_a_split_that_leaks_is_said_to_leak(tmp_path: Path) -> None:
    """Parted groups and near duplicates are counted, the first ones named, and names are safe to show."""
    rows = [(f"{n}{side[0]}\x1b", n, side, f"g{n}") for n in range(5) for side in ("train", "val")]
    [groups, duplicates] = split_check(placed(tmp_path, *rows, ("z", 9, "val", "z")))
    assert groups == (
        "THIS SPLIT LEAKS: of 6 groups, 5 are both in train and in val: g0; g1; g2; and 2 more."
    )
    assert duplicates == (
        "THIS SPLIT LEAKS: of 6 photographs in val, 5 have a near duplicate in train, so val flatters: "
        "0v\\u001B is like 0t\\u001B; 1v\\u001B is like 1t\\u001B; 2v\\u001B is like 2t\\u001B; and 2 more."
    )


def test_what_the_check_can_not_see_is_said(tmp_path: Path) -> None:
    """Classes that val does not have, and photographs that could not be compared."""
    rows = (("a", 1, "train", "g1"), ("b", 2, "val", "g2"), ("c", 3, "train", "g3"), ("d", 4, "train", "g4"))
    [one, two, three, four] = placed(tmp_path, *rows)
    other = Photograph(path=three.path, name="c", split="train", label="robbery", group="g3")
    four.path.write_bytes(b"no picture")
    assert split_check([one, two, other, four])[2:] == [
        "Nothing in val shows robbery, so val says nothing about it.",
        "1 photographs could not be compared (unreadable, or of one plain colour): d.",
    ]


def test_a_split_without_validation_is_checked_too(tmp_path: Path) -> None:
    """There is nothing to compare, and nothing breaks."""
    assert split_check(placed(tmp_path, ("a", 1, "train", "g1")))[1:] == [
        "Of 0 photographs in val, none has a near duplicate in train.",
        "Nothing in val shows fire, so val says nothing about it.",
    ]
    assert len(split_check([])) == 2


def test_checking_shows_its_progress(tmp_path: Path) -> None:
    """A bar on the console that was given."""
    spoken = StringIO()
    split_check(placed(tmp_path, ("a", 1, "train", "g1")), Console(file=spoken))
    assert "comparing" in spoken.getvalue()
