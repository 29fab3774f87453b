"""Moves: what people ask for, judged against the table of allowed moves, applied once, and answered."""

from collections.abc import Callable, Mapping
from datetime import datetime

import structlog

from console.desk import corrections, feed, reviews
from console.desk.assignments import advance, is_open, state_of
from console.desk.book import Book
from console.desk.phrases import at_time, department_name, done, number_of, standing
from console.desk.refusals import RefusedError, not_moved
from console.tables import DESK, Assignment, Case
from shared.labels import seen
from shared.moves import ALLOWED, CASE_ACTIONS, OPEN_STATES, Action, Move
from shared.routing import NORMAL, REVIEW

log = structlog.get_logger()

_Done = tuple[Case, str]
"""The case that a move was about in the end, and what to tell who asked."""


def apply(book: Book, move: Move, asked_at: datetime | None = None) -> None:
    """Judge a move, make its changes, and record what became of it. One that was recorded changes nothing.

    Args:
        book: the record.
        move: what is asked.
        asked_at: when it came into its stream; None for now.

    Raises:
        RedisError: the broker is away. Repeat the whole transaction: nothing is told twice.
    """
    known = book.known(move.move_id)
    if known is not None:
        if known.asked != move.digest():
            log.warning(
                "a move has the id of another one, and is not applied",
                incident=move.case,
                move_id=move.move_id,
                department=move.department,
                by=move.by,
            )
        return
    try:
        case, message = _apply(book, move, asked_at or book.now)
    except RefusedError as refused:
        book.record(move, accepted=False, reason=refused.reason, message=refused.detail)
    else:
        # The case may have gone into another meanwhile; who asked is led there.
        book.record(move, accepted=True, reason="applied", message=message, case_id=case.id)


def _apply(book: Book, move: Move, asked_at: datetime) -> _Done:
    if seen(move.by).strip().casefold() == DESK:
        raise RefusedError(f"a person has another name than {move.by!r}", reason="bad_move")
    _check_words(book, move)
    _bring_in(book, move)
    if move.action is Action.DECIDE:
        if move.department != REVIEW:
            raise RefusedError("only reviewers decide; a department corrects the situation")
        return reviews.decide(book, move)
    case = current_case(book, move.case)
    if move.action is Action.MERGE:
        return _merge(book, move, case)
    assignment = _own(book, move, case)
    if move.action in CASE_ACTIONS:
        return _CASE_MOVES[move.action](book, move, case)
    return _move_on(book, move, case, assignment, asked_at)


def current_case(book: Book, case_id: str) -> Case:
    """The case with this id, or the one that it or the picture with this id went into.

    Raises:
        RefusedError: there is none.
    """
    case, record = book.case(case_id), book.incident(case_id)
    if case is None and record is not None:
        case = book.case(record.case_id)
    while case is not None and case.merged_into is not None:
        case = book.case(case.merged_into)
    if case is None:
        raise RefusedError("there is no such incident here", reason="unknown_case")
    return case


def _bring_in(book: Book, move: Move) -> None:
    """Read what is asked about where the desk has not come to it yet: a long walk, or one after a restore."""
    asked = [each for each in (move.case, move.other) if each]
    unknown = [each for each in asked if book.case(each) is None and book.incident(each) is None]
    if unknown and feed.apply(book, feed.fetch(book.broker, unknown)):
        book.session.flush()


def _check_words(book: Book, move: Move) -> None:
    routing = book.routing
    if move.action is Action.CORRECT and move.situation == NORMAL:
        raise RefusedError("say false alarm where there is nothing", reason="unknown_word")
    named, known, kind = "", {*routing.situations, NORMAL}, "situation"
    if move.action in (Action.CORRECT, Action.DECIDE):
        named = move.situation
    elif move.action is Action.ADD_DEPARTMENT:
        named, known, kind = move.to, {*routing.departments}, "department"
    if named and named not in known:
        raise RefusedError(f"the routing file knows no {kind} {named[:64]!r}", reason="unknown_word")


def _own(book: Book, move: Move, case: Case) -> Assignment:
    """The assignment of the department in whose stream the move stands, whatever its text says."""
    assignment = book.assignment(case, move.department)
    if assignment is None:
        name = department_name(book.routing, move.department)
        raise RefusedError(f"{number_of(book.session, case)} was not sent to {name}", reason="not_yours")
    return assignment


def _check_seen(book: Book, move: Move, case: Case, asked_at: datetime) -> None:
    """Nobody ends a case over a picture that they cannot have seen; the one it is called by they have."""
    number = number_of(book.session, case)
    if move.case != case.id:
        asked = book.incident(move.case)
        name = asked.number if asked else move.case[:8]
        raise RefusedError(f"{name} is part of {number} now; look again", reason="stale")
    unseen = [
        record.joined_at
        for record in book.incidents(case)
        if record.id != move.case
        and (record.version > move.seen if move.seen else record.joined_at > asked_at)
    ]
    if unseen:
        since = at_time(min(unseen), book.now)
        raise RefusedError(f"{number} has a new picture since {since}; look again", reason="stale")


def _move_on(book: Book, move: Move, case: Case, assignment: Assignment, asked_at: datetime) -> _Done:
    number = number_of(book.session, case)
    if move.department == REVIEW:
        # Otherwise somebody could hold what nobody decides, and it would never fail open.
        raise RefusedError(
            f"{number} waits for a decision: say what it shows, or no emergency"
            if is_open(assignment)
            else f"{number} is decided; decide again to change that"
        )
    if (state_of(assignment), move.action) not in ALLOWED:
        raise not_moved(assignment, move.action, number, book.now)
    if ALLOWED[state_of(assignment), move.action] not in OPEN_STATES:
        _check_seen(book, move, case, asked_at)
    advance(book, assignment, move.action, actor=move.by)
    book.write(case, move.action, actor=move.by, department=move.department, text=move.note)
    return case, done(move.action, number)


def _note(book: Book, move: Move, case: Case) -> _Done:
    book.write(case, Action.NOTE, actor=move.by, department=move.department, text=move.note)
    return case, done(Action.NOTE, number_of(book.session, case))


def _merge(book: Book, move: Move, case: Case) -> _Done:
    into = current_case(book, move.other)
    numbers = number_of(book.session, case), number_of(book.session, into)
    if case is into:
        raise RefusedError(f"{numbers[0]} holds both already")
    if not any(book.assignment(each, move.department) for each in (case, into)):
        name = department_name(book.routing, move.department)
        raise RefusedError(f"neither {numbers[0]} nor {numbers[1]} was sent to {name}", reason="not_yours")
    for each, number in zip((case, into), numbers, strict=True):
        if not any(is_open(assignment) for assignment in book.assignments(each)):
            raise RefusedError(f"{number} has ended; reopen it first")
    before = {each.department: each.state for each in book.assignments(into)}
    book.merge(case, into, actor=move.by)
    for assignment in book.assignments(into):
        if assignment.department != REVIEW and before.get(assignment.department) != assignment.state:
            name = department_name(book.routing, assignment.department)
            holder = f", {assignment.holder} has it" if assignment.holder else ""
            text = f"{name} comes from {numbers[0]}: {standing(state_of(assignment))}{holder}"
            book.write(into, "merged", actor=move.by, department=assignment.department, text=text)
    if move.note:
        book.write(into, Action.NOTE, actor=move.by, department=move.department, text=move.note)
    return into, f"{numbers[0]} is now part of {numbers[1]}"


def _split(book: Book, move: Move, case: Case) -> _Done:
    incident = book.incident(move.other)
    number = number_of(book.session, case)
    if incident is None or incident.case_id != case.id:
        raise RefusedError(f"{number} does not have that picture", reason="unknown_case")
    if len(book.incidents(case)) == 1:
        raise RefusedError(f"{number} has only this picture; there is nothing to split")
    made = book.split(case, incident, actor=move.by)
    reviews.left_alone(book, case, move.by)
    if move.note:
        book.write(made, Action.NOTE, actor=move.by, department=move.department, text=move.note)
    return case, f"{incident.number} is now on its own"


_CASE_MOVES: Mapping[Action, Callable[[Book, Move, Case], _Done]] = {
    Action.NOTE: _note,
    Action.CORRECT: corrections.correct,
    Action.ADD_DEPARTMENT: corrections.add_department,
    Action.SPLIT: _split,
}
