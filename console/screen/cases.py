"""What a row says about its case, as a board needs it. Pure functions, shared by table, detail and moves."""

from collections.abc import Iterable
from dataclasses import dataclass

from shared.board import AssignmentPart, IncidentPart, Row
from shared.labels import escape_label
from shared.moves import OPEN_STATES, AssignmentState
from shared.routing import ALL, NORMAL, REVIEW, Routing, named
from shared.verdict import Verdict

UNVERIFIED = "UNVERIFIED"

DESK = "desk"
"""Who acts where the time is over; no person has this name."""

_NO_PERSON = ("", DESK)
"""`decided_by` of what the model decided, and of what went out because nobody did."""

# The least advanced first: what `all` shows of a case is how far it is at least.
_ORDER = list(AssignmentState)


@dataclass(frozen=True, slots=True)
class Call:
    """That somebody is waited for; another one, with its own sound, where any of it differs."""

    department: str
    since: str
    repeats: int


def assignment_of(row: Row, department: str) -> AssignmentPart | None:
    """How far a department is, or None where it was not sent the case."""
    return next((part for part in row["assignments"] if part["department"] == department), None)


def shown(row: Row, department: str) -> AssignmentPart | None:
    """The assignment that a board shows: its own; on `all` the one that is least advanced."""
    if department != ALL:
        return assignment_of(row, department)
    parts = sorted(row["assignments"], key=_progress)
    return parts[0] if parts else None


def departments_of(row: Row) -> list[str]:
    """Departments that were sent the case, in the row's order; `review` is a role and none of them."""
    return [part["department"] for part in row["assignments"] if part["department"] != REVIEW]


def is_finished(part: AssignmentPart) -> bool:
    """Whether a department has nothing more to do."""
    return AssignmentState(part["state"]) not in OPEN_STATES


def is_stood_down(part: AssignmentPart) -> bool:
    """Whether a department has not answered, and turned out not to be needed: no clock runs for it."""
    waits = part["state"] == AssignmentState.DISPATCHED and part["department"] != REVIEW
    return waits and not part["due_at"]


def is_check(row: Row) -> bool:
    """Whether it is a sample for checking: the model was sure that nothing is wrong, and nobody waits."""
    part = assignment_of(row, REVIEW)
    return row["verdict"] == Verdict.NO_EMERGENCY and (part is None or not part["due_at"])


def calls(row: Row, department: str) -> set[Call]:
    """Who is waited for, on a board: assignments that nobody has acknowledged, and that are needed."""
    if row["merged_into"]:
        return set()
    return {
        Call(part["department"], part["state_at"], part["repeats"])
        for part in row["assignments"]
        if department in (ALL, part["department"])
        and part["state"] == AssignmentState.DISPATCHED
        and not is_stood_down(part)
        and not (part["department"] == REVIEW and is_check(row))
    }


def repeats(row: Row, department: str) -> int:
    """How often those who are waited for were called again."""
    return max((call.repeats for call in calls(row, department)), default=0)


def opening(row: Row) -> IncidentPart | None:
    """The picture that opened the case, or the oldest one that is still in the row."""
    for incident in row["incidents"]:
        if incident["id"] == row["case"]:
            return incident
    return row["incidents"][-1] if row["incidents"] else None


def newest(row: Row) -> IncidentPart | None:
    """The newest picture."""
    return row["incidents"][0] if row["incidents"] else None


def undecided(row: Row) -> IncidentPart | None:
    """The picture that a reviewer decides: the oldest one that the model was unsure of, else the newest.

    Not the newest of them: another picture that joins must not come between who looks and the key they press.
    """
    return next(
        (
            each
            for each in reversed(row["incidents"])
            if each["verdict"] == Verdict.UNSURE and each["decided_by"] in _NO_PERSON
        ),
        newest(row),
    )


def number_of(row: Row) -> str:
    """The human number of a case: that of the picture that opened it."""
    first = opening(row)
    return escape_label(first["number"]) if first and first["number"] else row["case"][:6]


def label_of(row: Row) -> str:
    """The newest picture's label that is not empty."""
    return escape_label(next((each["label"] for each in row["incidents"] if each["label"]), ""))


def guesses(scores: dict[str, float]) -> list[tuple[str, float]]:
    """(word, score), the likeliest first."""
    return sorted(scores.items(), key=lambda pair: (-pair[1], pair[0]))


def guess(row: Row) -> str:
    """The likeliest situation of the newest picture that has scores, or an empty string."""
    for incident in row["incidents"]:
        likely = [word for word, _ in guesses(incident["scores"]) if word != NORMAL]
        if likely:
            return likely[0]
    return ""


def situation_name(word: str, routing: Routing) -> str:
    """A situation as people read it, one that left the routing file by its word."""
    if word == NORMAL:
        return "No emergency"
    situation = routing.situations.get(word)
    return escape_label(situation.name if situation else named(word))


def department_name(word: str, routing: Routing) -> str:
    """A department as people read it, one that left the routing file by its word."""
    if word in (REVIEW, ALL):
        return {REVIEW: "Review", ALL: "All departments"}[word]
    return escape_label(routing.departments.get(word, named(word)))


def situation_of(row: Row, routing: Routing) -> str:
    """What it shows, with a question mark where only the model says so and is not sure."""
    if row["verdict"] == Verdict.NO_EMERGENCY:
        return "No emergency"
    word = row["situation"] or guess(row)
    if not word:
        return "Unknown"
    return situation_name(word, routing) + ("?" if row["verdict"] == Verdict.UNSURE else "")


def sureness(row: Row) -> str:
    """How sure it is: UNVERIFIED, ``person`` where one decided, the model's confidence, or a dash."""
    if row["unverified"]:
        return UNVERIFIED
    incident = newest(row)
    if incident is None:
        return "-"
    if incident["decided_by"] not in _NO_PERSON:
        return "person"
    return f"{incident['confidence']:.0%}" if incident["scores"] or incident["confidence"] else "-"


def state_words(state: str) -> str:
    """A state as people read it."""
    return escape_label(state).replace("_", " ")


def part_words(part: AssignmentPart) -> str:
    """How far a department is, as people read it."""
    return "not needed" if is_stood_down(part) else state_words(part["state"])


def texts(row: Row, routing: Routing) -> Iterable[str]:
    """Everything of a row that a filter looks at."""
    yield number_of(row)
    yield situation_of(row, routing)
    if row["unverified"]:
        yield UNVERIFIED
    for incident in row["incidents"]:
        yield from (incident["number"], incident["label"], incident["note"])
    for part in row["assignments"]:
        yield from (department_name(part["department"], routing), part_words(part), part["holder"])


def _progress(part: AssignmentPart) -> tuple[bool, bool, int]:
    """The least advanced one first: open and needed, then not needed, then ended."""
    return is_finished(part), is_stood_down(part), _ORDER.index(AssignmentState(part["state"]))
