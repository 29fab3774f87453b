"""Moves: what a person at a console asks the desk for. Consoles only append them; the desk decides."""

import hashlib
import json
import unicodedata
import uuid
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from enum import StrEnum
from typing import Any

from shared.broker import Broker
from shared.errors import PermanentError
from shared.keys import moves_key

SCHEMA_VERSION = 1
NOTE_MAX_CHARACTERS = 500
NAME_MAX_CHARACTERS = 64
_ID_CHARACTERS = frozenset("0123456789abcdef")
_LONGEST_BYTES = 8192


class AssignmentState(StrEnum):
    """How far one department is with one case."""

    DISPATCHED = "dispatched"
    """It was sent, and nobody has said that they have it."""
    ACKNOWLEDGED = "acknowledged"
    """Somebody, the holder, has it."""
    EN_ROUTE = "en_route"
    """Units are on their way."""
    ON_SCENE = "on_scene"
    """Units are there."""
    CLOSED = "closed"
    """Done."""
    FALSE_ALARM = "false_alarm"
    """There was nothing."""


class Action(StrEnum):
    """What a move does."""

    ACKNOWLEDGE = "acknowledge"
    """I have it."""
    EN_ROUTE = "en_route"
    """Units are on their way."""
    ON_SCENE = "on_scene"
    """Units are there."""
    CLOSE = "close"
    """Done."""
    FALSE_ALARM = "false_alarm"
    """There was nothing."""
    RELEASE = "release"
    """I don't have it any more; somebody else must."""
    REOPEN = "reopen"
    """It was closed too soon."""
    NOTE = "note"
    """Something to remember; `note` holds it."""
    CORRECT = "correct"
    """It shows `situation` instead; whoever must go to that is told."""
    ADD_DEPARTMENT = "add_department"
    """The department `to` is told as well."""
    MERGE = "merge"
    """This case is the same emergency as the case `other`, and goes into it."""
    SPLIT = "split"
    """The incident `other` of this case is another emergency, and becomes a case of its own."""
    DECIDE = "decide"
    """A reviewer says what the incident `other` shows: `situation`, or ``normal`` for no emergency."""


ALLOWED: Mapping[tuple[AssignmentState, Action], AssignmentState] = {
    (AssignmentState.DISPATCHED, Action.ACKNOWLEDGE): AssignmentState.ACKNOWLEDGED,
    (AssignmentState.DISPATCHED, Action.FALSE_ALARM): AssignmentState.FALSE_ALARM,
    (AssignmentState.ACKNOWLEDGED, Action.EN_ROUTE): AssignmentState.EN_ROUTE,
    (AssignmentState.ACKNOWLEDGED, Action.ON_SCENE): AssignmentState.ON_SCENE,
    (AssignmentState.ACKNOWLEDGED, Action.CLOSE): AssignmentState.CLOSED,
    (AssignmentState.ACKNOWLEDGED, Action.FALSE_ALARM): AssignmentState.FALSE_ALARM,
    (AssignmentState.ACKNOWLEDGED, Action.RELEASE): AssignmentState.DISPATCHED,
    (AssignmentState.EN_ROUTE, Action.ON_SCENE): AssignmentState.ON_SCENE,
    (AssignmentState.EN_ROUTE, Action.CLOSE): AssignmentState.CLOSED,
    (AssignmentState.EN_ROUTE, Action.FALSE_ALARM): AssignmentState.FALSE_ALARM,
    (AssignmentState.EN_ROUTE, Action.RELEASE): AssignmentState.DISPATCHED,
    (AssignmentState.ON_SCENE, Action.CLOSE): AssignmentState.CLOSED,
    (AssignmentState.ON_SCENE, Action.FALSE_ALARM): AssignmentState.FALSE_ALARM,
    (AssignmentState.ON_SCENE, Action.RELEASE): AssignmentState.DISPATCHED,
    (AssignmentState.CLOSED, Action.REOPEN): AssignmentState.DISPATCHED,
    (AssignmentState.FALSE_ALARM, Action.REOPEN): AssignmentState.DISPATCHED,
}
"""The one table of allowed moves of an assignment: (state, action) -> state. Any other is refused.

`NOTE`, `CORRECT`, `ADD_DEPARTMENT`, `MERGE`, `SPLIT` and `DECIDE` are about the case, and leave the state."""

CASE_ACTIONS = frozenset(Action) - {action for _, action in ALLOWED}
"""Actions about the whole case, whatever the state of an assignment."""

OPEN_STATES = frozenset(AssignmentState) - {
    state for state in AssignmentState if (state, Action.REOPEN) in ALLOWED
}
"""States of work that is not finished; a row stays on the board of a department in one of these."""


def allowed(state: AssignmentState) -> list[Action]:
    """What may be asked of an assignment in this state, in the order of the table."""
    return [action for (held, action) in ALLOWED if held is state]


class MoveError(PermanentError):
    """Raised when a move is none: too long, of unknown words, without what it needs."""

    default_reason = "bad_move"


@dataclass(frozen=True, kw_only=True, slots=True)
class Move:
    """One move. Construction checks it.

    Attributes:
        move_id: 32 hexadecimal digits; the same for the same press of a button, however often it is sent.
        department: who asks: a department, or ``review``. The stream it stands in says so, not its text.
        case: id of the case, 32 hexadecimal digits.
        action: what is asked.
        by: name of the user.
        at: when they asked, RFC 3339 UTC.
        note: at most 500 printable characters, one line.
        situation: for `CORRECT` and `DECIDE`.
        to: the department of `ADD_DEPARTMENT`.
        other: the case or incident of `MERGE`, `SPLIT` and `DECIDE`, 32 hexadecimal digits.
        revision: of `CORRECT` and `DECIDE`: the incident's revision that the person saw; 0 for any.
        seen: version of the row that the person saw; 0 for unknown. A case is not ended over what they have
            not seen.
    """

    move_id: str
    department: str
    case: str
    action: Action
    by: str
    at: str
    note: str = ""
    situation: str = ""
    to: str = ""
    other: str = ""
    revision: int = 0
    seen: int = 0

    def __post_init__(self) -> None:
        """Raises MoveError: naming what is wrong."""
        for word in ("move_id", "case"):
            _check_id(word, getattr(self, word))
        if not self.by or len(self.by) > NAME_MAX_CHARACTERS or not self.by.isprintable():
            raise MoveError("a move needs the name of who asks", remedy="at most 64 printable characters")
        if len(self.note) > NOTE_MAX_CHARACTERS:
            raise MoveError(
                f"a note of {len(self.note)} characters is too long",
                reason="note_too_long",
                remedy=f"write at most {NOTE_MAX_CHARACTERS}",
            )
        needs = {
            Action.NOTE: ("note",),
            Action.CORRECT: ("situation",),
            Action.ADD_DEPARTMENT: ("to",),
            Action.MERGE: ("other",),
            Action.SPLIT: ("other",),
            Action.DECIDE: ("other", "situation"),
        }
        for word in needs.get(self.action, ()):
            if not getattr(self, word):
                raise MoveError(f"the move {self.action} needs {word!r}")
        if self.other:
            _check_id("other", self.other)
        if self.seen < 0:
            raise MoveError(f"no row has the version {self.seen}", remedy="0 stands for unknown")

    def encode(self) -> str:
        """JSON, for the entry's field ``move``."""
        record = {"schema_version": SCHEMA_VERSION, **asdict(self)}
        del record["department"]
        return json.dumps(record, ensure_ascii=False)

    def digest(self) -> str:
        """SHA-256 of all that is asked, in hexadecimal: the same whenever it is asked again."""
        record = asdict(self)
        del record["at"]
        return hashlib.sha256(json.dumps(record, sort_keys=True).encode()).hexdigest()

    @classmethod
    def decode(cls, department: str, text: str | bytes) -> "Move":
        """From an entry of that department's stream.

        Raises:
            MoveError: it is no move that this version understands.
        """
        if len(text) > _LONGEST_BYTES:
            raise MoveError(f"a move of {len(text)} bytes is too long")
        try:
            record = json.loads(text)
            if record.pop("schema_version") != SCHEMA_VERSION:
                raise MoveError("the move is of another version", remedy="upgrade the desk or the console")
            numbers = {word: record.pop(word, 0) for word in ("revision", "seen")}
            if not all(isinstance(each, int) for each in numbers.values()):
                raise TypeError("a field is no number")
            if not all(isinstance(each, str) for each in record.values()):
                raise TypeError("a field is no text")
            record |= {"action": Action(record["action"]), "note": clean_note(record.get("note", ""))}
            return cls(department=department, **numbers, **record)
        except (AttributeError, KeyError, TypeError, ValueError, RecursionError) as error:
            raise MoveError(f"an entry of moves:{department} is no move: {error!r}") from error


def new_move_id() -> str:
    """Another one each time."""
    return uuid.uuid4().hex


def clean_note(text: str) -> str:
    """A note as one line of printable characters, at its full length: too long a one is refused, not cut.

    White space becomes one space; control, bidirectional and other invisible characters go.
    """
    spaced = "".join(" " if character.isspace() else character for character in text[:_LONGEST_BYTES])
    kept = "".join(character for character in spaced if character.isprintable())
    return " ".join(unicodedata.normalize("NFC", kept).split())


def append(broker: Broker, move: Move) -> str:
    """Hand a move to the desk; the id of its entry. Safe to repeat: the desk applies a move id once."""
    entry_id = broker.xadd(moves_key(move.department), {"move": move.encode()})
    return str(entry_id.decode() if isinstance(entry_id, bytes) else entry_id)


def _check_id(word: str, text: Any) -> None:
    if not isinstance(text, str) or len(text) != 32 or not _ID_CHARACTERS.issuperset(text):
        raise MoveError(f"{word} {str(text)[:40]!r} is no id", remedy="it has 32 hexadecimal digits")
