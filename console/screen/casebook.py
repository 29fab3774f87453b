"""What one console knows of its board: open rows, those that were finished a while ago, and what is new."""

from datetime import datetime, timedelta

from console.screen.cases import Call, assignment_of, calls, is_check, shown, texts
from console.screen.moments import read
from shared.board import Opening, Row, is_open
from shared.routing import REVIEW, Routing

KEEP_FINISHED = timedelta(minutes=15)
"""How long what was finished stays at the end of the list: it can be reopened, and a selection stays put."""


class Casebook:
    """Rows by case. Every method that learns something says whether somebody new is called by it."""

    def __init__(self, department: str) -> None:
        """Of the board of a department, of ``review`` or of ``all``; empty until it is opened."""
        self.department = department
        self.rows: dict[str, Row] = {}
        self.unseen: set[str] = set()
        """Cases that are new, called again or have more pictures, and that nobody has looked at here."""
        self._finished_at: dict[str, datetime] = {}
        self._opened = False

    def open(self, opening: Opening, now: datetime) -> bool:
        """Everything that is open, at the start or anew: what is open no more goes."""
        open_cases = {row["case"] for row in opening.rows}
        for case in set(self.rows) - open_cases - set(self._finished_at):
            self._forget(case)
        ring = [self._learn(row, now) for row in opening.rows]
        if not self._opened:
            self.unseen.clear()  # nothing is news to somebody who has just sat down
            self._opened = True
            return False
        return any(ring)

    def change(self, row: Row, now: datetime) -> bool:
        """One row that changed; one that is older than what is known changes nothing."""
        known = self.rows.get(row["case"])
        if known is not None and row["version"] <= known["version"]:
            return False
        return self._learn(row, now)

    def look(self, case: str) -> None:
        """Somebody has a case before them."""
        self.unseen.discard(case)

    def tidy(self, now: datetime, *, selected: str) -> bool:
        """Forget what was finished long enough ago, but for the case that is selected; whether any was."""
        old = [
            case
            for case, finished_at in self._finished_at.items()
            if now - finished_at > KEEP_FINISHED and case != selected
        ]
        for case in old:
            self._forget(case)
        return bool(old)

    def is_finished(self, case: str) -> bool:
        """Whether this board has nothing to do with a case any more."""
        return case in self._finished_at

    def called(self) -> set[str]:
        """Cases in which somebody is waited for."""
        return {case for case, row in self.rows.items() if calls(row, self.department)}

    def open_count(self) -> int:
        """How many cases are open."""
        return len(self.rows) - len(self._finished_at)

    def ordered(self, wanted: str, routing: Routing) -> list[Row]:
        """Rows with all the words of `wanted` in them, as the list shows them.

        Those that nobody has acknowledged come first, the newest of them first; then those that somebody has,
        then those that are finished. Of what a reviewer decides, the one that goes out soonest comes first,
        and samples for checking last.
        """
        words = wanted.casefold().split()
        rows = [row for row in self.rows.values() if _has(row, words, routing)]
        return sorted(rows, key=self._place)

    def _place(self, row: Row) -> tuple[int, float, str]:
        part = shown(row, self.department)
        if row["case"] in self._finished_at or part is None:
            return 3, -self._finished_at.get(row["case"], read("")).timestamp(), row["case"]
        if self.department == REVIEW:
            return _review_place(row)
        group = 0 if calls(row, self.department) else 1
        moment = part["dispatched_at"] if group == 0 else row["opened_at"]
        return group, -read(moment).timestamp(), row["case"]

    def _learn(self, row: Row, now: datetime) -> bool:
        case = row["case"]
        before = self.rows.get(case)
        known: set[Call] = calls(before, self.department) if before else set()
        called = calls(row, self.department) - known
        grew = before is None or row["incident_count"] > before["incident_count"]
        self.rows[case] = row
        if is_open(row, self.department):
            self._finished_at.pop(case, None)
            if called or grew:
                self.unseen.add(case)
        elif before is None:
            self._forget(case)  # it was finished before this console heard of it
        else:
            self._finished_at.setdefault(case, now)
            self.unseen.discard(case)
        return bool(called)

    def _forget(self, case: str) -> None:
        self.rows.pop(case, None)
        self.unseen.discard(case)
        self._finished_at.pop(case, None)


def _review_place(row: Row) -> tuple[int, float, str]:
    part = assignment_of(row, REVIEW)
    if is_check(row):
        return 2, -read(row["opened_at"]).timestamp(), row["case"]
    if row["unverified"] or part is None or not part["due_at"]:
        return 1, -read(row["opened_at"]).timestamp(), row["case"]
    return 0, read(part["due_at"]).timestamp(), row["case"]


def _has(row: Row, words: list[str], routing: Routing) -> bool:
    if not words:
        return True
    text = " ".join(texts(row, routing)).casefold()
    return all(word in text for word in words)
