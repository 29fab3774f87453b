"""Stems: a file name without its extension, with one way to write each sign."""

import re
import unicodedata
from dataclasses import dataclass
from urllib.parse import unquote

SEPARATORS = " _,;-@#.:"
OPENING, CLOSING = "([{", ")]}"
_READ_CHARACTERS = 1024  # a file name has 255 bytes; what is longer is none

_PICTURE_EXTENSIONS = frozenset(
    {"jpg", "jpeg", "jpe", "jfif", "png", "webp", "bmp", "dib", "tif", "tiff", "mpo", "heic", "heif", "gif"}
)
_EXTENSION = re.compile(r"[A-Za-z]{2,10}")
_COPY_MARK = re.compile(r"[ _]{0,2}\([0-9]{1,3}\)|[ _]-[ _](?:Copy|Copia|Copie|Kopie|copy|copia|copie)")
_COPY_MARK_CHARACTERS = 12

# What people and their keyboards write for the same sign. The last lines are degree signs damaged on the way:
# UTF-8 read as Latin-1, and single Latin-1 bytes (as Python keeps undecodable ones).
_SAME_SIGN = {
    "-": "\u2212\uff0d\ufe63\u2010\u2011\u2013",
    "+": "\uff0b",
    ",": "\uff0c\u3001\u060c",
    ";": "\uff1b",
    ".": "\uff0e",
    " ": "\u00a0\u202f\u2009\u3000\t",
    "'": "\u2032\u2019\u2018\u00b4`\u02b9\u02bc",
    '"': "\u2033\u201d\u201c\u02ba",
    "(": "\uff08",
    ")": "\uff09",
    "°": "\u00ba\u02da\u2070\udcb0\udcba",
}
_TRANSLATION = {ord(variant): sign for sign, variants in _SAME_SIGN.items() for variant in variants}

_PERCENT = re.compile(r"%(?:2[0Cc]|3[Bb]|[Cc]2%[Bb]0)")

# 33,8568 151,2153: commas for points, told from separators by what stands between the two numbers.
_DECIMAL_COMMAS = re.compile(
    r"""
    (?<![0-9])(?<![0-9][.,]) ([0-9]{1,3}+),([0-9]++)
    ( (?:°?[ _]?[NSEWOnsewo](?![A-Za-z])|°) [ _;,]{0,4} | [ _;]{1,4} )
    ( [-+]? (?:[NSEWOnsewo][ _]?)? )
    ([0-9]{1,3}+),([0-9]++) (?![.,]?[0-9])
    """,
    re.VERBOSE,
)


@dataclass(frozen=True, kw_only=True, slots=True)
class Stem:
    """A file name without extension and copy marks, in two texts of the same length.

    Attributes:
        shown: as the sender wrote it, in Unicode NFC: for the label.
        plain: with one character for each sign, and points for decimal commas: for reading numbers.
    """

    shown: str
    plain: str


def read_stem(name: str) -> Stem:
    """Take a file name apart."""
    shown = name[:_READ_CHARACTERS]
    if _PERCENT.search(shown):
        shown = unquote(shown, errors="surrogateescape")
    shown = unicodedata.normalize("NFC", shown).replace("Â°", "°")
    plain = shown.translate(_TRANSLATION)
    plain = _DECIMAL_COMMAS.sub(r"\1.\2\3\4\5.\6", plain[: _stem_length(plain)])
    return Stem(shown=shown[: len(plain)], plain=plain)


def _stem_length(name: str) -> int:
    """Where the extensions and the marks of a second copy begin. Decimals are no extension."""
    head, dot, extension = name.rpartition(".")
    if dot and _EXTENSION.fullmatch(extension.rstrip()):
        name = head
        while dot and extension.strip().lower() in _PICTURE_EXTENSIONS:  # photo.jpg.jpeg
            name = head
            head, dot, extension = head.rpartition(".")
    name = name.rstrip()
    while mark := _copy_mark(name):
        name = name[:mark]
    return len(name)


def _copy_mark(name: str) -> int:
    """Where a mark such as ``(2)`` at the end begins, or 0."""
    for mark in _COPY_MARK.finditer(name, max(0, len(name) - _COPY_MARK_CHARACTERS)):
        if mark.end() == len(name):
            return mark.start()
    return 0
