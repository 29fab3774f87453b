"""Reviews: what a person decides a picture shows, and what goes out where nobody decides in time."""

import hashlib
from datetime import datetime

from console.desk.amending import Ruling, rule, standing_in_broker
from console.desk.assignments import advance, call, is_open, stand_down, state_of
from console.desk.book import Book
from console.desk.grouping import place_of
from console.desk.guesses import concerned, likely, waits, waits_until
from console.desk.incidents import is_undecided
from console.desk.phrases import department_names, lasting, listed, situation_name
from console.desk.refusals import RefusedError
from console.tables import DESK, Case, IncidentRecord
from shared.moves import Action, AssignmentState, Move
from shared.routing import NORMAL, REVIEW
from shared.verdict import Verdict

PAGE = 200
"""Pictures of one case that go out in one transaction, at most."""


def is_sampled(incident_id: str, rate: float) -> bool:
    """Whether a reviewer checks this incident without an emergency: the same answer for the same incident.

    Args:
        rate: the share of them that is checked, in [0, 1].
    """
    drawn = int.from_bytes(hashlib.sha256(f"sample:{incident_id}".encode()).digest()[:6])
    return drawn < rate * 2**48


def decide(book: Book, move: Move) -> tuple[Case, str]:
    """A reviewer says what one picture shows; the case that it belongs to now, and what to tell them.

    Raises:
        RefusedError: there is no such picture, or somebody else decided it meanwhile.
    """
    record = book.incident(move.other)
    case = book.case(record.case_id) if record else None
    if record is None or case is None:
        raise RefusedError("there is no such picture here", reason="unknown_case")
    situation = None if move.situation == NORMAL else move.situation
    before = (record.verdict, record.situation)
    rule(
        book,
        case,
        record,
        Ruling(
            decision_id=move.move_id,
            verdict=Verdict.DISPATCHED if situation else Verdict.NO_EMERGENCY,
            situation=situation,
            departments=book.routing.streams(situation) if situation else (),
            decided_by=move.by,
            note=move.note,
        ),
        seen=move.revision,
    )
    case = _conclude(book, case, record, before=before, actor=move.by, note=move.note)
    shown = situation_name(book.routing, move.situation)
    goes = ""
    if situation:
        goes = f"; {department_names(book.routing, book.routing.streams(situation))} must go"
    return case, f"{record.number}: {shown}{goes}"


def absorb(book: Book, record: IncidentRecord) -> Case:
    """Take into the record a person's decision that stands in the broker, and not here.

    So it is where a desk died between the two, and where the database was restored from a backup.
    """
    case = book.case(record.case_id)
    assert case is not None, "an incident belongs to a case"
    before = (record.verdict, record.situation)
    if book.refresh(record) is None:
        return case
    return _conclude(book, case, record, before=before, actor=record.decided_by, note="")


def fail_open(book: Book, case: Case) -> None:
    """Nobody decided in time: it goes to whom it most likely concerns, UNVERIFIED, and stays in review.

    All pictures of the case that wait go out once the first of them has waited long enough: one row, one
    call. A page of them at a time, the oldest first; where there are more, it stays due. Does nothing that
    has been done, so that it may be repeated.
    """
    review = book.assignment(case, REVIEW)
    assert review is not None, "it fails open where a review is due"
    every = [each for each in book.incidents(case) if waits(each)]
    waiting = every[-PAGE:]
    for record in waiting:
        incident = standing_in_broker(book, record)
        if incident is not None and incident.verdict != Verdict.UNSURE:
            absorb(book, record)
            return  # which may have closed, split or merged the case; the clock looks again at what is left
    review.due_at, review.fell_back = review.due_at if waiting != every else None, True
    if not waiting:
        return
    came_at: dict[str, datetime] = {}
    for record in waiting:
        book.tally.clock("unverified")
        guesses = likely(record, book.routing)
        departments = concerned(guesses, book.routing)
        came_at |= {word: max(record.joined_at, came_at.get(word, record.joined_at)) for word in departments}
        rule(
            book,
            case,
            record,
            Ruling(
                decision_id=f"{record.id}:failed-open",
                verdict=Verdict.UNSURE,
                situation=guesses[0] if guesses else None,
                departments=departments,
                decided_by=DESK,
                unverified=True,
                note=f"Nobody decided within {lasting(book.settings.review_within_s)}",
            ),
        )
    for department, joined_at in came_at.items():
        known = book.assignment(case, department)
        # Who ended it with all of this before them is not called again for it.
        call(book, case, department, again=known is not None and joined_at >= known.state_at)
    if case.verdict == Verdict.UNSURE:
        case.situation, case.unverified = waiting[0].situation, True
    numbers = listed([record.number for record in reversed(waiting)])
    names = department_names(book.routing, list(came_at))
    book.write(case, "failed_open", actor=DESK, department=REVIEW, text=f"{numbers} UNVERIFIED to {names}")


def close_review(book: Book, case: Case, actor: str) -> None:
    """End a case's review once every picture in it is decided; those that are left have their own time."""
    review = book.assignment(case, REVIEW)
    if review is None or not is_open(review):
        return
    records = book.incidents(case)
    if left := [each for each in records if is_undecided(each)]:
        # As long as the first of them, not as the one before that was decided: alarms tell of it.
        since = min(min(each.decided_at, each.joined_at) for each in left)
        review.state_at = max(review.state_at, min(since, book.now))
        until = waits_until(records, book.settings, book.now)
        if review.due_at is not None:
            review.due_at = until and max(review.due_at, until)
        return
    # Not a move of the table: nobody can close a review, only decide what is in it.
    review.state, review.state_at, review.due_at = AssignmentState.CLOSED.value, book.now, None
    review.holder = actor


def send_to(book: Book, case: Case, situation: str, *, again: bool) -> None:
    """Call whoever must go to a situation and has not been; `again` also who had finished."""
    for department in book.routing.streams(situation):
        call(book, case, department, again=again)


def _conclude(
    book: Book, case: Case, record: IncidentRecord, *, before: tuple[str, str | None], actor: str, note: str
) -> Case:
    """What a decided picture means for its case: whom to call or to send home, where it belongs."""
    situation = record.situation if record.verdict == Verdict.DISPATCHED else None
    if situation is not None and situation in book.routing.situations:
        case = _placed(book, case, record, before, actor)
        others = [each for each in book.incidents(case) if each is not record]
        if all(each.verdict != Verdict.DISPATCHED for each in others):
            case.situation = situation
        case.verdict, case.unverified = Verdict.DISPATCHED.value, False
        send_to(book, case, situation, again=before != (record.verdict, situation))
        if not others:
            stand_down(book, case, book.routing.streams(situation))
    elif record.verdict == Verdict.NO_EMERGENCY:
        _without(book, case, record, actor)
    close_review(book, case, actor)
    text = f"{record.number}: {situation_name(book.routing, situation or NORMAL)}"
    book.write(
        case,
        Action.DECIDE,
        actor=actor,
        department=REVIEW,
        incident_id=record.id,
        text=f"{text}. {note}" if note else text,
    )
    return case


def _placed(
    book: Book, case: Case, record: IncidentRecord, before: tuple[str, str | None], actor: str
) -> Case:
    """The case in which a picture of an emergency belongs."""
    situation = record.situation
    assert situation is not None
    if (case.verdict, case.situation) == (Verdict.DISPATCHED, situation):
        return case
    others = [each for each in book.incidents(case) if each is not record]
    if others and before == (case.verdict, case.situation) and situation != case.situation:
        # It was put with them because it showed the same, and it does not. What a person merged stays.
        left, case = case, book.split(case, record, actor=actor)
        if book.assignment(left, REVIEW) is not None:
            book.assign(case, REVIEW, due_at=None)  # so that reviewers find it, and may decide otherwise
        left_alone(book, left, actor)
        close_review(book, left, actor)
    elif any(each.verdict == Verdict.DISPATCHED for each in others):
        return case
    departments = book.routing.streams(situation)
    near = book.find_case(situation, place_of(record), record.received_at, departments, exclude=case)
    if near is None:
        return case
    book.merge(case, near, actor=actor)
    return near


def left_alone(book: Book, case: Case, actor: str) -> None:
    """What is left of a case after a split: nobody goes there if a person saw no emergency in any of it."""
    records = book.incidents(case)
    if records and all(each.verdict == Verdict.NO_EMERGENCY for each in records):
        _without(book, case, records[0], actor)


def _without(book: Book, case: Case, record: IncidentRecord, actor: str) -> None:
    """One picture less shows an emergency; where it was the last, whoever has not set out stays at home."""
    left = [each for each in book.incidents(case) if each.verdict != Verdict.NO_EMERGENCY]
    dispatched = [each for each in left if each.verdict == Verdict.DISPATCHED]
    if dispatched:
        if case.situation not in [each.situation for each in dispatched]:
            case.situation = dispatched[0].situation
        return
    if left:
        case.verdict, case.situation = Verdict.UNSURE.value, left[0].situation
        case.unverified = case.unverified or any(each.decided_by == DESK for each in left)
        return
    case.verdict, case.situation, case.unverified = Verdict.NO_EMERGENCY.value, None, False
    for assignment in book.assignments(case):
        if assignment.department != REVIEW and state_of(assignment) is AssignmentState.DISPATCHED:
            advance(book, assignment, Action.FALSE_ALARM, actor=actor)
            book.write(
                case,
                Action.FALSE_ALARM,
                actor=actor,
                department=assignment.department,
                incident_id=record.id,
                text=f"{record.number}: no emergency",
            )
