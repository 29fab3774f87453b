"""`almenara status --live`: the same facts, again and again, in place; alarms first."""

import contextlib
import json
import os
import select
import sys
import termios
import time
import tty
from collections.abc import Callable, Iterator
from typing import Any

from rich.console import Console, Group
from rich.live import Live
from rich.text import Text

from deploy.status import lines
from shared.errors import AlmenaraError, ConfigError
from shared.incidents import iso, utc_now

EVERY_S = 1.0

Gather = Callable[[], dict[str, Any]]
"""The state of everything; raises AlmenaraError where it can't be had."""


def watch(gather: Gather, console: Console, stop: Callable[[], bool] = lambda: False) -> None:
    """Show it until Ctrl-C or `q`. A broker that goes away is said, with what was known last.

    Raises:
        ConfigError: nobody looks: the output is no terminal, or one on which nothing can be drawn anew.
    """
    if not console.is_terminal or console.is_dumb_terminal:
        raise ConfigError("--live needs a terminal", remedy="in a pipe use --live --json, a line each second")
    known: dict[str, Any] | None = None
    away_since = ""
    with _keys() as ended, Live(console=console, auto_refresh=False, transient=False) as live:
        while not stop():
            try:
                known, away_since = gather(), ""
                fault = ""
            except AlmenaraError as error:
                away_since = away_since or iso(utc_now())[11:19]
                fault = f"{error} (since {away_since} UTC)"
            live.update(picture(known, fault), refresh=True)
            if ended(EVERY_S):
                return


def _only_wait(seconds: float) -> bool:
    time.sleep(seconds)
    return False


@contextlib.contextmanager
def _keys() -> Iterator[Callable[[float], bool]]:
    """What waits so many seconds, and says whether `q` was pressed; without a keyboard it only waits."""
    if not sys.stdin.isatty():
        yield _only_wait
        return
    keyboard = sys.stdin.fileno()
    before = termios.tcgetattr(keyboard)

    def pressed(seconds: float) -> bool:
        until_s = time.monotonic() + seconds
        while (left_s := until_s - time.monotonic()) > 0:
            if select.select([keyboard], [], [], left_s)[0]:
                typed = os.read(keyboard, 64)
                if not typed or b"q" in typed.lower():  # nothing: the terminal is gone
                    return True
        return False

    tty.setcbreak(keyboard)  # Ctrl-C stays a signal
    try:
        yield pressed
    finally:
        termios.tcsetattr(keyboard, termios.TCSADRAIN, before)


def stream(gather: Gather, stop: Callable[[], bool] = lambda: False) -> None:
    """The same for scripts: one JSON object a line, `{"error": ...}` while it can't be had."""
    while not stop():
        try:
            found = gather()
        except AlmenaraError as error:
            found = {"error": str(error), "reason": error.reason}
        sys.stdout.write(json.dumps(found | {"at": iso(utc_now())}) + "\n")
        sys.stdout.flush()
        time.sleep(EVERY_S)


def picture(known: dict[str, Any] | None, fault: str) -> Group:
    """What stands on the screen.

    Args:
        known: what was found last, if anything was.
        fault: why nothing newer is known, or an empty string.
    """
    parts = [Text(f"almenara status, {iso(utc_now())[11:19]} UTC   (q ends)", style="dim")]
    if fault:
        parts.append(Text(f"ALARM      {fault}", style="bold red"))
    if known is not None:
        for line in lines(known):
            alarm = line.startswith("ALARM ")
            parts.append(Text(line, style="dim" if fault else "bold red" if alarm else "", no_wrap=False))
    return Group(*parts)
