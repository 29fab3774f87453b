"""Errors, split by what the caller must do about them.

A ``PermanentError`` will fail the same way every time: set the thing aside with its reason. A
``TransientError`` passes: wait and try again. A ``ConfigError`` needs a person: stop at start-up.
"""

from typing import ClassVar


class AlmenaraError(Exception):
    """Base of every error that Almenara raises on purpose.

    Attributes:
        reason: a stable word for logs, counters and records, such as ``"truncated"``.
        detail: what is wrong, in words an operator understands, naming the thing.
        remedy: what to do about it, or an empty string.
    """

    default_reason: ClassVar[str] = "error"

    def __init__(self, detail: str, *, reason: str | None = None, remedy: str = "") -> None:
        super().__init__(detail)
        self.reason = reason or self.default_reason
        self.detail = detail
        self.remedy = remedy

    def __str__(self) -> str:
        if not self.remedy:
            return self.detail
        return f"{self.detail.rstrip('.')}. {self.remedy[0].upper()}{self.remedy[1:]}."


class PermanentError(AlmenaraError):
    """Raised when trying again can't help: an unreadable image, bad coordinates, an unknown record."""

    default_reason = "permanent"


class TransientError(AlmenaraError):
    """Raised when the cause may pass by itself: a broker or an image store that is away."""

    default_reason = "transient"


class ConfigError(AlmenaraError):
    """Raised at start-up for what only a person can put right: settings, files, permissions."""

    default_reason = "config"
