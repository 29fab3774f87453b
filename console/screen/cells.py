"""A row as one line of the table. Pure functions: a row goes in, text that is safe to print comes out."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime

from rich.cells import cell_len
from rich.text import Text

from console.screen.cases import (
    UNVERIFIED,
    calls,
    departments_of,
    is_check,
    is_finished,
    is_stood_down,
    label_of,
    number_of,
    part_words,
    repeats,
    shown,
    situation_of,
    sureness,
)
from console.screen.colours import ALARM, WARNING
from console.screen.moments import age, since_s
from shared.board import AssignmentPart, Row
from shared.labels import escape_label
from shared.moves import AssignmentState
from shared.routing import ALL, REVIEW, Routing

TITLES = ("", "no.", "situation", "sure", "age", "state", "holder", "place", "pics", "label")
# At most, and what a column gives up last to first on a narrow terminal: the rest is in the detail.
_MOST = (3, 8, 22, 10, 5, 14, 18, 19, 4, 64)
_LEAST = (3, 4, 9, 4, 4, 9, 5, 0, 0, 0)
_SHRINK = (9, 6, 2, 8, 7, 5)
_RIGHT = frozenset({4, 8})
_AGE, _PICTURES = 4, 8
_WIDEST_AGE = 4
_SECONDS_S = 600


@dataclass(frozen=True, slots=True)
class Line:
    """A row's cells, and how it is shown.

    Attributes:
        cells: one text for each of `TITLES`.
        style: rich style of the whole line; marks and words say the same without it.
    """

    cells: tuple[str, ...]
    style: str


def line(
    row: Row, department: str, routing: Routing, now: datetime, *, unseen: bool = False, asked: str = ""
) -> Line:
    """A row for the table of one board.

    Args:
        unseen: there is something new about it that nobody has looked at here.
        asked: the move that waits for an answer, in words, or an empty string.
    """
    part = shown(row, department)
    cells = (
        mark(row, department, unseen=unseen),
        number_of(row),
        situation_of(row, routing),
        sureness(row),
        age(since_s(row["opened_at"], now)),
        f"{asked}?" if asked else state(row, department, now),
        holder(row, part, department),
        f"{row['latitude_deg']:.4f},{row['longitude_deg']:.4f}",
        str(row["incident_count"]),
        label_of(row),
    )
    return Line(cells, _style(row, department, part))


def mark(row: Row, department: str, *, unseen: bool) -> str:
    """``!`` nobody has it, ``!!`` and called again, ``*`` something new."""
    called = "!!" if repeats(row, department) else "!" if calls(row, department) else ""
    return called or ("*" if unseen else "")


def state(row: Row, department: str, now: datetime) -> str:
    """How far it is; for a reviewer, until when to decide."""
    part = shown(row, department)
    if row["merged_into"]:
        return "merged"
    if part is None:
        return "-"
    if part["department"] == REVIEW and not is_finished(part):
        return review_state(row, part, now)
    words = part_words(part)
    if department != ALL:
        return words
    # How many departments are at least that far is more than their least advanced one says.
    called = len([each for each in calls(row, ALL) if each.department != REVIEW])
    return f"{words} {called}/{len(departments_of(row))}" if called > 1 else words


def review_state(row: Row, part: AssignmentPart, now: datetime) -> str:
    """Until when a reviewer can decide before it goes out undecided."""
    if is_check(row):
        return "check"
    if not part["due_at"]:
        return "gone out" if row["unverified"] else "undecided"
    left_s = -since_s(part["due_at"], now)
    if left_s <= 0:
        return "due now"
    return f"due in {left_s:.0f}s" if left_s < _SECONDS_S else f"due in {age(left_s)}"


def holder(row: Row, part: AssignmentPart | None, department: str) -> str:
    """Who has it; on `all` everybody who still has a part of it."""
    if department != ALL:
        return escape_label(part["holder"]) if part else ""
    names = dict.fromkeys(
        each["holder"] for each in row["assignments"] if each["holder"] and not is_finished(each)
    )
    return escape_label(", ".join(names))


def widths(lines: Sequence[Line], width: int) -> list[int]:
    """How wide each column is, so that a line fits `width` cells; 0 leaves the column out."""
    columns = list(zip(TITLES, *(each.cells for each in lines), strict=True))
    found = [
        min(most, max(*map(cell_len, column), least))
        for column, most, least in zip(columns, _MOST, _LEAST, strict=True)
    ]
    found[_AGE] = max(found[_AGE], _WIDEST_AGE)  # it grows between two looks at the widths
    for index in _SHRINK:
        over = _total(found) - width
        if over <= 0:
            break
        found[index] = max(_LEAST[index], found[index] - over)
        if found[index] < 4 and _LEAST[index] == 0:
            found[index] = 0  # what is left of it would say nothing
    return found


def header(columns: Sequence[int]) -> Text:
    """The titles of the columns."""
    return _join(TITLES, columns)


def drawn(row_line: Line, columns: Sequence[int], *, selected: bool) -> Text:
    """One line of the table; the selected one begins with ``>``."""
    marked = (">" if selected else " ") + row_line.cells[0]
    text = _join((marked, *row_line.cells[1:]), columns)
    text.stylize(row_line.style)
    if row_line.cells[3] == UNVERIFIED and columns[3]:
        start = sum(width + 1 for width in columns[:3] if width)
        text.stylize(f"bold {WARNING}", start, start + columns[3])
    return text


def _total(columns: Sequence[int]) -> int:
    return sum(columns) + sum(1 for width in columns if width) - 1


def _join(cells: Sequence[str], columns: Sequence[int]) -> Text:
    parts = []
    for index, (cell, width) in enumerate(zip(cells, columns, strict=True)):
        if not width:
            continue
        part = Text(cell)
        part.truncate(width, overflow="ellipsis")
        part.align("right" if index in _RIGHT else "left", width)
        parts.append(part)
    return Text(" ").join(parts)


def _style(row: Row, department: str, part: AssignmentPart | None) -> str:
    if part is None or row["merged_into"] or is_finished(part):
        return "dim"
    if repeats(row, department):
        return f"bold {ALARM}"
    if part["state"] == AssignmentState.DISPATCHED and not is_stood_down(part) and not is_check(row):
        return "bold"
    return ""
