"""Hands moves to the desk's streams, in the order they were asked, across faults of the broker."""

import queue
import threading
from collections.abc import Callable
from dataclasses import dataclass

from redis.exceptions import RedisError

from shared.broker import Broker, is_broker_fault
from shared.moves import Move, append

_LOOK_S = 0.5
_AGAIN_S = 1.0


@dataclass(frozen=True, slots=True)
class Sent:
    """A move stands in its stream."""

    move_id: str


@dataclass(frozen=True, slots=True)
class NotSent:
    """The broker refuses a move; waiting would not help."""

    move: Move
    error: str


class Sender:
    """A thread. A move whose reply was lost is sent again: the desk applies its id once."""

    def __init__(self, broker: Broker, tell: Callable[[Sent | NotSent], None]) -> None:
        """`tell` is called from the thread."""
        self._broker = broker
        self._tell = tell
        self._moves: queue.SimpleQueue[Move] = queue.SimpleQueue()
        self._stop = threading.Event()
        # A daemon: who quits does not wait for a broker that is away.
        self._thread = threading.Thread(target=self._run, name="sender", daemon=True)

    def start(self) -> None:
        """Start the thread."""
        self._thread.start()

    def send(self, move: Move) -> None:
        """Send a move as soon as the broker takes it; returns at once."""
        self._moves.put(move)

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
                move = self._moves.get(timeout=_LOOK_S)
            except queue.Empty:
                continue
            self._deliver(move)

    def _deliver(self, move: Move) -> None:
        while not self._stop.is_set():
            try:
                append(self._broker, move)
            except RedisError as error:
                if not is_broker_fault(error):
                    self._tell(NotSent(move, str(error)))
                    return
                self._stop.wait(_AGAIN_S)
            else:
                self._tell(Sent(move.move_id))
                return
