"""The chain of CAP messages about a case: which there are, under which names, and which of them are new.

One moment of a case's timeline that changes what others should know is one message: what was done in one
transaction has one time. Its identifier is made of the case and of that moment, and so never changes, and is
no other message's: not that of another case, nor of a record that was restored from a backup.
"""

import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime

from sqlalchemy import Engine, func, select
from sqlalchemy.orm import Session

from console.tables import Assignment, Case, TimelineEntry
from shared.moves import Action
from shared.routing import REVIEW
from shared.verdict import Verdict

PAGE = 200
"""Entries of timelines that are looked at together."""

_TELLING = frozenset(
    {
        *("opened", "joined", "failed_open", "fell_back", "merged"),
        *(Action.CORRECT, Action.DECIDE, Action.ADD_DEPARTMENT, Action.MERGE, Action.SPLIT),
        *(Action.FALSE_ALARM, Action.CLOSE, Action.REOPEN),
    }
)
"""Actions of a timeline that make a message."""
_MOMENT = "%Y%m%dT%H%M%S%f"
_IDENTIFIER = re.compile("almenara-([0-9a-f]{32})-([0-9]{8}T[0-9]{12})")


@dataclass(frozen=True, slots=True)
class Told:
    """One message: its identifier, when it was sent, and its place among all, that of its entry."""

    identifier: str
    at: datetime
    number: int = 0

    @property
    def sent(self) -> str:
        """As CAP writes times: with an offset, which for UTC is -00:00."""
        return self.at.astimezone(UTC).strftime("%Y-%m-%dT%H:%M:%S-00:00")


@dataclass(frozen=True, slots=True)
class Chain:
    """Messages about one case, oldest first, and those about cases that went into it."""

    own: Sequence[Told]
    others: Sequence[Told]

    def message(self, at: datetime | None = None) -> Told | None:
        """That of a moment, or the newest; None where there is none."""
        if at is None:
            return self.own[-1] if self.own else None
        return next((told for told in self.own if told.at == at), None)

    def before(self, told: Told) -> list[Told]:
        """What one of its own refers to; nothing for the first, which opens the chain."""
        if told is self.own[0]:
            return []
        known = [*self.own, *self.others]
        return sorted((each for each in known if each.number < told.number), key=lambda each: each.number)


@dataclass(frozen=True, slots=True)
class News:
    """A message that some departments have not been told: about which case, and to which of them."""

    case_id: str
    department: str
    told: Told


def identifier_of(case_id: str, at: datetime) -> str:
    """The name of the message about a case that a moment made."""
    return f"almenara-{case_id}-{at.astimezone(UTC).strftime(_MOMENT)}"


def named(identifier: str) -> tuple[str, datetime] | None:
    """Case and moment of a message's name; None where it is none of ours."""
    found = _IDENTIFIER.fullmatch(identifier)
    try:
        return (found[1], datetime.strptime(found[2], _MOMENT).replace(tzinfo=UTC)) if found else None
    except ValueError:
        return None


def chain_of(session: Session, case_id: str) -> Chain:
    """All messages about a case."""
    columns = (TimelineEntry.id, TimelineEntry.case_id, TimelineEntry.at)
    query = (
        select(*columns, TimelineEntry.action, TimelineEntry.department)
        .join(Case, Case.id == TimelineEntry.case_id)
        .where((Case.id == case_id) | (Case.merged_into == case_id), TimelineEntry.action.in_(_words()))
        .order_by(TimelineEntry.id)
    )
    own: dict[datetime, int] = {}
    others: dict[tuple[str, datetime], int] = {}
    came: dict[str, tuple[datetime, int]] = {}
    for number, case, at, action, department in session.execute(query):
        if case == case_id:
            own[at] = number
            continue
        others[case, at] = number
        if action == "merged" and not department:  # its own end, and the news that this case has more
            came[case] = at, number
    for at, number in came.values():
        if own and number > min(own.values()):
            own[at] = max(number, own.get(at, 0))
    return Chain(
        _sorted(Told(identifier_of(case_id, at), at, number) for at, number in own.items()),
        _sorted(Told(identifier_of(case, at), at, number) for (case, at), number in others.items()),
    )


def news(session: Session, after: int, departments: Sequence[str]) -> tuple[list[News], int]:
    """Messages for any of these departments that a page of timelines' entries after one made, and its end.

    Entries become visible in their order, and those of one moment together: the ledger's lock sees to it.
    """
    columns = (TimelineEntry.id, TimelineEntry.case_id, TimelineEntry.action, Case.merged_into)
    query = select(*columns).join(Case, Case.id == TimelineEntry.case_id).where(TimelineEntry.id > after)
    page = session.execute(query.order_by(TimelineEntry.id).limit(PAGE)).all()
    if not page:
        return [], after
    last, words = int(page[-1].id), _words()
    concerned = [(each.case_id, each.merged_into) for each in page if each.action in words]
    found = []
    for case_id in dict.fromkeys(case_id for pair in concerned for case_id in pair if case_id):
        chain = chain_of(session, case_id)
        new = [told for told in chain.own if after < told.number <= last]
        department = _department(session, case_id, departments) if new else None
        # A street without an emergency that a reviewer looks at, as one in so many: nobody is alarmed.
        if new and new[0] is chain.own[0] and _is_quiet(session, case_id):
            new = new[1:]
        if department is not None:
            found += [News(case_id, department, told) for told in new]
    return sorted(found, key=lambda each: (each.told.number, each.told.identifier)), last


def news_since(engine: Engine, departments: Sequence[str], since: datetime) -> Iterator[News]:
    """All messages of moments at or after an aware one, for any of these departments."""
    with Session(engine) as session:
        after = last_before(session, since)
    while True:
        with Session(engine) as session:
            page, last = news(session, after, departments)
        yield from (each for each in page if each.told.at >= since)
        if last == after:
            return
        after = last


def last_before(session: Session, moment: datetime) -> int:
    """The entry of all timelines before the first one of a moment or after it; 0 where there is none."""
    # Not the last one that is older: clocks of several desks differ, and one of before may come behind.
    first = session.scalar(select(func.min(TimelineEntry.id)).where(TimelineEntry.at >= moment))
    if first is not None:
        return first - 1
    return session.scalar(select(func.max(TimelineEntry.id))) or 0


def _words() -> list[str]:
    return [str(action) for action in _TELLING]


def _sorted(messages: Iterator[Told]) -> list[Told]:
    return sorted(messages, key=lambda told: told.number)


def _department(session: Session, case_id: str, departments: Sequence[str]) -> str | None:
    """The first of these that has to do with a case."""
    query = select(Assignment.department).where(Assignment.case_id == case_id)
    called = set(session.scalars(query))
    return next((word for word in departments if word in called), None)


def _is_quiet(session: Session, case_id: str) -> bool:
    """Whether there is no emergency, and nobody but reviewers was ever called."""
    verdict = session.scalar(select(Case.verdict).where(Case.id == case_id))
    called = select(Assignment.department).where(Assignment.case_id == case_id)
    return verdict == Verdict.NO_EMERGENCY and set(session.scalars(called)) <= {REVIEW}
