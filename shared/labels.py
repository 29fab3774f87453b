"""Labels: the free words of a file name, made safe to keep and safe to show.

Whoever can put a file into the inbox chooses its name, so a label is written by a stranger. It is cleaned
once, when it comes in, and escaped wherever it is shown.
"""

import unicodedata

LABEL_MAX_CHARACTERS = 64

# Only this much of a text is looked at: normalising a long run of combining marks takes quadratic time.
_READ_CHARACTERS = 1024


def clean_label(text: str) -> str:
    """Make a label of any text.

    Returns at most 64 printable characters in Unicode NFC, possibly none. Runs of white space, line ends
    among them, become one space; control characters, lone surrogates and invisible format characters,
    bidirectional controls among them, are dropped. Cleaning twice changes nothing.
    """
    spaced = "".join(" " if character.isspace() else character for character in text[:_READ_CHARACTERS])
    kept = "".join(character for character in spaced if character.isprintable())
    label = " ".join(unicodedata.normalize("NFC", kept).split())
    return label[:LABEL_MAX_CHARACTERS].rstrip()


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
