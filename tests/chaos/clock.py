"""Clocks that jump: a service's wall clock is wrong by what a file says, and its monotonic one stays right.

Within the process, since libfaketime 0.9.10 breaks the sleep of Python 3.11 and later (EINVAL). What asks
for the time in the services is `time.time`, `shared.incidents.utc_now` and `rq.utils.now`.
"""

import datetime
import time
import types
from datetime import timedelta, tzinfo
from pathlib import Path
from typing import Any, Self

import rq.utils

import shared.incidents

LOOK_EVERY_S = 0.2
_right_time_s = time.time


class Wrong:
    """By how much this process's clock is wrong, as a file says."""

    def __init__(self, file: Path) -> None:
        self._file = file
        self._hours = 0.0
        self._looked_at_s = float("-inf")

    def seconds(self) -> float:
        """Seconds to add; 0 while there is no file."""
        now_s = time.monotonic()
        if now_s - self._looked_at_s > LOOK_EVERY_S:
            self._looked_at_s = now_s
            try:
                self._hours = float(self._file.read_text())
            except OSError:
                self._hours = 0.0
        return self._hours * 3600


def put_in(file: Path) -> None:
    """Make this process's wall clock wrong by the hours in a file, from now."""
    wrong = Wrong(file)

    class Wronged(datetime.datetime):
        """A datetime whose now is wrong."""

        @classmethod
        def now(cls, tz: tzinfo | None = None) -> Self:
            moment: Any = datetime.datetime.now(tz) + timedelta(seconds=wrong.seconds())
            return moment  # type: ignore[no-any-return]

    vars(time)["time"] = lambda: _right_time_s() + wrong.seconds()
    vars(shared.incidents)["datetime"] = Wronged
    vars(rq.utils)["datetime"] = types.SimpleNamespace(**{**vars(datetime), "datetime": Wronged})


def jump(file: Path, hours: float) -> None:
    """From now the clock of the service that reads this file is wrong by so many hours; 0 puts it right."""
    if not hours:
        file.unlink(missing_ok=True)
        return
    aside = file.with_name(f".{file.name}")
    aside.write_text(str(hours))
    aside.replace(file)
