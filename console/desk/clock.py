"""The clock: calls again what nobody acknowledged, calls the fallback, and takes back what went quiet."""

from datetime import datetime, timedelta
from typing import Any

from sqlalchemy import and_, func, or_, select
from sqlalchemy.orm import Session

from console.desk import reviews
from console.desk.amending import tell
from console.desk.assignments import HELD, advance, call, due_after, fallback_after, repeat_was_due, state_of
from console.desk.book import Book
from console.desk.phrases import department_name, department_names, lasting
from console.tables import DESK, Assignment, Case
from shared.incidents import iso
from shared.moves import Action, AssignmentState
from shared.routing import REVIEW

PAGE = 200
"""Assignments looked at in one tick, the longest due first; `next_due` then says that more are."""

_LINES_EACH, _LINES_EVERY = 5, 10
"""The first repeats have a line of the timeline each, later ones every so many: else nothing else is seen."""

_TOLERANCE_S = 5.0
"""How far the clocks of machines with desks may be apart, before one counts as having been set back."""


def tick(book: Book, case_id: str | None = None) -> None:
    """Do what is due, once: however long the clock stood still, everything is called again once, at most.

    Args:
        book: the record.
        case_id: look at this case alone.
    """
    _heed_a_clock_set_back(book)
    for assignment, case in _due(book, case_id):
        # What was done for an assignment before this one may have ended or merged its case.
        if case.merged_into is None and assignment.due_at is not None and assignment.due_at <= book.now:
            _look_at(book, case, assignment)


def due_cases(session: Session, now: datetime) -> list[str]:
    """Ids of cases that `tick` has something to do for."""
    query = select(Assignment.case_id).join(Case).where(Case.merged_into.is_(None), Assignment.due_at <= now)
    return list(session.scalars(query.distinct().limit(PAGE)))


def next_due(session: Session) -> datetime | None:
    """When `tick` has something to do next; in the past where it has already; None for never.

    A clock that was set back is found by ticking all the same, every few seconds.
    """
    query = select(func.min(Assignment.due_at)).join(Case).where(Case.merged_into.is_(None))
    return session.scalars(query).one()


def _due(book: Book, case_id: str | None) -> list[tuple[Assignment, Case]]:
    query = (
        select(Assignment, Case)
        .join(Case)
        .where(Case.merged_into.is_(None), Assignment.due_at <= book.now)
        .order_by(Assignment.due_at, Assignment.case_id, Assignment.department)
        .limit(PAGE)
    )
    if case_id is not None:
        query = query.where(Case.id == case_id)
    return [(assignment, case) for assignment, case in book.session.execute(query)]


def _look_at(book: Book, case: Case, assignment: Assignment) -> None:
    state = state_of(assignment)
    if assignment.department == REVIEW:
        reviews.fail_open(book, case)
    elif state in HELD:
        _take_back(book, case, assignment)
    elif state is AssignmentState.DISPATCHED:
        repeat = repeat_was_due(assignment, book.settings, book.now)
        if not assignment.fell_back and fallback_after(assignment, book.settings) <= book.now:
            _fall_back(book, case, assignment)
        if repeat:
            _repeat(book, case, assignment)
        assignment.due_at = due_after(assignment, book.settings, book.now)
    else:
        assignment.due_at = None


def _repeat(book: Book, case: Case, assignment: Assignment) -> None:
    """Call a department again. Each call shows and sounds; a night of them is not worth a line each."""
    assignment.repeats += 1
    book.tally.clock("repeated")
    if assignment.repeats <= _LINES_EACH or assignment.repeats % _LINES_EVERY == 0:
        times = str(assignment.repeats)
        book.write(case, "repeated", actor=DESK, department=assignment.department, text=times)
    else:
        book.touch(case)


def _fall_back(book: Book, case: Case, assignment: Assignment) -> None:
    """Call who answers for a department that does not."""
    assignment.fell_back = True
    book.tally.clock("fell_back")
    silent, to = assignment.department, book.routing.fallback.get(assignment.department)
    if silent not in book.routing.departments:
        _call_instead(book, case, assignment)
        return
    # Two that stand in for each other do not call each other for ever.
    if to is None or to == assignment.fallback_of:
        return
    had = book.assignment(case, to) is not None
    if not call(book, case, to, again=True, fallback_of=silent):
        return
    name = department_name(book.routing, to)
    since = f"{department_name(book.routing, silent)} did not answer within"
    text = f"{since} {lasting(book.settings.fallback_after_s)}"
    # Made of the moment from which the department was silent: another silence is another reason.
    decision_id = f"{case.id}:fell-back:{silent}:{iso(assignment.state_at)}"
    tell(book, case, [to], decision_id=decision_id, note=text, again=had)
    book.write(case, "fell_back", actor=DESK, department=silent, text=f"{text}; {name} is called")


def _call_instead(book: Book, case: Case, assignment: Assignment) -> None:
    """The routing file lost a department, or renamed it: call who goes to this today."""
    silent, situation, routing = assignment.department, case.situation, book.routing
    deputy = routing.fallback.get(REVIEW)
    if situation in routing.situations:
        goes = list(routing.streams(situation))
    else:
        # Without any word on it: better everybody than nobody.
        goes = [deputy] if deputy else list(routing.departments)
    had = {each.department for each in book.assignments(case)}
    called = [word for word in goes if call(book, case, word, again=True, fallback_of=silent)]
    text = f"{department_name(routing, silent)} did not answer, and is not in the routing file any more"
    decision_id = f"{case.id}:fell-back:{silent}:{iso(assignment.state_at)}"
    if called:
        tell(book, case, called, decision_id=decision_id, note=text, again=not had.isdisjoint(called))
    whom = f"{department_names(routing, called)} {'is' if len(called) == 1 else 'are'} called"
    who = whom if called else "who goes to this has it already"
    book.write(case, "fell_back", actor=DESK, department=silent, text=f"{text}; {who}")


def _take_back(book: Book, case: Case, assignment: Assignment) -> None:
    """An acknowledgement without units on scene is over."""
    text = f"{assignment.holder} had it; no units on scene within {lasting(book.settings.on_scene_within_s)}"
    advance(book, assignment, Action.RELEASE, actor=DESK)
    book.tally.clock("expired")
    book.write(case, "expired", actor=DESK, department=assignment.department, text=text)


def _heed_a_clock_set_back(book: Book) -> None:
    """Nothing is due later than its time from now: else a clock that was ahead would keep it silent."""
    settings, now = book.settings, book.now + timedelta(seconds=_TOLERANCE_S)

    def later_than(within_s: float, *where: Any) -> Any:
        return and_(Assignment.due_at > now + timedelta(seconds=within_s), *where)

    review = Assignment.department == REVIEW
    held = Assignment.state.in_([state.value for state in HELD])
    query = (
        select(Assignment, Case)
        .join(Case)
        .where(
            Case.merged_into.is_(None),
            or_(
                later_than(settings.review_within_s, review),
                later_than(settings.on_scene_within_s, ~review, held),
                later_than(settings.acknowledge_within_s, ~review, ~held),
                and_(Assignment.due_at.is_not(None), Assignment.state_at > now),
            ),
        )
        .limit(PAGE)
    )
    for assignment, case in book.session.execute(query).all():
        assignment.state_at = min(assignment.state_at, book.now)
        if assignment.department == REVIEW:
            assignment.due_at = book.now + timedelta(seconds=settings.review_within_s)
        else:
            assignment.due_at = due_after(assignment, settings, book.now)
        book.touch(case)
