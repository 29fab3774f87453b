"""Labels: the free words of a file name, made safe to keep and safe to show.

Whoever can put a file into the inbox chooses its name, so a label is written by a stranger. It is cleaned
once, when it comes in, and escaped wherever it is shown.
"""

import unicodedata

LABEL_MAX_CHARACTERS = 64

# Default_Ignorable_Code_Point of Unicode's DerivedCoreProperties.txt (15.0): nothing is drawn for them, but
# Python calls many of them printable. And the Braille pattern without dots, which is drawn as nothing.
_INVISIBLE = (
    (0x00AD, 0x00AD),
    (0x034F, 0x034F),
    (0x061C, 0x061C),
    (0x115F, 0x1160),
    (0x17B4, 0x17B5),
    (0x180B, 0x180F),
    (0x200B, 0x200F),
    (0x202A, 0x202E),
    (0x2060, 0x206F),
    (0x2800, 0x2800),
    (0x3164, 0x3164),
    (0xFE00, 0xFE0F),
    (0xFEFF, 0xFEFF),
    (0xFFA0, 0xFFA0),
    (0xFFF0, 0xFFF8),
    (0x1BCA0, 0x1BCA3),
    (0x1D173, 0x1D17A),
    (0xE0000, 0xE0FFF),
)
_DROPPED = dict.fromkeys(code for first, last in _INVISIBLE for code in range(first, last + 1))

# Only this much of a text is looked at: normalising a long run of combining marks takes quadratic time.
_READ_CHARACTERS = 1024


def clean_label(text: str) -> str:
    """Make a label of any text.

    Returns at most 64 printable characters in Unicode NFC, possibly none. Runs of white space, line ends
    among them, become one space; control characters, lone surrogates and whatever is invisible, bidirectional
    controls and an emoji's variation selector among them, are dropped. Cleaning twice changes nothing.
    """
    spaced = "".join(" " if character.isspace() else character for character in text[:_READ_CHARACTERS])
    kept = "".join(character for character in seen(spaced) if character.isprintable())
    label = " ".join(unicodedata.normalize("NFC", kept).split())
    return label[:LABEL_MAX_CHARACTERS].rstrip()


def seen(text: str) -> str:
    """A text without what is drawn as nothing: two that look the same by that are the same."""
    return text.translate(_DROPPED)


def escape_label(text: str) -> str:
    r"""Make any text safe to show on a terminal or a page: one line that stays in its place.

    Whatever is not printable becomes ``\uXXXX`` (``\UXXXXXXXX`` above U+FFFF): control characters and so
    ANSI escapes, line ends, bidirectional controls, other invisible characters, lone surrogates. Everything
    else stays. A page must still escape its HTML.
    """
    return "".join(character if character.isprintable() else _escape(character) for character in text)


def _escape(character: str) -> str:
    code = ord(character)
    return f"\\u{code:04X}" if code <= 0xFFFF else f"\\U{code:08X}"
