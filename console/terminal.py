"""`almenara console`: a department's dispatches on a terminal or in a pipe."""

import re
import sys
from collections.abc import Callable
from enum import StrEnum

from rich.console import Console

from console.lines import plain, pretty
from console.stream import Entry, OncePerIncident, Reader
from shared.broker import Broker
from shared.errors import ConfigError
from shared.routing import ALL, REVIEW, Routing

_ENTRY_ID = re.compile(r"\d{1,20}(-\d{1,20})?")


class Form(StrEnum):
    """How a dispatch is shown."""

    PRETTY = "pretty"
    """Coloured lines for a person."""
    PLAIN = "plain"
    """The plain line that scripts rely on."""
    JSON = "json"
    """The CloudEvents record, one a line."""


def show(
    broker: Broker,
    routing: Routing,
    department: str,
    *,
    form: Form,
    since: str = "0",
    follow: bool = True,
    stop: Callable[[], bool] = lambda: False,
) -> int:
    """Show a department's dispatches: those in its stream, then those that come.

    Args:
        department: a department of the routing file, ``review``, or ``all`` (each incident once).
        since: a stream entry id to start after; ``0`` is everything there.
        follow: False ends after what is there.

    Returns:
        How many were shown.

    Raises:
        ConfigError: there is no such department, or `since` is no entry id.
    """
    if not _ENTRY_ID.fullmatch(since):
        raise ConfigError(
            f"--since {since!r} is no stream entry id",
            remedy="give one such as 1764000000000-0, or 0 for everything",
        )
    known = [*routing.departments, REVIEW]
    if department not in [*known, ALL]:
        raise ConfigError(
            f"there is no department {department!r}", remedy=f"use one of {', '.join([*known, ALL])}"
        )
    reader = Reader(broker, known if department == ALL else [department], since)
    is_new = OncePerIncident() if department == ALL else (lambda _: True)
    write = _writer(form)
    shown = 0
    for source in (reader.backlog(stop), reader.follow(stop) if follow else ()):
        for entry in source:
            if is_new(entry):
                write(entry)
                shown += 1
    return shown


def _writer(form: Form) -> Callable[[Entry], None]:
    if form is Form.PRETTY:
        console = Console(soft_wrap=True, highlight=False)
        return lambda entry: console.print(pretty(entry.dispatch))
    line = plain if form is Form.PLAIN else None

    def write(entry: Entry) -> None:
        sys.stdout.write((line(entry.dispatch) if line else entry.event) + "\n")
        sys.stdout.flush()

    return write
