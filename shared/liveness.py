"""Whether a service's main loop turns: told to the service manager that started it, and asked by probes.

The service manager's side is systemd's sd_notify(3): lines sent to a datagram socket, where there is one.
"""

import contextlib
import socket
import threading
import time
from collections.abc import Callable, Mapping
from typing import Self

SILENT_AFTER_S = 90.0
"""A main loop that has not turned for so long hangs: the longest honest turn is a batch at its time limit."""

START_MORE_S = 30
"""While it starts (a broker that is away is waited for) each turn asks for so many seconds more."""

TELL_S = 5.0
"""A manager that is busy is waited for so long with what is said only once; a sign of life is said again."""


class Liveness:
    """One for each process. Turning is cheap enough for every round of a loop."""

    def __init__(
        self,
        notify_socket: str = "",
        watchdog_s: float = 0.0,
        *,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        """Tell nobody, or the manager at `notify_socket`, which ends who is silent for `watchdog_s`.

        `clock` gives seconds that never go back.
        """
        self._clock = clock
        self._address = "\0" + notify_socket[1:] if notify_socket.startswith("@") else notify_socket
        self._every_s = min(watchdog_s / 3, 5.0) if watchdog_s else 5.0
        self._turned_at_s = self._told_at_s = clock()
        self._lock = threading.Lock()
        self.ready = False

    @classmethod
    def from_env(cls, environ: Mapping[str, str], *, clock: Callable[[], float] = time.monotonic) -> Self:
        """What systemd says in NOTIFY_SOCKET and WATCHDOG_USEC; `clock` as for the constructor."""
        usec = environ.get("WATCHDOG_USEC", "")
        watchdog_s = int(usec) / 1e6 if usec.isdigit() else 0.0
        return cls(environ.get("NOTIFY_SOCKET", ""), watchdog_s, clock=clock)

    def turn(self) -> None:
        """The main loop turned once more, or waits for something on purpose."""
        self._turned_at_s = now_s = self._clock()
        with self._lock:
            if now_s - self._told_at_s < self._every_s:
                return
            self._told_at_s = now_s
        self._tell("WATCHDOG=1" if self.ready else f"EXTEND_TIMEOUT_USEC={START_MORE_S * 1_000_000}")

    def begin(self) -> None:
        """The service is ready."""
        self.ready = True
        self.turn()
        self._tell("READY=1", wait_s=TELL_S)

    def end(self) -> None:
        """The service stops, having been told to."""
        self.ready = False
        self._tell("STOPPING=1", wait_s=TELL_S)

    def silent_s(self) -> float:
        """Seconds since the last turn."""
        return self._clock() - self._turned_at_s

    def watching(self, stop: Callable[[], bool]) -> Callable[[], bool]:
        """The same `stop`, asking which counts as a turn: loops ask it each round, and waits at each try."""

        def ask() -> bool:
            self.turn()
            return stop()

        return ask

    def _tell(self, line: str, *, wait_s: float = 0.0) -> None:
        if not self._address:
            return
        # A service must not fall because its manager does not listen.
        with contextlib.suppress(OSError), socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as sock:
            sock.settimeout(wait_s)
            sock.sendto(line.encode(), self._address)
