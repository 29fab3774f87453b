"""Moves that were asked for and that the desk has not answered."""

from collections.abc import Sequence
from dataclasses import dataclass

from console.screen.offers import DONE, WORDS
from shared.board import Outcome
from shared.labels import escape_label
from shared.moves import CASE_ACTIONS, Action, Move

WAIT_S = 3.0
"""Seconds after which a move that has no answer is shown as waiting."""
GIVE_UP_S = 60.0
"""Seconds after which an answer is not expected any more where the broker lost its boards meanwhile."""


@dataclass(slots=True)
class Pending:
    """One move without an answer.

    Attributes:
        number: the case's human number.
        asked_s: when it was asked for, monotonic.
        sent: it stands in the desk's stream, where it can't be lost.
        doubtful: the answer may have been lost with the broker's data.
    """

    move: Move
    number: str
    asked_s: float
    sent: bool = False
    doubtful: bool = False

    @property
    def changes_state(self) -> bool:
        """Whether it is about how far a department is, or what a picture shows, and not something besides."""
        return _changes_state(self.move)

    def words(self, now_s: float) -> str:
        """What to tell who asked: ``0042 acknowledge waits for the desk, 5 s``."""
        whom = "desk" if self.sent else "broker"
        return f"{self.number} {WORDS[self.move.action]} waits for the {whom}, {now_s - self.asked_s:.0f} s"


class Asked:
    """Keeps each move until its answer comes, so that no press of a key is sent as two."""

    def __init__(self) -> None:
        self._pending: dict[str, Pending] = {}

    def add(self, move: Move, number: str, now_s: float) -> bool:
        """Remember a move that is to be sent; False where the same is waiting already and nothing is sent.

        Only one move of a department's state, and only one decision, waits at a time: the next one depends on
        its answer.
        """
        if any(_collide(move, each.move) for each in self._pending.values()):
            return False
        self._pending[move.move_id] = Pending(move, number, now_s)
        return True

    def sent(self, move_id: str) -> None:
        """It stands in the stream."""
        if move_id in self._pending:
            self._pending[move_id].sent = True

    def forget(self, move_id: str) -> Pending | None:
        """Its answer has come, or it can't be sent; None where it is somebody else's."""
        return self._pending.pop(move_id, None)

    def all(self) -> list[Pending]:
        """Every move without an answer, in the order they were asked."""
        return list(self._pending.values())

    def waiting(self, now_s: float, case: str = "") -> list[Pending]:
        """Those that are without an answer for too long to say nothing, of one case or of all."""
        return [
            each
            for each in self._pending.values()
            if now_s - each.asked_s >= WAIT_S and case in ("", each.move.case)
        ]

    def unsent(self) -> list[Pending]:
        """Those that would be lost if the console ended now."""
        return [each for each in self._pending.values() if not each.sent]

    def doubt(self) -> Sequence[Move]:
        """The broker lost its boards, and perhaps moves: what was sent goes again, as the same move."""
        again = [each for each in self._pending.values() if each.sent]
        for each in again:
            each.sent, each.doubtful = False, True
        return [each.move for each in again]

    def hopeless(self, now_s: float) -> list[Pending]:
        """Forget, and return, those whose answer may have been lost for good."""
        found = [
            each
            for each in self._pending.values()
            if each.doubtful and each.sent and now_s - each.asked_s > GIVE_UP_S
        ]
        for each in found:
            del self._pending[each.move.move_id]
        return found


def answer(outcome: Outcome, number: str) -> str:
    """An outcome in words: ``0042 acknowledged``, ``0042 not acknowledged: Ana has it since 12:03:10``."""
    done = DONE[Action(outcome["action"])]
    message = escape_label(outcome["message"])
    if not outcome["accepted"]:
        return f"{number} not {done}: {message or outcome['reason']}"
    return message if message.startswith(number) else f"{number} {done}. {message}".rstrip()


def _collide(one: Move, other: Move) -> bool:
    if (one.case, one.department) != (other.case, other.department):
        return False
    if _changes_state(one):
        return _changes_state(other)
    return _content(one) == _content(other)


def _changes_state(move: Move) -> bool:
    return move.action not in CASE_ACTIONS or move.action is Action.DECIDE


def _content(move: Move) -> tuple[str, ...]:
    return move.action, move.note, move.situation, move.to, move.other
