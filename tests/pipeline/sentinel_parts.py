"""A master with replicas and a Sentinel, as processes, with the users of `almenara acl --sentinel`."""

from typing import Any

from conftest import wait_until
from deployment import free_port
from redis.exceptions import RedisError
from secured_parts import SecuredDeployment

from deploy.private_broker import find_server
from shared.broker import connect
from shared.settings import Settings

NAME = "city"
ASKED = "the%20sentinel%20asks%20back"
"""The Sentinel's own password, as an address has it."""


class WatchedDeployment(SecuredDeployment):
    """Three servers, of which one is the master, and a Sentinel that puts another one in its place."""

    def __init__(self, **settings: Any) -> None:
        self.servers = [free_port() for _ in range(3)]
        self.sentinel_port = free_port()
        # The first of the Sentinels is nobody.
        places = f"127.0.0.1:1,127.0.0.1:{self.sentinel_port}"
        self.url = f"redis+sentinel://{places}/{NAME}/0?sentinel_password={ASKED}"
        super().__init__(self.url, "--sentinel", **settings)

    def start_broker(self) -> None:
        """Start all, and wait until the replicas follow and the Sentinel knows them."""
        for port in self.servers:
            self.start_server(port, follows=None if port == self.servers[0] else self.servers[0])
        # A Sentinel asks at its start, and then every ten seconds.
        wait_until(self._is_followed, within_s=60, what="two replicas follow the master")
        config = self.folder / "sentinel.conf"
        config.write_text(
            f"port {self.sentinel_port}\nbind 127.0.0.1\ndir {self.folder}\n"
            f'requirepass "{ASKED.replace("%20", " ")}"\n'
            f"sentinel monitor {NAME} 127.0.0.1 {self.servers[0]} 1\n"
            f"sentinel down-after-milliseconds {NAME} 1000\n"
            f"sentinel failover-timeout {NAME} 4000\n"
            f"sentinel auth-user {NAME} sentinel\n"
            f"sentinel auth-pass {NAME} {self.password('sentinel')}\n"
        )
        self.launch("sentinel", [find_server(), str(config), "--sentinel"])
        wait_until(self._is_watched, within_s=60, what="two replicas follow, and the Sentinel knows them")

    def start_server(self, port: int, *, follows: int | None) -> None:
        """Start one server, alone or as a replica."""
        home = self.folder / str(port)
        home.mkdir(exist_ok=True)
        options = {
            "port": str(port),
            "bind": "127.0.0.1",
            "dir": str(home),
            "appendonly": "yes",
            "save": '""',
            "aclfile": str(self.secrets / "users.acl"),
            "masteruser": "replica",
            "masterauth": self.password("replica"),
            "min-replicas-to-write": "1",
            "repl-diskless-sync-delay": "0",
        }
        if follows is not None:
            options["replicaof"] = f"127.0.0.1 {follows}"
        config = home / "server.conf"  # which a Sentinel has rewritten
        config.write_text("".join(f"{name} {value}\n" for name, value in options.items()))
        self.launch(server_name(port), [find_server(), str(config)])

    def password(self, role: str) -> str:
        """Of one of the users."""
        return (self.secrets / f"{role}.password").read_text().strip()

    def address(self, role: str, password: str) -> Settings:
        """Settings with any user and password in the address."""
        return Settings(redis_url=self.url.replace("://", f"://{role}:{password}@"))

    def master(self) -> int:
        """The port of the server that clients are led to now; 0 where there is none."""
        try:
            with self.client() as client:
                return int(client.info("server")["tcp_port"])
        except RedisError:
            return 0

    def fail_over(self) -> None:
        """Kill the master, wait for another one, and have the old one follow it."""
        before = self.master()
        assert before
        self.kill(server_name(before))
        found: list[int] = []

        def is_another() -> bool:
            found.append(self.master())
            return found[-1] not in (0, before)

        # A Sentinel that a busy machine held up for two seconds does nothing for thirty.
        wait_until(is_another, within_s=150, what="another master")
        self.start_server(before, follows=found[-1])

    def _is_followed(self) -> bool:
        login = f"operator:{self.password('operator')}"
        try:
            with connect(Settings(redis_url=f"redis://{login}@127.0.0.1:{self.servers[0]}")) as client:
                return bool(client.info("replication")["connected_slaves"] == 2)
        except RedisError:
            return False

    def _is_watched(self) -> bool:
        try:
            with connect(Settings(redis_url=f"redis://:{ASKED}@127.0.0.1:{self.sentinel_port}")) as sentinel:
                return bool(sentinel.sentinel_masters()[NAME]["num-slaves"] == 2 and self.master())
        except (RedisError, KeyError):
            return False


def server_name(port: int) -> str:
    """What a server's process is called."""
    return f"server-{port}"
