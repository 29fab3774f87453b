"""What connections may take of the private broker; the deployments' brokers have the same limits."""

import random
import re
import select
import socket
import subprocess
import tempfile
from collections.abc import Iterator
from contextlib import AbstractContextManager
from pathlib import Path
from typing import Any

import pytest
import yaml
from conftest import wait_until
from redis.exceptions import ConnectionError as BrokerConnectionError

from console.desk.book import Book
from console.desk.intake import Intake
from deploy.private_broker import LIMITS, PrivateBroker
from shared.broker import Broker, connect
from shared.incidents import all_ids
from shared.keys import INCIDENTS, moves_key
from shared.routing import Routing
from shared.settings import Settings

DEPLOY = Path(__file__).parents[2] / "deploy"
MB = 1_000_000


@pytest.fixture(scope="module")
def settings() -> Iterator[Settings]:
    """Of a private broker that runs, for all tests of this file."""
    with tempfile.TemporaryDirectory(prefix="almenara-test-", ignore_cleanup_errors=True) as folder:
        made = Settings(state_dir=Path(folder))
        private = PrivateBroker(made)
        private.prepare()
        # It keeps nothing: what it takes and cuts does not hang on how fast a disk is.
        process = subprocess.Popen([*private.command(), "--appendonly", "no"])
        try:
            private.wait_until_ready(process)
            yield made
        finally:
            process.kill()
            process.wait(timeout=60)


@pytest.fixture
def client(settings: Settings) -> Iterator[Broker]:
    """A client of a broker that holds nothing else, and has its usual limits again in the end."""
    with connect(settings) as made:
        yield made
        for name, value in LIMITS.items():
            made.config_set(name, value)
        made.flushall()


def used_mb(client: Broker) -> float:
    """The broker's memory."""
    return float(client.info("memory")["used_memory"]) / MB


def asking(settings: Settings, command: bytes) -> socket.socket:
    """Somebody who asks and takes nothing."""
    line = socket.socket(socket.AF_UNIX)
    line.connect(str(settings.broker_socket))
    line.sendall(command)
    return line


def is_cut(line: socket.socket) -> bool:
    """Whether the other side has closed it, however much of what it said is still to be taken."""
    asked = select.poll()
    asked.register(line, 0)  # a hang-up is always told
    return any(event & select.POLLHUP for _, event in asked.poll(0))


def test_who_asks_and_takes_nothing_is_cut(settings: Settings, client: Broker) -> None:
    """70 times 20 MB asked for on each of two lines: they are cut, memory is free, others are served."""
    for _ in range(20):
        client.xadd("s", {"x": b"a" * MB})
    before_mb = used_mb(client)
    lines = [asking(settings, b"XRANGE s - +\r\n" * 70) for _ in range(2)]
    wait_until(lambda: all(map(is_cut, lines)), within_s=60, what="both are cut")
    assert len(client.client_list()) == 1
    assert used_mb(client) < before_mb + 50
    assert used_mb(client) < float(client.info("memory")["used_memory_peak"]) / MB < before_mb + 400
    assert client.xlen("s") == 20
    for line in lines:
        line.close()


def test_a_command_has_its_limit(client: Broker) -> None:
    """One word of 17 MB, and ten of 15 MB, are refused; 15 MB are not."""
    client.xadd("s", {"x": b"a" * 15 * MB})
    refused: list[dict[Any, Any]] = [{"x": b"a" * 17 * MB}, dict.fromkeys(range(10), b"a" * 15 * MB)]
    for fields in refused:
        with pytest.raises(BrokerConnectionError):
            client.xadd("s", fields)
    assert client.xlen("s") == 1


def unused() -> AbstractContextManager[Book]:
    """No transaction is begun for reading."""
    raise AssertionError


def test_the_desk_reads_past_moves_that_are_too_large(
    client: Broker, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Who fills streams of moves stops no desk, which asks for less until it is answered. In small."""
    monkeypatch.setattr("console.desk.intake.random", random.Random(0))  # draws the stream that is asked for
    small = {"client-output-buffer-limit": "normal 25mb 6mb 30", "maxmemory-clients": "12mb"}
    for name, value in small.items():
        client.config_set(name, value)
    large = [moves_key("firefighters"), moves_key("ambulance")]
    for stream in large * 2:
        client.xadd(stream, {str(each): b"a" * MB for each in range(9)})
    client.xadd(moves_key("police-force"), {"move": "{}"})
    intake = Intake(unused, client, Routing.load(Settings().routing))
    after = dict.fromkeys(intake.streams, "0")
    read: list[str] = []
    cuts = 0
    while len(read) < 5:
        try:
            entries = intake.read(after, None)
        except BrokerConnectionError:
            cuts += 1
            assert cuts < 500
            continue
        for entry in entries:
            read.append(entry.stream)
            after[entry.stream] = entry.entry_id
    assert cuts > 0
    assert sorted(read) == sorted([*large * 2, moves_key("police-force")])
    assert intake.read(after, None) == []


def test_all_ids_come_in_pages_and_in_their_order(client: Broker, monkeypatch: pytest.MonkeyPatch) -> None:
    """Oldest first, each once, whatever the size of a page."""
    names = [f"{each:04d}" for each in range(25)]
    client.zadd(INCIDENTS, {name: index for index, name in enumerate(names)})
    for size in (1, 7, 25, 100):
        monkeypatch.setattr("shared.incidents._IDS_PAGE", size)
        assert all_ids(client) == names


def test_brokers_of_the_deployments_have_the_same_limits() -> None:
    """systemd's and Docker Compose's; the latter's maxmemory is below what its container may have."""
    lines = dict(
        line.split(" ", 1) for line in (DEPLOY / "systemd/broker.conf").read_text().splitlines() if line
    )
    assert {name: lines[name] for name in LIMITS} == LIMITS
    compose = yaml.safe_load((DEPLOY / "containers/compose.yaml").read_text())
    broker = compose["services"]["broker"]
    words = broker["command"]
    options = {words[at][2:]: words[at + 1] for at in range(1, len(words), 2)}
    assert {name: options[name] for name in LIMITS} == LIMITS
    limit_mb = int(broker["deploy"]["resources"]["limits"]["memory"].removesuffix("g")) * 1024
    assert int(re.sub("mb$", "", options["maxmemory"])) < 0.75 * limit_mb


def test_the_desk_is_let_read_what_anybody_may_add() -> None:
    """The largest entry is smaller than what a reader may have waiting."""
    hard, _, _ = LIMITS["client-output-buffer-limit"].split()[1:]
    assert int(hard.removesuffix("mb")) >= 2 * int(LIMITS["maxmemory-clients"].removesuffix("mb"))
