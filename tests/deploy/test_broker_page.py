"""The commands of docs/broker.md, run as they stand there."""

import contextlib
import os
import random
import re
import shutil
import signal
import socket
import stat
import subprocess
import sys
from pathlib import Path

import pytest
from tls_parts import terminating

from deploy.private_broker import find_server
from shared.broker import connect
from shared.settings import Settings

pytestmark = pytest.mark.timeout(600)
PAGE = (Path(__file__).parents[2] / "docs" / "broker.md").read_text(encoding="utf-8")


def commands(heading: str) -> str:
    """The first commands under a heading."""
    _, _, rest = PAGE.partition(f"\n## {heading}\n")
    found = re.search(r"```sh\n(.*?)```", rest, re.DOTALL)
    assert found, f"no commands under {heading}"
    return found[1]


def run(script: str, folder: Path) -> "subprocess.CompletedProcess[str]":
    """Run commands in a folder, with our `almenara` and `valkey-server`, and end what they leave running."""
    programs = folder / "programs"
    programs.mkdir()
    root = Path(__file__).parents[2]
    almenara = programs / "almenara"
    almenara.write_text(f'#!/bin/sh\nPYTHONPATH="{root}" exec "{sys.executable}" -m deploy "$@"\n')
    almenara.chmod(almenara.stat().st_mode | stat.S_IXUSR)
    (programs / "valkey-server").symlink_to(find_server())
    outside = {name: value for name, value in os.environ.items() if not name.startswith("ALMENARA_")}
    with (folder / "out").open("w") as out:
        process = subprocess.Popen(
            ["bash", "-e", "-c", script],
            cwd=folder,
            env={**outside, "PATH": f"{programs}:{os.environ['PATH']}"},
            stdout=out,
            stderr=subprocess.STDOUT,
            start_new_session=True,
        )
    try:
        code = process.wait(timeout=300)
    finally:
        with contextlib.suppress(ProcessLookupError):  # it left nothing running
            os.killpg(process.pid, signal.SIGKILL)
    return subprocess.CompletedProcess(script, code, (folder / "out").read_text())


def unasked_port() -> int:
    """A free port that nobody is given who asks for any: it stays free until the page's broker takes it.

    Those that the system hands out, also to who connects, are above these on Linux and elsewhere.
    """
    while True:
        port = random.randrange(10_000, 32_000)
        with contextlib.suppress(OSError), socket.create_server(("127.0.0.1", port)):
            return port


def test_a_broker_with_users_is_set_up_as_the_page_says(tmp_path: Path) -> None:
    """Users are made, the server takes them, the comparison agrees, and an operator sees the state."""
    port = str(unasked_port())
    script = commands("Users").replace("6379", port)
    assert script.count(port) == 2
    ended = run(script, tmp_path)
    assert ended.returncode == 0, ended.stdout
    assert "and no other" in ended.stdout
    assert "Queue      0 waiting" in ended.stdout


@pytest.mark.skipif(shutil.which("openssl") is None, reason="no openssl on the PATH (Debian: openssl)")
def test_certificates_are_made_as_the_page_says(tmp_path: Path, broker_settings: Settings) -> None:
    """A client that trusts the authority takes the certificate, by the name in it."""
    ended = run(commands("TLS"), tmp_path)
    assert ended.returncode == 0, ended.stdout
    files = tmp_path / "broker.crt", tmp_path / "broker.key"
    with terminating(broker_settings.broker_socket, files) as port:
        url = f"rediss://localhost:{port}/0?ssl_ca_certs={tmp_path / 'ca.pem'}"
        with connect(Settings(redis_url=url)) as client:
            assert client.ping()


def test_users_for_sentinels_are_made_as_the_page_says(tmp_path: Path) -> None:
    """Each role's address has all Sentinels in it."""
    ended = run(commands("Sentinel"), tmp_path)
    assert ended.returncode == 0, ended.stdout
    address = (tmp_path / "acl" / "desk.url").read_text()
    assert re.fullmatch(r"redis\+sentinel://desk:[0-9a-f]{64}@s1\S+,s2\S+,s3\S+/city/0\n", address)
    assert (tmp_path / "acl" / "sentinel.password").exists()
