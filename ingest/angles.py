"""Angles in a line of text: each number that could be a latitude or a longitude, and how it is written.

Nothing is decided here about places. A file name also holds dates, times, counters and addresses, so every
number is reported with what tells it from those: its shape, its decimals, its letters, what touches it.

Every pattern is possessive or bounded, so reading takes linear time for any text.
"""

import math
import re
from collections.abc import Iterator
from dataclasses import dataclass, replace
from enum import Enum
from typing import Literal

Axis = Literal["latitude", "longitude"]


class Shape(Enum):
    """How an angle is written."""

    WHOLE = "whole"
    """``33``"""
    DECIMAL = "decimal"
    """``33.8568``, ``33.8568°``"""
    SEXAGESIMAL = "sexagesimal"
    """``33°51'24.5"``, ``33d51m24.5s``"""
    BARE = "bare"
    """``33-51-24.5S``: degrees, minutes and seconds only because a hemisphere letter says so"""
    CLOCK = "clock"
    """``10.02.03``, ``24.11.2026``, ``192.168.1.64``: a time, a date or an address"""
    MALFORMED = "malformed"
    """``12.3.4``, ``1e5``, ``nan``: stands where a number could, and is none"""


@dataclass(frozen=True, kw_only=True, slots=True)
class Angle:
    """One number and what is written around it.

    Attributes:
        start: index of its first character, letters and sign included.
        end: index after its last one.
        shape: how it is written.
        magnitude_deg: without sign; NaN where the shape is no number, infinite where minutes or seconds are
            60 or more.
        integer_digits: digits before the point.
        decimals: digits after the point.
        sign: ``"-"``, ``"+"`` or ``""``.
        sign_joined: the sign touches what stands before it, so it may be a hyphen.
        letter: hemisphere ``N``, ``S``, ``E``, ``W``, or ``""``.
        letter_side: where the letter stands: ``"before"`` or ``"after"`` the number.
        letter_small: the letter is a small one: ``s`` also means seconds.
        letter_apart: the letter is parted from the number, so it may be a word of its own.
        letter_twice: another letter stands on the other side, so either may be a word of its own.
        axis: what the letter, or a word such as ``lat``, says it is; None when nothing does.
        touched: a letter or digit of some other word touches it on either side.
    """

    start: int
    end: int
    shape: Shape
    magnitude_deg: float = math.nan
    integer_digits: int = 0
    decimals: int = 0
    sign: str = ""
    sign_joined: bool = False
    letter: str = ""
    letter_side: str = ""
    letter_small: bool = False
    letter_apart: bool = False
    letter_twice: bool = False
    axis: Axis | None = None
    touched: bool = False

    @property
    def is_marked(self) -> bool:
        """Whether anything but its digits says that it is an angle."""
        return self.axis is not None or self.shape in (Shape.SEXAGESIMAL, Shape.BARE)


_NOT_IN_WORD = r"(?<![^\W_])"
_LETTER = r"[NSEWOnsewo](?![^\W_])"
_NUMBER = r"[0-9]++(?:\.[0-9]++)?+"

_START = re.compile(
    rf"""
    (?:
        {_NOT_IN_WORD} (?P<axis>(?i:lat(?:itude?)?|lng|lon(?:g(?:itude?)?)?))
        [ _:=]{{0,2}} (?=[-+NSEWOnsewo0-9])
    )?
    (?: (?<![^\W\d_]) (?P<letter>[NSEWOnsewo]) (?P<gap>[ _]?) (?=[-+0-9]) )?
    (?P<sign>[-+])? (?=[0-9])
    | {_NOT_IN_WORD} [-+]? (?P<word>(?i:nan|inf|infinity|none|null|undefined)) (?![^\W_])
    """,
    re.VERBOSE,
)
_SYMBOLS = re.compile(
    rf"""
    ({_NUMBER}) [ ]?(?:°|deg(?![a-z]))
    (?: [ _]?({_NUMBER}) (?: [ ]?'(?!') | (?={_LETTER}) )
        (?: [ _]?({_NUMBER}) (?: [ ]?(?:"|'') | (?=[ _]?{_LETTER}) )
        | ({_NUMBER}) (?![°'.0-9A-Za-z]|[ ][°'])
        )?
    )?
    """,
    re.VERBOSE,
)
# As geocachers write: degrees, then minutes with three decimals and no mark.
_OPEN_MINUTES = re.compile(r"([0-9]{1,3}+)[ ]?°[ _]?([0-9]{1,2}+\.[0-9]{3}+)(?![0-9.A-Za-z]|[ ]?[°'])")
_WORDS = re.compile(
    rf"""
    ({_NUMBER})[dD] [ ]?({_NUMBER})[mM]
    (?: [ ]?({_NUMBER}) (?: s(?![a-z]{{2}}) | S(?={_LETTER}) | (?={_LETTER}) ) )?
    """,
    re.VERBOSE,
)
# Only with a hemisphere letter, else it is a date: the caller looks for the letter.
_BARE = re.compile(
    r"""
    ([0-9]{1,3}+)
    (?: ([-_:\ ])([0-9]{1,2}+)\2([0-9]{1,2}+(?:\.[0-9]++)?+)
      | [-:]([0-9]{1,2}+(?:\.[0-9]++)?+)
    )
    """,
    re.VERBOSE,
)
_RUN = re.compile(r"([0-9]++(?:\.[0-9]++)*+)(e[-+]?+[0-9]++(?![^\W_]|[.°]))?")
_LETTER_AFTER = re.compile(r"([NSEWOnsewo])(?![^\W\d_])|[ _]([NSEWOnsewo])(?![^\W_]|')")
_NUMBER_NEXT = re.compile(r"[ _]?[-+]?[0-9]")
_DATE_OR_TIME = re.compile(
    r"[0-9]{1,2}\.[0-9]{1,2}\.(?:[0-9]{4}|[0-9]{2})|(?:19|20)[0-9]{2}\.[0-9]{1,2}\.[0-9]{1,2}"
)
_GOES_ON = re.compile(r"[^\W_]|[-.:][0-9]|[ ]?[°'\"]")
_EAST_ASIAN = 0x2E80  # from here on scripts run words together without spaces


def find_angles(text: str) -> list[Angle]:
    """Find every number of a text, from left to right and without overlap."""
    angles = list(_scan(text))
    for index, angle in enumerate(angles):
        previous = angles[index - 1] if index else None
        after = angles[index + 1].start if index + 1 < len(angles) else len(text)
        if previous and previous.end == angle.start and not angle.sign:
            touches_left = previous.touched
        else:
            touches_left = angle.start > 0 and not angle.sign and _in_word(text[angle.start - 1])
        touches_right = angle.end < after and _in_word(text[angle.end])
        if touches_left or touches_right:
            angles[index] = replace(angle, touched=True)
    return angles


def _scan(text: str) -> Iterator[Angle]:
    at = 0
    while start := _START.search(text, at):
        if start["word"]:
            angle = Angle(start=start.start(), end=start.end(), shape=Shape.MALFORMED)
        else:
            angle = _with_letter(_read(text, start), text, start)
        at = angle.end
        yield angle


def _read(text: str, start: re.Match[str]) -> Angle:
    """The longest form that fits at a place where a number begins."""
    at, begin = start.end(), start.start()
    for form in (_OPEN_MINUTES, _SYMBOLS, _WORDS):
        if match := form.match(text, at):
            return _angle(begin, match.end(), [part for part in match.groups() if part is not None])
    if (match := _BARE.match(text, at)) and _is_lettered(text, start, match.end()):
        if _goes_on_before(text, begin, match[2]):
            return Angle(start=begin, end=match.end(), shape=Shape.MALFORMED)
        bare = _angle(begin, match.end(), [part for part in match.group(1, 3, 4, 5) if part is not None])
        return replace(bare, shape=Shape.BARE)
    run = _RUN.match(text, at)
    assert run is not None  # _START has seen a digit
    if run[2] or run[1].count(".") > 1:
        dated = _DATE_OR_TIME.fullmatch(run[1]) or run[1].count(".") > 2
        return Angle(start=begin, end=run.end(), shape=Shape.CLOCK if dated else Shape.MALFORMED)
    return _angle(begin, run.end(), [run[1]])


def _goes_on_before(text: str, begin: int, join: str | None) -> bool:
    """A longer row of numbers, of which the last ones happen to bear a letter."""
    if text[begin] in "-+":
        return begin > 0 and text[begin - 1].isdecimal()
    return begin > 1 and text[begin - 1] == (join or "-") and text[begin - 2].isdecimal()


def _angle(begin: int, end: int, parts: list[str]) -> Angle:
    """Degrees, perhaps minutes, perhaps seconds: decimals only in the last of them."""
    numbers = [float(part) for part in parts]
    sane = all(number < 60 for number in numbers[1:]) and not any("." in part for part in parts[:-1])
    magnitude_deg = sum(number / 60.0**power for power, number in enumerate(numbers))
    shape = Shape.DECIMAL if "." in parts[0] else Shape.WHOLE
    if len(parts) > 1:
        shape = Shape.SEXAGESIMAL
    return Angle(
        start=begin,
        end=end,
        shape=shape,
        magnitude_deg=magnitude_deg if sane else math.inf,
        integer_digits=len(parts[0].partition(".")[0]),
        decimals=len(parts[-1].partition(".")[2]),
    )


def _with_letter(angle: Angle, text: str, start: re.Match[str]) -> Angle:
    """Add sign, letter and axis."""
    end, letter, side, apart, twice = angle.end, "", "", False, False
    after = _LETTER_AFTER.match(text, angle.end)
    leads_on = after is not None and _NUMBER_NEXT.match(text, after.end()) is not None
    if start["letter"]:
        letter, side, apart = start["letter"], "before", bool(start["gap"])
        twice = after is not None and not leads_on and (after[1] is not None or after[2].isupper())
        end = after.end() if after and twice else end
    elif after and (after[1] or not leads_on or _could_own_letter(angle, text)):
        end, letter, side, apart = after.end(), after[1] or after[2], "after", after[1] is None
    small, letter = letter.islower(), letter.upper().replace("O", "W")  # oeste, ouest, ovest
    axis: Axis | None = None
    if letter or start["axis"]:
        northern = letter in ("N", "S") if letter else start["axis"][:2].lower() == "la"
        axis = "latitude" if northern else "longitude"
    sign_at = start.start("sign")
    return replace(
        angle,
        end=end,
        sign=start["sign"] or "",
        sign_joined=sign_at > 0 and (_in_word(text[sign_at - 1]) or text[sign_at - 1] in "-+.)]}"),
        letter=letter,
        letter_side=side,
        letter_small=small,
        letter_apart=apart,
        letter_twice=twice,
        axis=axis,
    )


def _could_own_letter(angle: Angle, text: str) -> bool:
    """In ``0042 S 33.8568 E 151.2153`` the S goes with the number after it, as the 0042 can't be an angle."""
    touched = angle.start > 0 and _in_word(text[angle.start - 1])
    return not touched and angle.shape not in (Shape.WHOLE, Shape.CLOCK, Shape.MALFORMED)


def _is_lettered(text: str, start: re.Match[str], end: int) -> bool:
    """A hemisphere letter stands before the number, which ends there, or one stands after it."""
    if start["letter"]:
        return not _GOES_ON.match(text, end)
    after = _LETTER_AFTER.match(text, end)
    return after is not None and not (after[2] or "").islower()


def _in_word(character: str) -> bool:
    return character.isalnum() and (character.isdecimal() or ord(character) < _EAST_ASIAN)
