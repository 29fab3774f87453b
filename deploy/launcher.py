"""`almenara up`: every part on this machine from one terminal, kept alive, and stopped in order."""

import ctypes
import fcntl
import ipaddress
import os
import signal
import socket
import subprocess
import sys
import time
from dataclasses import dataclass, field
from pathlib import Path

from rich.console import Console

from console.users import Role, first_user
from deploy.private_broker import PrivateBroker
from deploy.status import gather
from shared.broker import check, connect
from shared.errors import AlmenaraError, ConfigError
from shared.logs import words_of
from shared.settings import Settings

LOG_KEPT_BYTES = 20_000_000
OPERATOR = "operator"
"""Who may log in where nobody was made before."""

EXIT_USAGE = 2
"""What `almenara` ends with where arguments or settings are wrong (deploy/cli.py)."""

STOP_TIMEOUT_S = 40.0
"""Longer than a batch and its publishing; then the process is killed, which loses nothing but seconds."""

_PR_SET_PDEATHSIG = 1  # prctl(2)


@dataclass
class Service:
    """One child process, started again whenever it ends."""

    name: str
    command: list[str]
    environ: dict[str, str]
    log: Path
    shows: bool = False
    process: "subprocess.Popen[bytes] | None" = None
    started_at_s: float = 0.0
    start_again_at_s: float = 0.0
    wait_s: float = 0.5
    _parent: int = field(default_factory=os.getpid)

    def start(self) -> None:
        """Start it, its log appended to a file; in a session of its own, so that Ctrl-C reaches only us."""
        if self.log.exists() and self.log.stat().st_size > LOG_KEPT_BYTES:
            self.log.replace(self.log.with_suffix(".log.1"))
        with self.log.open("ab") as log:
            self.process = subprocess.Popen(
                self.command,
                env={**os.environ, **self.environ},  # noqa: TID251 - handed on, not read
                stdin=subprocess.DEVNULL,
                stdout=None if self.shows else log,
                stderr=log,
                start_new_session=True,
                preexec_fn=self._die_with_parent if sys.platform == "linux" else None,  # noqa: PLW1509 - no threads
            )
        self.started_at_s = time.monotonic()

    def alive(self) -> bool:
        """Whether it runs."""
        return self.process is not None and self.process.poll() is None

    def exit_code(self) -> int | None:
        """How it ended, or None while it runs."""
        return self.process.poll() if self.process is not None else None

    def last_words(self) -> str:
        """The last line of its log."""
        try:
            return words_of(self.log.read_text(errors="replace").strip().splitlines()[-1])
        except (OSError, IndexError):
            return f"see {self.log}"

    def signal(self, number: signal.Signals) -> None:
        """Send it a signal, if it is there."""
        if self.process is not None and self.alive():
            self.process.send_signal(number)

    def _die_with_parent(self) -> None:
        # A launcher that is killed must not leave a broker behind that nobody minds.
        ctypes.CDLL(None).prctl(_PR_SET_PDEATHSIG, signal.SIGTERM)
        if os.getppid() != self._parent:
            os._exit(1)


class Launcher:
    """Runs the private broker, ingester, worker, desk and consoles until told to stop."""

    def __init__(self, settings: Settings) -> None:
        self._settings = settings
        self._screen = Console(stderr=True, highlight=False, soft_wrap=True)
        self._signals = 0
        self._logs = settings.state_dir.resolve() / "logs"
        self._lock: int | None = None

    def run(self) -> int:
        """Start, keep alive, stop; the exit code.

        Raises:
            ConfigError: something only a person can put right, such as another launcher on this state folder.
        """
        for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
            signal.signal(number, self._on_signal)
        self._take_lock()
        self._choose_port()
        password = (
            first_user(self._settings.users_path, OPERATOR, tuple(Role)) if self._is_private() else None
        )
        broker: PrivateBroker | None = None
        services: list[Service] = []
        try:
            if not self._settings.redis_url:
                broker = PrivateBroker(self._settings)
                broker.prepare()
                services.append(self._service("broker", broker.command()))
                services[0].start()
                assert services[0].process is not None
                broker.wait_until_ready(services[0].process)
            self._check_broker()
            for name in self._names():
                services.append(self._service(name, [sys.executable, "-m", "deploy", name]))
            form = [] if sys.stdout.isatty() else ["--plain"]
            console = self._service("console", [sys.executable, "-m", "deploy", "console", "all", *form])
            console.shows = True
            services.append(console)
            for service in services[1 if broker else 0 :]:
                service.start()
            self._greet(password)
            return self._mind(services, broker)
        finally:
            self._stop(services)

    def _mind(self, services: list[Service], broker: PrivateBroker | None) -> int:
        """Keep all alive until a signal, or until one can't run for its settings; the exit code."""
        said_ready = False
        while not self._signals:
            now_s = time.monotonic()
            for service in services:
                if service.alive():
                    if now_s - service.started_at_s > 30:
                        service.wait_s = 0.5
                    continue
                if service.exit_code() == EXIT_USAGE and not said_ready:
                    # Its settings are wrong, and starting it again won't put them right. In the middle of a
                    # night it is tried again all the same: the others go on meanwhile.
                    self._screen.print(f"[red]{service.name} can't run:[/red] {service.last_words()}")
                    return EXIT_USAGE
                self._restart(service, broker, now_s)
            if not said_ready:
                said_ready = self._say_if_ready()
            time.sleep(0.2)
        return 0

    def _restart(self, service: Service, broker: PrivateBroker | None, now_s: float) -> None:
        if not service.start_again_at_s:
            assert service.process is not None
            self._screen.print(
                f"[yellow]{service.name} ended ({_how(service.process.returncode)}); starting it again in "
                f"{service.wait_s:g} s. Its log: {service.log}[/yellow]"
            )
            self._screen.print(f"  {service.last_words()}"[:300], markup=False, style="dim")
            if service.shows:
                self._screen.print("[yellow]It shows earlier dispatches once more when it is back.[/yellow]")
            service.start_again_at_s = now_s + service.wait_s
            service.wait_s = min(service.wait_s * 2, 15.0)
        if now_s < service.start_again_at_s:
            return
        service.start_again_at_s = 0.0
        if service.name == "broker" and broker is not None:
            broker.socket.unlink(missing_ok=True)
        service.start()

    def _say_if_ready(self) -> bool:
        try:
            workers = gather(connect(self._settings), self._settings)["workers"]
        except AlmenaraError:
            return False
        if not workers:
            return False
        self._screen.print(
            f"[green]Ready[/green] ({workers[0]['model']}). Dispatches appear below; Ctrl-C stops all.\n"
        )
        return True

    def _greet(self, password: str | None) -> None:
        inbox = self._settings.inbox[0].resolve()
        command = _shortest(Path(sys.executable).with_name("almenara"))
        login = (
            f"\n  Log in as              {OPERATOR}, password [bold]{password}[/bold]   "
            f"(shown this once; change it: {command} user passwd {OPERATOR})"
            if password
            else f"   (who may log in: {command} user list)"
        )
        self._screen.print(
            f"[bold]Almenara[/bold] is starting; the model takes a few seconds to load.\n"
            f"  Drop photographs into  {inbox}\n"
            f"  named by their place   cp photo.jpg '{inbox}/33.8568, 151.2153.jpeg'\n"
            f"  or see a replay        {command} demo\n"
            f"  Open                   {self._address()}{login}\n"
            f"  or at a terminal       {command} console DEPARTMENT\n"
            f"  State and logs         {self._settings.state_dir.resolve()}\n"
            f"  In another terminal    {command} status   (doctor, audit, user)"
        )

    def _is_private(self) -> bool:
        """Whether only this machine reaches the web console: elsewhere nobody is let in unasked."""
        try:
            return ipaddress.ip_address(self._settings.web_host).is_loopback
        except ValueError:
            return self._settings.web_host == "localhost"

    def _address(self) -> str:
        host = self._settings.web_host
        shown = f"[{host}]" if ":" in host else host
        return self._settings.web_url or f"http://{shown}:{self._settings.web_port}"

    def _choose_port(self) -> None:
        """Any free port becomes a certain one, so that it can be said, and is the same after a restart."""
        if self._settings.web_port == 0:
            family = socket.AF_INET6 if ":" in self._settings.web_host else socket.AF_INET
            with socket.create_server((self._settings.web_host, 0), family=family) as probe:
                self._settings = self._settings.override(web_port=probe.getsockname()[1])

    def _stop(self, services: list[Service]) -> None:
        """First who brings work in, then who does it, then who shows it, and the broker last."""
        self._screen.print("\nStopping; photographs not yet classified wait for the next start.")
        asked = self._signals
        for name in (*self._names(), "console", "broker"):
            for service in [each for each in services if each.name == name]:
                service.signal(signal.SIGTERM)
                deadline_s = time.monotonic() + STOP_TIMEOUT_S
                while service.alive() and time.monotonic() < deadline_s:
                    if self._signals > asked:
                        asked = self._signals
                        service.signal(signal.SIGTERM)  # a second Ctrl-C: leave at once
                    time.sleep(0.05)
                if service.alive():
                    self._screen.print(
                        f"[yellow]{name} did not stop in {STOP_TIMEOUT_S:g} s; killing it[/yellow]"
                    )
                    service.signal(signal.SIGKILL)
        self._screen.print("Stopped.")

    def _names(self) -> tuple[str, ...]:
        """Services in the order that they are started, stopped and given metrics ports."""
        names = ("ingest", "worker", "desk", "web")
        return (*names, "webhooks") if self._settings.webhooks else names

    def _service(self, name: str, command: list[str]) -> Service:
        self._logs.mkdir(parents=True, exist_ok=True)
        settings = self._settings
        if settings.metrics_port:  # each has its own; the console serves none
            names = self._names()
            port = settings.metrics_port + names.index(name) if name in names else 0
            settings = settings.override(metrics_port=port)
        return Service(name, command, settings.to_env(), self._logs / f"{name}.log")

    def _check_broker(self) -> None:
        with connect(self._settings) as client:
            check(client, self._settings)

    def _take_lock(self) -> None:
        path = self._settings.state_dir.resolve() / "up.lock"
        try:
            path.parent.mkdir(parents=True, exist_ok=True)
            self._lock = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        except OSError as error:
            raise ConfigError(
                f"the state folder can't be used: {error}",
                remedy="set ALMENARA_STATE_DIR to a folder of your own",
            ) from error
        try:
            fcntl.flock(self._lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError as error:
            raise ConfigError(
                f"`almenara up` is running with {path.parent} already",
                remedy="stop it, or set ALMENARA_STATE_DIR to another folder",
            ) from error

    def _on_signal(self, number: int, frame: object) -> None:
        self._signals += 1


def _shortest(program: Path) -> str:
    """What to type for a program of ours: from here, if it lies below."""
    here = Path.cwd()
    return str(program.relative_to(here)) if program.is_relative_to(here) else str(program)


def _how(code: int) -> str:
    return f"killed by {signal.Signals(-code).name}" if code < 0 else f"exit code {code}"
