"""Positions: how far each stream has been applied, kept in the transactions that apply them."""

from collections.abc import Iterable
from datetime import UTC, datetime
from typing import Any

from redis.exceptions import ResponseError, WatchError
from sqlalchemy import select
from sqlalchemy.orm import Session

from console.tables import Position
from shared.broker import Broker

BEGIN = "0-0"

AHEAD_MS = 60_000
"""An entry further in the future, by the broker's clock, has an id that somebody made up."""

_LATEST_MS = 4_102_444_800_000
"""The year 2100."""


def positions(session: Session, streams: Iterable[str]) -> dict[str, str]:
    """The last entry of each stream that was applied."""
    wanted = list(streams)
    known = {
        position.stream: position.entry_id
        for position in session.scalars(select(Position).where(Position.stream.in_(wanted)))
    }
    return {stream: known.get(stream, BEGIN) for stream in wanted}


def move_on(session: Session, stream: str, entry_id: str) -> None:
    """Everything up to this entry is applied. Never moves back."""
    position = session.get(Position, stream)
    if position is None:
        session.add(Position(stream=stream, entry_id=entry_id))
    elif place(entry_id) > place(position.entry_id):
        position.entry_id = entry_id


def start_over(session: Session, broker: Broker, streams: Iterable[str]) -> list[str]:
    """Forget the positions in streams that end before them, because the broker lost data; which those are.

    Applying twice does no harm, and passing over what is new would.
    """
    lost = []
    for stream, entry_id in positions(session, streams).items():
        if entry_id != BEGIN and place(entry_id) > place(_last_entry(broker, stream)):
            position = session.get(Position, stream)
            assert position is not None
            position.entry_id = BEGIN
            lost.append(stream)
    return lost


def begin_anew(session: Session, broker: Broker, streams: Iterable[str]) -> list[str]:
    """Remove streams whose last id lies in the future, once all in them is applied; which those were.

    Whoever may add to a stream may name any id. After the last one that there is, nothing can be added any
    more; after one of the year 3000 everything gets an id of that year.
    """
    removed = []
    for stream, entry_id in positions(session, streams).items():
        if place(_last_entry(broker, stream))[0] > _now_ms(broker) + AHEAD_MS and _remove(
            broker, stream, entry_id
        ):
            position = session.get(Position, stream)
            if position is not None:
                position.entry_id = BEGIN
            removed.append(stream)
    return removed


def _remove(broker: Broker, stream: str, applied: str) -> bool:
    """Remove a stream, unless there is something in it that is not applied."""
    with broker.pipeline(transaction=True) as pipeline:
        pipeline.watch(stream)  # type: ignore[no-untyped-call]
        entries: Any = pipeline.xrevrange(stream, count=1)
        if entries and place(entries[0][0].decode()) > place(applied):
            return False
        pipeline.multi()
        pipeline.delete(stream)
        try:
            pipeline.execute()
        except WatchError:
            return False  # somebody has just added something
    return True


def is_ahead(entry_id: str, now: datetime) -> bool:
    """Whether an entry's id lies in the future, and so says nothing of when it was added."""
    return place(entry_id)[0] > now.timestamp() * 1000 + AHEAD_MS


def place(entry_id: str) -> tuple[int, int]:
    """Where an entry stands in its stream: milliseconds since the epoch, and which one of those."""
    milliseconds, _, sequence = entry_id.partition("-")
    return int(milliseconds), int(sequence or 0)


def moment_of(entry_id: str) -> datetime:
    """When an entry was added, by the broker's clock; an id that somebody made up has some time too."""
    return datetime.fromtimestamp(min(place(entry_id)[0], _LATEST_MS) / 1000, UTC)


def _now_ms(broker: Broker) -> int:
    seconds, microseconds = broker.time()
    return int(seconds) * 1000 + int(microseconds) // 1000


def _last_entry(broker: Broker, stream: str) -> str:
    try:
        about: Any = broker.xinfo_stream(stream)
    except ResponseError:
        return BEGIN  # there is none
    return str(about["last-generated-id"].decode())
