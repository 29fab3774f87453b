"""Candidates: which of the numbers in a file name are taken for a place.

The pair a name begins with is believed more easily than one further on, where only numbers that look like
nothing else count.
"""

import re
from dataclasses import dataclass

from ingest.angles import Angle, Shape, find_angles
from ingest.pairs import STRONG_DECIMALS, FileNameError, Gap, gap_between, is_strong, read_pair
from ingest.stems import CLOSING, OPENING, SEPARATORS
from shared.coordinates import Coordinates

# A comma once as point and once not, or three commas in a row: two ways to read it.
_MIXED_COMMAS = re.compile(
    r"""
    [-+]? (?: [0-9]{1,3}+,[0-9]{3,}+ [ ,;_]{1,4} [-+]?[0-9]{1,3}+[.,][0-9]{3}
            | [0-9]{1,3}+\.[0-9]{3,}+ [ ,;_]{1,4} [-+]?[0-9]{1,3}+,[0-9]{3} )
    """,
    re.VERBOSE,
)

_DAY = re.compile(r"(?:19|20)[0-9]{6}(?![0-9])")
_PADDED = re.compile(r"(?<![0-9.])0[0-9]")


@dataclass(frozen=True, kw_only=True, slots=True)
class Candidate:
    """A place and where it is written: ``text[start:end]``."""

    coordinates: Coordinates
    start: int
    end: int


def find_candidates(text: str) -> list[Candidate]:
    """Find every place in a file name without its extension, from left to right.

    Raises:
        FileNameError: a pair was meant for a place and can't be read, or in more than one way.
    """
    if _MIXED_COMMAS.match(text.lstrip(SEPARATORS + OPENING)):
        raise FileNameError("commas stand both for decimal points and between the coordinates")
    angles = find_angles(text)
    pairs = _first_pair(text, angles)
    pairs += _later_pairs(text, angles[2:] if pairs else angles)
    found = []
    for first, second, gap in pairs:
        index = angles.index(first)
        if index and _reaches_over(text, angles[index - 1], first):
            raise FileNameError(f"the {angles[index - 1].letter} before the coordinates could belong to them")
        at_start = not text[: first.start].strip(SEPARATORS + OPENING)
        coordinates, second_read = read_pair(first, second, gap, at_start=at_start)
        found.append(Candidate(coordinates=coordinates, start=first.start, end=second_read.end))
    return found


def _reaches_over(text: str, previous: Angle, first: Angle) -> bool:
    """Whether the number before a pair took a letter that the pair lacks, or looks like one of three."""
    if text[previous.end : first.start].strip(SEPARATORS):
        return False
    apart_after = previous.letter_apart and previous.letter_side == "after"
    return (apart_after and not first.letter) or previous.shape is Shape.BARE


def _first_pair(text: str, angles: list[Angle]) -> list[tuple[Angle, Angle, Gap]]:
    """The pair the name begins with, if it does."""
    if len(angles) < 2 or text[: angles[0].start].strip(SEPARATORS + OPENING):
        return []
    first, second = angles[:2]
    gap = gap_between(text, first, second)
    if not _is_place_at_start(text, first, second, gap):
        return []
    if text[: first.start].strip() == "-":
        raise FileNameError("a hyphen stands apart before the latitude and could mean minus")
    return [(first, second, gap)] if _has_no_rival(text, angles, gap) else []


def _has_no_rival(text: str, angles: list[Angle], gap: Gap) -> bool:
    """Whether the first two of three numbers are the place, rather than the last two.

    Raises:
        FileNameError: either could be.
    """
    first, second, *others = angles[:4]
    if not others or others[0].touched:
        return True
    third = others[0]
    next_gap = gap_between(text, second, third)
    if next_gap in (Gap.OTHER, Gap.HYPHEN):
        return True
    rivals = is_strong(second) and is_strong(third) and second.is_marked == third.is_marked
    alike = first.is_marked == second.is_marked
    if rivals and (not alike or (not is_strong(first) and (first.is_marked or first.magnitude_deg > 90))):
        return False  # the first is part of a label
    if not alike:
        clear = third.shape is Shape.WHOLE
    elif first.is_marked:
        clear = not third.is_marked or _is_label_or_pair(text, third, others[1:])
    elif rivals:
        # Latitude, longitude, altitude. But in 12.345 33.8568, 151.2153 the comma speaks for the others.
        clear = is_strong(first) and not (gap is Gap.SPACE and next_gap is Gap.COMMA)
    else:
        comma_later = gap is Gap.SPACE and next_gap is Gap.COMMA
        clear = third.shape is not Shape.DECIMAL or not (third.sign or comma_later or _could_be_clock(first))
    if not clear:
        raise FileNameError("three numbers could be coordinates")
    return True


def _is_label_or_pair(text: str, third: Angle, fourth: list[Angle]) -> bool:
    """After two marked coordinates: ``S7`` is a label, and two more marked ones are the same place again."""
    if third.shape is Shape.WHOLE:
        return not (third.letter_apart and third.letter_side == "before")
    return any(is_strong(angle) and _is_linked(text, third, angle) for angle in fourth)


def _is_place_at_start(text: str, first: Angle, second: Angle, gap: Gap) -> bool:
    """Whether the name begins with a place, or with a failed try at one, which reading it will say."""
    shapes = {first.shape, second.shape}
    if gap is Gap.OTHER or Shape.CLOCK in shapes:
        return False
    alone = not text[second.end :].strip(SEPARATORS + CLOSING)
    if Shape.MALFORMED in shapes:
        if shapes == {Shape.MALFORMED} or gap not in (Gap.COMMA, Gap.SPACE):
            return alone and gap in (Gap.COMMA, Gap.SPACE)
        return is_strong(first) or is_strong(second) or (gap is Gap.COMMA and Shape.WHOLE not in shapes)
    if second.touched:
        return min(first.decimals, second.decimals) >= STRONG_DECIMALS
    if is_strong(first) and is_strong(second):
        return True
    if gap is Gap.COMMA:
        return _is_place_by_comma(text, first, second, alone=alone)
    return gap in (Gap.SPACE, Gap.NOTHING) and _is_place_by_space(first, second, alone=alone)


def _is_place_by_comma(text: str, first: Angle, second: Angle, *, alone: bool) -> bool:
    """Two numbers with a comma between them: decimals are believed, whole numbers only by themselves."""
    wholes = [angle for angle in (first, second) if angle.shape is Shape.WHOLE]
    glued = second.start - first.end == 1 and not (first.letter or second.letter or second.sign)
    if not wholes:
        clocks = _could_be_clock(first) and _could_be_clock(second)
        return not clocks or (alone and not _PADDED.search(text[first.start : second.end]))
    if len(wholes) == 2:
        if not alone or _DAY.match(text, first.start):
            return False
        if glued:
            raise FileNameError("the comma could be a decimal comma or part two whole numbers")
        return True
    return _is_place_with_whole(text, wholes[0], first, second, alone=alone, glued=glued)


def _is_place_with_whole(
    text: str, whole: Angle, first: Angle, second: Angle, *, alone: bool, glued: bool
) -> bool:
    """One whole number and one with a fraction: ``33, 151.2153``."""
    fraction = second if whole is first else first
    precise = fraction.decimals >= STRONG_DECIMALS or fraction.shape is Shape.SEXAGESIMAL
    if whole.integer_digits > 3 or not (precise or alone):
        return False
    # 12,345.678 and 12.345,678 are one number where thousands are marked.
    thousands = fraction.integer_digits == 3 if whole is first else fraction.decimals == 3
    unfinished = whole is second and text[second.end :].lstrip(SEPARATORS)[:1].isdecimal()
    if (glued and thousands) or unfinished:
        raise FileNameError("one coordinate is whole, and the digits beside it could belong to it")
    return True


def _is_place_by_space(first: Angle, second: Angle, *, alone: bool) -> bool:
    """Two numbers with only space between them need points, and must be no times, sizes or versions."""
    if first.shape is not Shape.DECIMAL or second.shape is not Shape.DECIMAL:
        return False
    integer_digits = sorted((first.integer_digits, second.integer_digits))
    decimals = min(first.decimals, second.decimals)
    if integer_digits[1] > 3:
        return False
    lettered = first.is_marked and second.is_marked and not first.letter_small
    if first.sign or second.sign or lettered:
        return True
    if _could_be_clock(first) and _could_be_clock(second):
        return False
    return decimals >= 2 or (alone and integer_digits[0] >= 2)


def _could_be_clock(angle: Angle) -> bool:
    """``10.02`` (a time) or ``24.11`` (a day)."""
    if angle.letter or angle.sign or angle.decimals != 2 or angle.integer_digits > 2:
        return False
    whole, hundredths = divmod(round(angle.magnitude_deg * 100), 100)
    return whole <= 31 and hundredths < 60


def _later_pairs(text: str, angles: list[Angle]) -> list[tuple[Angle, Angle, Gap]]:
    """The pairs among angles that may stand anywhere in a name, because nothing else looks like them."""
    pairs: list[tuple[Angle, Angle, Gap]] = []
    for chain in _chains(text, angles):
        gaps = [gap_between(text, *chain[index : index + 2]) for index in range(len(chain) - 1)]
        if len(chain) == 3 and gaps.count(Gap.COMMA) == 1 and not chain[0].is_marked:
            starts: range | list[int] = [gaps.index(Gap.COMMA)]
        elif len(chain) > 1 and len(chain) % 2:
            raise FileNameError(f"{len(chain)} numbers could be coordinates")
        else:
            starts = range(0, len(chain), 2)
        pairs += [
            (chain[index], chain[index + 1], gaps[index])
            for index in starts
            if len(chain) > 1 and not _too_far_north(chain[index], chain[index + 1])
        ]
    return pairs


def _chains(text: str, angles: list[Angle]) -> list[list[Angle]]:
    """Runs of strong angles with nothing but separators between them."""
    chains: list[list[Angle]] = []
    for angle in angles:
        if not is_strong(angle):
            chains.append([])
        elif chains and chains[-1] and _is_linked(text, chains[-1][-1], angle):
            chains[-1].append(angle)
        else:
            chains.append([angle])
    return [chain for chain in chains if chain]


def _is_linked(text: str, first: Angle, second: Angle) -> bool:
    gap = gap_between(text, first, second)
    if gap is Gap.HYPHEN:  # 10.123-12.456 is a range
        return min(first.decimals, second.decimals) > STRONG_DECIMALS
    # A lone letter on the outer side may be a word, which reading the pair will settle.
    lone_before = first.letter_apart and first.letter_side == "before"
    lone_after = second.letter_apart and second.letter_side == "after"
    alike = first.is_marked == second.is_marked
    return gap is not Gap.OTHER and (alike or lone_before or lone_after)


def _too_far_north(first: Angle, second: Angle) -> bool:
    """Neither can be a latitude, so these two are something else."""
    return min(first.magnitude_deg, second.magnitude_deg) > 90 and not (first.axis or second.axis)
