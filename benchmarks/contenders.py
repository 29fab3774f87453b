"""What every contender can do: start, be flooded, be fed at a steady rate, stop."""

import os
import random
import subprocess
import time
from abc import ABC, abstractmethod
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from benchmarks import processes
from benchmarks.photographs import Album
from shared.broker import Broker, connect
from shared.settings import Settings

ROOT = Path(__file__).resolve().parent.parent
START_S = 60.0
STALL_S = 60.0
WAIT_POLL_S = 0.005
STEADY_POLL_S = 0.001
_ESCAPE = "\x1b"


class ContenderError(Exception):
    """Raised when a contender can't be measured; the message says why."""


@dataclass(frozen=True)
class Ground:
    """What a contender stands on, in one repeat.

    Attributes:
        settings: name the broker; state folder and inbox are this contender's alone.
        album: the pictures.
        folder: scratch.
    """

    settings: Settings
    album: Album
    folder: Path


class Contender(ABC):
    """One way to bring pictures to a model and verdicts back.

    Attributes:
        name: as tables show it.
        engine: what runs the model.
        about: how it is set up.
        floods: whether it is flooded; at a steady rate everything is measured.
    """

    floods = True

    def __init__(self, name: str, engine: str, about: str) -> None:
        self.name = name
        self.engine = engine
        self.about = about
        self.started: list[subprocess.Popen[bytes]] = []
        self._log = Path()

    @property
    def roots(self) -> list[int]:
        """The processes it started itself."""
        return [process.pid for process in self.started]

    @property
    def uses_broker(self) -> bool:
        """Whether the broker works for it, so that the broker's CPU time is a part of its own."""
        return False

    @abstractmethod
    def start(self, ground: Ground) -> None:
        """Start, and wait until it has answered a first picture.

        Raises:
            ContenderError: it does not.
        """

    @abstractmethod
    def flood(self, count: int) -> float:
        """Seconds from `count` pictures waiting until the last is answered."""

    @abstractmethod
    def steady(self, count: int, rate: float) -> list[float]:
        """Milliseconds that each of `count` pictures took, so many a second coming in."""

    def stop(self) -> None:
        """End its processes."""
        processes.end(self.started)
        self.started = []

    def _run(
        self, command: Sequence[str], ground: Ground, *, pipes: bool = False
    ) -> "subprocess.Popen[bytes]":
        """Start a process of it; what it says goes to a file, to give a reason if it fails.

        Args:
            pipes: talk with it over standard input and output.
        """
        self._log = ground.folder / "said.log"
        with self._log.open("ab") as log:
            process = subprocess.Popen(
                command,
                env=environ(ground.settings),
                cwd=ROOT,
                stdin=subprocess.PIPE if pipes else subprocess.DEVNULL,
                stdout=subprocess.PIPE if pipes else log,
                stderr=log,
            )
        self.started.append(process)
        return process

    def _check_alive(self) -> None:
        for process in self.started:
            if process.poll() is not None:
                raise ContenderError(f"ended with {process.returncode}: {self._last_words()}")

    def _last_words(self) -> str:
        lines = [line.strip() for line in self._log.read_text(errors="replace").splitlines()]
        said = [line for line in lines if line and _ESCAPE not in line]
        return said[-1] if said else "it said nothing"


class QueueContender(Contender):
    """One that takes its work from the broker, and leaves a key there for each picture that it has answered.

    Flooded, all of them are treated the same: they are started and warm, then stopped by a signal while the
    queue is filled; the clock starts as they are let go.
    """

    def __init__(self, name: str, engine: str, about: str) -> None:
        super().__init__(name, engine, about)
        self._sent = 0

    @property
    def uses_broker(self) -> bool:
        """It does."""
        return True

    @abstractmethod
    def commands(self, ground: Ground) -> list[list[str]]:
        """Its processes' command lines."""

    @abstractmethod
    def enqueue(self, numbers: Sequence[int]) -> list[str]:
        """Queue pictures; the keys that will be there when they are answered."""

    def send(self, number: int) -> tuple[str, float]:
        """Bring one picture as it is brought at a steady rate: its key, and the clock when it was there."""
        began_s = time.perf_counter()
        return self.enqueue([number])[0], began_s

    def check(self) -> None:
        """Look whether any picture failed.

        Raises:
            ContenderError: one did.
        """

    def start(self, ground: Ground) -> None:
        """See `Contender.start`."""
        self._ground = ground
        self._client: Broker = connect(ground.settings)
        self._sent = 0
        for command in self.commands(ground):
            self._run(command, ground)
        self._wait([self.send(number)[0] for number in self._next(1)], START_S)

    def flood(self, count: int) -> float:
        """See `Contender.flood`."""
        processes.hold(self.roots)
        try:
            keys = self.enqueue(self._next(count))
        finally:
            began_s = time.perf_counter()
            processes.let_go(self.roots)
        self._wait(keys, STALL_S)
        took_s = time.perf_counter() - began_s
        self.check()
        return took_s

    def steady(self, count: int, rate: float) -> list[float]:
        """See `Contender.steady`."""
        due_s = due_times_s(count, rate)
        numbers = self._next(count)
        open_s: dict[str, float] = {}
        taken_ms: list[float] = []
        while len(taken_ms) < count:
            if due_s and time.perf_counter() >= due_s[0]:
                due_s.pop(0)
                key, began_s = self.send(numbers.pop(0))
                open_s[key] = began_s
            for key, began_s in list(open_s.items()):
                if self._client.exists(key):
                    taken_ms.append((time.perf_counter() - began_s) * 1000)
                    del open_s[key]
                elif time.perf_counter() - began_s > STALL_S:
                    raise ContenderError(f"no answer in {STALL_S:g} s: {self._last_words()}")
            time.sleep(STEADY_POLL_S)
        self.check()
        return taken_ms

    def _next(self, count: int) -> list[int]:
        """Numbers of pictures, none given twice."""
        self._sent += count
        return list(range(self._sent - count, self._sent))

    def _wait(self, keys: list[str], stall_s: float) -> None:
        """Wait until every key is there, looking at one of them at a time."""
        moved_s = time.monotonic()
        while keys:
            if self._client.exists(keys[-1]):
                keys = [key for key, there in zip(keys, self._there(keys), strict=True) if not there]
                moved_s = time.monotonic()
                continue
            self._check_alive()
            if time.monotonic() - moved_s > stall_s:
                there = sum(map(bool, self._there(keys)))
                raise ContenderError(
                    f"{len(keys) - there} pictures without an answer in {stall_s:g} s: {self._last_words()}"
                )
            time.sleep(WAIT_POLL_S)

    def _there(self, keys: list[str]) -> list[int]:
        with self._client.pipeline(transaction=False) as pipeline:
            for key in keys:
                pipeline.exists(key)
            return list(pipeline.execute())


def due_times_s(count: int, rate: float) -> list[float]:
    """When each picture is due, by `time.perf_counter`: evenly, and shaken by a fifth, always the same way.

    Evenly alone, a contender that looks twice a second would always look at the same moment.
    """
    chance = random.Random(count)
    start_s = time.perf_counter() + 0.1
    return [start_s + (index + chance.uniform(-0.2, 0.2)) / rate for index in range(1, count + 1)]


def environ(settings: Settings) -> dict[str, str]:
    """This process's environment with those settings."""
    return {**os.environ, **settings.to_env()}
