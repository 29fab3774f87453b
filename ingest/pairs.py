"""Pairs: when do two angles that follow each other in a file name make a place.

A wrong place sends help to the wrong street, a name not understood only costs a question. So a pair is
taken where nothing else can be meant, refused with a reason where it was meant and can't be read, and left
alone where it may be anything else: a date, a time, a version, a size.
"""

import math
import re
from dataclasses import replace
from enum import Enum

from ingest.angles import Angle, Shape
from shared.coordinates import Coordinates, CoordinatesError
from shared.errors import PermanentError

STRONG_DECIMALS = 3  # about 100 m: sizes, versions and times of day seldom have so many
REMEDY = "name it like 33.8568, 151.2153.jpeg: decimal degrees, latitude first, minus for south and west"


class FileNameError(PermanentError):
    """Raised when a file name tries to tell a place and fails.

    ``reason`` is one of ``out_of_range``, ``not_a_number`` and ``ambiguous``.
    """

    default_reason = "ambiguous"

    def __init__(self, detail: str, *, reason: str | None = None, remedy: str = REMEDY) -> None:
        super().__init__(detail, reason=reason, remedy=remedy)


class Gap(Enum):
    """What stands between two angles."""

    COMMA = "comma"
    """a comma or semicolon, with or without spaces"""
    SPACE = "space"
    """spaces or underscores; or a hyphen, where letters make clear that it is no sign"""
    NOTHING = "nothing"
    """letters or signs alone part them: ``19.4326N99.1332W``, ``+33.8568+151.2153`` (ISO 6709)"""
    HYPHEN = "hyphen"
    """a hyphen that could be the sign of the second"""
    OTHER = "other"
    """words or marks, or numbers that don't go together: no pair"""


_COMMA_GAP = re.compile(r"[ _]{0,3}[,;][ _]{0,3}")
_SPACE_GAP = re.compile(r"[ _]{1,4}")
_HYPHEN_GAP = re.compile(r"[ _,;]{0,2}-[ _]{0,2}")


def gap_between(text: str, first: Angle, second: Angle) -> Gap:
    """Tell what parts two neighbouring angles of a text."""
    between = text[first.end : second.start]
    lettered = bool(first.letter and second.letter)
    if Shape.BARE in (first.shape, second.shape) and not (lettered and first.shape is second.shape):
        return Gap.OTHER
    if not between:
        if lettered or (second.sign and (first.sign or second.sign == "+")):
            return Gap.NOTHING
        return Gap.HYPHEN if second.sign else Gap.OTHER
    if _COMMA_GAP.fullmatch(between):
        return Gap.COMMA
    if _SPACE_GAP.fullmatch(between):
        return Gap.SPACE
    if _HYPHEN_GAP.fullmatch(between):
        return Gap.SPACE if lettered else Gap.HYPHEN
    return Gap.OTHER


def is_strong(angle: Angle) -> bool:
    """Tell whether an angle looks like one wherever it stands in a name."""
    if angle.touched or angle.shape in (Shape.WHOLE, Shape.CLOCK, Shape.MALFORMED):
        return False
    if angle.shape is not Shape.DECIMAL:
        return True
    marked = angle.axis is not None and not angle.letter_apart and not angle.letter_small
    return angle.magnitude_deg <= 180 and (marked or angle.decimals >= STRONG_DECIMALS)


def read_pair(first: Angle, second: Angle, gap: Gap, *, at_start: bool) -> tuple[Coordinates, Angle]:
    """Read two angles that are taken for a place.

    Args:
        first: the left one.
        second: the right one.
        gap: what parts them.
        at_start: nothing but separators stands before them.

    Returns:
        the place, and the second angle without a letter that turned out to begin the label.

    Raises:
        FileNameError: they can't be read, or in more than one way.
    """
    if Shape.MALFORMED in (first.shape, second.shape) or second.touched:
        raise FileNameError("one of the two coordinates is not a number", reason="not_a_number")
    if gap is Gap.HYPHEN:
        raise FileNameError("a hyphen stands where it could part the coordinates or mean minus")
    first, second = _settle_letters(first, second, gap, at_start=at_start)
    if any(math.isinf(angle.magnitude_deg) and angle.shape is not Shape.DECIMAL for angle in (first, second)):
        raise FileNameError("minutes and seconds must be less than 60", reason="out_of_range")
    if first.letter_twice or second.letter_twice:
        raise FileNameError("a coordinate has letters on both sides")
    if first.axis and first.axis == second.axis:
        raise FileNameError(f"both coordinates are marked as {first.axis}")
    values_deg = [_signed_deg(first), _signed_deg(second)]
    # In lat-33.8568_lon151.2153 the hyphen is no separator, as the other word has none.
    worded = first.axis and second.axis and not second.sign_joined
    if first.sign == "-" and first.sign_joined and not (first.letter or worded):
        raise FileNameError("a hyphen before the latitude could mean minus or belong to the label")
    longitude_first = first.axis == "longitude" or second.axis == "latitude"
    latitude_deg, longitude_deg = reversed(values_deg) if longitude_first else values_deg
    try:
        return Coordinates(latitude_deg=latitude_deg, longitude_deg=longitude_deg), second
    except CoordinatesError as error:
        raise _out_of_range(error, latitude_deg, longitude_deg, marked=longitude_first) from error


def _settle_letters(first: Angle, second: Angle, gap: Gap, *, at_start: bool) -> tuple[Angle, Angle]:
    """Decide on a lone letter that is parted from its number: hemisphere, or a word of the label."""
    if first.axis and second.axis:
        return first, second
    if (first.axis == "longitude" and not first.letter) or (second.axis == "latitude" and not second.letter):
        raise FileNameError(f"only one coordinate is marked, and as the {first.axis or second.axis}")
    if second.letter_apart and second.letter_side == "after":
        if second.letter != "E":  # east is what is read without it; the others would move the place
            side = {"W": "west", "N": "north, of a latitude that comes second", "S": "south, likewise"}
            raise FileNameError(
                f"the {second.letter} after the coordinates could mean {side[second.letter]}, "
                "or belong to the label"
            )
        return first, _without_letter(second)
    if first.letter_apart:
        beside_comma = gap is Gap.COMMA and first.letter_side == "after"
        if first.letter in ("E", "W") and not beside_comma:
            raise FileNameError(f"the {first.letter} could belong to either coordinate, or to the label")
        if first.letter == "S" and first.letter_side == "before" and not at_start:
            raise FileNameError("the S before the coordinates could mean south or belong to the label")
    return first, second


def _without_letter(angle: Angle) -> Angle:
    return replace(angle, end=angle.end - 2, letter="", letter_side="", letter_apart=False, axis=None)


def _signed_deg(angle: Angle) -> float:
    # In 33.8568S-151.2153E the hyphen parts the two; anywhere else it is a second way to say the side.
    if angle.letter and angle.sign == "-" and not (angle.sign_joined and angle.letter_side == "after"):
        raise FileNameError(f"a minus and the letter {angle.letter} together could mean either side")
    negative = angle.letter in ("S", "W") if angle.letter else angle.sign == "-"
    return -angle.magnitude_deg if negative else angle.magnitude_deg


def _out_of_range(
    error: CoordinatesError, latitude_deg: float, longitude_deg: float, *, marked: bool
) -> FileNameError:
    if not marked and abs(latitude_deg) <= 180 and abs(longitude_deg) <= 90:
        swapped = Coordinates(latitude_deg=longitude_deg, longitude_deg=latitude_deg)
        remedy = f"latitude comes first: name it {swapped} if that is the place"
        return FileNameError(error.detail, reason="out_of_range", remedy=remedy)
    return FileNameError(error.detail, reason="out_of_range")
