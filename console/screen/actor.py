"""Who acts at this console, for which department, and what they have asked for."""

import time
from collections.abc import Callable
from datetime import datetime

from console.screen.asked import Asked, answer
from console.screen.cases import DESK, departments_of, number_of
from console.screen.offers import WORDS, offers
from shared.board import Outcome, Row
from shared.errors import ConfigError
from shared.incidents import iso
from shared.labels import seen
from shared.moves import NAME_MAX_CHARACTERS, Action, Move, new_move_id
from shared.routing import ALL, Routing


def check_name(name: str) -> str:
    """The name that moves are made under.

    Raises:
        ConfigError: it is empty, too long or not printable, or the desk's own.
    """
    fits = name.strip() and len(name) <= NAME_MAX_CHARACTERS and name.isprintable()
    if not fits or seen(name).strip().casefold() == DESK:
        raise ConfigError(
            f"{name!r} can't be the name of who acts",
            remedy=f"give --by NAME with at most {NAME_MAX_CHARACTERS} printable characters",
        )
    return name.strip()


class Actor:
    """Turns a wish about a row into a move, once, and answers into words."""

    def __init__(self, by: str, department: str, routing: Routing, send: Callable[[Move], None]) -> None:
        """Acts as `by`; `send` hands a move to the broker, later and again until it is there."""
        self.by = by
        self.asked = Asked()
        self._department = department
        self._routing = routing
        self._send = send
        self._chosen = ("", "")  # on `all`: a case, and which of its departments is moved

    def department(self, row: Row) -> str:
        """On whose behalf a row is moved, or an empty string: on `all` until a department is chosen."""
        if self._department != ALL:
            return self._department
        return self._chosen[1] if self._chosen[0] == row["case"] else ""

    def choose(self, row: Row, digit: int) -> str:
        """On `all`: choose the department with that number in the detail, or none again; what to say."""
        departments = departments_of(row)
        if not 1 <= digit <= len(departments):
            return f"{number_of(row)} has no department {digit}"
        again = self.department(row) == departments[digit - 1]
        self._chosen = ("", "") if again else (row["case"], departments[digit - 1])
        return ""

    def offers(self, row: Row, *, others: bool) -> list[Action]:
        """Moves that may be asked for a row now."""
        return offers(row, self.department(row), self._routing, others=others)

    def ask(self, row: Row, action: Action, now: datetime, **details: str | int) -> str:
        """Ask for a move; what to say. `details` are fields of a Move."""
        number = number_of(row)
        move = Move(
            move_id=new_move_id(),
            department=self.department(row),
            case=row["case"],
            action=action,
            by=self.by,
            at=iso(now),
            seen=row["version"],
            **details,  # type: ignore[arg-type]
        )
        if not self.asked.add(move, number, time.monotonic()):
            return f"{number} has a move that waits for its answer; nothing more was sent"
        self._send(move)
        return f"{number} {WORDS[action]}: asked"

    def answered(self, outcome: Outcome) -> tuple[str, str] | None:
        """What to say of an answer, and the case that was asked about; None where somebody else asked.

        The outcome may name another case: the one that it went into meanwhile.
        """
        pending = self.asked.forget(outcome["move_id"])
        if pending is None:
            return None
        return answer(outcome, pending.number), pending.move.case

    def refused(self, move: Move, error: str) -> str:
        """The broker does not take a move at all; what to say."""
        pending = self.asked.forget(move.move_id)
        number = pending.number if pending else move.case[:6]
        return f"{number} {WORDS[move.action]} can't be sent: {error}"

    def ask_again(self) -> None:
        """Send once more, as the same moves, what may have been lost with the broker's data."""
        for move in self.asked.doubt():
            self._send(move)
