"""Which moves a console offers for a row, and by which key. What the desk would refuse has no key."""

from collections.abc import Mapping, Sequence

from rich.text import Text

from console.screen.cases import assignment_of, departments_of, is_finished, number_of, state_words
from shared.board import Row
from shared.moves import Action, AssignmentState, allowed
from shared.routing import REVIEW, Routing

KEYS: Mapping[str, Action] = {
    "a": Action.ACKNOWLEDGE,
    "e": Action.EN_ROUTE,
    "s": Action.ON_SCENE,
    "c": Action.CLOSE,
    "f": Action.FALSE_ALARM,
    "r": Action.RELEASE,
    "o": Action.REOPEN,
    "n": Action.NOTE,
    "x": Action.CORRECT,
    "d": Action.ADD_DEPARTMENT,
    "g": Action.MERGE,
    "p": Action.SPLIT,
}
"""One key for each move but `DECIDE`, which has the digits."""

WORDS: Mapping[Action, str] = {
    Action.ACKNOWLEDGE: "acknowledge",
    Action.EN_ROUTE: "en route",
    Action.ON_SCENE: "on scene",
    Action.CLOSE: "close",
    Action.FALSE_ALARM: "false alarm",
    Action.RELEASE: "release",
    Action.REOPEN: "reopen",
    Action.NOTE: "note",
    Action.CORRECT: "correct",
    Action.ADD_DEPARTMENT: "add department",
    Action.MERGE: "merge",
    Action.SPLIT: "split",
    Action.DECIDE: "decide",
}

DONE: Mapping[Action, str] = {
    Action.ACKNOWLEDGE: "acknowledged",
    Action.EN_ROUTE: "en route",
    Action.ON_SCENE: "on scene",
    Action.CLOSE: "closed",
    Action.FALSE_ALARM: "marked as false alarm",
    Action.RELEASE: "released",
    Action.REOPEN: "reopened",
    Action.NOTE: "noted",
    Action.CORRECT: "corrected",
    Action.ADD_DEPARTMENT: "told to one more department",
    Action.MERGE: "merged",
    Action.SPLIT: "split",
    Action.DECIDE: "decided",
}

HELP: Sequence[tuple[str, str]] = (
    ("up down", "choose a case; page up, page down, home, end"),
    ("enter", "the case on the whole screen, and back"),
    ("tab", "between list and detail, to scroll the detail"),
    ("a", "acknowledge: I have it"),
    ("e", "units are en route"),
    ("s", "units are on scene"),
    ("c", "close: done"),
    ("f", "false alarm: there was nothing"),
    ("r", "release: somebody else must take it"),
    ("o", "reopen what was closed in the last 15 min"),
    ("n", "write a note"),
    ("x", "correct the situation: those who must go are told"),
    ("d", "tell one more department"),
    ("g", "merge: it is the same emergency as another case"),
    ("p", "split: a picture shows another emergency"),
    ("0 to 9", "review: decide, as the case says"),
    ("1 to 9", "all: choose the department to move"),
    ("/", "filter the list; empty shows everything"),
    ("m", "sound off and on"),
    ("q", "quit"),
)
"""Every key and what it does."""

REMARKS: Sequence[str] = (
    "!   nobody has it",
    "!!  nobody has it, and it was called again",
    "*   something new about it",
    "UNVERIFIED: nobody decided in time; it went out as the model guessed.",
    "A state with a question mark waits for the desk's answer.",
)
"""What the marks mean."""


def offers(row: Row, acting: str, routing: Routing, *, others: bool) -> list[Action]:
    """Moves that may be asked for a row on behalf of a department.

    Args:
        acting: a department, ``review``, or an empty string, which may nothing.
        others: there are other open cases that it could be merged with.
    """
    part = assignment_of(row, acting)
    if part is None or row["merged_into"]:
        return []
    if acting == REVIEW:
        return [Action.DECIDE, Action.NOTE]
    found = [*allowed(AssignmentState(part["state"])), Action.NOTE]
    if is_finished(part):
        return found
    found.append(Action.CORRECT)
    if set(routing.departments) - set(departments_of(row)):
        found.append(Action.ADD_DEPARTMENT)
    if others:
        found.append(Action.MERGE)
    if row["incident_count"] > 1:
        found.append(Action.SPLIT)
    return found


def key_line(offered: Sequence[Action], *, department_digits: bool, muted: bool, width: int) -> Text:
    """The keys that do something now, in lines of at most `width` cells."""
    keys = [(key, WORDS[action]) for key, action in KEYS.items() if action in offered]
    if Action.DECIDE in offered:
        keys = [("1-9", "decide"), ("0", "no emergency"), ("x", "list"), *keys]
    if department_digits:
        keys = [("1-9", "choose department"), *keys]
    keys += [("/", "filter"), ("m", "sound" if muted else "mute"), ("?", "help"), ("q", "quit")]
    text = Text()
    left = width
    for key, words in keys:
        cells = len(key) + len(words) + 3
        if cells > left + 2:  # two cells are the gap to the next one
            text.append("\n")
            left = width
        text.append(key, style="bold")
        text.append(f" {words}  ")
        left -= cells
    return text


def done_words(action: str) -> str:
    """What was done, as people read it; the desk's own words stay."""
    return DONE[Action(action)] if action in list(Action) else state_words(action)


def why_not(row: Row, action: Action, acting: str) -> str:
    """Why a move is not offered, for who pressed its key."""
    number, words = number_of(row), WORDS[action]
    part = assignment_of(row, acting)
    if row["merged_into"]:
        return f"{number} was merged into another case: {words} is not possible"
    if not acting:
        return f"{words}: first press the digit of the department that it is for"
    if part is None:
        return f"{number} was not sent to {acting}"
    by = f" by {part['holder']}" if part["holder"] else ""
    return f"{number} is {state_words(part['state'])}{by}: {words} is not possible"
