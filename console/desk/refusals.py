"""Refusals: why a move is not applied, in a word and in a sentence for who asked."""

from datetime import datetime

from console.desk.assignments import state_of
from console.desk.phrases import at_time, choices, standing
from console.tables import Assignment
from shared.errors import PermanentError
from shared.moves import OPEN_STATES, Action, AssignmentState, allowed


class RefusedError(PermanentError):
    """Raised when a move is not applied; nothing of it was. `reason` is one of shared/board.py's Outcome."""

    default_reason = "not_allowed"


def not_moved(assignment: Assignment, action: Action, number: str, now: datetime) -> RefusedError:
    """Why the table has no such move: somebody else has it, or it is further, or it has ended."""
    state, holder = state_of(assignment), assignment.holder
    since = at_time(assignment.state_at, now)
    if action is Action.ACKNOWLEDGE and holder and state in OPEN_STATES:
        how_far = "" if state is AssignmentState.ACKNOWLEDGED else f", and is {standing(state)},"
        return RefusedError(f"{holder} has it{how_far} since {since}", reason="taken")
    return RefusedError(f"{number} is {standing(state)} since {since}; you can {choices(allowed(state))}")
