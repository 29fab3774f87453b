"""File names that tell where a photograph was taken.

The plain form is ``33.8568, 151.2153.jpeg``: latitude, longitude, WGS 84 decimal degrees, and after a
separator whatever else the sender wants to say. People and cameras write it in many ways, and write many
other names that only look so, such as ``2026-11-24 10.02.03.jpg``.

A name is read in four steps: ``stems`` takes off the extension and settles the signs, ``angles`` finds the
numbers, ``candidates`` decides which of them are meant for a place, ``pairs`` reads two of them as one.
"""

import functools
from dataclasses import dataclass

from ingest.candidates import find_candidates
from ingest.pairs import FileNameError
from ingest.stems import CLOSING, OPENING, SEPARATORS, read_stem
from shared.coordinates import Coordinates
from shared.labels import clean_label

__all__ = ["FileNameError", "ParsedName", "format_name", "parse_name"]

_NAME_MAX_BYTES = 255  # of ext4, XFS and APFS
_SAME_PLACE_M = 100.0  # the same place in minutes and in decimals differs by rounding


@dataclass(frozen=True, kw_only=True, slots=True)
class ParsedName:
    """What a file name says.

    Attributes:
        coordinates: the place, or None when the name holds none, so that EXIF may be asked.
        label: what else it says, cleaned: a camera, a time; often empty.
    """

    coordinates: Coordinates | None
    label: str


@functools.lru_cache(maxsize=4096)  # asked when a file is claimed, and again when it is examined
def parse_name(name: str) -> ParsedName:
    """Read a file name, without its folder.

    Takes linear time for any text, undecodable bytes (surrogate escapes) included.

    Raises:
        FileNameError: the name tries to tell a place and fails: ``out_of_range``, ``not_a_number``, or
            ``ambiguous`` where there is more than one way to read it.
    """
    stem = read_stem(name)
    candidates = find_candidates(stem.plain)
    if not candidates:
        return ParsedName(coordinates=None, label=clean_label(stem.shown.strip(SEPARATORS)))
    place = candidates[0]
    if any(place.coordinates.distance_m(other.coordinates) > _SAME_PLACE_M for other in candidates[1:]):
        raise FileNameError("the name holds more than one place")
    label = _label(stem.shown[: place.start], stem.shown[place.end :])
    return ParsedName(coordinates=place.coordinates, label=label)


def format_name(coordinates: Coordinates, label: str = "", extension: str = "jpeg") -> str:
    """Write the name of a photograph in the plain form: ``33.8568, 151.2153 cam-7.jpeg``.

    The label is cleaned, cut to what a file name can hold, and left out if it would be read as part of the
    coordinates, such as ``W``; an ending that would be read as an extension goes. Read back, the name gives
    the same place to 7 decimals, and is written the same again.
    """
    place = str(coordinates)
    ending = f".{extension.lstrip('.')}"
    label = clean_label(label).replace("/", "-").strip(SEPARATORS)
    if label:
        # Before words, few decimals would look like counting or a time: "3, 4 people", "10.02, 11.30 news".
        precise = ", ".join(_with_decimals(number) for number in place.split(", "))
        room_bytes = _NAME_MAX_BYTES - len(f"{precise} {ending}".encode())
        label = label.encode()[:room_bytes].decode(errors="ignore").rstrip(SEPARATORS)
        name = f"{precise} {label}{ending}"
        read = _read_back(name, place)
        if read is not None:
            # Of a label that ends like a file's name, "plaza.webp", the ending would go at the next reading.
            return name if len(read) >= len(label) else format_name(coordinates, read, extension)
    return f"{place}{ending}"


def _with_decimals(number: str) -> str:
    whole, _, decimals = number.partition(".")
    return f"{whole}.{decimals:0<4}"


def _read_back(name: str, place: str) -> str | None:
    """The label that a name is read with, or None where it gives another place, or none."""
    try:
        parsed = parse_name(name)
    except FileNameError:
        return None
    return parsed.label if str(parsed.coordinates) == place else None


def _label(before: str, after: str) -> str:
    before = before.lstrip(SEPARATORS).rstrip(SEPARATORS + OPENING)
    after = after.rstrip(SEPARATORS).lstrip(SEPARATORS + CLOSING)
    label = f"{before} {after}".strip()
    inner = label[1:-1]
    if label.startswith("(") and label.endswith(")") and "(" not in inner and ")" not in inner:
        label = inner
    return clean_label(label)
