"""A terminal console with somebody before it."""

import asyncio
import time
from collections.abc import AsyncIterator, Callable, Coroutine
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import Any

from rich.text import Text
from screen_parts import ROUTING
from textual.pilot import Pilot
from textual.widgets import Static

from console.screen.app import DispatchConsole
from console.screen.detail import View
from console.screen.table import CaseTable
from shared.broker import Broker
from shared.moves import Move


@dataclass
class Sitting:
    """A console with somebody before it."""

    app: DispatchConsole
    pilot: Pilot[None]
    rings: list[float] = field(default_factory=list)

    async def until(self, condition: Callable[[], object], what: str, within_s: float = 60.0) -> None:
        """Wait for something; a process may have to start for it on a busy machine."""
        deadline_s = time.monotonic() + within_s
        while True:
            over = time.monotonic() > deadline_s  # before the look: whoever was held up looks once more
            if condition():
                return
            assert not over, f"not within {within_s:g} s: {what}; screen:\n{self.text()}"
            await self.pilot.pause(0.02)

    async def shows(self, words: str) -> None:
        """Wait until the screen shows something."""
        await self.until(lambda: words in self.text(), f"{words!r} on the screen")

    async def press(self, *keys: str) -> None:
        """Press keys."""
        await self.pilot.press(*keys)

    async def press_for_dialog(self, key: str) -> None:
        """Press a key that opens a dialog, and wait until that takes keys, as a person does."""
        await self.press(key)
        await self.until(self._is_asked, f"a dialog at {key!r}")

    async def press_in_dialog(self, *keys: str) -> None:
        """Press keys of which the last one closes the dialog, and wait until it has gone."""
        await self.press(*keys)
        await self.until(lambda: len(self.app.screen_stack) == 1, f"no dialog any more after {keys!r}")

    def _is_asked(self) -> bool:
        return len(self.app.screen_stack) == 2 and self.app.screen.focused is not None

    def part(self, name: str) -> str:
        """The text of one part of the screen."""
        content = self.app.screen_stack[0].query_one(f"#{name}", Static).content
        return content.plain if isinstance(content, Text) else str(content)

    def lines(self) -> list[str]:
        """The list, with its titles."""
        table = self.table
        return [table.render_line(y).text.rstrip() for y in range(len(table.cases) + 1)]

    def text(self) -> str:
        """The whole screen."""
        parts = [self.part("header"), *self.lines(), self.part("text"), self.part("said"), self.part("keys")]
        return "\n".join(parts)

    @property
    def table(self) -> CaseTable:
        """The list."""
        return self.app.screen_stack[0].query_one(CaseTable)


@asynccontextmanager
async def sitting(
    broker: Broker, department: str = "firefighters", *, by: str = "Ana", size: tuple[int, int] = (80, 24)
) -> AsyncIterator[Sitting]:
    """A console that is open, and connected."""
    rings: list[float] = []
    app = DispatchConsole(broker, ROUTING, View(department, ROUTING), by=by, stop=lambda: False)
    app.bell = lambda: rings.append(time.monotonic())  # type: ignore[method-assign]
    async with app.run_test(size=size) as pilot:
        sat = Sitting(app, pilot, rings)
        await sat.shows("connected")
        yield sat
    assert app.follower.join(60) and app.sender.join(60)


def run(story: Coroutine[Any, Any, None]) -> None:
    """What happens at a console, from beginning to end."""
    asyncio.run(story)


def only(moves: list[Move]) -> Move:
    """The one move there is."""
    (move,) = moves
    return move
