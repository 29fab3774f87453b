"""Assignments: how far a department is with a case, the one function that moves it, and when it is due."""

from collections.abc import Sequence
from datetime import datetime, timedelta

from console.desk.book import Book
from console.tables import Assignment, Case
from shared.moves import ALLOWED, OPEN_STATES, Action, AssignmentState
from shared.routing import REVIEW
from shared.settings import Settings

HELD = (AssignmentState.ACKNOWLEDGED, AssignmentState.EN_ROUTE)
"""Somebody has it, and is not there yet."""


def state_of(assignment: Assignment) -> AssignmentState:
    """How far it is."""
    return AssignmentState(assignment.state)


def is_open(assignment: Assignment) -> bool:
    """Whether the department still has something to do."""
    return state_of(assignment) in OPEN_STATES


def is_stood_down(assignment: Assignment) -> bool:
    """Whether a department has it before it, and turned out not to be needed."""
    waits = state_of(assignment) is AssignmentState.DISPATCHED and assignment.due_at is None
    return waits and assignment.department != REVIEW


def advance(book: Book, assignment: Assignment, action: Action, *, actor: str) -> None:
    """Move an assignment as the table of allowed moves says. Whoever asks has looked that it is allowed.

    Raises:
        KeyError: it is not: our own mistake.
    """
    before, state = state_of(assignment), ALLOWED[state_of(assignment), action]
    if before is AssignmentState.DISPATCHED and state is AssignmentState.ACKNOWLEDGED:
        called_for_s = (book.now - assignment.state_at).total_seconds()
        book.tally.acknowledged(assignment.department, max(0.0, called_for_s))
    assignment.state = state.value
    assignment.state_at = book.now
    if state is AssignmentState.DISPATCHED:
        # The clock starts anew, its call of the fallback too.
        assignment.holder, assignment.repeats, assignment.fell_back = "", 0, False
    elif not assignment.holder:
        assignment.holder = actor
    if state is AssignmentState.ACKNOWLEDGED and assignment.acknowledged_at is None:
        assignment.acknowledged_at = book.now
    # Who says "en route" gets no more time until "on scene" than the acknowledgement gave.
    if not (state in HELD and before in HELD and assignment.due_at is not None):
        assignment.due_at = due_after(assignment, book.settings, book.now)


def call(book: Book, case: Case, department: str, *, again: bool, fallback_of: str = "") -> bool:
    """See that a department has the case before it; whether it is called anew by that.

    Args:
        book: the record.
        case: open, or opened by this.
        department: who.
        again: call one that had finished once more.
        fallback_of: the department that did not answer.
    """
    assignment = book.assignment(case, department)
    if assignment is None:
        within = timedelta(seconds=book.settings.acknowledge_within_s)
        book.assign(case, department, due_at=book.now + within, fallback_of=fallback_of)
        return True
    if is_stood_down(assignment):
        assignment.due_at = due_after(assignment, book.settings, book.now)  # needed after all
        assignment.fallback_of = fallback_of or assignment.fallback_of
        return True
    if is_open(assignment) or not again:
        return False
    advance(book, assignment, Action.REOPEN, actor="")
    assignment.fallback_of = fallback_of
    return True


def stand_down(book: Book, case: Case, departments: Sequence[str]) -> None:
    """Call no more whom a case turned out not to need, and who has not answered; `departments` are needed.

    They keep it before them, with who said so, until they say that it is done.
    """
    for assignment in book.assignments(case):
        needed = assignment.department in (REVIEW, *departments)
        if not needed and state_of(assignment) is AssignmentState.DISPATCHED:
            assignment.due_at = None


def due_after(assignment: Assignment, settings: Settings, now: datetime) -> datetime | None:
    """When the clock must look at a department's assignment next, always after `now`; None for never.

    While nobody has acknowledged: at every `acknowledge_within_s` since `state_at`, and when the fallback's
    turn comes. While somebody has it: when the time to be on scene is over.
    """
    state = state_of(assignment)
    if state in HELD:
        return now + timedelta(seconds=settings.on_scene_within_s)
    if state is not AssignmentState.DISPATCHED:
        return None
    every = timedelta(seconds=settings.acknowledge_within_s)
    repeat_at = assignment.state_at + every * ((now - assignment.state_at) // every + 1)
    fallback_at = fallback_after(assignment, settings)
    return min(repeat_at, fallback_at) if now < fallback_at and not assignment.fell_back else repeat_at


def fallback_after(assignment: Assignment, settings: Settings) -> datetime:
    """When the fallback is called, if nobody has acknowledged until then."""
    return assignment.state_at + timedelta(seconds=settings.fallback_after_s)


def repeat_was_due(assignment: Assignment, settings: Settings, now: datetime) -> bool:
    """Whether one or more repeats fall between `due_at`, all before which is done, and `now`."""
    assert assignment.due_at is not None
    every = timedelta(seconds=settings.acknowledge_within_s)
    first = -((assignment.state_at - assignment.due_at) // every)  # at or after `due_at`, rounded up
    return (now - assignment.state_at) // every >= max(1, first)
