"""A broker that has our users is killed and started again: it must still have what it acknowledged."""

import subprocess
from pathlib import Path
from typing import Any

import pytest
import redis
from conftest import wait_until
from redis.exceptions import AuthenticationError

from deploy.acl import acl_file, users_of
from deploy.private_broker import find_server


def start(folder: Path) -> "subprocess.Popen[bytes]":
    """A server with its append-only file and ACL file in a folder."""
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
    wait_until((folder / "s").exists, within_s=20, what="the broker listens")
    return process


def test_a_killed_broker_with_our_users_still_has_every_transaction(tmp_path: Path) -> None:
    """Its append-only file is read back as the user `default`, which needs every right and no log-in."""
    text = acl_file(users_of(["ingester", "worker"]), {"ingester": "a" * 64})
    (tmp_path / "users.acl").write_text(text + "user test on >secret ~* &* +@all\n")
    login: dict[str, Any] = {"username": "test", "password": "secret"}
    process = start(tmp_path)
    try:
        client = redis.Redis(unix_socket_path=str(tmp_path / "s"), **login)
        with client.pipeline(transaction=True) as pipeline:
            pipeline.set("incident", "1")
            pipeline.set("job", "1")
            pipeline.execute()
        process.kill()
        process.wait(timeout=20)
        process = start(tmp_path)
        again = redis.Redis(unix_socket_path=str(tmp_path / "s"), **login)
        assert sorted(again.keys("*")) == [b"incident", b"job"]
        strangers: list[dict[str, Any]] = [{}, {"username": "default", "password": "x"}]
        for nobody in strangers:
            with pytest.raises(AuthenticationError):
                redis.Redis(unix_socket_path=str(tmp_path / "s"), **nobody).get("incident")
    finally:
        process.kill()
        process.wait(timeout=20)
