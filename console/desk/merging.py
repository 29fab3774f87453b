"""Merging: what is known of a department that had two cases before it, and has one now."""

from console.tables import Assignment
from shared.moves import OPEN_STATES, AssignmentState
from shared.routing import REVIEW

_PROGRESS = list(AssignmentState)
_COLUMNS = (
    "state",
    "state_at",
    "dispatched_at",
    "acknowledged_at",
    "holder",
    "due_at",
    "repeats",
    "fell_back",
)


def become(mine: Assignment, other: Assignment) -> None:
    """Make an assignment the same as another."""
    for column in _COLUMNS:
        setattr(mine, column, getattr(other, column))


def take_over(mine: Assignment, other: Assignment) -> None:
    """Make an assignment as far as the further of it and another of the same department.

    Of two that nobody has answered, the one that waits longer says when the clock looks at it.
    """
    ranks = _rank(mine), _rank(other)
    if ranks[0] < ranks[1]:
        become(mine, other)
    elif ranks[0] == ranks[1] and mine.state == AssignmentState.DISPATCHED:
        # What waits for its time to be over does not wait longer, or for ever, beside what does not.
        mine.due_at = min((each.due_at for each in (mine, other) if each.due_at), default=None)
        if mine.department != REVIEW and other.state_at < mine.state_at:
            mine.state_at, mine.fell_back = other.state_at, other.fell_back


def replaced(mine: Assignment, other: Assignment) -> bool:
    """Whether two people have one each, so that one of them has it no longer."""
    open_ = all(AssignmentState(each.state) in OPEN_STATES for each in (mine, other))
    return open_ and "" != mine.holder != other.holder != ""


def _rank(assignment: Assignment) -> int:
    """How much one knows of a case: open before ended, then who is further; last who is not needed at all."""
    state = AssignmentState(assignment.state)
    waits = state is AssignmentState.DISPATCHED and assignment.department != REVIEW
    if waits and assignment.due_at is None:
        return -1
    return _PROGRESS.index(state) + (len(_PROGRESS) if state in OPEN_STATES else 0)
