"""Boards: what a department has open now, and what changes on it. Written by the desk, read by every console.

A board is a hash of open rows and a stream of changes, both of them made from the desk's record. The id of a
stream entry is the version of that record, so a console that comes back says how far it was, and misses and
repeats nothing.
"""

import json
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

from typing_extensions import TypedDict  # Python's own is not understood by pydantic before 3.12

from shared.broker import Broker
from shared.errors import PermanentError
from shared.keys import BOARD_VERSION, board_key, open_key

SCHEMA_VERSION = 1
PAGE = 500
KEEP_ENTRIES = 10_000
"""Changes that stay on a board; who was away for longer gets all open rows anew."""
ROW_INCIDENTS = 12
"""Newest incidents in a row, and after them the oldest that a person has yet to decide; the rest are counted,
and the desk's record has them."""
ROW_TIMELINE = 12
"""Newest lines of the timeline in a row."""


class IncidentPart(TypedDict):
    """One photograph of a case, as rows show it. Times are RFC 3339 UTC."""

    id: str
    number: str
    verdict: str
    situation: str | None
    confidence: float
    scores: dict[str, float]
    latitude_deg: float
    longitude_deg: float
    label: str
    note: str
    image: str
    model: str
    reason: str
    detail: str
    received_at: str
    decided_at: str
    seen_count: int
    last_seen_at: str
    revision: int
    decided_by: str


class AssignmentPart(TypedDict):
    """How far one department is. `department` is ``review`` for what a person must decide."""

    department: str
    state: str
    dispatched_at: str
    state_at: str
    holder: str
    acknowledged_at: str
    due_at: str
    repeats: int
    fallback_of: str


class TimelinePart(TypedDict):
    """One line of what happened. `action` is an Action's word, or the desk's own: ``opened``, ``joined``,
    ``seen_again``, ``repeated``, ``fell_back``, ``expired``, ``failed_open``, ``merged``, ``told``.
    """

    at: str
    actor: str
    department: str
    action: str
    text: str


class Row(TypedDict):
    """One case as a board shows it."""

    schema_version: int
    case: str
    version: int
    verdict: str
    situation: str | None
    unverified: bool
    opened_at: str
    last_incident_at: str
    latitude_deg: float
    longitude_deg: float
    merged_into: str
    incident_count: int
    incidents: list[IncidentPart]
    assignments: list[AssignmentPart]
    timeline: list[TimelinePart]


class Outcome(TypedDict):
    """What became of a move. `reason` is ``applied``, or why not: ``taken``, ``not_allowed``,
    ``unknown_case``, ``unknown_word``, ``not_yours``, ``stale``, ``bad_move``; `message` says it in words.
    """

    move_id: str
    department: str
    case: str
    action: str
    by: str
    accepted: bool
    reason: str
    message: str
    version: int


class BoardError(PermanentError):
    """Raised when an entry of a board is none that this version understands."""

    default_reason = "bad_board"


@dataclass(frozen=True, slots=True)
class Change:
    """One entry of a board: `version` of the desk's record, a row that changed or None, outcomes of moves.

    `row_json` is the row's own text, so that who only passes it on need not write it again.
    """

    version: int
    row: Row | None
    row_json: str
    outcomes: list[Outcome] = field(default_factory=list)


@dataclass(frozen=True, slots=True)
class Opening:
    """Everything open on a board at one moment, and the version from which on to follow."""

    version: int
    rows: list[Row]


def is_open(row: Row, department: str) -> bool:
    """Whether a department (or ``all``: anybody) still has something to do with a row."""
    from_states = [part for part in row["assignments"] if department in ("all", part["department"])]
    return not row["merged_into"] and any(
        part["state"] not in ("closed", "false_alarm") for part in from_states
    )


def open_rows(broker: Broker, department: str) -> Opening:
    """Everything open on a board now.

    Read in pages, since a broker cuts who takes too much at once: a row may be newer than the version, and
    what changes meanwhile comes again with the changes after it.

    Raises:
        BoardError: a row is not of this version.
    """
    version: Any = broker.get(BOARD_VERSION)
    rows = dict(broker.hscan_iter(open_key(department), count=PAGE))
    return Opening(int(version or 0), [_row(text) for text in rows.values()])


def changes(broker: Broker, department: str, after: int, *, block_ms: int | None = None) -> list[Change]:
    """Changes of a board after a version, oldest first, at most a page; waits `block_ms` for the first one.

    Raises:
        BoardError: an entry is not of this version.
    """
    reply: Any = broker.xread({board_key(department): f"{after}-0"}, count=PAGE, block=block_ms)
    return [change for _, entries in streams_of(reply) for change in map(_change, entries)]


def covers(broker: Broker, department: str, after: int) -> bool:
    """Whether the stream still has every change after a version; else open the board anew."""
    if after == 0:
        return False
    with broker.pipeline(transaction=True) as pipeline:
        pipeline.get(BOARD_VERSION)
        pipeline.xrange(board_key(department), count=1)
        version, oldest = pipeline.execute()
    if after > int(version or 0):
        return False  # the broker lost its data
    # Nothing is trimmed before the stream is full; then what is older than its first entry may be gone.
    return not oldest or after >= _version(oldest[0][0]) or broker.xlen(board_key(department)) < KEEP_ENTRIES


def streams_of(reply: Any) -> Sequence[tuple[bytes, Sequence[tuple[bytes, dict[bytes, bytes]]]]]:
    """(key, entries) of an XREAD reply, in either protocol version."""
    streams = reply.items() if isinstance(reply, dict) else reply or []
    # RESP3 wraps the entries of a stream in one more list.
    return [
        (key, rows[0] if rows and isinstance(rows[0], list) and rows[0] and _is_entry(rows[0][0]) else rows)
        for key, rows in streams
    ]


def _is_entry(thing: Any) -> bool:
    return isinstance(thing, tuple | list)


def _change(entry: tuple[bytes, dict[bytes, bytes]]) -> Change:
    entry_id, fields = entry
    text = fields.get(b"row", b"")
    try:
        outcomes: list[Outcome] = json.loads(fields.get(b"outcomes", b"[]"))
    except (ValueError, RecursionError) as error:
        raise BoardError(f"entry {entry_id!r} of a board has damaged outcomes") from error
    row = _row(text) if text else None
    return Change(_version(entry_id), row, text.decode("utf-8", "replace"), outcomes)


def _row(text: bytes) -> Row:
    try:
        row: Row = json.loads(text)
        if row["schema_version"] != SCHEMA_VERSION:
            raise BoardError("a row of the board is of another version", remedy="upgrade the console")
    except (KeyError, TypeError, ValueError, RecursionError) as error:
        raise BoardError(f"a row of the board is damaged: {error!r}") from error
    return row


def _version(entry_id: bytes) -> int:
    return int(entry_id.split(b"-")[0])
