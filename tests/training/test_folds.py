from collections import Counter
from pathlib import Path

from dataset_parts import many

from training.dataset import Photograph, folds


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


def test_folds_are_dealt_evenly_however_few_there_are() -> None:
    """One photograph of each of five classes: five folds of one, not one fold of five."""
    rows = [
        Photograph(path=Path(label), name=label, split="val", label=label, group=label)
        for label in ("a", "b", "c", "d", "e")
    ]
    assert sorted(folds(rows, 5, seed=0)) == [0, 1, 2, 3, 4]


def test_a_group_named_by_a_stranger_has_a_fold() -> None:
    """A file name need not be UTF-8, and a photograph without a group is one by its file name."""
    name = b"caf\xe9.jpg".decode(errors="surrogateescape")
    odd = Photograph(path=Path(name), name=name, split="val", label="a", group=name)
    assert folds([odd], 5, seed=0) == [0]
