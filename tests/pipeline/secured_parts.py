"""A deployment whose broker lets each service in as a user of its own."""

import subprocess
from pathlib import Path
from typing import Any

from conftest import wait_until
from deployment import Deployment
from redis.exceptions import RedisError

from deploy.private_broker import PrivateBroker
from shared.broker import Broker, connect
from shared.settings import Settings

ROLE_OF = {"ingest": "ingester", "worker": "worker", "desk": "desk", "web": "web", "webhooks": "webhooks"}
"""Who runs what; anything else that a deployment runs is an operator's."""


class SecuredDeployment(Deployment):
    """Broker with an ACL file that `almenara acl` wrote; nobody gets in without a password."""

    def __init__(self, url: str = "", *flags: str, **settings: Any) -> None:
        """`url` is the broker's, without a user; `flags` are for `almenara acl`."""
        super().__init__(**settings)
        self.secrets = self.folder / "acl"
        self.ports: dict[str, int] = {}
        """Where services show their metrics; the others show none."""
        url = url or f"unix://{self.settings.broker_socket}"
        ended = self.run("acl", "--out", str(self.secrets), "--url", url, *flags)
        assert ended.returncode == 0, ended.stderr

    def start_broker(self) -> None:
        """As the first class does, with the ACL file."""
        private = PrivateBroker(self.settings)
        private.prepare()
        self.launch("broker", [*private.command(), "--aclfile", str(self.secrets / "users.acl")])
        wait_until(self._answers, within_s=120, what="the broker lets an operator in")

    def launch(self, name: str, command: list[str]) -> None:
        """Start a program that is none of ours."""
        self.processes[name] = subprocess.Popen(command, stdout=self.log, stderr=self.log)

    def start(self, name: str, *command: str) -> "subprocess.Popen[bytes]":
        """Start a service as its own user of the broker."""
        self._become(ROLE_OF.get(command[0], "operator"))
        if name in self.ports:
            self.extra_environ["ALMENARA_METRICS_PORT"] = str(self.ports[name])
        return super().start(name, *command)

    def run(self, *command: str) -> "subprocess.CompletedProcess[str]":
        """Run a command as the operator."""
        self._become("operator")
        return super().run(*command)

    def run_as(self, role: str, *command: str) -> "subprocess.CompletedProcess[str]":
        """Run a command as any user."""
        self._become(role)
        return super().run(*command)

    def client(self, role: str = "operator") -> Broker:
        """A client of the broker that is one of its users."""
        return connect(self.settings_of(role))

    def settings_of(self, role: str) -> Settings:
        """Settings with that role's address."""
        return self.settings.override(redis_url=(self.secrets / f"{role}.url").read_text().strip())

    def denials(self) -> list[dict[str, Any]]:
        """What the broker has refused so far."""
        log: Any = self.client().acl_log()
        return list(log)

    def _become(self, role: str) -> None:
        address: Path = self.secrets / f"{role}.url"
        self.extra_environ = {"ALMENARA_REDIS_URL_FILE": str(address)} if address.exists() else {}

    def environ(self) -> dict[str, str]:
        """As the first class, and the address in a file."""
        environ = super().environ()
        if "ALMENARA_REDIS_URL_FILE" in environ:
            del environ["ALMENARA_REDIS_URL"]
        return environ

    def _answers(self) -> bool:
        try:
            with self.client() as client:
                return bool(client.ping())
        except RedisError:
            return False
