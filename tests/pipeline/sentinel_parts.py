"""A master with replicas and a Sentinel, as processes, with the users of `almenara acl --sentinel`."""

import re
from collections.abc import Iterable
from typing import Any

from conftest import wait_until
from deployment import free_port
from redis.exceptions import RedisError
from secured_parts import SecuredDeployment

from deploy.private_broker import find_server
from shared.broker import Broker, connect
from shared.settings import Settings

NAME = "city"
ASKED = "the%20sentinel%20asks%20back"
"""The Sentinel's own password, as an address has it."""
DOWN_AFTER_MS, DEAD_AFTER_MS = 600_000, 1000
"""The Sentinel leaves a master in its place that a busy machine holds up, until a test has killed one."""


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
        wait_until(
            lambda: self.has_replicas(self.servers[0], 2), within_s=120, what="two replicas follow the master"
        )
        config = self.folder / "sentinel.conf"
        config.write_text(
            f"port {self.sentinel_port}\nbind 127.0.0.1\ndir {self.folder}\n"
            f'requirepass "{ASKED.replace("%20", " ")}"\n'
            f"sentinel monitor {NAME} 127.0.0.1 {self.servers[0]} 1\n"
            + "".join(f"sentinel {option} {NAME} {value}\n" for option, value in self._options())
        )
        self.launch("sentinel", [find_server(), str(config), "--sentinel"])
        wait_until(self._is_watched, within_s=120, what="two replicas follow, and the Sentinel knows them")

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

    def as_sentinel(self, port: int) -> Broker:
        """A client of one server that may do what a Sentinel does."""
        login = f"sentinel:{self.password('sentinel')}"
        return connect(Settings(redis_url=f"redis://{login}@127.0.0.1:{port}"))

    def sentinel(self) -> Broker:
        """A client of the Sentinel."""
        return connect(Settings(redis_url=f"redis://:{ASKED}@127.0.0.1:{self.sentinel_port}"))

    def has_replicas(self, port: int, count: int) -> bool:
        """Whether so many replicas have all that a server has, and go on following it."""
        try:
            with self.as_sentinel(port) as client:
                about = client.info("replication")
        except RedisError:
            return False
        states = [about[name]["state"] for name in about if re.fullmatch(r"slave\d+", name)]
        return states.count("online") == count

    def promote(self, port: int) -> None:
        """Have a replica follow nobody any more: the first that is done to it when a master is replaced."""
        with self.as_sentinel(port) as client:
            client.replicaof("NO", "ONE")

    def put_in_place(self, port: int, other: int) -> None:
        """Make a server the master, followed by one other, and name it to clients; the master hears nothing.

        So it is where the machine of the master was slow, or cut off, for longer than Sentinels wait.
        """
        self.promote(port)
        with self.sentinel() as sentinel:
            sentinel.execute_command("SENTINEL", "REMOVE", NAME)
            with self.as_sentinel(other) as client:
                client.replicaof("127.0.0.1", port)
            wait_until(lambda: self.has_replicas(port, 1), within_s=60, what="the other one follows")
            sentinel.execute_command("SENTINEL", "MONITOR", NAME, "127.0.0.1", port, 1)
            for option, value in self._options():
                sentinel.execute_command("SENTINEL", "SET", NAME, option, value)

    def fail_over(self) -> None:
        """Kill the master, wait for another one, and have the old one follow it."""
        wait_until(self.master, within_s=120, what="a master")
        before = self.master()
        self.kill(server_name(before))
        with self.sentinel() as sentinel:
            sentinel.execute_command("SENTINEL", "SET", NAME, "down-after-milliseconds", DEAD_AFTER_MS)
            # A Sentinel that a busy machine held up for two seconds does nothing for thirty.
            wait_until(lambda: self.master() not in (0, before), within_s=300, what="another master")
            sentinel.execute_command("SENTINEL", "SET", NAME, "down-after-milliseconds", DOWN_AFTER_MS)
        after = self.master()
        self.start_server(before, follows=after)
        wait_until(lambda: self.has_replicas(after, 2), within_s=120, what="two replicas follow again")

    def _options(self) -> Iterable[tuple[str, str]]:
        """Of the Sentinel."""
        yield "down-after-milliseconds", str(DOWN_AFTER_MS)
        yield "failover-timeout", "4000"
        yield "auth-user", "sentinel"
        yield "auth-pass", self.password("sentinel")

    def _is_watched(self) -> bool:
        """Whether the Sentinel knows a master and two replicas, and leads clients to it."""
        try:
            with self.sentinel() as sentinel:
                return bool(sentinel.sentinel_masters()[NAME]["num-slaves"] == 2 and self.master())
        except (RedisError, KeyError):
            return False


def server_name(port: int) -> str:
    """What a server's process is called."""
    return f"server-{port}"
