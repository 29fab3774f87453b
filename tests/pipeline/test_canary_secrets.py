"""Secrets stay secret: canaries in every place where one can be are in no output, log or process list."""

import base64
import contextlib
import json
import os
import secrets
import subprocess
import sys
import urllib.error
import urllib.request
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import TextIO

import psutil
import pytest
from conftest import wait_until
from deployment import Deployment, free_port

from shared.settings import Settings

pytestmark = [pytest.mark.fault, pytest.mark.timeout(1200)]

RUN = secrets.token_hex(4)
"""Others may run this test on this machine: the process list has theirs, too."""
REDIS, DATABASE, PASSWORD, TYPED = (
    f"canary-redis-{RUN}",
    f"canary-database-{RUN}",
    f"canary-password-{RUN}",
    f"canary-typed-{RUN}",
)
WEBHOOK = base64.b64encode(f"canary-webhook-{RUN}-".encode()).decode()
SESSIONS = f"canary-sessions-{RUN}-" + "x" * 45
CANARIES = (REDIS, DATABASE, PASSWORD, TYPED, WEBHOOK, SESSIONS)
COMMANDS = (
    ("status", "--json"),
    ("doctor",),
    ("doctor", "--settings"),
    ("audit", "--json"),
    ("console", "review", "--plain", "--no-follow"),
    ("user", "list"),
    ("webhooks", "--dead"),
)
SERVICES = ("ingest", "worker", "desk", "web", "webhooks")


@dataclass(frozen=True)
class _Said:
    """Whether a process has ended, or said anything."""

    process: "subprocess.Popen[bytes]"
    said: TextIO

    def __call__(self) -> bool:
        return self.process.poll() is not None or os.fstat(self.said.fileno()).st_size > 0


class Watched:
    """A deployment with canaries, and all that anybody could see of it."""

    def __init__(self, deployment: Deployment, folder: Path) -> None:
        self.deployment, self.folder = deployment, folder
        self.seen: list[tuple[str, str]] = []
        secret = folder / "hook.secret"
        secret.write_text(f"whsec_{WEBHOOK}\n")
        secret.chmod(0o600)
        hooks = folder / "webhooks.toml"
        hooks.write_text(
            f'[[webhook]]\nname = "fire"\ndepartment = "firefighters"\nurl = "http://127.0.0.1:{free_port()}/"\n'
            f'secret_file = "{secret}"\n'
        )
        password = folder / "password"
        password.write_text(PASSWORD + "\n")
        password.chmod(0o600)
        deployment.extra_environ = {
            "ALMENARA_WEBHOOKS": str(hooks),
            "ALMENARA_LOG_LEVEL": "debug",
            "COLUMNS": "200",
        }
        add = ("user", "add", "ana", "--role", "operator", "--department", "firefighters")
        self.run((*add, "--password-file", str(password)))
        assert "ana may log in" in self.seen[-1][1]
        sessions = deployment.settings.state_dir / "web.secret"
        sessions.write_text(SESSIONS)
        sessions.chmod(0o600)

    def point(self, *, redis_url: str, database_url: str) -> None:
        """Where services and commands find broker and database from now on."""
        more = {"ALMENARA_REDIS_URL": redis_url, "ALMENARA_DATABASE_URL": database_url}
        self.deployment.extra_environ |= {name: value for name, value in more.items() if value}

    def run(self, *commands: tuple[str, ...]) -> None:
        """Run commands side by side, and keep what they say, whether they succeed or not."""
        running = []
        for number, command in enumerate(commands):
            said = (self.folder / f"said-{number}").open("w+")
            words = [sys.executable, "-m", "deploy", *command]
            environ, folder = self.deployment.environ(), self.deployment.folder
            process = subprocess.Popen(
                words, env=environ, cwd=folder, stdin=subprocess.DEVNULL, stdout=said, stderr=said
            )
            running.append((command, process, said))
        for command, process, said in running:
            # Where the broker is away some wait for it, as they should, once they have said so.
            wait_until(_Said(process, said), within_s=120, what=f"{command} ends or says something")
            with contextlib.suppress(subprocess.TimeoutExpired):
                process.wait(timeout=3 if command[0] in SERVICES else 120)
            process.kill()
            process.wait()
            said.seek(0)
            self.seen.append((f"almenara {' '.join(command)}", said.read()))
            said.close()

    def look(self) -> None:
        """Keep what the process list, the services' log and their files for people have now."""
        for process in psutil.process_iter(["cmdline"]):
            words = " ".join(process.info["cmdline"] or ())
            if "pytest" not in words:
                self.seen.append(("process list", words))
        self.seen.append(("log", (self.deployment.folder / "services.log").read_text(errors="replace")))

    def assert_nothing_leaked(self) -> None:
        """No canary is in anything that was seen."""
        assert any(words for _, words in self.seen)
        leaks = [(where, canary) for where, words in self.seen for canary in CANARIES if canary in words]
        assert leaks == []


@pytest.fixture
def watched(tmp_path: Path) -> Iterator[Watched]:
    """Canaries in a deployment whose broker runs and asks for a password."""
    made = Deployment()
    made.start_broker()
    try:
        yield Watched(made, tmp_path)
    finally:
        made.close()


def socket_url(settings: Settings, password: str) -> str:
    """The broker's address with a password."""
    return f"unix://default:{password}@{settings.broker_socket}"


def log_in(port: int, password: str) -> tuple[int, str]:
    """Try to log in to the web console; status and answer."""
    asked = urllib.request.Request(
        f"http://127.0.0.1:{port}/api/session",
        json.dumps({"name": "ana", "password": password}).encode(),
        {"Content-Type": "application/json", "Origin": f"http://127.0.0.1:{port}"},
    )
    try:
        with urllib.request.urlopen(asked, timeout=120) as answer:  # noqa: S310 - http, as it stands above
            return answer.status, answer.read().decode()
    except urllib.error.HTTPError as error:
        return error.code, error.read().decode()


def answers(port: int) -> bool:
    """Whether the web console listens."""
    try:
        return bool(log_in(port, TYPED)[0])
    except OSError:
        return False


def test_canaries_are_seen_nowhere_while_all_is_well(watched: Watched) -> None:
    """All services and commands, with secrets for broker, webhooks, sessions and users, show none of them."""
    deployment = watched.deployment
    deployment.client().config_set("requirepass", REDIS)
    watched.point(redis_url=socket_url(deployment.settings, REDIS), database_url="")
    for name in SERVICES:
        deployment.start(name, name)
    port, log = deployment.settings.web_port, deployment.folder / "services.log"
    wait_until(lambda: answers(port), within_s=240, what="the web console listens")
    for typed in (TYPED, PASSWORD):
        watched.seen.append(("log-in", log_in(port, typed)[1]))
    deployment.drop(1)
    wait_until(lambda: "batch done" in log.read_text(errors="replace"), within_s=240, what="a verdict")
    watched.look()
    watched.run(*COMMANDS)
    for name in SERVICES:
        assert deployment.processes[name].poll() is None, name
        deployment.processes[name].terminate()
    for name in SERVICES:
        deployment.processes[name].wait(timeout=120)
    watched.look()
    watched.assert_nothing_leaked()


def test_canaries_are_seen_nowhere_where_they_are_refused(watched: Watched) -> None:
    """A wrong password, hosts that are away and addresses that are none are told without what is secret."""
    deployment = watched.deployment
    watched.point(redis_url="", database_url=f"no-such-driver://desk:{DATABASE}@host/name")
    watched.run(("desk",), ("decisions", "decided"))
    deployment.client().config_set("requirepass", "another")
    database = f"postgresql+psycopg://desk:{DATABASE}@127.0.0.1:1/almenara"
    for address, service in (
        (socket_url(deployment.settings, REDIS), "ingest"),
        (f"rediss://default:{REDIS}@127.0.0.1:1/0", "desk"),
        (f"redis://default:{REDIS}@[broken/0?no_such_option={REDIS}", "web"),
    ):
        watched.point(redis_url=address, database_url=database)
        watched.run(("doctor",), (service,))
    watched.look()
    watched.assert_nothing_leaked()


def test_the_canary_test_sees_what_there_is(watched: Watched) -> None:
    """Were a canary on a command line or in a log, it would be found."""
    deployment = watched.deployment
    process = deployment.start("canary", "console", PASSWORD)
    process.wait(timeout=120)
    watched.look()
    os.write(deployment.log.fileno(), TYPED.encode())
    watched.look()
    leaks = {canary for _, words in watched.seen for canary in CANARIES if canary in words}
    assert {PASSWORD, TYPED} <= leaks
