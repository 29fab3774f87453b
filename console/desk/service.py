"""The desk service: incidents and moves in, the record kept, boards out, and the clock in between."""

import time
from collections.abc import Callable
from contextlib import AbstractContextManager
from datetime import datetime

import structlog
from redis.exceptions import RedisError
from sqlalchemy import Engine
from sqlalchemy.orm import Session

from console.desk import clock, feed
from console.desk.book import Book, writing
from console.desk.calls import OpenCalls
from console.desk.intake import Intake, passes
from console.desk.positions import BEGIN, begin_anew, place, positions, start_over
from console.desk.publishing import is_astray, publish, reconcile
from console.outages import RecordAwayError, outlast
from console.records import file_of, migrate, place_of_record
from shared.broker import Broker, BrokerAwayError, patiently
from shared.heartbeats import BEAT_S, DESK, beat, end, process_name
from shared.incidents import utc_now
from shared.keys import CHANGED, dispatch_key
from shared.routing import REVIEW, Routing
from shared.settings import Settings

log = structlog.get_logger()

BLOCK_S = 0.5
BEGIN_S = 20.0
WALK_EVERY_S = 300.0
TICK_EVERY_S = 5.0
"""The clock is looked at this often though nothing is due: the machine's own may have been set back."""
STREAMS_EVERY_S = 5.0
TRIM_EVERY_S = 30.0
KEEP_CHANGED_S = 3600.0
KEEP_MOVES_S = 86400.0
"""Applied moves that stay in their streams: a database restored from last night's backup gets them again."""
AFTER_FAULT_S = 1.0


class DeskService:
    """Keeps the truth about open incidents. Several may run: what one has done, the others find done."""

    def __init__(
        self,
        settings: Settings,
        broker: Broker,
        routing: Routing,
        engine: Engine,
        calls: OpenCalls | None = None,
    ) -> None:
        """Nothing is asked of broker and database yet; `calls` are kept up to date for whoever scrapes."""
        self._settings = settings
        self._broker = broker
        self._routing = routing
        self._engine = engine
        self._calls = calls or OpenCalls()
        self._intake = Intake(self._write, broker, routing)
        self._name = process_name()
        self._beat_at_s = self._trimmed_at_s = float("-inf")
        self._walked_at_s = self._ticked_at_s = self._streams_at_s = float("-inf")
        self._clock_failed = False
        self._walk: int | None = 0
        """How many of the broker's incidents the walk that is under way has passed; None between walks."""

    def run(self, stop: Callable[[], bool]) -> None:
        """Work until `stop` turns true. What has not been applied by then waits in the broker.

        Raises:
            ConfigError: the database can't be used, or is of a newer Almenara.
        """
        try:
            outlast(lambda: migrate(self._engine), stop=stop)
            opened = file_of(self._engine)
            self._steadily(self._begin, stop)
            log.info("desk ready", database=place_of_record(self._engine))
            while not stop():
                if file_of(self._engine) != opened:
                    # Written on, the old one would be lost with us, and whoever reads sees another.
                    log.error("the database's file was removed or replaced: opening it anew")
                    opened = self._open_anew(stop)
                self._steadily(self._round, stop)
        except (BrokerAwayError, RecordAwayError) as error:
            log.info("stopping; what is not applied waits in the broker", why=str(error))
        finally:
            self._say_goodbye()
        log.info("desk stopped")

    def _open_anew(self, stop: Callable[[], bool]) -> tuple[int, int] | None:
        self._engine.dispose()
        outlast(lambda: migrate(self._engine), stop=stop)
        opened = file_of(self._engine)
        self._walk = 0
        self._steadily(self._begin, stop)
        return opened

    def _steadily(self, work: Callable[[], None], stop: Callable[[], bool]) -> None:
        """Do `work`, once broker and database are there. Its own faults are logged, and end nothing."""
        try:
            outlast(lambda: patiently(work, stop=stop), stop=stop)
        except (BrokerAwayError, RecordAwayError):
            raise
        except Exception:
            log.exception("the desk failed at something, and goes on")
            time.sleep(AFTER_FAULT_S)

    def _write(self) -> AbstractContextManager[Book]:
        return writing(self._engine, self._broker, self._routing, self._settings)

    def _begin(self) -> None:
        """Find what changed while no desk ran before moves are judged, unless that is a whole record."""
        self._set_right()
        deadline_s = time.monotonic() + BEGIN_S
        while self._walk is not None and time.monotonic() < deadline_s:
            self._walk_on()
            publish(self._engine, self._broker)
            self._beat()

    def _round(self) -> None:
        with Session(self._engine) as session:
            after = positions(session, self._intake.streams)
            due_at = clock.next_due(session)
        entries = self._intake.read(after, self._block_ms(due_at))
        # Before the incidents: a desk that died between telling departments and noting why comes here, and
        # must note it, before it reads that they were told.
        self._intake.take_moves(entries)
        self._tick(due_at)
        self._intake.take_incidents(entries)
        if is_astray(self._engine, self._broker):
            self._set_right()
            self._walk = 0
        self._walk_on()
        publish(self._engine, self._broker)
        self._look_at_streams()
        self._trim(after)
        self._beat()

    def _look_at_streams(self) -> None:
        """Begin those anew to which nothing can be added any more, because of an id that somebody made up."""
        if time.monotonic() - self._streams_at_s < STREAMS_EVERY_S:
            return
        with self._write() as book:
            if removed := begin_anew(book.session, self._broker, self._intake.streams):
                log.error(
                    "somebody added an entry of the future: all was applied, and the stream begins anew. Who "
                    "has that password? docs/runbook.md, A stream with an id of the future",
                    streams=removed,
                )
            # Another desk may have applied what it had read of the old one.
            start_over(book.session, self._broker, self._intake.streams)
        self._streams_at_s = time.monotonic()

    def _tick(self, due_at: datetime | None) -> None:
        """Do what is due. A clock that fails must not stand in the way of the rest."""
        since_s = time.monotonic() - self._ticked_at_s
        if since_s < TICK_EVERY_S and (self._clock_failed or due_at is None or due_at > utc_now()):
            return
        self._ticked_at_s, self._clock_failed = time.monotonic(), True
        try:
            with self._write() as book:
                clock.tick(book)
        except Exception as error:
            if passes(error):
                raise
            log.exception("the clock failed; looking at each case alone")
            self._tick_each()
        else:
            self._clock_failed = False

    def _tick_each(self) -> None:
        """One case that the clock fails at must not keep the others silent."""
        with Session(self._engine) as session:
            cases = clock.due_cases(session, utc_now())
        for case_id in cases:
            try:
                with self._write() as book:
                    clock.tick(book, case_id)
            except Exception as error:
                if passes(error):
                    raise
                log.exception("the clock failed at a case", incident=case_id, case=case_id)

    def _block_ms(self, due_at: datetime | None) -> int | None:
        """How long to wait for an entry: until the clock is due, at most `BLOCK_S`; None: not at all."""
        wait_s = BLOCK_S if self._walk is None else 0.0
        if due_at is not None and not self._clock_failed:
            wait_s = min(wait_s, (due_at - utc_now()).total_seconds())
        return int(wait_s * 1000) or None if wait_s > 0 else None

    def _walk_on(self) -> None:
        """One page more of the broker's incidents: those that the record lacks come in."""
        if self._walk is None:
            if time.monotonic() - self._walked_at_s < WALK_EVERY_S:
                return
            self._set_right()
            self._walk = 0
        with Session(self._engine) as session:
            ids, more = feed.undiscovered(session, self._broker, self._walk)
        if ids:
            self._intake.discover(ids)
            with Session(self._engine) as session:
                self._intake.heed_others(session)
        self._walk = self._walk + feed.PAGE if more else None
        self._walked_at_s = time.monotonic()

    def _set_right(self) -> None:
        with self._write() as book:
            self._intake.heed_others(book.session)
            if lost := start_over(book.session, self._broker, self._intake.streams):
                log.warning("the broker lost entries: reading from the beginning", streams=lost)
        reconcile(self._write, self._engine, self._broker)

    def _trim(self, applied: dict[str, str]) -> None:
        """Take entries out of the streams that were applied long enough ago, and dispatches of the past."""
        if time.monotonic() - self._trimmed_at_s < TRIM_EVERY_S:
            return
        now_s, _ = self._broker.time()
        oldest = {
            # As long as the incidents that they speak of.
            dispatch_key(word): _entry_at(now_s - self._settings.retention_days * 86400 - KEEP_CHANGED_S)
            for word in (*self._routing.departments, REVIEW)
        }
        for stream, entry_id in applied.items():
            keep_s = KEEP_CHANGED_S if stream == CHANGED else KEEP_MOVES_S
            oldest[stream] = min(_entry_at(now_s - keep_s), entry_id, key=place)
        with self._broker.pipeline(transaction=False) as pipeline:
            for stream, entry_id in oldest.items():
                if entry_id != BEGIN:
                    pipeline.xtrim(stream, minid=entry_id, approximate=True)
            pipeline.execute(raise_on_error=False)  # there may be none to trim, or none that is a stream
        self._trimmed_at_s = time.monotonic()

    def _beat(self) -> None:
        """Say that a desk runs. One that waits for the database says nothing, and consoles tell."""
        if time.monotonic() - self._beat_at_s >= BEAT_S:
            beat(self._broker, DESK, self._name)
            with Session(self._engine) as session:
                self._calls.look(session, self._routing.departments)
            self._beat_at_s = time.monotonic()

    def _say_goodbye(self) -> None:
        try:
            end(self._broker, DESK, self._name)
        except RedisError as error:
            log.debug("the heartbeat ends by itself", error=str(error))


def _entry_at(seconds: float) -> str:
    """The id of an entry that was added then, in seconds since the epoch."""
    return f"{max(0, int(seconds * 1000))}-0"
