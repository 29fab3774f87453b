from collections import Counter
from pathlib import Path

import pytest

from training.dataset import Photograph
from training.splits import draw_test, parted, untested


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
