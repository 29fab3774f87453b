"""Structured logs: JSON lines for services, readable lines on a terminal.

Each line about a photograph has its `incident`, the same in every service, and its `number` once it has one:
`grep` for it tells the photograph's whole way.
"""

import json
import logging
import sys
import threading
import warnings
from types import TracebackType
from typing import Any

import structlog

from shared.settings import Settings


def configure(settings: Settings, service: str) -> None:
    """Send every log line of this process, libraries' included, to standard error in the chosen form."""
    terminal = settings.log_format == "console" or (settings.log_format == "auto" and sys.stderr.isatty())

    def name_service(_: Any, __: str, fields: Any) -> Any:
        fields["service"] = service  # not a context variable: those do not reach threads
        return fields

    before: list[Any] = [
        name_service,
        structlog.processors.add_log_level,
        structlog.processors.TimeStamper(fmt="iso", utc=True),
    ]
    after: list[Any] = (
        # Plain: by itself it would show every local variable, secrets too, and take a tenth of a second.
        [
            structlog.dev.ConsoleRenderer(
                colors=sys.stderr.isatty(), exception_formatter=structlog.dev.plain_traceback
            )
        ]
        if terminal
        else [structlog.processors.format_exc_info, structlog.processors.JSONRenderer()]
    )
    structlog.configure(
        processors=[*before, *after],
        wrapper_class=structlog.make_filtering_bound_logger(settings.log_level),
        # One write for each line: of two, another thread's line could come between.
        logger_factory=structlog.WriteLoggerFactory(sys.stderr),
        cache_logger_on_first_use=True,
    )
    # Pillow warns once for each damaged tag: one hostile picture would write tens of thousands of lines.
    warnings.filterwarnings("ignore", module="PIL")
    logging.captureWarnings(True)
    _state.json = not terminal and service != "console"  # which people read, and scripts know
    if not terminal:
        _catch_faults()
    handler = logging.StreamHandler(sys.stderr)
    formatter = structlog.stdlib.ProcessorFormatter(
        foreign_pre_chain=before,
        processors=[structlog.stdlib.ProcessorFormatter.remove_processors_meta, *after],
    )
    handler.setFormatter(formatter)
    root = logging.getLogger()
    root.handlers = [handler]
    logging.getLogger("rq.worker").setLevel(logging.WARNING)  # our own lines say the same, once a batch
    root.setLevel(max(logging.WARNING, logging.getLevelNamesMapping()[settings.log_level.upper()]))


def said_last(error: Exception) -> bool:
    """Say why this process ends, if its log is one of JSON lines; whether it is."""
    if not _state.json:
        return False
    structlog.get_logger().critical("can't run", error=str(error), reason=getattr(error, "reason", ""))
    return True


def words_of(line: str) -> str:
    """A line of such a log for a person: the event, and the error in it; any other line as it is."""
    try:
        fields = json.loads(line)
        return ": ".join(str(fields[name]) for name in ("event", "error") if fields.get(name))
    except (ValueError, TypeError, AttributeError):
        return line


class _State:
    json = False
    """Whether this process writes JSON lines."""


_state = _State()


def _catch_faults() -> None:
    """What ends a thread or the process is a line like all others, with its traceback in it."""
    log = structlog.get_logger()

    def ended(kind: type[BaseException], error: BaseException, traceback: TracebackType | None) -> None:
        if issubclass(kind, KeyboardInterrupt):
            sys.__excepthook__(kind, error, traceback)
            return
        log.critical("ended by a fault", exc_info=(kind, error, traceback))

    def thread_ended(about: threading.ExceptHookArgs) -> None:
        if about.exc_value is None or issubclass(about.exc_type, SystemExit):
            return
        thread = about.thread.name if about.thread else ""
        log.critical(
            "a thread ended by a fault",
            thread=thread,
            exc_info=(about.exc_type, about.exc_value, about.exc_traceback),
        )

    def left(about: Any) -> None:
        log.error(
            "a fault that nobody could be told of", where=repr(about.object)[:200], exc_info=about.exc_value
        )

    sys.excepthook, threading.excepthook, sys.unraisablehook = ended, thread_ended, left
