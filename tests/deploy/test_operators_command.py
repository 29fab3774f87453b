"""`sudo almenara`: the script, with other folders and programs that only tell."""

import subprocess
from pathlib import Path

import pytest

SCRIPT = Path(__file__).parents[2] / "deploy" / "systemd" / "almenara.sh"


@pytest.fixture
def script(tmp_path: Path) -> Path:
    """The script on a machine of its own; in place of `almenara` it shows the broker's address."""
    etc, programs = tmp_path / "etc", tmp_path / "bin"
    (etc / "acl").mkdir(parents=True)
    programs.mkdir()
    (etc / "almenara.env").write_text("")
    (etc / "database.url").write_text("sqlite:///desk.db\n")
    for role in ("operator", "console-firefighters"):
        (etc / "acl" / f"{role}.url").write_text(f"redis://{role}@broker/0\n")
    for name, text in (("almenara", 'echo "$ALMENARA_REDIS_URL"'), ("runuser", 'shift 3; exec "$@"')):
        (programs / name).write_text(f"#!/bin/sh\n{text}\n")
        (programs / name).chmod(0o755)
    text = SCRIPT.read_text(encoding="utf-8").replace("/etc/almenara", str(etc))
    made = tmp_path / "almenara.sh"
    made.write_text(text.replace("/opt/almenara/bin", str(programs)))
    return made


@pytest.mark.parametrize(
    ("command", "role"),
    [
        ("status", "operator"),
        ("console firefighters --by ana", "console-firefighters"),
        ("console nobody", "operator"),
        ("console", "operator"),
    ],
)
def test_each_command_has_its_role(script: Path, command: str, role: str) -> None:
    """A console of a department has that department's own, all else the operator's."""
    path = f"{script.parent / 'bin'}:/usr/bin:/bin"
    ran = subprocess.run(
        ["sh", str(script), *command.split()], capture_output=True, text=True, check=True, env={"PATH": path}
    )
    assert ran.stdout.strip() == f"redis://{role}@broker/0"
