"""Positions: how far each stream has been applied, kept in the transactions that apply them."""

from collections.abc import Iterable
from datetime import UTC, datetime
from typing import Any

from redis.exceptions import ResponseError
from sqlalchemy import select
from sqlalchemy.orm import Session

from console.tables import Position
from shared.broker import Broker

BEGIN = "0-0"

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


def place(entry_id: str) -> tuple[int, int]:
    """Where an entry stands in its stream: milliseconds since the epoch, and which one of those."""
    milliseconds, _, sequence = entry_id.partition("-")
    return int(milliseconds), int(sequence or 0)


def moment_of(entry_id: str) -> datetime:
    """When an entry was added, by the broker's clock; an id that somebody made up has some time too."""
    return datetime.fromtimestamp(min(place(entry_id)[0], _LATEST_MS) / 1000, UTC)


def _last_entry(broker: Broker, stream: str) -> str:
    try:
        about: Any = broker.xinfo_stream(stream)
    except ResponseError:
        return BEGIN  # there is none
    return str(about["last-generated-id"].decode())
