"""The limit as a contender: what decoding and model give in a bare loop."""

import json
import sys
import time
from dataclasses import replace
from typing import Any

from benchmarks.contenders import Contender, ContenderError, Ground, due_times_s

NAME = "limit: bare loop"


class Limit(Contender):
    """Reads, decodes and judges the files. It measures itself, so that no pipe is in its figures."""

    def __init__(self, engine: str) -> None:
        super().__init__(
            NAME,
            engine,
            "read + decode by as many threads as cores, then forward, a batch of 0.5 s after the other",
        )

    def start(self, ground: Ground) -> None:
        """See `Contender.start`."""
        self._ground = ground
        settings = replace(ground.settings, engine=self.engine)
        self._process = self._run(
            [sys.executable, "-m", "benchmarks.peers.bare"],
            replace(ground, settings=settings),
            pipes=True,
        )
        self._sent = 0
        self._reply()

    def flood(self, count: int) -> float:
        """See `Contender.flood`."""
        return self._ask(count)

    def steady(self, count: int, rate: float) -> list[float]:
        """See `Contender.steady`: a batch of one; nothing is sent or received, so this is its time alone."""
        taken_ms = []
        for due_s in due_times_s(count, rate):
            time.sleep(max(0.0, due_s - time.perf_counter()))
            taken_ms.append(self._ask(1) * 1000)
        return taken_ms

    def _ask(self, count: int) -> float:
        paths = [str(self._ground.album.path(self._sent + index)) for index in range(count)]
        self._sent += count
        assert self._process.stdin is not None
        self._process.stdin.write(json.dumps(paths).encode() + b"\n")
        self._process.stdin.flush()
        return float(self._reply()["took_s"])

    def _reply(self) -> dict[str, Any]:
        """The next line of JSON; an engine's library may say other things."""
        assert self._process.stdout is not None
        for line in self._process.stdout:
            if line.startswith(b"{"):
                reply: dict[str, Any] = json.loads(line)
                return reply
        self._process.wait()
        raise ContenderError(f"ended with {self._process.returncode}: {self._last_words()}")
