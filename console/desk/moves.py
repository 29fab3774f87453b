"""Moves: what people ask for, judged against the table of allowed moves, applied once, and answered."""

from collections.abc import Callable, Mapping
from dataclasses import replace

from console.desk import corrections, reviews
from console.desk.assignments import advance, is_open, state_of
from console.desk.book import Book
from console.desk.phrases import department_name, done, number_of, standing
from console.desk.refusals import RefusedError, not_moved
from console.tables import DESK, Assignment, Case
from shared.moves import ALLOWED, CASE_ACTIONS, Action, Move
from shared.routing import NORMAL, REVIEW

_Done = tuple[Case, str]
"""The case that a move was about in the end, and what to tell who asked."""


def apply(book: Book, move: Move) -> None:
    """Judge a move, make its changes, and record what became of it. One that was recorded changes nothing.

    Raises:
        RedisError: the broker is away. Repeat the whole transaction: nothing is told twice.
    """
    if book.known(move.move_id) is not None:
        return
    try:
        case, message = _apply(book, move)
    except RefusedError as refused:
        book.record(move, accepted=False, reason=refused.reason, message=refused.detail)
    else:
        # The case may have gone into another meanwhile; who asked is led there.
        book.record(replace(move, case=case.id), accepted=True, reason="applied", message=message)


def _apply(book: Book, move: Move) -> _Done:
    if move.by.strip().casefold() == DESK:
        raise RefusedError(f"a person has another name than {move.by!r}", reason="bad_move")
    _check_words(book, move)
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
    return _move_on(book, move, case, assignment)


def current_case(book: Book, case_id: str) -> Case:
    """The case with this id, or the one that it went into.

    Raises:
        RefusedError: there is none.
    """
    case = book.case(case_id)
    while case is not None and case.merged_into is not None:
        case = book.case(case.merged_into)
    if case is None:
        raise RefusedError("there is no such incident here", reason="unknown_case")
    return case


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


def _move_on(book: Book, move: Move, case: Case, assignment: Assignment) -> _Done:
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
    if move.note:
        book.write(made, Action.NOTE, actor=move.by, department=move.department, text=move.note)
    return case, f"{incident.number} is now on its own"


_CASE_MOVES: Mapping[Action, Callable[[Book, Move, Case], _Done]] = {
    Action.NOTE: _note,
    Action.CORRECT: corrections.correct,
    Action.ADD_DEPARTMENT: corrections.add_department,
    Action.SPLIT: _split,
}
