"""The live board of one process: what is open, the latest changes, and who listens.

One reader feeds it (console/web/following.py). Everything here happens in the event loop's thread, so that a
browser is given the board as it stands and every change after it, and neither misses nor repeats one.
"""

import asyncio
import json
from collections import deque
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

import structlog

from console.web.listeners import Listener, belongs, event
from shared.board import Change, Opening, Outcome, Row, is_open
from shared.incidents import iso, utc_now
from shared.metrics import WEB_STREAMS

log = structlog.get_logger()

RECENT = 2000
"""Changes kept for browsers that come back: minutes at ten a second, hours of a usual night."""


@dataclass(frozen=True, slots=True)
class Shown:
    """A row as it is sent: written once, whoever it goes to."""

    row: Row
    text: str
    departments: frozenset[str]
    open_for: frozenset[str]


@dataclass(frozen=True, slots=True)
class Told:
    """One change of the board, ready to be sent."""

    version: int
    shown: Shown | None
    outcomes: tuple[Outcome, ...]
    row_event: bytes
    """Without its id, which each browser has in its own form."""


class Live:
    """See above.

    Attributes:
        opened: whether the board was ever read; before that nothing is said of it.
        following: whether the reader keeps up with the broker just now.
        version: of the desk's record, up to which the board is known.
    """

    def __init__(self) -> None:
        self.opened = False
        self.following = False
        self.version = 0
        self._rows: dict[str, Shown] = {}
        self._openings: dict[frozenset[str], str] = {}
        self._recent: deque[Told] = deque(maxlen=RECENT)
        self._since = 0
        self._listeners: set[Listener] = set()
        self._waiting: dict[str, list[asyncio.Future[Outcome]]] = {}
        self._vitals: dict[str, Any] = {
            "desk": False,
            "broker": False,
            "workers": None,
            "ingesters": None,
        }
        self._closed = False

    @property
    def listeners(self) -> list[Listener]:
        """Who listens now."""
        return list(self._listeners)

    def row(self, case: str) -> Row | None:
        """An open case, or None where it is not on the board."""
        shown = self._rows.get(case)
        return shown.row if shown else None

    # What the reader says.

    def open(self, opening: Opening, since: int, recent: Sequence[Change]) -> None:
        """The board as it stands; what was known before does not count.

        Args:
            opening: everything open.
            since: the version from which on `recent` has every change, for browsers that come back.
            recent: those changes, in order, up to the opening's version.
        """
        self.version, self._since = opening.version, since
        self._rows.clear()
        self._recent.clear()
        self._recent.extend(map(self._tell_of, recent))
        for told in self._recent:
            self._resolve(told.outcomes)
        self._replace(opening)
        self.opened = True
        for listener in self._listeners:
            listener.put(self._open_event(listener))
        self.set_following(True)

    def apply(self, changes: Sequence[Change]) -> None:
        """What changed since, in order."""
        for change in changes:
            if change.version <= self.version:
                continue
            told = self._tell_of(change)
            self.version = change.version
            if len(self._recent) == RECENT:
                self._since = self._recent[0].version
            self._recent.append(told)
            if told.shown is not None:
                self._keep(told.shown)
            self._resolve(told.outcomes)
            _say(change, len(self._listeners))
            for listener in self._listeners:
                listener.put(_messages(told, listener))
        self.set_following(True)

    def reconcile(self, opening: Opening) -> None:
        """Compare with the board as it stands; where the same version says otherwise, that counts."""
        known = {case: shown.row["version"] for case, shown in self._rows.items()}
        if opening.version == self.version and known != _versions(opening):
            log.warning("the board differs from the broker's, and is opened anew", version=self.version)
            self._replace(opening)
            for listener in self._listeners:
                listener.put(self._open_event(listener))

    def set_following(self, following: bool) -> None:
        """Note whether the reader keeps up, and tell everybody at once when that changes."""
        changed, self.following = following != self.following, following
        if changed:
            self._pulse()

    # Browsers.

    def listen(self, listener: Listener, last_event_id: str) -> None:
        """Send a browser everything open, or what it missed since an event id of its own; then what comes."""
        if self._closed:
            listener.end()
            return
        if self.opened:
            known = listener.version_of(last_event_id)
            if known is not None and self._since <= known <= self.version:
                for told in self._recent:
                    if told.version > known:
                        listener.put(_messages(told, listener))
            else:
                listener.put(self._open_event(listener))
        listener.put(self._pulse_event(listener, self._pulse_text()))
        self._listeners.add(listener)
        WEB_STREAMS.set(len(self._listeners))

    def forget(self, listener: Listener) -> None:
        """A browser has gone, or must."""
        listener.end()
        self._listeners.discard(listener)
        WEB_STREAMS.set(len(self._listeners))

    def opening(self, listener: Listener) -> str:
        """JSON of everything open for a user: ``{"version", "rows"}``."""
        return f'{{"version":{self.version},"rows":[{self._rows_for(listener)}]}}'

    def open_rows(self, watched: frozenset[str]) -> list[Row]:
        """Everything open on these boards."""
        return [shown.row for shown in self._rows.values() if belongs(shown.open_for, watched)]

    def pulse(self, vitals: dict[str, Any]) -> None:
        """Tell everybody how the parts behind us are."""
        self._vitals = vitals
        self._pulse()

    def close(self) -> None:
        """End every stream, those to come included: the process is stopping."""
        self._closed = True
        for listener in self.listeners:
            self.forget(listener)

    # Moves.

    def expect(self, move_id: str) -> "asyncio.Future[Outcome]":
        """What becomes of a move, once the desk has said it. Cancel it when nobody waits any longer."""
        future: asyncio.Future[Outcome] = asyncio.get_running_loop().create_future()
        self._waiting.setdefault(move_id, []).append(future)
        future.add_done_callback(lambda done: self._unexpect(move_id, done))
        return future

    def _unexpect(self, move_id: str, done: "asyncio.Future[Outcome]") -> None:
        left = [future for future in self._waiting.get(move_id, []) if future is not done]
        if left:
            self._waiting[move_id] = left
        else:
            self._waiting.pop(move_id, None)

    def _resolve(self, outcomes: Sequence[Outcome]) -> None:
        for outcome in outcomes:
            for future in self._waiting.get(outcome["move_id"], []):
                if not future.done():
                    future.set_result(outcome)

    def _tell_of(self, change: Change) -> Told:
        if change.row is None:
            return Told(change.version, None, tuple(change.outcomes), b"")
        # The desk writes a row on one line; whoever else did might break the stream's framing.
        shown = _shown(change.row, " ".join(change.row_json.splitlines()))
        if before := self._rows.get(change.row["case"]):
            # Who had it must see it go: a row may lose its assignments where the desk's record was restored.
            shown = replace(shown, departments=shown.departments | before.departments)
        return Told(change.version, shown, tuple(change.outcomes), event("row", shown.text))

    def _replace(self, opening: Opening) -> None:
        self._openings.clear()
        self._rows = {row["case"]: _shown(row, json.dumps(row)) for row in opening.rows}

    def _keep(self, shown: Shown) -> None:
        self._openings.clear()
        if shown.open_for:
            self._rows[shown.row["case"]] = shown
        else:
            self._rows.pop(shown.row["case"], None)

    def _rows_for(self, listener: Listener) -> str:
        # When a hundred come back at once, those of one department get the very same text.
        rows = self._openings.get(listener.watches)
        if rows is None:
            texts = (shown.text for shown in self._rows.values() if listener.has_open(shown.open_for))
            rows = self._openings[listener.watches] = ",".join(texts)
        return rows

    def _open_event(self, listener: Listener) -> bytes:
        # With the user: another one may have logged in since this browser loaded its page.
        user = json.dumps(listener.session.user.to_json())
        text = f'{{"version":{self.version},"user":{user},"rows":[{self._rows_for(listener)}]}}'
        return event("open", text, listener.event_id(self.version))

    def _pulse(self) -> None:
        text = self._pulse_text()
        for listener in self._listeners:
            listener.put(self._pulse_event(listener, text))

    def _pulse_text(self) -> str:
        return json.dumps({**self._vitals, "broker": self.following, "at": iso(utc_now())})

    def _pulse_event(self, listener: Listener, text: str) -> bytes:
        # With the version: who had nothing for hours comes back without reading everything anew.
        return event("pulse", text, listener.event_id(self.version) if self.opened else "")


def _say(change: Change, browsers: int) -> None:
    """A line for each change that browsers are told of: the way of a photograph ends there."""
    if change.row is None:
        return
    newest = change.row["incidents"][0] if change.row["incidents"] else None
    log.info(
        "told to browsers",
        incident=newest["id"] if newest else change.row["case"],
        number=newest["number"] if newest else "",
        case=change.row["case"],
        version=change.version,
        browsers=browsers,
    )


def _versions(opening: Opening) -> dict[str, int]:
    return {row["case"]: row["version"] for row in opening.rows}


def _shown(row: Row, text: str) -> Shown:
    departments = frozenset(part["department"] for part in row["assignments"])
    open_for = frozenset(department for department in departments if is_open(row, department))
    return Shown(row, text, departments, open_for)


def _messages(told: Told, listener: Listener) -> bytes:
    """What one browser hears of a change.

    The last event alone has the id: who is cut off in between hears all of it again.
    """
    shown = told.shown
    parts = [
        event("outcome", json.dumps(each))
        for each in told.outcomes
        if each["by"] == listener.session.user.name
    ]
    if shown and listener.sees(shown.departments, shown.row["verdict"]):
        parts.append(told.row_event)
    if parts:
        parts.insert(-1, f"id: {listener.event_id(told.version)}\n".encode())
    return b"".join(parts)
