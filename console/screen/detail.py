"""Everything a row says about its case, as text for the detail pane. Pure functions."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime

from rich.text import Text

from console.screen.cases import (
    UNVERIFIED,
    assignment_of,
    department_name,
    departments_of,
    guess,
    guesses,
    is_check,
    is_finished,
    is_stood_down,
    newest,
    number_of,
    part_words,
    situation_name,
    situation_of,
    sureness,
    undecided,
)
from console.screen.colours import HEADING, WARNING
from console.screen.moments import clock, since_s, spell
from console.screen.offers import done_words
from shared.board import AssignmentPart, IncidentPart, Row, TimelinePart
from shared.coordinates import Coordinates
from shared.labels import escape_label
from shared.moves import AssignmentState
from shared.routing import ALL, NORMAL, REVIEW, Routing

_HEAD = f"bold {HEADING}"
_DIM = "dim"


@dataclass(frozen=True, slots=True)
class View:
    """What the detail of a row depends on besides the row.

    Attributes:
        department: the board's.
        acting: the department that moves are asked for now, or an empty string.
        image_store: folder or URL of the image store, or an empty string.
        web_url: address of the web console, or an empty string.
    """

    department: str
    routing: Routing
    acting: str = ""
    image_store: str = ""
    web_url: str = ""


def detail(row: Row, view: View, now: datetime, waiting: Sequence[str] = ()) -> Text:
    """The whole pane: what is waited for first, then what to do, where, who, why, and what happened.

    Args:
        waiting: moves that wait for an answer, in words.
    """
    text = Text()
    _title(text, row, view, now)
    for words in waiting:
        text.append(f"{escape_label(words)}\n", style=f"bold {WARNING}")
    if view.department == REVIEW:
        _decisions(text, row, view.routing, now)
    _called(text, row, view)
    _place(text, row, view)
    _departments(text, row, view, now)
    if view.department != REVIEW:
        _scores(text, row, view.routing)
    _pictures(text, row, view, now)
    _timeline(text, row["timeline"], view.routing, now)
    text.rstrip()
    return text


def _title(text: Text, row: Row, view: View, now: datetime) -> None:
    text.append(f"{number_of(row)} {situation_of(row, view.routing)}", style="bold")
    if row["unverified"]:
        text.append(f"  {UNVERIFIED}: nobody has looked at it", style=f"bold {WARNING}")
    if row["merged_into"]:
        text.append("  merged into another case", style="bold")
    text.append(f"  opened {clock(row['opened_at'], now)}, {spell(since_s(row['opened_at'], now))} ago\n")


def _decisions(text: Text, row: Row, routing: Routing, now: datetime) -> None:
    """What a reviewer presses. The digits stand for the same situations in every case."""
    incident = undecided(row)
    scores = incident["scores"] if incident else {}
    part = assignment_of(row, REVIEW)
    if part is None or is_finished(part):
        text.append(f"Decided. {_decided_by(row)}\n", style="bold")
    elif is_check(row):
        text.append("A check: the model is sure that nothing is wrong. Is it right?\n")
    elif row["unverified"] and not part["due_at"]:
        text.append("It has gone out undecided. Decide it still:\n")
    elif part["due_at"]:
        left_s = -since_s(part["due_at"], now)
        text.append(f"Goes out {UNVERIFIED} in {spell(left_s)} unless you decide:\n", style="bold")
    likely = guess(row)
    for digit, word in choices(routing):
        style = "bold" if word == likely else ""
        score = f"{scores[word]:>5.0%}" if word in scores else "    -"
        text.append(f"  {digit}", style=f"bold {HEADING}")
        text.append(f" {situation_name(word, routing):<22}{score}{'  likeliest' if style else ''}\n", style)
    for words in _reasons(incident):
        text.append(f"{words}\n", style=_DIM)


def choices(routing: Routing) -> list[tuple[str, str]]:
    """(digit, situation) for the decisions that have a key; 0 is no emergency. Further ones have no digit."""
    digits = [*"123456789"]
    named = [
        (digits[index] if index < len(digits) else " ", word) for index, word in enumerate(routing.situations)
    ]
    return [*named, ("0", NORMAL)]


def _decided_by(row: Row) -> str:
    incident = newest(row)
    return f"By {escape_label(incident['decided_by'])}." if incident and incident["decided_by"] else ""


def _reasons(incident: IncidentPart | None) -> list[str]:
    if incident is None:
        return []
    words = [escape_label(incident[name]) for name in ("reason", "detail") if incident[name]]
    return [": ".join(words)] if words else []


def _called(text: Text, row: Row, view: View) -> None:
    departments, word = departments_of(row), row["situation"]
    if not departments:
        return
    units = view.routing.units(word, departments) if word else ", ".join(departments)
    _field(text, "Called", escape_label(units))


def _place(text: Text, row: Row, view: View) -> None:
    place = Coordinates(latitude_deg=row["latitude_deg"], longitude_deg=row["longitude_deg"])
    _field(text, "Place", f"{place}   geo:{str(place).replace(' ', '')}")
    if view.web_url:
        _field(text, "Link", f"{view.web_url}/cases/{row['case']}")


def _departments(text: Text, row: Row, view: View, now: datetime) -> None:
    own = view.acting or view.department
    numbered = {word: index for index, word in enumerate(departments_of(row), start=1)}
    for part in row["assignments"]:
        word = part["department"]
        if word == REVIEW and view.department == REVIEW:
            continue
        digit = f"{numbered[word]} " if view.department == ALL and word in numbered else ""
        text.append(
            f"{'>' if word == own else ' '} {digit}{department_name(word, view.routing)}: ", style="bold"
        )
        text.append(_progress(part, view.routing, now) + "\n")
    if view.department == ALL and not view.acting and numbered:
        text.append("  press its digit to move one of them\n", style=_DIM)


def _progress(part: AssignmentPart, routing: Routing, now: datetime) -> str:
    words = part_words(part)
    if part["department"] == REVIEW and not is_finished(part):
        left_s = -since_s(part["due_at"], now) if part["due_at"] else 0.0
        words = "nobody has decided" + (f", goes out {UNVERIFIED} in {spell(left_s)}" if left_s > 0 else "")
    elif is_stood_down(part):
        words += ", it turned out to be something else"
    elif part["state"] == AssignmentState.DISPATCHED:
        words += f", nobody has it for {spell(since_s(part['dispatched_at'], now))}"
        if part["repeats"]:
            words += f", called {part['repeats'] + 1} times"
    else:
        words += f" by {escape_label(part['holder'])}" if part["holder"] else ""
        words += f" since {clock(part['state_at'], now)}"
    if part["fallback_of"]:
        words += f" (in place of {department_name(part['fallback_of'], routing)})"
    return words


def _scores(text: Text, row: Row, routing: Routing) -> None:
    incident = newest(row)
    if incident is None:
        return
    listed = "  ".join(
        f"{situation_name(word, routing)} {score:.0%}" for word, score in guesses(incident["scores"])
    )
    decided = sureness(row) == "person"
    said = f"{_decided_by(row).rstrip('.')}; the model said: " if decided else ""
    _field(text, "Scores", f"{said}{listed or 'none'}")
    for words in _reasons(incident):
        _field(text, "Why", words)


def _pictures(text: Text, row: Row, view: View, now: datetime) -> None:
    count, listed = row["incident_count"], len(row["incidents"])
    more = f", the newest {listed}" if count > listed else ""
    text.append(f"{count} picture{'s' if count != 1 else ''}{more}\n", style=_HEAD)
    for incident in row["incidents"]:
        seen = f", sent {incident['seen_count']} times" if incident["seen_count"] > 1 else ""
        words = f"  {escape_label(incident['number'])} {clock(incident['received_at'], now)}{seen}"
        text.append(words + (f"  {escape_label(incident['label'])}" if incident["label"] else "") + "\n")
        if incident["note"]:
            text.append(f"    {escape_label(incident['note'])}\n", style="italic")
        text.append(f"    {escape_label(_path(incident['image'], view.image_store))}\n", style=_DIM)


def _path(image: str, store: str) -> str:
    return f"{store.rstrip('/')}/{image}" if store else image


def _timeline(text: Text, timeline: Sequence[TimelinePart], routing: Routing, now: datetime) -> None:
    if not timeline:
        return
    text.append("Timeline, newest first\n", style=_HEAD)
    for part in reversed(timeline):
        words = [clock(part["at"], now), escape_label(part["actor"]), done_words(part["action"])]
        if part["department"]:
            words.append(f"({department_name(part['department'], routing)})")
        text.append("  " + " ".join(word for word in words if word))
        text.append(f": {escape_label(part['text'])}\n" if part["text"] else "\n")


def _field(text: Text, name: str, words: str) -> None:
    text.append(f"{name:<7}", style=_HEAD)
    text.append(words + "\n")
