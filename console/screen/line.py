"""The line: whether what stands on the screen is what the desk says, and since when not."""

from dataclasses import dataclass
from enum import StrEnum

from rich.text import Text

from console.screen.colours import ALARM, GOOD, WARNING
from console.screen.moments import spell
from shared.labels import escape_label


class LineState(StrEnum):
    """How the console stands with the broker and the desk."""

    CONNECTING = "connecting"
    """Nothing was heard yet."""
    CONNECTED = "connected"
    """What stands here is current."""
    NO_DESK = "no_desk"
    """The broker answers, and no desk runs: moves wait, and clocks stand still."""
    AWAY = "away"
    """The broker does not answer."""
    LOST = "lost"
    """The broker answers and has lost the boards."""
    FAULT = "fault"
    """The board can't be read."""


@dataclass(frozen=True, slots=True)
class Line:
    """A state, since when (monotonic seconds), and what is wrong."""

    state: LineState
    since_s: float
    fault: str = ""

    def turned(self, state: LineState, now_s: float, fault: str = "") -> "Line":
        """Another state from now on; the same one goes on."""
        return self if (state, fault) == (self.state, self.fault) else Line(state, now_s, fault)

    def words(self, now_s: float) -> str:
        """What the header says: ``connected``, ``broker away for 12 s``."""
        lasting = spell(now_s - self.since_s)
        return {
            LineState.CONNECTING: "connecting",
            LineState.CONNECTED: "connected",
            LineState.NO_DESK: "desk is down: moves wait",
            LineState.AWAY: f"broker away for {lasting}",
            LineState.LOST: f"boards lost {lasting} ago: shown as they were",
            LineState.FAULT: f"fault: {escape_label(self.fault)}",
        }[self.state]

    @property
    def is_good(self) -> bool:
        """Whether there is nothing to worry about."""
        return self.state in (LineState.CONNECTING, LineState.CONNECTED)


def header(
    *, department: str, by: str, called: int, open_count: int, words: str, good: bool, muted: bool, shown: str
) -> Text:
    """The first line of the screen.

    Args:
        department, by: names for people.
        called: cases that nobody has acknowledged.
        open_count: cases that are open.
        words: the line's state.
        good: whether that is nothing to worry about.
        muted: no sound.
        shown: what the filter leaves, or an empty string.
    """
    text = Text(no_wrap=True, overflow="ellipsis")
    text.append(
        f" {words if good else '!! ' + words} ", style=f"bold {GOOD}" if good else f"bold reverse {ALARM}"
    )
    text.append(f" {called} waiting", style=f"bold {ALARM}" if called else "")
    text.append(f", {open_count} open")
    if shown:
        text.append(f"  {escape_label(shown)}", style=f"bold {WARNING}")
    if muted:
        text.append("  MUTED", style=f"bold {WARNING}")
    text.append(f"  {escape_label(department)} ", style="bold")
    text.append(f" as {escape_label(by)}")
    return text
