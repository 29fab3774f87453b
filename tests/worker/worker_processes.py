"""Workers and brokers as processes of their own, for tests that kill them."""

import json
import os
import signal
import subprocess
import sys
from dataclasses import replace
from pathlib import Path
from typing import Any

from conftest import wait_until
from rq import Worker
from rq.job import Job
from rq.serializers import JSONSerializer
from worker_parts import in_flight, picture, told

from deploy.private_broker import PrivateBroker
from shared.broker import Broker
from shared.settings import Settings

RUN_WORKER = Path(__file__).with_name("run_worker.py")

START_S = 60.0
"""A worker's imports take 2 s, and on a busy machine ten times that."""

SHORT_LEASE_S = 3.0
"""Where a test waits for leases to end. No shorter: a busy machine may keep a healthy worker for a second."""


class WorkerProcess:
    """run_worker.py as a process of its own.

    Attributes:
        gate: a file that its forward passes or warm-up wait for, if told so.
    """

    def __init__(self, settings: Settings, log: Path, *flags: str) -> None:
        """Start it with flags of run_worker.py; GATE in them is the file's name."""
        outside = {name: value for name, value in os.environ.items() if not name.startswith("ALMENARA_")}
        self._log = log
        self.gate = log.with_suffix(".gate")
        with log.open("wb") as file:
            self.process = subprocess.Popen(
                [sys.executable, str(RUN_WORKER), *(flag.replace("GATE", str(self.gate)) for flag in flags)],
                env={
                    **outside,
                    **settings.to_env(),
                    "ALMENARA_LOG_FORMAT": "json",
                    "PYTHONPATH": str(RUN_WORKER.parents[1]),  # for what worker_parts shares with other tests
                },
                stderr=file,
            )

    def at_gate(self) -> bool:
        """Whether it waits for its gate, or has waited."""
        return self.gate.with_name(self.gate.name + ".reached").exists()

    def signal(self, number: signal.Signals) -> None:
        """Send it a signal."""
        self.process.send_signal(number)

    def ended(self) -> bool:
        """Whether it has ended."""
        return self.process.poll() is not None

    def exit_code(self, within_s: float = START_S) -> int:
        """Wait for its end."""
        return self.process.wait(timeout=within_s)

    def end(self) -> None:
        """Kill it if it runs, stopped or not."""
        self.process.kill()
        self.process.wait(timeout=60)

    def said(self, event: str) -> list[dict[str, Any]]:
        """Its log lines with this message."""
        lines = self._log.read_text(errors="replace").splitlines()
        found = [json.loads(line) for line in lines if line.startswith("{") and line.endswith("}")]
        return [line for line in found if line.get("event") == event]


class Workers:
    """Starts workers, and ends them all."""

    def __init__(self, settings: Settings, folder: Path) -> None:
        self.settings = replace(settings, max_batch=4)
        self.started: list[WorkerProcess] = []
        self._folder = folder

    def start(self, *flags: str, settings: Settings | None = None) -> WorkerProcess:
        """Start one more."""
        log = self._folder / f"worker-{len(self.started)}.log"
        self.started.append(WorkerProcess(settings or self.settings, log, *flags))
        return self.started[-1]

    def start_busy(self, held: int, broker: Broker, settings: Settings | None = None) -> WorkerProcess:
        """Start one, and wait until it holds that many photographs, some of them before a closed gate."""
        worker = self.start("--gate=GATE", settings=settings)
        wait_until(worker.at_gate, within_s=START_S, what="the worker has a batch")
        wait_until(lambda: in_flight(broker) == held, within_s=60, what=f"the worker holds {held}")
        return worker

    def keep(self, count: int) -> None:
        """Start workers in place of those that ended, as a supervisor does."""
        while sum(not each.ended() for each in self.started) < count:
            self.start()

    def end(self) -> None:
        """End them all."""
        for each in self.started:
            each.end()


class OwnBroker:
    """A private broker for one test, to be killed and started again on the same files."""

    def __init__(self, folder: Path) -> None:
        self.settings = Settings(state_dir=folder)
        self._private = PrivateBroker(self.settings)
        self.url = self._private.url

    def start(self) -> None:
        """Start it, or start it again."""
        self._private.prepare()
        self._process = subprocess.Popen(self._private.command())
        self._private.wait_until_ready(self._process)

    def kill(self) -> None:
        """End it without a word."""
        self._process.kill()
        self._process.wait(timeout=60)


def fires(count: int, begin: int = 0) -> list[bytes]:
    """So many pictures of fires."""
    return [picture("fire", seed) for seed in range(begin, begin + count)]


def registered(broker: Broker) -> list[str]:
    """Names of the workers that RQ knows."""
    return [each.name for each in Worker.all(connection=broker, serializer=JSONSerializer)]


def states(broker: Broker) -> set[str]:
    """What RQ says that its workers do."""
    return {each.get_state() for each in Worker.all(connection=broker, serializer=JSONSerializer)}


def wait_for_fires(broker: Broker, incidents: list[str], within_s: float = 90) -> None:
    """Wait until each of these was dispatched; and none was dispatched twice."""
    wait_until(
        lambda: len(told(broker, "firefighters")) >= len(incidents),
        within_s=within_s,
        what=f"{len(incidents)} dispatches",
    )
    assert sorted(told(broker, "firefighters")) == sorted(incidents)


def retries_left(broker: Broker, incidents: list[str]) -> set[int | None]:
    """What is left of RQ's retries."""
    return {Job.fetch(each, broker, JSONSerializer).retries_left for each in incidents}
