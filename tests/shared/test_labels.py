"""Labels: whatever a stranger writes into a file name, what is kept is short and stays in its place."""

import unicodedata
from typing import Literal

import pytest
from hypothesis import given
from hypothesis import strategies as st

from shared.labels import LABEL_MAX_CHARACTERS, clean_label, escape_label

ANY_TEXT = st.text(alphabet=st.characters(), max_size=200)  # lone surrogates included


@pytest.mark.parametrize(
    ("text", "label"),
    [
        ("cam-7 2026-11-24T10.02", "cam-7 2026-11-24T10.02"),
        ("  two \t\n spaces\u00a0\u3000here ", "two spaces here"),
        ("Cafe\u0301 Ñandú 写真", "Café Ñandú 写真"),
        ("a\x00b\x1b[31mc\x7f", "ab[31mc"),
        ("left\u202eright\u2066x\u2069\u200f", "leftrightx"),
        ("bad\udcff byte\ud800", "bad byte"),
        ("zero\u200bwidth\ufeff", "zerowidth"),
        ("line\u2028para\u2029next", "line para next"),
        ("\x1f\x85 \u200b", ""),
        ("", ""),
    ],
)
def test_clean_label_keeps_only_printable_characters(text: str, label: str) -> None:
    """Control, invisible and undecodable characters go, white space is one space, letters stay."""
    assert clean_label(text) == label


@pytest.mark.parametrize("code", [0x34F, 0xFE0F, 0x3164, 0x115F, 0x17B4, 0xE0100, 0x2800, 0x1160, 0xFFA0])
def test_what_is_drawn_as_nothing_makes_no_other_label(code: int) -> None:
    """A label with it is the same as the label without it, for the rate, the cameras and whoever reads it."""
    character = chr(code)
    assert character.isprintable()
    assert clean_label(f"pla{character}za{character}") == "plaza"
    assert clean_label(character) == ""


def test_clean_label_is_cut_at_64_characters() -> None:
    """A longer label is cut, and a space at the cut goes too."""
    assert clean_label("x" * 100) == "x" * 64
    assert clean_label("x" * 63 + " yz") == "x" * 63


@given(ANY_TEXT)
def test_clean_label_is_printable_short_and_stable(text: str) -> None:
    """Any text becomes at most 64 printable NFC characters, and cleaning twice changes nothing."""
    label = clean_label(text)
    assert len(label) <= LABEL_MAX_CHARACTERS
    assert label.isprintable()
    assert label == unicodedata.normalize("NFC", label) == label.strip()
    assert clean_label(label) == label
    label.encode()


def test_clean_label_of_endless_accents_is_quick(monkeypatch: pytest.MonkeyPatch) -> None:
    """Of a million combining marks, which take minutes to normalise, only some are looked at."""
    lengths: list[int] = []
    normalize = unicodedata.normalize

    def spy(form: Literal["NFC", "NFD", "NFKC", "NFKD"], text: str) -> str:
        lengths.append(len(text))
        return normalize(form, text)

    monkeypatch.setattr(unicodedata, "normalize", spy)
    clean_label("a" + "\u0316\u0301" * 500_000)
    assert lengths and max(lengths) <= 1024


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("cam 7, Straße 写真 'x' \\", "cam 7, Straße 写真 'x' \\"),
        ("a\x1b[2Jb", "a\\u001B[2Jb"),
        ("a\r\nb\tc\x9b", "a\\u000D\\u000Ab\\u0009c\\u009B"),
        ("a\u202eb\u2067c\u061cd", "a\\u202Eb\\u2067c\\u061Cd"),
        ("a\u2028b", "a\\u2028b"),
        ("a\udcffb", "a\\uDCFFb"),
        ("a\U000e0041b", "a\\U000E0041b"),
    ],
)
def test_escape_label_shows_what_would_move_the_line(text: str, shown: str) -> None:
    """What could move a cursor or turn a line is spelled out, the rest is left alone."""
    assert escape_label(text) == shown


@given(ANY_TEXT)
def test_escape_label_leaves_nothing_that_acts(text: str) -> None:
    """Shown text holds no control, format or line-breaking character, and can be encoded."""
    shown = escape_label(text)
    assert shown.isprintable()
    assert not {unicodedata.category(character) for character in shown} & {"Cc", "Cf", "Cs", "Zl", "Zp"}
    shown.encode()


@given(ANY_TEXT)
def test_escape_label_leaves_clean_labels_alone(text: str) -> None:
    """A cleaned label is shown as it is."""
    label = clean_label(text)
    assert escape_label(label) == label
