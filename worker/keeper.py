"""The thread that says a worker lives: leases, heartbeats, and an end to a batch that hangs."""

import math
import os
import threading
import time
from collections.abc import Callable, Iterable, Mapping
from typing import Any

import structlog
from redis.exceptions import RedisError

from shared.broker import Broker, is_broker_fault
from worker.executions import Execution, renew

log = structlog.get_logger()

EXIT_HUNG = 70  # EX_SOFTWARE


class Keeper:
    """Renews the leases of what the worker holds in memory, every quarter of a lease."""

    def __init__(
        self,
        broker: Broker,
        worker: str,
        about: Callable[[], Mapping[str, Any]],
        *,
        lease_s: float,
        batch_timeout_s: float,
        in_time: Callable[[], None] = lambda: None,
    ) -> None:
        """Nothing is renewed yet.

        Args:
            broker: where leases are.
            worker: RQ's name of it.
            about: what the worker's record says.
            lease_s: how long a lease lasts.
            batch_timeout_s: how long a batch may take until it is judged.
            in_time: called while one takes its time: the worker's main loop may wait for it, and lives.
        """
        self._broker = broker
        self._worker = worker
        self._about = about
        self._lease_s = lease_s
        self._batch_timeout_s = batch_timeout_s
        self._in_time = in_time
        self._held: dict[str, Execution] = {}
        self._judged: set[str] = set()
        self._unjudged = 0
        self._hangs_at_s = math.inf
        self._lock = threading.Lock()
        self._stopping = threading.Event()
        self._thread = threading.Thread(target=self._run, name="keeper", daemon=True)

    def start(self) -> None:
        """Begin to renew."""
        self._thread.start()

    def stop(self) -> None:
        """Stop renewing."""
        self._stopping.set()
        if self._thread.is_alive():
            self._thread.join(timeout=10)

    def hold(self, batch: Iterable[Execution]) -> None:
        """A batch is in memory now, and is to go through the model."""
        with self._lock:
            self._held |= {execution.member: execution for execution in batch}
            self._unjudged += 1
            if self._unjudged == 1:
                self._hangs_at_s = time.monotonic() + self._batch_timeout_s

    def moved(self) -> None:
        """A picture of a batch was fetched: a store that is only slow hangs nothing."""
        with self._lock:
            if self._unjudged:
                self._hangs_at_s = time.monotonic() + self._batch_timeout_s

    def judged(self, batch: Iterable[Execution]) -> None:
        """A batch is through the model; the next one's time begins.

        What is left for it, publishing, may wait for the broker for hours.
        """
        with self._lock:
            self._judged |= {execution.member for execution in batch}
            self._unjudged -= 1
            self._hangs_at_s = time.monotonic() + self._batch_timeout_s if self._unjudged else math.inf

    def drop(self, executions: Iterable[Execution]) -> None:
        """These have ended."""
        with self._lock:
            for execution in executions:
                self._held.pop(execution.member, None)
                self._judged.discard(execution.member)

    def held(self) -> list[Execution]:
        """What is in memory now."""
        with self._lock:
            return list(self._held.values())

    def renew(self) -> None:
        """Renew once.

        Raises:
            RedisError: the broker is away or refuses.
        """
        lost = renew(
            self._broker, self._worker, [each.member for each in self.held()], self._lease_s, self._about()
        )
        with self._lock:
            # What ended while we asked is not lost, and of what is being published its ending tells.
            taken = [member for member in lost if self._held.pop(member, None) and member not in self._judged]
        if taken:
            # Taken back while we were silent. The batch goes on: its end is fenced, and clears its pictures.
            log.warning("jobs were taken back from this worker", jobs=len(taken))

    def _run(self) -> None:
        wait_s = self._lease_s / 4
        asked_s = time.monotonic()
        while not self._stopping.wait(wait_s):
            self._excuse(time.monotonic() - asked_s - wait_s)
            self._end_if_hung()
            try:
                self.renew()
                wait_s = self._lease_s / 4
            except RedisError as error:
                # The main loop says that the broker is away; be quick once it is back.
                wait_s = 0.5
                if not is_broker_fault(error):
                    log.error("leases can't be renewed", error=str(error))
            asked_s = time.monotonic()

    def _excuse(self, late_s: float) -> None:
        """A process that was stopped, or a machine that slept, is no batch that hangs."""
        if late_s > 1.0:
            with self._lock:
                self._hangs_at_s += late_s

    def _end_if_hung(self) -> None:
        with self._lock:
            hung = time.monotonic() > self._hangs_at_s
            jobs = list(self._held)
        if hung:
            # A thread can't be interrupted in a decoder or a driver. Ending the process hands its jobs on.
            log.critical("a batch hangs; ending this worker so that others take it", jobs=jobs)
            os._exit(EXIT_HUNG)
        if jobs and self._unjudged:
            self._in_time()
