"""Real services on a scratch folder, to be killed, stopped and restarted by tests."""

import contextlib
import json
import os
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import Any

import psutil
from conftest import picture_bytes, wait_until
from schema_parts import check_dispatch

from deploy.cli import EXIT_AWAY
from deploy.private_broker import PrivateBroker
from ingest.claims import claimed_files
from ingest.names import format_name
from shared.broker import Broker, connect, patiently, words
from shared.coordinates import Coordinates
from shared.dispatches import Dispatch
from shared.incidents import all_ids
from shared.keys import COUNTS, DISPATCH_PREFIX, LEASES, incident_key
from shared.settings import Settings

PATIENCE = ("acknowledge_within_s", "fallback_after_s", "review_within_s", "on_scene_within_s")
PATIENT_S = 3600.0


class Deployment:
    """Broker, ingesters and workers as processes of their own, and what the test needs to know of them."""

    def __init__(self, **settings: Any) -> None:
        self.folder = Path(tempfile.mkdtemp(prefix="almenara-test-"))  # short: sockets have a limit
        self.inbox = self.folder / "inbox"
        self.inbox.mkdir()
        self._kept_port = kept_port()
        self.settings = Settings(
            state_dir=self.folder / "state",
            inbox=(self.inbox,),
            # A port of its own: deployments run side by side, and a web console comes back where it was.
            **{
                "settle_s": 0.5,
                "rescan_s": 1.0,
                "web_port": self._kept_port.getsockname()[1],
                # On a machine that is busy for minutes the desk must not decide in people's place meanwhile.
                **dict.fromkeys(PATIENCE, PATIENT_S),
                **settings,
            },
        )
        self.log = (self.folder / "services.log").open("ab")
        self.processes: dict[str, subprocess.Popen[bytes]] = {}
        self.extra_environ: dict[str, str] = {}

    def environ(self) -> dict[str, str]:
        """The environment of every service."""
        outside = {name: value for name, value in os.environ.items() if not name.startswith("ALMENARA_")}
        return {**outside, **self.settings.to_env(), "ALMENARA_LOG_FORMAT": "json", **self.extra_environ}

    def start_broker(self) -> None:
        """Start the private broker, or start it again on the same files."""
        private = PrivateBroker(self.settings)
        private.prepare()
        self.processes["broker"] = subprocess.Popen(private.command(), stdout=self.log, stderr=self.log)
        private.wait_until_ready(self.processes["broker"])

    def start(self, name: str, *command: str) -> "subprocess.Popen[bytes]":
        """Start a service under a name: `start("worker-2", "worker")`."""
        process = subprocess.Popen(
            [sys.executable, "-m", "deploy", *command],
            env=self.environ(),
            cwd=self.folder,
            stdout=self.log,
            stderr=self.log,
            stdin=subprocess.DEVNULL,
        )
        self.processes[name] = process
        return process

    def run(self, *command: str) -> "subprocess.CompletedProcess[str]":
        """Run one `almenara` command to its end."""
        return subprocess.run(
            [sys.executable, "-m", "deploy", *command],
            env=self.environ(),
            cwd=self.folder,
            capture_output=True,
            text=True,
            timeout=300,
            check=False,
        )

    def run_once_broker_answers(self, *command: str) -> "subprocess.CompletedProcess[str]":
        """As `run`; a broker that a busy machine keeps for longer than a command waits is asked again."""
        ended = [self.run(*command)]

        def was_there() -> bool:
            if ended[-1].returncode == EXIT_AWAY:
                ended.append(self.run(*command))
            return ended[-1].returncode != EXIT_AWAY

        wait_until(was_there, within_s=120, what=f"the broker answers {' '.join(command)}")
        return ended[-1]

    def kill(self, name: str) -> None:
        """SIGKILL a service and wait for its end."""
        self.processes[name].kill()
        self.processes[name].wait(timeout=60)

    def stop(self, name: str) -> int:
        """SIGTERM a service; its exit code."""
        self.processes[name].terminate()
        return self.processes[name].wait(timeout=120)

    def signal(self, name: str, number: signal.Signals) -> None:
        """Send a service any signal."""
        self.processes[name].send_signal(number)

    def client(self) -> Broker:
        """A client of the broker."""
        return connect(self.settings)

    def drop(self, seed: int, *, data: bytes | None = None) -> str:
        """Put one picture into the inbox, whole at once; returns its name."""
        name = photograph_name(seed)
        aside = self.inbox / f".{seed}.tmp"
        aside.write_bytes(data if data is not None else picture_bytes(seed))
        aside.rename(self.inbox / name)
        return name

    def wait_decided(self, count: int, *, within_s: float) -> None:
        """Wait until so many incidents have a verdict."""
        with self.client() as client:
            self._wait(lambda: decided(client) >= count, within_s, f"{count} incidents decided")

    def wait_admitted(self, count: int, *, within_s: float) -> None:
        """Wait until there are so many incidents."""
        with self.client() as client:
            self._wait(
                lambda: len(patiently(lambda: all_ids(client))) >= count,
                within_s,
                f"{count} incidents admitted",
            )

    def _wait(self, condition: Callable[[], bool], within_s: float, what: str) -> None:
        """As `wait_until` does, and with what the services said last: the folder goes with the test."""
        try:
            wait_until(condition, within_s=within_s, what=what)
        except AssertionError as error:
            log = self.folder / "services.log"
            said = log.read_text(errors="replace").splitlines()[-40:] if log.exists() else []
            raise AssertionError("\n".join([str(error), *said])) from error

    def incidents(self) -> list[dict[str, str]]:
        """Every incident record."""
        with self.client() as client:
            return patiently(
                lambda: [words(client.hgetall(incident_key(incident))) for incident in all_ids(client)]
            )

    def dispatched(self) -> Counter[tuple[str, str]]:
        """How often each (department, incident id) stands in the streams."""
        with self.client() as client:
            return patiently(lambda: self._dispatched(client))

    def _dispatched(self, client: Broker) -> Counter[tuple[str, str]]:
        told: Counter[tuple[str, str]] = Counter()
        for key in client.scan_iter(match=DISPATCH_PREFIX + "*", _type="stream"):
            entries: Any = client.xrange(key)
            for _, fields in entries:
                check_dispatch(fields[b"event"])
                dispatch = Dispatch.decode(fields[b"event"])
                told[key.decode().removeprefix(DISPATCH_PREFIX), str(dispatch.data["incident_id"])] += 1
        return told

    def assert_books_balance(self, photographs: int) -> None:
        """Each photograph is one decided incident, told once to each addressee, and the audit agrees.

        Whoever has decided may not have heard yet that it is in the books: the last hands are waited for.
        """
        client = self.client()
        wait_until(
            lambda: not claimed_files(self.inbox) and not patiently(lambda: client.zcard(LEASES)),
            within_s=120,
            what="nothing is in hand",
        )
        incidents = self.incidents()
        assert len(incidents) == photographs
        assert {incident["state"] for incident in incidents} == {"decided"}
        told = self.dispatched()
        expected = {
            (department, incident["id"])
            for incident in incidents
            for department in incident["departments"].split(",")
            if department
        }
        assert set(told) == expected
        assert set(told.values()) <= {1}
        assert sorted(int(incident["number"]) for incident in incidents) == list(range(1, photographs + 1))
        report = json.loads(self.run_once_broker_answers("audit", "--json").stdout)
        assert report["balanced"], report["findings"]
        assert report["counts"].get("files claimed", 0) == 0
        assert report["counts"].get("files in inbox", 0) == 0
        assert report["counts"].get("jobs in flight", 0) == 0

    def close(self) -> None:
        """End every process and remove the folder."""
        for process in self.processes.values():
            for each in _family(process):
                with contextlib.suppress(psutil.NoSuchProcess):  # it may end by itself just now
                    each.kill()
            process.wait(timeout=60)
        self.log.close()
        self._kept_port.close()
        shutil.rmtree(self.folder, ignore_errors=True)


def kept_port(port: int = 0) -> socket.socket:
    """A socket that keeps a TCP port of this machine for whoever we give its number, until it is closed.

    It does not listen, so that a server may, again and again; the system gives the port to nobody meanwhile.
    """
    kept = socket.socket()
    kept.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    try:
        kept.bind(("127.0.0.1", port))
    except OSError:
        kept.close()
        raise
    return kept


def free_port() -> int:
    """A TCP port of this machine that nobody listens on, and that nobody else is given during the tests."""
    return keep_port(0)


def keep_port(port: int) -> int:
    """Likewise a certain one; 0 for any.

    Raises:
        OSError: somebody listens there.
    """
    _KEPT.append(kept_port(port))
    kept: int = _KEPT[-1].getsockname()[1]
    return kept


_KEPT: list[socket.socket] = []


def decided(client: Broker) -> int:
    """How many incidents have a verdict."""
    counts = words(patiently(lambda: client.hgetall(COUNTS)))
    return sum(int(counts.get(verdict, 0)) for verdict in ("dispatched", "unsure", "no_emergency"))


def photograph_name(seed: int) -> str:
    """A file name at a place of its own for each seed."""
    place = Coordinates(
        latitude_deg=round(-80 + seed % 1000 * 0.1, 4), longitude_deg=round(-170 + seed // 1000 * 0.5, 4)
    )
    return format_name(place, f"cam {seed}", "jpeg")


def _family(process: "subprocess.Popen[bytes]") -> list[psutil.Process]:
    try:
        parent = psutil.Process(process.pid)
        return [*parent.children(recursive=True), parent]
    except psutil.NoSuchProcess:
        return []
