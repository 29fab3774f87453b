"""Follows one board: everything open, then each change once, across faults of the broker."""

import contextlib
import threading
import time
from collections.abc import Callable, Collection
from dataclasses import dataclass

from redis.exceptions import RedisError

from shared.board import BoardError, Change, Opening, changes, covers, open_rows
from shared.broker import Broker, is_broker_fault
from shared.heartbeats import DESK, listen, living, process_name

BLOCK_MS = 500
"""A quiet board is read for so long at once: the end of the thread waits for it."""
PULSE_S = 3.0
"""Between two looks at whether a desk runs and whether the board still has what comes next."""
_WAIT_S = (0.1, 0.2, 0.5, 1.0)


@dataclass(frozen=True, slots=True)
class Opened:
    """Everything open. `again`: the board could not say what changed since, so answers may be lost too."""

    opening: Opening
    again: bool


@dataclass(frozen=True, slots=True)
class Changed:
    """What changed, oldest first."""

    changes: list[Change]


@dataclass(frozen=True, slots=True)
class Pulse:
    """The broker answers, and so many desks run."""

    desks: int


@dataclass(frozen=True, slots=True)
class Lost:
    """The broker answers and has no boards any more; the desk is to bring them back."""


@dataclass(frozen=True, slots=True)
class Away:
    """The broker does not answer. Told once, until something else is."""


@dataclass(frozen=True, slots=True)
class Fault:
    """What waiting alone does not cure: an entry that can't be read, or a broker that refuses."""

    words: str


News = Opened | Changed | Pulse | Lost | Away | Fault


class Follower:
    """A thread that tells what it hears."""

    def __init__(
        self, broker: Broker, department: str, tell: Callable[[News], None], listens: Collection[str] = ()
    ) -> None:
        """`tell` is called from the thread; `listens` are departments for which somebody sits here."""
        self._broker = broker
        self._department = department
        self._tell = tell
        self._listens = listens
        self._name = process_name("screen")
        self._version: int | None = None
        self._next_pulse_s = 0.0
        self._failures = 0
        self._torn = False  # something failed since everything open was last compared
        self._lost = False
        self._stop = threading.Event()
        # A daemon: who quits does not wait for a broker that is away.
        self._thread = threading.Thread(target=self._run, name="follower", daemon=True)

    def start(self) -> None:
        """Start the thread."""
        self._thread.start()

    def stop(self) -> None:
        """End soon."""
        self._stop.set()

    def join(self, timeout_s: float) -> bool:
        """Wait for the thread's end; whether it came."""
        self._thread.join(timeout_s)
        return not self._thread.is_alive()

    def _run(self) -> None:
        while not self._stop.is_set():
            try:
                self._step()
            except RedisError as error:
                self._failed(Away() if is_broker_fault(error) else Fault(f"the broker refuses: {error}"))
            except BoardError as error:
                self._failed(Fault(str(error)))
        self._say_goodbye()

    def _heard(self, news: Opened | Changed | Pulse | Lost) -> None:
        """Tell what the broker answered; the next fault is news again."""
        self._failures = 0
        self._tell(news)

    def _failed(self, news: Away | Fault) -> None:
        if self._failures == 0:
            self._tell(news)
        # A fault may come again right after a good answer: the row of a newer desk, again and again.
        step = len(_WAIT_S) if isinstance(news, Fault) else self._failures
        self._stop.wait(_WAIT_S[min(step, len(_WAIT_S) - 1)])
        self._failures += 1
        self._torn = True
        self._next_pulse_s = 0.0  # once it answers, first see whether it is still the same board

    def _step(self) -> None:
        if time.monotonic() >= self._next_pulse_s and not self._pulse():
            self._stop.wait(_WAIT_S[-1])
            return
        self._read(BLOCK_MS)

    def _read(self, block_ms: int | None) -> bool:
        """Tell the next page of changes; whether there were any."""
        assert self._version is not None, "the board was opened"
        found = changes(self._broker, self._department, self._version, block_ms=block_ms)
        if found:
            self._version = found[-1].version
            self._heard(Changed(found))
        return bool(found)

    def _pulse(self) -> bool:
        """Look whether everything is as it was; False where there is nothing to follow."""
        covered = bool(self._version) and covers(self._broker, self._department, self._version or 0)
        if (not covered or self._torn or self._lost) and not self._open(covered=covered):
            return False
        self._heard(Pulse(living(self._broker, DESK)))
        self._say_present()
        self._next_pulse_s = time.monotonic() + PULSE_S
        return True

    def _say_present(self) -> None:
        """Say for whom somebody listens here; a console that may not is a console all the same."""
        try:
            listen(self._broker, self._name, self._listens)
        except RedisError as error:
            if is_broker_fault(error):
                raise

    def _say_goodbye(self) -> None:
        with contextlib.suppress(RedisError):
            listen(self._broker, self._name, (), self._listens)

    def _open(self, *, covered: bool) -> bool:
        """Compare with everything open; False where the boards are not there to compare with.

        Where the board still has what changed, that is read first and followed from there: it holds the
        answers to moves. Everything open is compared all the same: a broker that lost its data, and whose
        boards were made anew meanwhile, has no entry of what was finished before.
        """
        while covered and self._read(None):
            pass
        opening = open_rows(self._broker, self._department)
        if self._version and not opening.version:
            self._lost = True
            self._heard(Lost())
            return False
        if self._lost:  # give the desk a moment to put everything back
            self._lost, self._torn = False, True
            return False
        again = bool(self._version) and not covered
        if not covered:
            self._version = opening.version
        self._heard(Opened(opening, again))
        self._torn = False
        return True
