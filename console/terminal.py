"""`almenara console`: a department's dispatches on a terminal or in a pipe."""

import re
import sys
from collections.abc import Callable
from enum import StrEnum

from rich.console import Console

from console.lines import plain, pretty
from console.stream import Entry, OncePerRevision, Reader
from shared.broker import Broker
from shared.errors import ConfigError
from shared.routing import ALL, REVIEW, Routing

_ENTRY_ID = re.compile(r"([0-9]{1,20})(?:-([0-9]{1,20}))?")
_ENTRY_ID_LIMIT = 2**64


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
        department: a department of the routing file, ``review``, or ``all`` (each incident once,
            and again for each later decision).
        since: a stream entry id to start after; ``0`` is everything there.
        follow: False ends after what is there.

    Returns:
        How many were shown.

    Raises:
        ConfigError: there is no such department, or `since` is no entry id.
    """
    written = _ENTRY_ID.fullmatch(since)
    if not written or any(int(part) >= _ENTRY_ID_LIMIT for part in written.groups("0")):
        raise ConfigError(
            f"--since {since!r} is no stream entry id",
            remedy="give one such as 1764000000000-0, or 0 for everything",
        )
    known = check_department(routing, department)
    reader = Reader(broker, known if department == ALL else [department], since)
    is_new = OncePerRevision() if department == ALL else (lambda _: True)
    write = _writer(form)
    shown = 0
    for entry in filter(is_new, reader.backlog(stop)):
        write(entry)
        shown += 1
    if not follow:
        return shown
    if form is Form.PRETTY:
        # So that nobody takes what was there for what has just come.
        Console().rule(f"{shown} earlier; what comes from here on is new", style="dim")
    for entry in filter(is_new, reader.follow(stop)):
        write(entry)
        shown += 1
    return shown


def check_department(routing: Routing, department: str) -> list[str]:
    """Whether there is such a department; every one of the routing file, and ``review``.

    Raises:
        ConfigError: it is none of them, nor ``all``.
    """
    known = [*routing.departments, REVIEW]
    if department not in [*known, ALL]:
        raise ConfigError(
            f"there is no department {department!r}", remedy=f"use one of {', '.join([*known, ALL])}"
        )
    return known


def is_before_a_person(form: Form, *, since: str, follow: bool) -> bool:
    """Whether the screen is wanted: nothing else was asked for, and no end of it is a file or a pipe."""
    asked_for_lines = form is not Form.PRETTY or not follow or since != "0"
    # The screen is drawn on standard error, as its library does.
    return not asked_for_lines and all(
        stream is not None and stream.isatty() for stream in (sys.stdin, sys.stdout, sys.stderr)
    )


def _writer(form: Form) -> Callable[[Entry], None]:
    if form is Form.PRETTY:
        console = Console(soft_wrap=True, highlight=False)
        return lambda entry: console.print(pretty(entry.dispatch))
    line = plain if form is Form.PLAIN else None

    def write(entry: Entry) -> None:
        sys.stdout.write((line(entry.dispatch) if line else entry.event) + "\n")
        sys.stdout.flush()

    return write
