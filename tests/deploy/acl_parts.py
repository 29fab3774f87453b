"""A broker with the users of `almenara acl`, for the tests of what they may."""

import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any, Self

from conftest import wait_until
from redis.exceptions import RedisError

from deploy.acl import acl_file, users_of
from deploy.private_broker import PrivateBroker
from deploy.rights import roles
from shared.broker import Broker, connect
from shared.settings import Settings

DEPARTMENTS = ["firefighters", "ambulance"]
ROLES = roles(DEPARTMENTS)
PASSWORDS = {role: f"{role:-<40}".replace("-", "0") for role in ROLES}
ROOT = "user root on nopass ~* &* +@all"
DENIED = "ACL failure|user executing the script can't"
"""What Valkey and Redis 7 say of a command in a script that its caller may not run."""


class Server:
    """A broker with the users of an ACL file, and a client for each."""

    def __init__(self, settings: Settings) -> None:
        self.settings = settings
        self.root = self.client("root", "any")

    @classmethod
    @contextmanager
    def started(cls) -> Iterator[Self]:
        """A server in a folder of its own. It keeps nothing: who may do what does not hang on a disk."""
        with TemporaryDirectory(prefix="almenara-test-", ignore_cleanup_errors=True) as folder:
            settings = Settings(state_dir=Path(folder))
            users = settings.state_dir / "users.acl"
            users.write_text(acl_file(users_of(ROLES), PASSWORDS) + ROOT + "\n")
            private = PrivateBroker(settings)
            private.prepare()
            process = subprocess.Popen([*private.command(), "--aclfile", str(users), "--appendonly", "no"])
            made = cls(settings)
            try:
                wait_until(made._answers, within_s=60, what="the broker answers")
                yield made
            finally:
                made.root.close()
                process.kill()
                process.wait(timeout=60)

    def client(self, role: str, password: str = "") -> Broker:
        """A client as one user."""
        login = f"{role}:{password or PASSWORDS[role]}"
        return connect(Settings(redis_url=f"unix://{login}@{self.settings.broker_socket}"))

    def may(self, role: str, *command: str) -> bool:
        """Whether the broker would let a user do it."""
        reply: Any = self.root.execute_command("ACL DRYRUN", role, *command)  # type: ignore[no-untyped-call]
        if not isinstance(reply, bytes | str):
            raise TypeError(reply)
        return reply in (b"OK", "OK")

    def _answers(self) -> bool:
        try:
            with self.client("root", "any") as client:
                return bool(client.ping())
        except RedisError:
            return False
