"""Corrections: a department that was sent a case says what it really is, or who else must go."""

from console.desk.amending import Ruling, rule, tell
from console.desk.assignments import call, is_open, is_stood_down, stand_down, state_of
from console.desk.book import Book
from console.desk.phrases import (
    at_time,
    department_name,
    department_names,
    number_of,
    situation_name,
    standing,
)
from console.desk.refusals import RefusedError
from console.desk.reviews import close_review, send_to
from console.tables import Case, IncidentRecord
from shared.moves import Action, Move
from shared.verdict import Verdict


def correct(book: Book, move: Move, case: Case) -> tuple[Case, str]:
    """The whole case shows another situation: all its pictures do, and whoever must go to that is called.

    Whoever was called for what it seemed to be is told, and not called again if they have not answered.

    Raises:
        RefusedError: it has no such picture, it is that already, or another person has decided since.
    """
    number, records = number_of(book.session, case), book.incidents(case)
    seen = next((each for each in records if each.id == move.other), None) if move.other else records[0]
    if seen is None:
        raise RefusedError(f"{number} does not have that picture", reason="unknown_case")
    before = (case.verdict, case.situation)
    name = situation_name(book.routing, move.situation)
    if before == (Verdict.DISPATCHED, move.situation) and seen.situation == move.situation:
        raise RefusedError(f"{number} is {name} already")
    must_go = book.routing.streams(move.situation)
    for record in [seen, *(each for each in records if each is not seen and _may_show(each, records))]:
        rule(
            book,
            case,
            record,
            Ruling(
                decision_id=move.move_id,
                verdict=Verdict.DISPATCHED,
                situation=move.situation,
                departments=must_go,
                decided_by=move.by,
                note=move.note,
            ),
            # Only the first can have been decided otherwise meanwhile: what is asked is one decision.
            seen=move.revision if record is seen else 0,
        )
    case.verdict, case.situation, case.unverified = Verdict.DISPATCHED.value, move.situation, False
    send_to(book, case, move.situation, again=before != (Verdict.DISPATCHED, move.situation))
    stand_down(book, case, must_go)
    close_review(book, case, move.by)
    text = f"{situation_name(book.routing, before[1])} is {name}"
    book.write(
        case,
        Action.CORRECT,
        actor=move.by,
        department=move.department,
        incident_id=seen.id,
        text=f"{text}. {move.note}" if move.note else text,
    )
    return case, f"{number} is {name}; {department_names(book.routing, must_go)} must go"


def add_department(book: Book, move: Move, case: Case) -> tuple[Case, str]:
    """One more department is called to a case; one that had finished, again.

    Raises:
        RefusedError: it has the case before it already, and is needed.
    """
    number, name = number_of(book.session, case), department_name(book.routing, move.to)
    known = book.assignment(case, move.to)
    if known is not None and is_open(known) and not is_stood_down(known):
        since = at_time(known.state_at, book.now)
        raise RefusedError(f"{name} has {number} already, {standing(state_of(known))} since {since}")
    call(book, case, move.to, again=True)
    if case.verdict == Verdict.UNSURE:
        case.unverified = True  # it goes out, and nobody has decided
    asks = f"{move.by} of {department_name(book.routing, move.department)} asks for {name}"
    note = f"{asks}: {move.note}" if move.note else asks
    tell(book, case, [move.to], decision_id=move.move_id, note=note, again=known is not None)
    text = f"{name}. {move.note}" if move.note else name
    book.write(case, Action.ADD_DEPARTMENT, actor=move.by, department=move.department, text=text)
    return case, f"{name} is called to {number}"


def _may_show(record: IncidentRecord, records: list[IncidentRecord]) -> bool:
    """Whether a correction of the case reaches a picture; not one that was decided to show no emergency."""
    return record.verdict != Verdict.NO_EMERGENCY or all(
        each.verdict == Verdict.NO_EMERGENCY for each in records
    )
