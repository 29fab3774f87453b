"""What has come to the desk in the broker's streams, and how it is brought into the record."""

import json
import random
from collections.abc import Callable, Mapping, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

import sqlalchemy.exc
import structlog
from redis.exceptions import ConnectionError, ResponseError, TimeoutError
from sqlalchemy import select
from sqlalchemy.orm import Session

from console.desk import feed
from console.desk.book import Book
from console.desk.incidents import storable
from console.desk.moves import apply
from console.desk.positions import is_ahead, moment_of, move_on, place, positions
from console.outages import is_record_fault
from console.tables import Assignment, MoveRecord
from shared.board import streams_of
from shared.broker import Broker, is_broker_fault
from shared.keys import CHANGED, moves_key
from shared.moves import NAME_MAX_CHARACTERS, OPEN_STATES, Move, MoveError
from shared.routing import REVIEW, Routing

log = structlog.get_logger()

MOVES_PAGE = 200
"""Entries of each stream of moves in one transaction, at most."""

_ID_CHARACTERS = frozenset("0123456789abcdef")

Writing = Callable[[], AbstractContextManager[Book]]
"""Begins a transaction on the record."""


@dataclass(frozen=True, slots=True)
class Entry:
    """One entry of `almenara:changed` or of a stream of moves.

    Attributes:
        stream: its key.
        entry_id: its id there.
        fields: what it holds.
    """

    stream: str
    entry_id: str
    fields: Mapping[bytes, bytes]


class Intake:
    """Reads the streams from where the record stands, and applies each entry once."""

    def __init__(self, write: Writing, broker: Broker, routing: Routing) -> None:
        self._write = write
        self._broker = broker
        self._departments = {moves_key(word): word for word in (*routing.departments, REVIEW)}
        self._unread: set[str] = set()
        self._most = feed.PAGE

    @property
    def streams(self) -> list[str]:
        """What is read."""
        return [CHANGED, *self._departments]

    def heed_others(self, session: Session) -> None:
        """Read also the moves of departments that the routing file lost while they had open cases."""
        known = list(self._departments.values())
        query = select(Assignment.department).where(
            Assignment.state.in_([state.value for state in OPEN_STATES]), Assignment.department.not_in(known)
        )
        if others := sorted(session.scalars(query.distinct())):
            log.warning("departments with open cases are not in the routing file", departments=others)
            self._departments |= {moves_key(word): word for word in others}

    def read(self, after: Mapping[str, str], block_ms: int | None) -> list[Entry]:
        """Entries after these positions, a page of each stream; waits `block_ms` for the first one.

        Raises:
            RedisError: the broker is away.
        """
        streams: dict[Any, Any] = dict(after)
        try:
            reply = self._page(streams, block_ms)
        except ResponseError:
            # One key that is no stream must not keep all departments waiting.
            kinds = {stream: self._broker.type(stream) for stream in streams}
            good = {stream: streams[stream] for stream in streams if kinds[stream] in (b"stream", b"none")}
            if len(good) == len(streams):
                raise
            self._say_unread(set(streams) - set(good))
            reply = self._page(good, block_ms)
        else:
            self._say_unread(set())
        return [
            Entry(stream.decode(), entry_id.decode(), fields or {})
            for stream, entries in streams_of(reply)
            for entry_id, fields in entries
        ]

    def _page(self, streams: Mapping[Any, Any], block_ms: int | None) -> Any:
        """XREAD. A broker cuts who asks for too much, and whoever may add moves can add one of 100 MB: after
        a cut fewer entries are asked for, at last one of one stream, on a line that is not counted."""
        try:
            if self._most == feed.PAGE:
                return self._broker.xread(dict(streams), count=feed.PAGE, block=block_ms)
            chosen = dict(streams) if self._most > 1 else dict(random.sample(sorted(streams.items()), 1))
            with self._broker.pipeline(transaction=False) as pipeline:
                pipeline.client_no_evict("ON")
                pipeline.xread(chosen, count=self._most)
                _, reply = pipeline.execute(raise_on_error=False)
        except (ConnectionError, TimeoutError):
            self._most = max(1, self._most // 8)
            raise
        if isinstance(reply, Exception):
            raise reply
        self._most = min(feed.PAGE, self._most * 8)
        return reply

    def _say_unread(self, keys: set[str]) -> None:
        """Once, and not at each of the two readings a second until a person has put it right."""
        if keys - self._unread:
            log.error("no streams, so not read", keys=sorted(keys))
        elif self._unread - keys:
            log.info("streams again, and read", keys=sorted(self._unread - keys))
        self._unread = keys

    def take_incidents(self, entries: Sequence[Entry]) -> None:
        """Bring in incidents that the record does not have yet. One that fails hurts no other.

        Raises:
            RedisError, sqlalchemy.exc.DBAPIError: the broker or the database is away; what is not applied
                yet is read again.
        """
        if changed := [entry for entry in entries if entry.stream == CHANGED]:
            self._apart(changed, self._incidents)

    def take_moves(self, entries: Sequence[Entry]) -> None:
        """Judge moves that the record does not have yet. Raises as `take_incidents`."""
        # In the order in which they were asked for, over all departments: the first one wins.
        asked = sorted(
            (entry for entry in entries if entry.stream != CHANGED), key=lambda each: place(each.entry_id)
        )
        for begin in range(0, len(asked), MOVES_PAGE):
            self._apart(asked[begin : begin + MOVES_PAGE], self._moves)

    def discover(self, ids: Sequence[str]) -> None:
        """Bring in incidents that no entry speaks of any more.

        Raises:
            RedisError, sqlalchemy.exc.DBAPIError: as `take_incidents`.
        """
        found = feed.fetch(self._broker, ids)
        try:
            with self._write() as book:
                feed.apply(book, found)
        except Exception as error:
            if passes(error):
                raise
            if len(ids) == 1:
                log.exception("an incident can't be brought in", incident=ids[0])
                return
            middle = len(ids) // 2
            self.discover(ids[:middle])
            self.discover(ids[middle:])

    def _apart(self, entries: Sequence[Entry], work: Callable[[Book, Sequence[Entry]], None]) -> None:
        """Apply entries in one transaction, or where that fails each half of them in its own."""
        try:
            with self._write() as book:
                _apply_once(book, entries, work)
        except Exception as error:
            if passes(error):
                raise
            if len(entries) == 1:
                log.exception(
                    "an entry can't be applied",
                    stream=entries[0].stream,
                    entry=entries[0].entry_id,
                    incident=entries[0].fields.get(b"id", b"").decode("utf-8", "replace"),
                )
                self._pass_over(entries[0])
                return
            middle = len(entries) // 2
            self._apart(entries[:middle], work)
            self._apart(entries[middle:], work)

    def _incidents(self, book: Book, entries: Sequence[Entry]) -> None:
        ids = [entry.fields.get(b"id", b"").decode("utf-8", "replace") for entry in entries]
        feed.apply(book, feed.fetch(self._broker, ids))

    def _moves(self, book: Book, entries: Sequence[Entry]) -> None:
        for entry in entries:
            try:
                move = Move.decode(self._departments[entry.stream], entry.fields.get(b"move", b""))
            except MoveError as error:
                self._refuse(book, entry, str(error))
                continue
            if book.known(move.move_id) is None:
                apply(book, move, _asked_at(book, entry, move))

    def _pass_over(self, entry: Entry) -> None:
        """Go on behind an entry that fails whatever is tried; who asked for a move is told."""
        try:
            with self._write() as book:
                if entry.stream != CHANGED:
                    self._refuse(book, entry, "The desk failed at this; its log says how. Try another way")
                move_on(book.session, entry.stream, entry.entry_id)
        except sqlalchemy.exc.DBAPIError as error:
            if passes(error):
                raise
            with self._write() as book:
                move_on(book.session, entry.stream, entry.entry_id)

    def _refuse(self, book: Book, entry: Entry, message: str) -> None:
        """Note a move that is none, if it has an id to answer to."""
        department = self._departments[entry.stream]
        log.warning("a move is none", department=department, entry=entry.entry_id, why=message)
        try:
            record = json.loads(entry.fields.get(b"move", b""))
            move_id = record["move_id"]
        except (KeyError, TypeError, ValueError, RecursionError):
            return
        if not isinstance(move_id, str) or len(move_id) != 32 or not _ID_CHARACTERS.issuperset(move_id):
            return
        if book.known(move_id) is not None:
            return
        book.tally.moved("bad_move")
        texts = {word: str(record.get(word, "")) for word in ("case", "action", "by")}
        book.session.add(
            MoveRecord(
                move_id=move_id,
                version=book.next_version(),
                department=department,
                case_id=storable(texts["case"], 32),
                action=storable(texts["action"], 24),
                by=storable(texts["by"], NAME_MAX_CHARACTERS),
                at=book.now,
                accepted=False,
                reason="bad_move",
                message=storable(message, 500),
            )
        )


def passes(error: BaseException) -> bool:
    """Whether waiting cures it, so that the same is tried again."""
    return is_record_fault(error) or is_broker_fault(error)


def _asked_at(book: Book, entry: Entry, move: Move) -> datetime:
    """When a move was asked for: as its stream says, or, behind an id of the future, as it says itself."""
    if not is_ahead(entry.entry_id, book.now):
        return moment_of(entry.entry_id)
    try:
        said_at = datetime.fromisoformat(move.at)
        return min(said_at if said_at.tzinfo else said_at.replace(tzinfo=UTC), book.now)
    except (ValueError, OverflowError):
        return datetime.fromtimestamp(0, UTC)


def _apply_once(book: Book, entries: Sequence[Entry], work: Callable[[Book, Sequence[Entry]], None]) -> None:
    """Apply what no desk has applied, and say how far that is, in one transaction."""
    stands = positions(book.session, {entry.stream for entry in entries})
    fresh = [entry for entry in entries if place(entry.entry_id) > place(stands[entry.stream])]
    if fresh:
        work(book, fresh)
        incidents = sum(entry.stream == CHANGED for entry in fresh)
        book.tally.entries("incident", incidents)
        book.tally.entries("move", len(fresh) - incidents)
        for entry in {entry.stream: entry for entry in fresh}.values():
            move_on(book.session, entry.stream, entry.entry_id)
