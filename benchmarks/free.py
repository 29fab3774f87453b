"""One worker process of ours on a free model, flooded with jobs."""

import subprocess
import sys
import time
import uuid
from collections.abc import Iterator
from contextlib import contextmanager

from benchmarks import processes
from benchmarks.contenders import ROOT, environ
from ingest.admission import admit
from shared.broker import Broker, connect
from shared.coordinates import Coordinates
from shared.dispatches import Decision
from shared.incidents import Photograph, iso, utc_now
from shared.keys import COUNTS
from shared.settings import Settings
from shared.verdict import Verdict

AT_ONCE = 1_000
POLL_S = 0.005
FREE = Decision(
    verdict=Verdict.DISPATCHED,
    situation="fire",
    confidence=0.9,
    scores={"fire": 0.9, "normal": 0.1},
    model="free",
)
"""What a model that costs nothing says."""


class FreeWorker:
    """A worker that has started; jobs are numbered on, so that none is given twice."""

    def __init__(self, client: Broker, process: "subprocess.Popen[bytes]") -> None:
        self._client = client
        self._process = process
        self._roots = [process.pid]
        self._sent = 0

    def flood(self, count: int) -> float:
        """Queue so many jobs while the worker is held; seconds from letting it go to the last verdict."""
        processes.hold(self._roots)
        for first in range(self._sent, self._sent + count, AT_ONCE):
            numbers = range(first, min(first + AT_ONCE, self._sent + count))
            admit(self._client, [(uuid.uuid4().hex, photograph(number)) for number in numbers])
        self._sent += count
        began_s = time.perf_counter()
        processes.let_go(self._roots)
        while int(self._client.hget(COUNTS, "dispatched") or 0) < self._sent:
            assert self._process.poll() is None, "the worker has ended"
            time.sleep(POLL_S)
        return time.perf_counter() - began_s

    def memory_bytes(self) -> int:
        """What it holds now."""
        return processes.memory_bytes(self._roots)


@contextmanager
def free_worker(settings: Settings) -> Iterator[FreeWorker]:
    """A worker on an empty broker, which has judged its first thousand."""
    client = connect(settings)
    client.flushall()
    process = subprocess.Popen(
        [sys.executable, "-m", "benchmarks.free_worker"],
        env={**environ(settings), "ALMENARA_LOG_LEVEL": "warning"},
        cwd=ROOT,
    )
    try:
        while not client.scard("rq:workers"):
            time.sleep(POLL_S)
        worker = FreeWorker(client, process)
        worker.flood(AT_ONCE)
        yield worker
    finally:
        processes.end([process])
        client.flushall()


def photograph(index: int) -> Photograph:
    """What an ingester would know of picture `index`."""
    return Photograph(
        incident_id=f"{index:032x}",
        image="pictures/00/00.jpg",
        coordinates=Coordinates(latitude_deg=33.8568, longitude_deg=151.2153),
        label="bench",
        received_at=iso(utc_now()),
        name="33.8568, 151.2153.jpeg",
        place_from="name",
    )
