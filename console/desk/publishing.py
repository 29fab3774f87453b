"""Publishing: what changed in the record goes on the boards, and boards that differ from it are put right."""

import json
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import AbstractContextManager
from typing import Any, TypedDict

import structlog
from redis.exceptions import ResponseError
from sqlalchemy import Engine, func, select, union_all
from sqlalchemy.orm import Session

from console.desk.book import Book
from console.records import rows_of
from console.tables import Assignment, Case, IncidentRecord, Ledger, MoveRecord
from shared.board import KEEP_ENTRIES, Outcome, Row, is_open
from shared.broker import Broker, Script
from shared.incidents import encoded
from shared.keys import BOARD_VERSION, board_key, open_key
from shared.moves import OPEN_STATES
from shared.routing import ALL, REVIEW, Routing

log = structlog.get_logger()

PAGE = 200
"""Versions read at once."""
_CALL_BYTES = 256 * 1024
"""About as much JSON in one call of the script: the broker serves nobody else while it runs."""

_board = Script("board")
_number = Script("number")


class _Change(TypedDict):
    """What board.lua puts on one board."""

    version: int
    department: str
    case: str
    row: str
    open: bool
    outcomes: str


def publish(engine: Engine, broker: Broker) -> int:
    """Put everything that the boards lack on them; the last version that stands there.

    Raises:
        RedisError, sqlalchemy.exc.DBAPIError: one of them is away, or refuses.
    """
    stands = _standing(broker) or 0
    while True:
        with Session(engine) as session:
            changes, last = _page(session, stands)
        if not changes:
            return stands
        for call in _calls(changes):
            _board(broker, {"keep": KEEP_ENTRIES, "changes": call})
        stands = last


def is_astray(engine: Engine, broker: Broker) -> bool:
    """Whether the boards are not those of this record: the broker lost them, or the database is older."""
    stands = _standing(broker)  # first: what is published later is in the record by now
    with Session(engine) as session:
        version = session.scalars(select(Ledger.version)).one()
    return stands > version if stands is not None else version > 0


def reconcile(write: Callable[[], AbstractContextManager[Book]], engine: Engine, broker: Broker) -> None:
    """Make the boards those of the record again, whatever happened to either, and see that they are.

    Args:
        write: begins a transaction; holding the ledger, it keeps every desk from changing the record.
        engine: for reading.
        broker: with the boards.
    """
    with write() as book:
        base = _start_anew(book, broker)
    if base is not None:
        # After the commit, so that whoever finds no number there meanwhile does the same once more.
        _board(broker, {"keep": KEEP_ENTRIES, "changes": [_mark(base)]})
    with write() as book:
        publish(engine, broker)
        _put_right(book, broker)
    publish(engine, broker)


def _start_anew(book: Book, broker: Broker) -> int | None:
    """Give everything open a fresh version, if the boards are not those of this record.

    Returns:
        The version up to which nothing need be published, or None where the boards are right.
    """
    stands = _standing(broker)
    newest = max(stands or 0, _last_entry(broker))
    if newest > book.version:
        log.warning(
            "the database is older than the boards: publishing what is open anew",
            version=book.version,
            boards=newest,
        )
        book.continue_after(newest)
    elif stands is None and book.version > 0:
        log.warning("the broker has no boards of this record: publishing what is open", version=book.version)
    else:
        return None
    # Also a broker that lost its data gives no number again that people say on the radio now.
    _number(broker, {"number": _highest_number(book.session)})
    base = book.version
    # What ended before is history, and on no board any more.
    for case in book.session.scalars(select(Case).where(_is_open_case())):
        book.touch(case)
    return base


def _standing(broker: Broker) -> int | None:
    """The last version on the boards; None where the broker does not know, or has something else there."""
    try:
        text: Any = broker.get(BOARD_VERSION)
    except ResponseError as error:
        if not str(error).startswith("WRONGTYPE"):
            raise
        text = b"of another type"
    if text is None or (text.isdigit() and len(text) < 16):
        return None if text is None else int(text)
    log.error("no version of the boards, so taken for lost", key=BOARD_VERSION, found=text[:40])
    return None


def _highest_number(session: Session) -> int:
    """The highest number of an incident in the record; 0 where there is none."""
    longest_first = (func.length(IncidentRecord.number).desc(), IncidentRecord.number.desc())
    numbers = session.scalars(select(IncidentRecord.number).order_by(*longest_first).limit(PAGE))
    return max((int(number) for number in numbers if number.isdecimal()), default=0)


def _put_right(book: Book, broker: Broker) -> None:
    """Compare what is open on each board with the record, when nothing is on its way between them."""
    should = _open_pairs(book.session, book.routing)
    stands = _standing_pairs(broker, {department for department, _ in should} | _boards(book.routing))
    if should == stands:
        return
    log.warning("boards differ from the record: putting them right", rows=len(should ^ stands))
    ids = sorted({case_id for _, case_id in should ^ stands})
    known = {case.id: case for case in book.session.scalars(select(Case).where(Case.id.in_(ids)))}
    # First those of no case, which an older database has forgotten: they are published at once, and so must
    # have the lower versions.
    for department, case_id in sorted(stands - should):
        if case_id not in known:
            change = _farewell(broker, department, case_id, book.next_version())
            _board(broker, {"keep": KEEP_ENTRIES, "changes": [change]})
    for case in known.values():
        book.touch(case)


def _page(session: Session, after: int) -> tuple[list[_Change], int]:
    """Changes of the next versions after one, in their order, and the last version looked at."""
    later = union_all(
        select(Case.version).where(Case.version > after),
        select(MoveRecord.version).where(MoveRecord.version > after),
    ).subquery()
    versions = session.scalars(select(later.c.version).order_by(later.c.version).limit(PAGE)).all()
    if not versions:
        return [], after
    last = versions[-1]
    cases = session.scalars(select(Case).where(Case.version > after, Case.version <= last)).all()
    moves = session.scalars(
        select(MoveRecord).where(MoveRecord.version > after, MoveRecord.version <= last)
    ).all()
    changes: dict[tuple[int, str], _Change] = {}
    for row in rows_of(session, cases):
        text = encoded(dict(row))
        for department in _boards_of(row):
            changes[row["version"], department] = _change(row, text, department)
    outcomes: dict[tuple[int, str], list[Outcome]] = {}
    for move in moves:
        for department in (move.department, ALL):
            outcomes.setdefault((move.version, department), []).append(_outcome(move))
    for (version, department), several in outcomes.items():
        change = changes.setdefault((version, department), _mark(version) | {"department": department})
        change["outcomes"] = json.dumps(several, ensure_ascii=False)
    if not changes:
        return [_mark(last)], last
    return [changes[key] for key in sorted(changes)], last


def _calls(changes: Sequence[_Change]) -> Iterator[list[_Change]]:
    """Parts of a bounded size; one version's changes stay together."""
    call: list[_Change] = []
    size = 0
    for change in changes:
        if size > _CALL_BYTES and call[-1]["version"] != change["version"]:
            yield call
            call, size = [], 0
        call.append(change)
        size += len(change["row"]) + len(change["outcomes"]) + 200
    if call:
        yield call


def _boards_of(row: Row) -> list[str]:
    return [ALL, *(part["department"] for part in row["assignments"])]


def _change(row: Row, text: str, department: str) -> _Change:
    return {
        "version": row["version"],
        "department": department,
        "case": row["case"],
        "row": text,
        "open": is_open(row, department),
        "outcomes": "",
    }


def _mark(version: int) -> _Change:
    """Says how far the boards are, and changes none."""
    return {"version": version, "department": ALL, "case": "", "row": "", "open": False, "outcomes": ""}


def _outcome(move: MoveRecord) -> Outcome:
    return {
        "move_id": move.move_id,
        "department": move.department,
        "case": move.case_id,
        "action": move.action,
        "by": move.by,
        "accepted": move.accepted,
        "reason": move.reason,
        "message": move.message,
        "version": move.version,
    }


def _farewell(broker: Broker, department: str, case_id: str, version: int) -> _Change:
    """Takes a row that is in no record off a board."""
    text: Any = broker.hget(open_key(department), case_id)
    change = _mark(version) | {"department": department, "case": case_id}
    try:
        row: Row = json.loads(text)
        row["assignments"], row["version"] = [], version
        change["row"] = encoded(dict(row))
    except (TypeError, ValueError, KeyError):
        broker.hdel(open_key(department), case_id)  # nothing that a console could have shown
    return change


def _is_open_case() -> Any:
    """Cases that somebody still has something to do with."""
    states = [state.value for state in OPEN_STATES]
    ids = select(Assignment.case_id).where(Assignment.state.in_(states))
    return Case.merged_into.is_(None) & Case.id.in_(ids)


def _open_pairs(session: Session, routing: Routing) -> set[tuple[str, str]]:
    """(board, case) of everything open in the record."""
    states = [state.value for state in OPEN_STATES]
    query = (
        select(Assignment.department, Assignment.case_id)
        .join(Case, Case.id == Assignment.case_id)
        .where(Assignment.state.in_(states), Case.merged_into.is_(None))
    )
    pairs = {(department, case_id) for department, case_id in session.execute(query)}
    return pairs | {(ALL, case_id) for _, case_id in pairs}


def _standing_pairs(broker: Broker, departments: Iterable[str]) -> set[tuple[str, str]]:
    """(board, case) of everything open on the boards."""
    pairs = set()
    for department in sorted(departments):
        for case_id in _keys(broker, open_key(department)):
            pairs.add((department, case_id.decode("utf-8", "replace")))
    return pairs


def _keys(broker: Broker, name: str) -> list[bytes]:
    try:
        keys: Any = broker.hkeys(name)
    except ResponseError as error:
        if not str(error).startswith("WRONGTYPE"):
            raise
        log.error("no board, so made anew", key=name)
        broker.delete(name)
        return []
    return list(keys)


def _boards(routing: Routing) -> set[str]:
    return {*routing.departments, REVIEW, ALL}


def _last_entry(broker: Broker) -> int:
    """The highest version in the streams of the boards, for a broker that lost only the number."""
    try:
        newest: Any = broker.xrevrange(board_key(ALL), count=1)
    except ResponseError:
        return 0  # not a stream: somebody else's doing, and publishing says so
    return int(newest[0][0].split(b"-")[0]) if newest else 0
