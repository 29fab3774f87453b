"""Dispatches read from the streams: everything there is, then what comes, across faults of the broker."""

from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import structlog

from shared.broker import Broker, BrokerAwayError, patiently
from shared.dispatches import Dispatch, DispatchError
from shared.keys import DISPATCH_PREFIX, dispatch_key

log = structlog.get_logger()

PAGE = 500
BLOCK_MS = 1000
START = "0"


@dataclass(frozen=True, slots=True)
class Entry:
    """One stream entry: `entry_id` is what `--since` takes."""

    entry_id: str
    department: str
    event: str
    dispatch: Dispatch


class Reader:
    """Follows one department's stream, or several merged in order of entry id."""

    def __init__(self, broker: Broker, departments: Sequence[str], since: str = START) -> None:
        """Read entries after `since`, a stream entry id; ``0`` is everything."""
        self._broker = broker
        self._after = {dispatch_key(department): since for department in departments}

    def backlog(self, stop: Callable[[], bool] = lambda: False) -> Iterator[Entry]:
        """Every entry now in the streams, in order; those that are no dispatches are said and passed over."""
        before: dict[str, str] = {}
        while self._after != before:  # a page may be read and hold nothing that can be shown
            before = dict(self._after)
            yield from patiently(lambda: self._read(block_ms=None), stop=stop)

    def follow(self, stop: Callable[[], bool] = lambda: False) -> Iterator[Entry]:
        """Every entry as it comes, until `stop` turns true. Reconnects by itself and repeats nothing."""
        try:
            while not stop():
                yield from patiently(lambda: self._read(block_ms=BLOCK_MS), stop=stop)
        except BrokerAwayError:
            return

    def _read(self, block_ms: int | None) -> list[Entry]:
        reply: Any = self._broker.xread(self._after, count=PAGE, block=block_ms)  # type: ignore[arg-type]
        streams = reply.items() if isinstance(reply, dict) else reply or []
        found: list[tuple[str, str, bytes]] = []
        for key, entries in streams:
            # RESP3 wraps the entries of a stream in one more list.
            rows = entries[0] if entries and isinstance(entries[0], list) else entries
            found += [
                (key.decode(), entry_id.decode(), fields.get(b"event", b"")) for entry_id, fields in rows
            ]
        found.sort(key=lambda each: _order(each[1]))
        if len(streams) > 1:
            found = _complete(found)
        page = []
        for key, entry_id, event in found:
            self._after[key] = entry_id
            department = key.removeprefix(DISPATCH_PREFIX)
            try:
                dispatch = Dispatch.decode(event)
            except DispatchError as error:
                log.error("an entry can't be shown", department=department, entry=entry_id, error=str(error))
                continue
            page.append(Entry(entry_id, department, event.decode("utf-8", "replace"), dispatch))
        return sorted(page, key=_as_they_came)


class OncePerRevision:
    """Passes each revision of an incident the first time: several departments are sent the same one.

    What is decided later is another revision, and news.
    """

    def __init__(self, remember: int = 200_000) -> None:
        self._remember = remember
        self._seen: dict[tuple[str, str], None] = {}

    def __call__(self, entry: Entry) -> bool:
        """Whether this entry says something new."""
        data = entry.dispatch.data
        revision = str(data["incident_id"]), str(data.get("revision", 1))
        if revision in self._seen:
            return False
        self._seen[revision] = None
        if len(self._seen) > self._remember:
            del self._seen[next(iter(self._seen))]
        return True


def _complete(found: list[tuple[str, str, bytes]]) -> list[tuple[str, str, bytes]]:
    """What is sure to be in order: a stream that filled its page has more, so what is later waits."""
    read = Counter(key for key, _, _ in found)
    last = {key: entry_id for key, entry_id, _ in found}
    full = [_order(last[key]) for key, entries in read.items() if entries >= PAGE]
    return [each for each in found if _order(each[1]) <= min(full)] if full else found


def _as_they_came(entry: Entry) -> tuple[int, int, str, int]:
    """By time; in one millisecond, where streams' counters can't be compared, by number and revision."""
    number = str(entry.dispatch.data["number"])
    return _order(entry.entry_id)[0], len(number), number, int(entry.dispatch.data.get("revision", 1))


def _order(entry_id: str) -> tuple[int, int]:
    milliseconds, _, sequence = entry_id.partition("-")
    return int(milliseconds), int(sequence or 0)
