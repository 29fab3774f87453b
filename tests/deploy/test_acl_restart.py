"""A broker that has our users is killed and started again: it must still have what it acknowledged."""

import subprocess
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
import redis
from conftest import wait_until
from redis.exceptions import AuthenticationError, RedisError

from deploy.acl import acl_file, users_of
from deploy.private_broker import find_server

TEST: dict[str, Any] = {"username": "test", "password": "secret"}


@pytest.fixture
def folder() -> Iterator[Path]:
    """A scratch folder with a short name: the path of a socket has a limit."""
    with tempfile.TemporaryDirectory(prefix="almenara-test-", ignore_cleanup_errors=True) as made:
        yield Path(made)


def client(folder: Path, **login: Any) -> redis.Redis:
    """A client of the server in a folder, to be closed."""
    return redis.Redis(unix_socket_path=str(folder / "s"), **login)


def answers(folder: Path) -> bool:
    """Whether it has read its file and serves: it listens before that."""
    try:
        with client(folder, **TEST) as asking:
            return bool(asking.ping())
    except RedisError:
        return False


@contextmanager
def started(folder: Path) -> Iterator[None]:
    """A server with its append-only file and ACL file in a folder; killed at the end."""
    options = {
        "port": "0",
        "unixsocket": str(folder / "s"),
        "dir": str(folder),
        "appendonly": "yes",
        "appendfsync": "always",
        "aclfile": str(folder / "users.acl"),
        "logfile": str(folder / "log"),
    }
    words = [part for name, value in options.items() for part in (f"--{name}", value)]
    (folder / "s").unlink(missing_ok=True)
    process = subprocess.Popen([find_server(), *words])
    try:
        wait_until(lambda: answers(folder), within_s=60, what="the broker answers")
        yield
    finally:
        process.kill()
        process.wait(timeout=60)


def test_a_killed_broker_with_our_users_still_has_every_transaction(folder: Path) -> None:
    """Its append-only file is read back as the user `default`, which needs every right and no log-in."""
    text = acl_file(users_of(["ingester", "worker"]), {"ingester": "a" * 64})
    (folder / "users.acl").write_text(text + "user test on >secret ~* &* +@all\n")
    with started(folder), client(folder, **TEST) as before, before.pipeline(transaction=True) as pipeline:
        pipeline.set("incident", "1")
        pipeline.set("job", "1")
        pipeline.execute()
    with started(folder):
        with client(folder, **TEST) as again:
            assert sorted(again.keys("*")) == [b"incident", b"job"]
        strangers: list[dict[str, Any]] = [{}, {"username": "default", "password": "x"}]
        for nobody in strangers:
            with client(folder, **nobody) as stranger, pytest.raises(AuthenticationError):
                stranger.get("incident")
