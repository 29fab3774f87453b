from pathlib import Path

from training.dataset import Photograph, folds


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
