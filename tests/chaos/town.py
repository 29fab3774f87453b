"""The town: every service as a process, each behind its proxy, and somebody who starts again what ends."""

import json
import math
import os
import signal
import subprocess
import sys
import threading
import time
from collections import Counter
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from deployment import Deployment
from webhook_parts import SECRET, Receiver, write_secret

from chaos.disks import Disks
from chaos.proxy import Line, Proxy
from console.passwords import hash_password
from console.userfile import Role, UserFile, UserRecord
from deploy.cli import EXIT_AWAY
from deploy.private_broker import PrivateBroker
from shared.errors import AlmenaraError
from shared.incidents import iso, utc_now
from shared.routing import REVIEW, Routing

ROOT = Path(__file__).parents[2]
BROKER = "broker"
COMMANDS = {
    "ingest-1": ("ingest",),
    "ingest-2": ("ingest",),
    "worker-1": ("worker",),
    "worker-2": ("worker",),
    "desk-1": ("desk",),
    "desk-2": ("desk",),
    "web": ("web",),
    "webhooks": ("webhooks",),
    "console": ("console", "all", "--json"),
}
PASSWORD = "the bell of the old town"  # noqa: S105 - of a user of this suite alone
STOPS_WITHIN_S = 150.0
STARTS_WITHIN_S = 150.0
"""On a busy machine. A service that is told to stop before it listens to signals ends by the signal."""


@dataclass
class Service:
    """One process, and what may end it.

    Attributes:
        says: where it writes once it has begun; `said_bytes` were there before.
        told: the signal that we ended it with, if so; what it ends by must fit.
        told_at_s: when; the time that it is stopped does not count.
        held: how many faults hold it stopped.
        back_at_s: not started again before.
        noted: whether its end stands in the books.
    """

    name: str
    process: "subprocess.Popen[bytes]"
    started_at_s: float
    says: Path
    said_bytes: int
    told: signal.Signals | None = None
    told_at_s: float = 0.0
    held: int = 0
    back_at_s: float = 0.0
    noted: bool = False

    def ended_as_told(self, code: int) -> bool:
        """Whether this is how it should have ended."""
        if self.told is signal.SIGKILL:
            return True  # it may have been on its way out before
        if self.told is signal.SIGTERM:
            early = self.told_at_s - self.started_at_s < STARTS_WITHIN_S or not self.has_begun()
            return code == 0 or (code == -signal.SIGTERM and early)
        early = time.monotonic() - self.started_at_s < STARTS_WITHIN_S or not self.has_begun()
        # A person who opens a console is told that the broker is away, and not left waiting.
        return self.name == "console" and code == EXIT_AWAY and early

    def has_begun(self) -> bool:
        """Whether it has said anything: a very busy machine takes minutes to start one."""
        return self.says.stat().st_size > self.said_bytes


@dataclass
class Ends:
    """How processes ended.

    Attributes:
        codes: (service without its number, exit code) -> times.
        wrong: what ended that should not have, or not so.
    """

    codes: Counter[tuple[str, int]] = field(default_factory=Counter)
    wrong: list[str] = field(default_factory=list)


class Town(Deployment):
    """A deployment whose services are started again whenever they end."""

    def __init__(self, *, engine: str = "colours", names: tuple[str, ...] = tuple(COMMANDS)) -> None:
        super().__init__(
            lease_s=4.0,
            batch_timeout_s=30.0,
            max_batch=4,
            rescan_s=2.0,
            acknowledge_within_s=30.0,
            fallback_after_s=60.0,
            review_within_s=20.0,
            on_scene_within_s=90.0,
            sample_rate=0.2,
            label_rate=0,
        )
        self.engine = engine
        self.names = names
        self.switches = self.folder / "switches"
        self.logs = self.folder / "logs"
        for folder in (self.switches, self.logs):
            folder.mkdir()
        state = self.settings.state_dir
        self.disks = Disks(
            {"state": state, "images": state / "images", "broker": state / "broker", "inbox": self.inbox}
        )
        self._add_user()
        self.receiver = Receiver()
        self._add_webhook()
        self.ends = Ends()
        self.services: dict[str, Service] = {}
        self.broker_may_end = False
        self._lock = threading.RLock()
        self._over = threading.Event()
        self._line = Line()
        self.proxies = {name: Proxy(self._line, self.settings.broker_socket) for name in names}
        self._watch = threading.Thread(target=self._watch_over, name="supervisor", daemon=True)

    def begin(self) -> None:
        """Start everything."""
        self._start(BROKER)
        for name in self.names:
            self._start(name)
        self._watch.start()

    def environ_of(self, name: str) -> dict[str, str]:
        """What a service finds in its environment."""
        path = os.pathsep.join(str(ROOT / part) for part in (".", "tests", "tests/worker"))
        return {
            **self.environ(),
            "ALMENARA_REDIS_URL": f"redis://127.0.0.1:{self.proxies[name].port}",
            "PYTHONPATH": path,
            "CHAOS_SWITCHES": str(self.switches),
            "CHAOS_CLOCK": str(self.clock_of(name)),
            "CHAOS_ENGINE": self.engine,
        }

    def clock_of(self, name: str) -> Path:
        """The file that says by how much a service's clock is wrong."""
        return self.switches / f"clock-{name}"

    def strike(self, name: str, number: signal.Signals, down_s: float) -> bool:
        """Send SIGKILL or SIGTERM; whether there was something to end. It is back after `down_s`."""
        with self._lock:
            service = self.services[name]
            if service.process.poll() is not None or service.told is signal.SIGKILL:
                return False
            if service.told is signal.SIGTERM:
                number = signal.SIGKILL  # a second SIGTERM would tell it to leave at once
            service.told, service.told_at_s = number, time.monotonic()
            service.back_at_s = time.monotonic() + down_s
            service.process.send_signal(number)
            return True

    def rest(self, name: str) -> None:
        """End a service properly, until `calm`."""
        self.strike(name, signal.SIGTERM, math.inf)

    def hold(self, name: str, held: bool) -> bool:
        """SIGSTOP or SIGCONT; of faults that overlap the last one lets go. Whether it was there."""
        with self._lock:
            service = self.services[name]
            if service.process.poll() is not None:
                return False
            service.held = max(0, service.held + (1 if held else -1))
            service.process.send_signal(signal.SIGSTOP if service.held else signal.SIGCONT)
            if service.told is signal.SIGTERM:
                service.told_at_s = time.monotonic()
            return True

    def calm(self) -> None:
        """Let everything run that is not yet to start again."""
        with self._lock:
            for service in self.services.values():
                service.held = 0
                if service.process.poll() is None:
                    service.process.send_signal(signal.SIGCONT)
                service.back_at_s = 0.0
        for proxy in self.proxies.values():
            proxy.disarm()
            proxy.stall(False)

    def running(self) -> bool:
        """Whether everything runs, and nothing is on its way out."""
        with self._lock:
            return all(
                each.back_at_s == math.inf if each.process.poll() is not None else each.told is None
                for each in self.services.values()
            )

    def end(self) -> None:
        """Kill every service, and start none again."""
        self._over.set()
        if self._watch.is_alive():
            self._watch.join(30)
        self.processes = {name: each.process for name, each in self.services.items()}
        for process in self.processes.values():
            process.kill()
        for process in self.processes.values():
            process.wait(60)

    def close(self) -> None:
        """End everything, and remove the folder."""
        self.end()
        self._line.close()
        self.receiver.close()
        self.disks.close()
        super().close()

    def log_text(self, name: str) -> str:
        """What a service has written."""
        return (self.logs / f"{name}.log").read_text(errors="replace")

    def _watch_over(self) -> None:
        while not self._over.wait(0.1):
            with self._lock:
                for service in list(self.services.values()):
                    self._look_after(service)

    def _look_after(self, service: Service) -> None:
        code, now_s = service.process.poll(), time.monotonic()
        if code is None:
            late = service.told is signal.SIGTERM and not service.held
            if late and now_s - service.told_at_s > STOPS_WITHIN_S:
                self.ends.wrong.append(f"{service.name} did not stop within {STOPS_WITHIN_S:g} s of SIGTERM")
                service.told = signal.SIGKILL
                service.process.kill()
            return
        if not service.noted:
            service.noted = True
            self._note_end(service, code)
        if now_s >= service.back_at_s:
            try:
                self._start(service.name)
            except AlmenaraError:  # no room for its folders
                service.back_at_s = now_s + 0.5

    def _note_end(self, service: Service, code: int) -> None:
        self.ends.codes[service.name.partition("-")[0], code] += 1
        if service.ended_as_told(code):
            return
        if service.name == BROKER and self.broker_may_end:
            service.back_at_s = time.monotonic() + 0.5
            return
        told = service.told.name if service.told else "nothing"
        self.ends.wrong.append(f"{service.name} ended with {code}, told by {told}")

    def _start(self, name: str) -> None:
        with (self.logs / f"{name}.log").open("ab") as log:
            said_bytes = log.tell()
            process = self._start_broker(log) if name == BROKER else self._start_service(name, log)
        says = self.logs / f"{name}.log"
        if name == "console":  # what is sent to departments, from the beginning
            says, said_bytes = self.folder / "console.out", 0
        self.services[name] = Service(name, process, time.monotonic(), says, said_bytes)

    def _start_broker(self, log: Any) -> "subprocess.Popen[bytes]":
        private = PrivateBroker(self.settings)
        private.prepare()
        return subprocess.Popen(private.command(), stdout=log, stderr=log, stdin=subprocess.DEVNULL)

    def _start_service(self, name: str, log: Any) -> "subprocess.Popen[bytes]":
        with (self.folder / f"{name}.out").open("ab" if name != "console" else "wb") as out:
            return subprocess.Popen(
                [sys.executable, "-m", "chaos.service", *COMMANDS[name]],
                env=self.environ_of(name),
                cwd=self.folder,
                stdout=out,
                stderr=log,
                stdin=subprocess.DEVNULL,
            )

    def _add_webhook(self) -> None:
        """Everything that anybody is sent is delivered to one receiver."""
        file, secret = self.folder / "webhooks.toml", self.folder / "webhook.secret"
        write_secret(secret, SECRET)
        departments = [*Routing.load(self.settings.routing).departments, REVIEW]
        file.write_text(
            f'[[webhook]]\nname = "cad"\ndepartment = {json.dumps(departments)}\nstart = "beginning"\n'
            f'url = "{self.receiver.url}"\nsecret_file = "{secret}"\n'
        )
        self.settings = self.settings.override(webhooks=str(file))

    def _add_user(self) -> None:
        with UserFile(self.settings.users_path).changing() as users:
            record = UserRecord(
                name="sol",
                password_hash=hash_password(PASSWORD),
                roles=(Role("supervisor"),),
                departments=("all",),
                created_at=iso(utc_now()),
            )
            users[record.key] = record
