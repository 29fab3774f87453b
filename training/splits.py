"""Photographs parted into those to learn from and those to be tested on."""

from collections import Counter
from collections.abc import Sequence

import numpy as np

from training.dataset import Photograph, labels


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
    total = Counter(photograph.label for photograph in photographs)
    room = Counter({label: round(share * count) for label, count in total.items()})
    chosen: set[int] = set()
    for index, counts in enumerate(content):
        if counts <= room:
            chosen.add(index)
            room -= counts  # drops labels without room left, which then count as 0
    _give_every_class_one(content, chosen, total)
    return sorted(position for index in chosen for position in drawn[index])


def parted(photographs: Sequence[Photograph], test: Sequence[int]) -> list[str]:
    """The groups that are on both sides, by name: the split leaks where there are any."""
    inside = set(test)
    tested = {photographs[position].group for position in inside}
    learnt = {each.group for position, each in enumerate(photographs) if position not in inside}
    return sorted(tested & learnt)


def untested(photographs: Sequence[Photograph], test: Sequence[int]) -> list[str]:
    """The classes of which nothing is for testing."""
    return sorted(set(labels(photographs)) - {photographs[position].label for position in test})


def _give_every_class_one(content: Sequence["Counter[str]"], chosen: set[int], total: "Counter[str]") -> None:
    """Where no group of a class fitted its share, its smallest is for testing all the same."""
    for label in sorted(total):
        tested = sum((content[index] for index in chosen), Counter[str]())
        if tested[label]:
            continue
        for index in sorted(range(len(content)), key=lambda each: (content[each].total(), each)):
            after = tested + content[index]
            if content[index][label] and all(after[other] < total[other] for other in content[index]):
                chosen.add(index)
                break
