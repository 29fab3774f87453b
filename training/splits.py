"""Photographs parted into those to learn from and those to be tested on, and whether that parting leaks."""

from collections import Counter
from collections.abc import Sequence

import numpy as np
from rich.console import Console

from shared.labels import escape_label
from training.dataset import Photograph, draw_groups, labels, of_split
from training.duplicates import comparable, hashes, nearest

_NAMED = 3


def draw_test(
    photographs: Sequence[Photograph], share: float, seed: int, *, grouped: bool = True
) -> list[int]:
    """Draw about a share of every class for testing; the same seed draws the same.

    Args:
        photographs: all of them.
        share: of each class that is for testing, in (0, 1).
        seed: of the draw.
        grouped: whole groups go to one side. False draws photograph by photograph, as if each were alone.

    Returns:
        Positions in ``photographs``, rising. A class with two or more groups has a photograph on either
        side; of a class that is all one group nothing is for testing.
    """
    members: dict[str, list[int]] = {}
    for position, photograph in enumerate(photographs):
        members.setdefault(photograph.group if grouped else str(position), []).append(position)
    groups = list(members.values())
    drawn = [groups[index] for index in np.random.default_rng(seed).permutation(len(groups))]
    content = [Counter(photographs[position].label for position in group) for group in drawn]
    return sorted(position for index in draw_groups(content, share) for position in drawn[index])


def parted(photographs: Sequence[Photograph], test: Sequence[int]) -> list[str]:
    """The groups that are on both sides, by name: the split leaks where there are any."""
    inside = set(test)
    tested = {photographs[position].group for position in inside}
    learnt = {each.group for position, each in enumerate(photographs) if position not in inside}
    return sorted(tested & learnt)


def untested(photographs: Sequence[Photograph], test: Sequence[int]) -> list[str]:
    """The classes of which nothing is for testing."""
    return sorted(set(labels(photographs)) - {photographs[position].label for position in test})


def leaks(
    photographs: Sequence[Photograph], console: Console | None = None
) -> list[tuple[Photograph, Photograph]]:
    """Find near duplicates on both sides, whatever their groups say: an index can be wrong.

    Args:
        photographs: of both splits.
        console: for progress; None for none.

    Returns:
        Each photograph of val that has near duplicates in train, order kept, and the closest of these.
    """
    train, val = of_split(photographs, "train"), of_split(photographs, "val")
    hashed = hashes((photograph.path for photograph in (*val, *train)), console)
    closest = nearest(hashed[: len(val)], hashed[len(val) :]).tolist()
    return [(each, train[other]) for each, other in zip(val, closest, strict=True) if other >= 0]


def split_check(
    photographs: Sequence[Photograph], console: Console | None = None, *, held_out: str = "val"
) -> list[str]:
    """Say in sentences whether train and val are apart.

    Args:
        photographs: of both splits.
        console: for progress; None for none.
        held_out: what a reader knows the split ``val`` as.

    Returns:
        Sentences about groups on both sides, near duplicates on both sides, classes that val does not have,
        and photographs that could not be compared; the last two only where there are any.
    """
    val = [position for position, each in enumerate(photographs) if each.split == "val"]
    sentences = [
        _about_groups(photographs, val, held_out),
        _about_duplicates(len(val), leaks(photographs, console), held_out),
    ]
    if missing := untested(photographs, val):
        sentences.append(
            f"Nothing in {held_out} shows {', '.join(missing)}, so {held_out} says nothing about it."
        )
    known = comparable(hashes(photograph.path for photograph in photographs))
    if unknown := [each.name for each, is_known in zip(photographs, known, strict=True) if not is_known]:
        sentences.append(
            f"{len(unknown)} photographs could not be compared (unreadable, or of one plain colour): "
            f"{_some(unknown)}."
        )
    return sentences


def _about_groups(photographs: Sequence[Photograph], val: Sequence[int], held_out: str) -> str:
    count = len({photograph.group for photograph in photographs})
    both = parted(photographs, val)
    if not both:
        return f"Of {count} groups, none is both in train and in {held_out}."
    leaking = f"of {count} groups, {len(both)} are both in train and in {held_out}"
    return f"THIS SPLIT LEAKS: {leaking}: {_some(both)}."


def _about_duplicates(val_count: int, found: Sequence[tuple[Photograph, Photograph]], held_out: str) -> str:
    if not found:
        return f"Of {val_count} photographs in {held_out}, none has a near duplicate in train."
    pairs = [f"{each.name} is like {other.name}" for each, other in found]
    return (
        f"THIS SPLIT LEAKS: of {val_count} photographs in {held_out}, {len(found)} have a near duplicate in "
        f"train, so {held_out} flatters: {_some(pairs)}."
    )


def _some(names: Sequence[str]) -> str:
    shown = "; ".join(escape_label(name) for name in names[:_NAMED])
    return f"{shown}; and {len(names) - _NAMED} more" if len(names) > _NAMED else shown
