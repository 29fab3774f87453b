import shutil
import socket
import subprocess
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from deployment import free_port
from redis.exceptions import ResponseError

from deploy.acl import acl_file, users_of
from deploy.exposure import weaknesses
from deploy.private_broker import PrivateBroker
from deploy.rights import roles
from shared.broker import Broker, connect
from shared.settings import Settings


@pytest.fixture
def reached() -> Iterator[tuple[str, Broker, Path]]:
    """A broker's place on a network, a client with all rights, and the file for its users."""
    folder = Path(tempfile.mkdtemp(prefix="almenara-test-"))
    users = folder / "users.acl"
    users.write_text("")
    private = PrivateBroker(Settings(state_dir=folder))
    private.prepare()
    process = subprocess.Popen([*private.command(), "--aclfile", str(users), "--appendonly", "no"])
    try:
        private.wait_until_ready(process)
        with connect(Settings(redis_url=private.url)) as client:
            yield f"127.0.0.1:{listening(client)}", client, users
    finally:
        process.kill()
        process.wait(timeout=60)
        shutil.rmtree(folder, ignore_errors=True)


def listening(client: Broker) -> int:
    """A port that a running broker has begun to listen on: another one wherever somebody was faster."""
    for _ in range(100):
        port = free_port()
        try:
            client.config_set("port", port)
        except ResponseError:
            continue
        return port
    raise AssertionError("there is no free port")


@pytest.fixture
def no_names(monkeypatch: pytest.MonkeyPatch) -> None:
    """No name is looked up: a machine's name server may be silent for minutes, or know every name."""
    known = socket.getaddrinfo

    def look_up(host: str, *more: Any, **options: Any) -> Any:
        if host.endswith(".invalid"):
            raise socket.gaierror(socket.EAI_NONAME, "Name or service not known")
        return known(host, *more, **options)

    monkeypatch.setattr(socket, "getaddrinfo", look_up)


def said(url: str) -> str:
    """All that is weak about an address, with the remedies."""
    return " ".join(f"{what}: {remedy}" for what, remedy in weaknesses(Settings(redis_url=url)))


def test_a_broker_that_lets_everybody_in_is_a_weakness(reached: tuple[str, Broker, Path]) -> None:
    """Also where we ourselves come with a name and a password."""
    place, client, _ = reached
    client.acl_setuser("operator", enabled=True, passwords=["+right"], commands=["+@all"], keys=["*"])
    for login in ("", "operator:right@"):
        assert "forge dispatches" in said(f"redis://{login}{place}/0")


def test_one_password_for_all_is_a_weakness(reached: tuple[str, Broker, Path]) -> None:
    """Whoever has it may do anything; `almenara acl` gives each service its own."""
    place, client, _ = reached
    client.config_set("requirepass", "right")
    found = said(f"redis://:right@{place}/0")
    assert "share one password" in found
    assert "almenara acl" in found
    assert "unencrypted" not in found  # on this machine alone


def test_a_broker_with_users_has_no_weakness(reached: tuple[str, Broker, Path]) -> None:
    """Those of `almenara acl`, after which nobody else gets in."""
    place, client, users = reached
    users.write_text(acl_file(users_of(roles([])), {"operator": "right"}))
    client.acl_load()
    assert said(f"redis://operator:right@{place}/0") == ""


@pytest.mark.parametrize(
    ("url", "weakness"),
    [
        ("redis://operator:right@broker.invalid:1/0", "unencrypted"),
        ("redis+sentinel://operator:right@127.0.0.1:1,broker.invalid:1/city/0", "unencrypted"),
        ("redis+sentinel://operator:right@127.0.0.1:1/city/0", ""),
        ("rediss://operator:right@broker.invalid:1/0", ""),
        ("rediss://operator:right@broker.invalid:1/0?ssl_cert_reqs=none", "not checked"),
        ("rediss://operator:right@broker.invalid:1/0?ssl_check_hostname=false", "not checked"),
        ("redis://operator:right@[::1]:1/0", ""),
        ("unix:///run/almenara/broker.sock", ""),
        ("", ""),
    ],
)
@pytest.mark.usefixtures("no_names")
def test_what_an_address_gives_away_is_said(url: str, weakness: str) -> None:
    """A password in plain text on a network, a certificate that nobody checks."""
    found = said(url)
    assert bool(found) == bool(weakness)
    assert weakness in found
