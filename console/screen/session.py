"""One sitting at a console: what is known, what was asked for and what was said last, without a screen."""

from collections.abc import Callable
from dataclasses import dataclass
from datetime import datetime

from rich.text import Text

from console.screen.actor import Actor
from console.screen.casebook import Casebook
from console.screen.cases import department_name
from console.screen.cells import Line as TableLine
from console.screen.cells import line as table_line
from console.screen.colours import WARNING
from console.screen.detail import View
from console.screen.follower import Away, Changed, Fault, Lost, News, Opened, Pulse
from console.screen.line import Line, LineState, header
from console.screen.offers import WORDS
from console.screen.sender import NotSent, Sent
from shared.board import Outcome, Row
from shared.labels import escape_label
from shared.moves import Move


@dataclass(slots=True)
class Effect:
    """What news asks of the screen.

    Attributes:
        ring: somebody is called who was not before.
        done: a case that an own move has just finished, or an empty string.
    """

    ring: bool = False
    done: str = ""


class Session:
    """Takes in news, and says what to show of it."""

    def __init__(self, view: View, by: str, send: Callable[[Move], None], now_s: float) -> None:
        """`send` hands a move to the broker; `now_s` is monotonic, as everywhere here."""
        self.casebook = Casebook(view.department)
        self.actor = Actor(by, view.department, view.routing, send)
        self.line = Line(LineState.CONNECTING, now_s)
        self.wanted = ""
        """Words that the list is filtered by."""
        self.muted = False
        self._view = view
        self._said = Text()

    def hear(self, news: News | Sent | NotSent, now: datetime, now_s: float) -> Effect:
        """Take in one piece of news."""
        effect = Effect()
        match news:
            case Opened():
                effect.ring = self.casebook.open(news.opening, now)
                if news.again:
                    self.actor.ask_again()
            case Changed():
                self._changed(news, effect, now)
            case Pulse():
                self.line = self.line.turned(LineState.CONNECTED if news.desks else LineState.NO_DESK, now_s)
            case Away():
                self.line = self.line.turned(LineState.AWAY, now_s)
            case Lost():
                self.line = self.line.turned(LineState.LOST, now_s)
            case Fault():
                self.line = self.line.turned(LineState.FAULT, now_s, news.words)
            case Sent():
                self.actor.asked.sent(news.move_id)
            case NotSent():
                self.say(self.actor.refused(news.move, news.error), good=False)
        return effect

    def _changed(self, news: Changed, effect: Effect, now: datetime) -> None:
        for change in news.changes:
            if change.row is not None and self.casebook.change(change.row, now):
                effect.ring = True
        for change in news.changes:
            for outcome in change.outcomes:
                self._answered(outcome, effect)

    def _answered(self, outcome: Outcome, effect: Effect) -> None:
        said = self.actor.answered(outcome)
        if said is None:
            return
        words, case = said
        self.say(words, good=outcome["accepted"])
        if outcome["accepted"] and self.casebook.is_finished(case):
            effect.done = case

    def say(self, words: str, *, good: bool = True) -> None:
        """What stands on the line below until something else is said."""
        self._said = Text(escape_label(words), style="" if good else f"bold {WARNING}", no_wrap=True)

    def said(self, now_s: float) -> Text:
        """What was said last; a move that waits for too long comes before it."""
        for each in self.actor.asked.hopeless(now_s):
            self.say(f"{each.number} {WORDS[each.move.action]}: no answer came; look before asking again")
        waiting = self.actor.asked.waiting(now_s)
        return Text(waiting[0].words(now_s), style=f"bold {WARNING}", no_wrap=True) if waiting else self._said

    def rows(self) -> list[Row]:
        """What the list shows, from top to bottom."""
        return self.casebook.ordered(self.wanted, self._view.routing)

    def others(self, row: Row) -> list[Row]:
        """Open cases that a row could be merged with."""
        return [
            each
            for case, each in self.casebook.rows.items()
            if each is not row and not self.casebook.is_finished(case)
        ]

    def lines(self, rows: list[Row], now: datetime, now_s: float) -> dict[str, TableLine]:
        """Rows as the table draws them, by case."""
        asked = {
            each.move.case: WORDS[each.move.action]
            for each in self.actor.asked.waiting(now_s)
            if each.changes_state
        }
        return {
            row["case"]: table_line(
                row,
                self._view.department,
                self._view.routing,
                now,
                unseen=row["case"] in self.casebook.unseen,
                asked=asked.get(row["case"], ""),
            )
            for row in rows
        }

    def header(self, rows: list[Row], now_s: float) -> Text:
        """The first line of the screen; it says what a filter hides."""
        called = self.casebook.called()
        hidden = len(called - {row["case"] for row in rows})
        return header(
            department=department_name(self._view.department, self._view.routing),
            by=self.actor.by,
            called=len(called),
            open_count=self.casebook.open_count(),
            words=self.line.words(now_s),
            good=self.line.is_good,
            muted=self.muted,
            shown=f"filter {self.wanted!r} hides {hidden} waiting" if self.wanted else "",
        )
