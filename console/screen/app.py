"""The terminal console's application. It fetches and paints; other modules turn rows into text."""

import contextlib
import time
from collections.abc import Callable
from dataclasses import replace
from datetime import datetime
from typing import ClassVar

from rich.text import Text
from textual.app import App, ComposeResult
from textual.binding import Binding, BindingType
from textual.containers import Container, VerticalScroll
from textual.message import Message
from textual.widget import Widget
from textual.widgets import Input, Static

from console.screen.actor import check_name
from console.screen.cases import departments_of, number_of, situation_name
from console.screen.detail import View, choices, detail
from console.screen.dialogs import Help, LineInput, PickList
from console.screen.follower import Follower, News
from console.screen.offers import HELP, KEYS, REMARKS, WORDS, key_line, why_not
from console.screen.questions import Question, decision, question
from console.screen.sender import NotSent, Sender, Sent
from console.screen.session import Session
from console.screen.table import CaseTable
from console.terminal import check_department
from shared.board import Row
from shared.broker import Broker
from shared.incidents import utc_now
from shared.moves import NOTE_MAX_CHARACTERS, Action, clean_note
from shared.routing import ALL, REVIEW, Routing

_BEAT_S = 0.1
_PAINT_S = 1.0
"""Ages tick at least so often; what changed is painted at the next beat."""


class Heard(Message):
    """Something from one of the threads."""

    def __init__(self, news: News | Sent | NotSent) -> None:
        super().__init__()
        self.news = news


class DispatchConsole(App[None]):
    """One board: header, list, detail, what was said last, and the keys that do something now."""

    ENABLE_COMMAND_PALETTE = False
    HORIZONTAL_BREAKPOINTS = [(0, "-narrow"), (150, "-wide")]  # noqa: RUF012 - the library declares it so
    CSS = """
    #header, #said { height: 1; }
    #keys { height: auto; max-height: 2; background: $panel; }
    #filter { height: 1; border: none; }
    #body { height: 1fr; }
    #cases { height: auto; min-height: 6; max-height: 50%; }
    #detail { height: 1fr; border-top: solid $accent; padding: 0 1; scrollbar-size-vertical: 1; }
    #detail:focus { border-top: heavy $accent; }
    .-wide #body { layout: horizontal; }
    .-wide #cases { width: 5fr; min-width: 76; height: 1fr; max-height: 100%; }
    .-wide #detail { width: 4fr; height: 1fr; border-top: none; border-left: solid $accent; }
    .-wide #detail:focus { border-left: heavy $accent; }
    #body.whole #cases { display: none; }
    #body.whole #detail { height: 1fr; width: 1fr; }
    """
    BINDINGS: ClassVar[list[BindingType]] = [
        *(Binding(key, f"move('{action}')", show=False) for key, action in KEYS.items()),
        *(Binding(str(digit), f"digit({digit})", show=False) for digit in range(10)),
        # Before whatever has the focus: its keys wait in a line of their own, and of keys that come together
        # the next one would mean what it meant before. A letter of the filter would acknowledge a case.
        Binding("slash", "filter", show=False, priority=True),
        Binding("escape", "out", show=False),
        Binding("enter", "whole", show=False),
        Binding("m", "mute", show=False),
        Binding("question_mark", "help", show=False),
        Binding("q,ctrl+c,ctrl+q", "leave", show=False),
    ]

    def __init__(
        self, broker: Broker, routing: Routing, view: View, *, by: str, stop: Callable[[], bool]
    ) -> None:
        super().__init__()
        self._routing = routing
        self._view = view
        self._stop = stop
        listens = tuple(routing.departments) if view.department == ALL else (view.department,)
        self.follower = Follower(broker, view.department, self._tell, listens)
        self.sender = Sender(broker, self._tell)
        self.session = Session(view, by, self.sender.send, time.monotonic())
        self._painted_s = 0.0
        self._dirty = True
        self._was_empty = True
        # Kept here, not looked up: news may come when the screen is being taken down.
        self._texts = {name: Static(id=name) for name in ("header", "text", "said", "keys")}
        self._table = CaseTable(id="cases")
        self._body = Container(id="body")
        self._detail = VerticalScroll(id="detail")
        self._filter = Input(
            id="filter", placeholder="words to look for; empty shows everything", compact=True
        )

    def compose(self) -> ComposeResult:
        """Everything there is; the filter's line shows while it is written."""
        self._filter.display = False
        yield self._texts["header"]
        with self._body:
            yield self._table
            with self._detail:
                yield self._texts["text"]
        yield self._texts["said"]
        yield self._filter
        yield self._texts["keys"]

    def on_mount(self) -> None:
        """Begin to listen."""
        self._table.focus()
        self.follower.start()
        self.sender.start()
        self.set_interval(_BEAT_S, self._beat)

    def on_unmount(self) -> None:
        """The threads end soon; nobody waits for a broker that is away."""
        self.follower.stop()
        self.sender.stop()

    def _tell(self, news: News | Sent | NotSent) -> None:
        # The loop may have ended before a thread has noticed.
        with contextlib.suppress(RuntimeError):
            self.post_message(Heard(news))

    def on_heard(self, message: Heard) -> None:
        """News changes what is known; the next beat paints it."""
        effect = self.session.hear(message.news, utc_now(), time.monotonic())
        self._dirty = True
        if effect.ring and not self.session.muted:
            self.bell()
        table = self._table
        if effect.done and effect.done == table.selected:
            # Done with it: on to the first case that still waits, as the list will stand.
            finished = self.session.casebook.is_finished
            left = (row["case"] for row in self.session.rows() if not finished(row["case"]))
            table.select(next(left, effect.done))

    def _beat(self) -> None:
        if self._stop():
            self.exit()
            return
        now_s = time.monotonic()
        if self._dirty or now_s - self._painted_s >= _PAINT_S:
            self._dirty, self._painted_s = False, now_s
            self._paint(utc_now(), now_s)

    def _paint(self, now: datetime, now_s: float) -> None:
        table = self._table
        self.session.casebook.tidy(now, selected=table.selected)
        rows = self.session.rows()
        table.show(self.session.lines(rows, now, now_s))
        if self._was_empty and rows:
            table.select(rows[0]["case"])
        self._was_empty = not rows
        self._put("header", self.session.header(rows, now_s))
        self._put("said", self.session.said(now_s))
        self._paint_case(now, now_s)

    def _paint_case(self, now: datetime, now_s: float) -> None:
        row, actor = self._selected(), self.session.actor
        digits = self._view.department == ALL and row is not None and bool(departments_of(row))
        offered = actor.offers(row, others=bool(self.session.others(row))) if row else []
        keys = key_line(offered, department_digits=digits, muted=self.session.muted, width=self.size.width)
        self._put("keys", keys)
        if row is None:
            some = "Choose a case with up and down." if self.session.rows() else "Nothing is open."
            self._put("text", Text(some, style="dim"))
            return
        view = replace(self._view, acting=actor.department(row))
        words = [each.words(now_s) for each in actor.asked.waiting(now_s, row["case"])]
        self._put("text", detail(row, view, now, words))

    def _put(self, name: str, text: Text) -> None:
        self._texts[name].update(text)

    def _say(self, words: str, *, good: bool = True) -> None:
        self.session.say(words, good=good)
        self._dirty = True

    def _selected(self) -> Row | None:
        return self.session.casebook.rows.get(self._table.selected)

    def on_case_table_selected(self) -> None:
        """Another case is looked at."""
        self.session.casebook.look(self._table.selected)
        self._detail.scroll_home(animate=False)
        self._dirty = True

    def action_move(self, word: str) -> None:
        """A key of a move: ask for it, or first for what it needs."""
        row, action = self._selected(), Action(word)
        if row is None:
            self._say("choose a case first", good=False)
            return
        self.session.casebook.look(row["case"])
        if self._view.department == REVIEW and action is Action.CORRECT:
            action = Action.DECIDE
        others = self.session.others(row)
        if action not in self.session.actor.offers(row, others=bool(others)):
            self._say(why_not(row, action, self.session.actor.department(row)), good=False)
            return
        asked = question(row, action, self._routing, others, utc_now())
        if asked is None:
            self._ask(row, action)
        elif asked.field == "note":
            self._write(row, action, asked)
        else:
            self._pick(row, action, asked)

    def _ask(self, row: Row, action: Action, **details: str | int) -> None:
        self._say(self.session.actor.ask(row, action, utc_now(), **details))

    def _write(self, row: Row, action: Action, asked: Question) -> None:
        def answered(text: str | None) -> None:
            note = clean_note(text or "")
            if note:
                self._ask(row, action, **{asked.field: note, **asked.more})

        self.push_screen(LineInput(asked.title, most_characters=NOTE_MAX_CHARACTERS), answered)

    def _pick(self, row: Row, action: Action, asked: Question) -> None:
        def answered(choice: str | None) -> None:
            if choice is not None:
                self._ask(row, action, **{**asked.more, asked.field: choice})

        self.push_screen(PickList(asked.title, asked.choices), answered)

    def action_digit(self, digit: int) -> None:
        """Review: decide. On `all`: choose a department of the case."""
        row, department = self._selected(), self._view.department
        if department not in (REVIEW, ALL):
            return
        if row is None:
            self._say("choose a case first", good=False)
        elif department == ALL:
            self._say(self.session.actor.choose(row, digit))
        else:
            self._decide(row, str(digit))

    def _decide(self, row: Row, digit: str) -> None:
        situation = dict(choices(self._routing)).get(digit)
        if situation is None or Action.DECIDE not in self.session.actor.offers(row, others=False):
            self._say(f"{digit} decides nothing here", good=False)
            return
        details = decision(row, situation)
        if not self.session.casebook.is_finished(row["case"]):
            self._ask(row, Action.DECIDE, **details)
            return

        def answered(choice: str | None) -> None:
            if choice == "change":
                self._ask(row, Action.DECIDE, **details)

        name = situation_name(situation, self._routing)
        sure = [("leave", "leave it as it is"), ("change", f"change it to {name}")]
        self.push_screen(PickList(f"{number_of(row)} is decided already", sure), answered)

    def check_action(self, action: str, parameters: tuple[object, ...]) -> bool:
        """A slash in the filter's line, or in a dialog, is a letter."""
        return action != "filter" or (len(self.screen_stack) == 1 and self.focused is not self._filter)

    def action_filter(self) -> None:
        """Write what to look for; the list follows each letter."""
        self._filter.display = True
        self._look_at(self._filter)

    def on_input_changed(self, event: Input.Changed) -> None:
        """A letter of the filter; dialogs have lines of their own."""
        if event.input.id == "filter":
            self.session.wanted = event.value.strip()
            self._dirty = True

    def on_input_submitted(self, event: Input.Submitted) -> None:
        """The filter stays, its line goes, and the first case that it leaves is there to work with."""
        if event.input.id != "filter":
            return
        self._end_filter()
        rows = self.session.rows()
        if self._selected() not in rows:
            self._table.select(rows[0]["case"] if rows else "")

    def _end_filter(self) -> None:
        self._filter.display = False
        self._look_at(self._table)

    def _look_at(self, widget: Widget) -> None:
        self.screen.set_focus(widget)  # at once: `focus` would wait for its turn

    def action_out(self) -> None:
        """Out of the filter's line, or the whole-screen detail, or the filter."""
        if self._body.has_class("whole") and not self._filter.display:
            self.action_whole()
            return
        self._filter.value = ""
        self._end_filter()

    def action_whole(self) -> None:
        """The detail on the whole screen, and back."""
        body = self._body
        body.toggle_class("whole")
        self._look_at(self._detail if body.has_class("whole") else self._table)

    def action_mute(self) -> None:
        """Sound off, or on again."""
        self.session.muted = not self.session.muted
        self._dirty = True

    def action_help(self) -> None:
        """What each key does."""
        self.push_screen(Help(HELP, REMARKS))

    def action_leave(self) -> None:
        """Quit; first ask, where moves would be lost."""
        unsent = self.session.actor.asked.unsent()
        if not unsent:
            self.exit()
            return

        def answered(choice: str | None) -> None:
            if choice == "quit":
                self.exit()

        moves = ", ".join(f"{each.number} {WORDS[each.move.action]}" for each in unsent)
        sure = [("stay", "stay, and send them when the broker is back"), ("quit", "quit without them")]
        self.push_screen(PickList(f"Not sent: {moves}", sure), answered)


def run_screen(
    broker: Broker,
    routing: Routing,
    department: str,
    *,
    by: str,
    image_store: str = "",
    web_url: str = "",
    stop: Callable[[], bool] = lambda: False,
) -> int:
    """Show a board on this terminal until somebody quits; the exit code.

    Args:
        department: a department of the routing file, ``review``, or ``all``.
        by: the name that moves are made under.
        image_store: folder or URL of the image store, to show where a picture is.
        web_url: address of the web console, for links.
        stop: ends it when true.

    Raises:
        ConfigError: there is no such department, or `by` is no name.
    """
    check_department(routing, department)
    view = View(department, routing, image_store=image_store, web_url=web_url)
    app = DispatchConsole(broker, routing, view, by=check_name(by), stop=stop)
    # Without the mouse the terminal's own selection works: coordinates and links can be copied.
    app.run(mouse=False)
    return app.return_code or 0
