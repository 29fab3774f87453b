"""`almenara status --live`: the same facts, again and again, in place; alarms first."""

import json
import sys
import time
from collections.abc import Callable
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
    """Show it until Ctrl-C. A broker that goes away is said, with what was known last.

    Raises:
        ConfigError: nobody looks: the output is no terminal.
    """
    if not console.is_terminal:
        raise ConfigError("--live needs a terminal", remedy="in a pipe use --live --json, a line each second")
    known: dict[str, Any] | None = None
    away_since = ""
    with Live(console=console, auto_refresh=False, transient=False) as live:
        while not stop():
            try:
                known, away_since = gather(), ""
                fault = ""
            except AlmenaraError as error:
                away_since = away_since or iso(utc_now())[11:19]
                fault = f"{error} (since {away_since} UTC)"
            live.update(picture(known, fault), refresh=True)
            time.sleep(EVERY_S)


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
    parts = [Text(f"almenara status, {iso(utc_now())[11:19]} UTC   (Ctrl-C ends)", style="dim")]
    if fault:
        parts.append(Text(f"ALARM      {fault}", style="bold red"))
    if known is not None:
        for line in lines(known):
            alarm = line.startswith("ALARM ")
            parts.append(Text(line, style="dim" if fault else "bold red" if alarm else "", no_wrap=False))
    return Group(*parts)
