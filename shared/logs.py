"""Structured logs: JSON lines for services, readable lines on a terminal."""

import logging
import sys
import warnings
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
        [structlog.dev.ConsoleRenderer(colors=sys.stderr.isatty())]
        if terminal
        else [structlog.processors.format_exc_info, structlog.processors.JSONRenderer()]
    )
    structlog.configure(
        processors=[*before, *after],
        wrapper_class=structlog.make_filtering_bound_logger(settings.log_level),
        logger_factory=structlog.PrintLoggerFactory(sys.stderr),
        cache_logger_on_first_use=True,
    )
    # Pillow warns once for each damaged tag: one hostile picture would write tens of thousands of lines.
    warnings.filterwarnings("ignore", module="PIL")
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
