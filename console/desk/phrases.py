"""Phrases: how the desk says what happened, in sentences that a dispatcher understands."""

from datetime import datetime

from sqlalchemy import select
from sqlalchemy.orm import Session

from console.tables import Case, IncidentRecord
from shared.moves import Action, AssignmentState
from shared.routing import NORMAL, REVIEW, Routing, named

_MOST_LISTED = 12
_STATES = {
    AssignmentState.DISPATCHED: "waiting for somebody to acknowledge it",
    AssignmentState.ACKNOWLEDGED: "acknowledged",
    AssignmentState.EN_ROUTE: "en route",
    AssignmentState.ON_SCENE: "on scene",
    AssignmentState.CLOSED: "closed",
    AssignmentState.FALSE_ALARM: "a false alarm",
}
_ACTIONS = {
    Action.ACKNOWLEDGE: "acknowledge it",
    Action.EN_ROUTE: "say en route",
    Action.ON_SCENE: "say on scene",
    Action.CLOSE: "close it",
    Action.FALSE_ALARM: "say false alarm",
    Action.RELEASE: "release it",
    Action.REOPEN: "reopen it",
}
_DONE = {
    Action.ACKNOWLEDGE: "is yours",
    Action.EN_ROUTE: "is en route",
    Action.ON_SCENE: "is on scene",
    Action.CLOSE: "is closed",
    Action.FALSE_ALARM: "is a false alarm",
    Action.RELEASE: "is free for somebody else",
    Action.REOPEN: "is open again",
    Action.NOTE: "has your note",
}


def department_name(routing: Routing, word: str) -> str:
    """What people call a department, or review."""
    return "Review" if word == REVIEW else routing.departments.get(word) or named(word)


def department_names(routing: Routing, words: list[str] | tuple[str, ...]) -> str:
    """``Towing Unit, Ambulance and Transit Police``; ``nobody`` of none."""
    names = [department_name(routing, word) for word in words]
    if len(names) < 2:
        return names[0] if names else "nobody"
    return f"{', '.join(names[:-1])} and {names[-1]}"


def situation_name(routing: Routing, word: str | None) -> str:
    """What people call a situation, ``normal`` and None among them."""
    if word is None:
        return "nothing known"
    if word == NORMAL:
        return "no emergency"
    situation = routing.situations.get(word)
    return situation.name if situation else named(word)


def at_time(moment: datetime, now: datetime) -> str:
    """``12:03:10 UTC``, with its date where that is not today's."""
    day = "" if moment.date() == now.date() else f"{moment:%Y-%m-%d} "
    return f"{day}{moment:%H:%M:%S} UTC"


def lasting(seconds: float) -> str:
    """``90 s``, ``3 min``, ``2 h``: whole ones."""
    for unit, length in (("h", 3600), ("min", 60)):
        if seconds >= length and seconds % length == 0:
            return f"{seconds // length:g} {unit}"
    return f"{seconds:g} s"


def number_of(session: Session, case: Case) -> str:
    """The number that people call a case by: that of the incident that opened it, or else of its oldest."""
    first = session.scalars(
        select(IncidentRecord)
        .where(IncidentRecord.case_id == case.id)
        .order_by(IncidentRecord.id != case.id, IncidentRecord.received_at, IncidentRecord.id)
        .limit(1)
    ).first()
    return first.number if first else case.id[:8]


def listed(numbers: list[str]) -> str:
    """Numbers of pictures, the oldest first; of many the first and the last, and how many there are."""
    if len(numbers) <= _MOST_LISTED:
        return ", ".join(numbers)
    return f"{numbers[0]} to {numbers[-1]} ({len(numbers)} pictures)"


def standing(state: AssignmentState) -> str:
    """How an assignment stands, after "it is"."""
    return _STATES[state]


def choices(actions: list[Action]) -> str:
    """What may be asked, after "you can"."""
    words = [_ACTIONS[action] for action in actions]
    return words[0] if len(words) == 1 else f"{', '.join(words[:-1])} or {words[-1]}"


def done(action: Action, number: str) -> str:
    """What an accepted move of an assignment, or a note, says to who asked."""
    return f"{number} {_DONE[action]}"
