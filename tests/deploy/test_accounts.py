"""`almenara user`, as a person types it."""

import json
import os
import pty
import subprocess
import sys
from pathlib import Path

import pytest

from console.users import Users
from shared.settings import Settings

ROOT = Path(__file__).parents[2]
WORDS = "correct horse battery"
OPERATOR = ("--role", "operator", "--department", "firefighters")


@pytest.fixture
def settings(tmp_path: Path) -> Settings:
    """A scratch state folder; no broker is needed."""
    return Settings(state_dir=tmp_path / "state", inbox=(tmp_path / "inbox",))


@pytest.fixture
def environ(settings: Settings) -> dict[str, str]:
    """The environment of a command on the scratch settings."""
    outside = {
        name: value for name, value in os.environ.items() if not name.startswith(("ALMENARA_", "PYTHON"))
    }
    return {**outside, **settings.to_env()}


def user(environ: dict[str, str], *arguments: str, typed: bytes = b"") -> "subprocess.CompletedProcess[str]":
    """Run `almenara user` without a terminal."""
    ran = subprocess.run(
        [sys.executable, "-m", "deploy", "user", *arguments],
        env=environ,
        cwd=ROOT,
        input=typed.decode("latin-1"),
        capture_output=True,
        encoding="latin-1",
        timeout=100,
        check=False,
    )
    assert "Traceback" not in ran.stderr
    return ran


def user_at_terminal(environ: dict[str, str], *arguments: str, typed: list[bytes]) -> tuple[int, bytes]:
    """Run it at a terminal, typing a line at each prompt; its exit code, and all that the terminal showed."""
    ours, theirs = pty.openpty()
    command = [sys.executable, "-m", "deploy", "user", *arguments]
    with subprocess.Popen(
        command, env=environ, cwd=ROOT, stdin=theirs, stdout=theirs, stderr=theirs, start_new_session=True
    ) as process:
        os.close(theirs)
        shown, waiting = b"", list(typed)
        prompts = 0
        while True:
            try:
                shown += os.read(ours, 4096)
            except OSError:  # nobody has the other end any more
                break
            if waiting and shown.count(b": ") > prompts:
                prompts += 1
                os.write(ours, waiting.pop(0) + b"\n")
    os.close(ours)
    return process.returncode, shown


def test_a_password_is_asked_for_twice_and_not_shown(environ: dict[str, str], settings: Settings) -> None:
    """At a terminal; then the user may log in."""
    code, shown = user_at_terminal(environ, "add", "ana", *OPERATOR, typed=[WORDS.encode()] * 2)
    assert (code, shown.count(b"Password: "), shown.count(b"Once more: ")) == (0, 1, 1)
    assert WORDS.encode() not in shown
    assert b"ana may log in: operator; firefighters" in shown
    assert Users.load(settings.users_path).check("ana", WORDS)


def test_two_different_passwords_are_refused(environ: dict[str, str], settings: Settings) -> None:
    """A slip while typing blindly makes no user."""
    code, shown = user_at_terminal(environ, "add", "ana", *OPERATOR, typed=[WORDS.encode(), b"another one"])
    assert code == 2
    assert b"the two are not the same" in shown
    assert not settings.users_path.exists()


@pytest.mark.parametrize("ending", [b"", b"\n", b"\r\n", b"\nand another line\n"])
def test_a_password_comes_from_a_file_or_standard_input(
    environ: dict[str, str], settings: Settings, tmp_path: Path, ending: bytes
) -> None:
    """Its first line, without its end, whatever the editor."""
    file = tmp_path / "password"
    file.write_bytes(WORDS.encode() + ending)
    assert user(environ, "add", "ana", *OPERATOR, "--password-file", str(file)).returncode == 0
    given = user(environ, "add", "berta", *OPERATOR, "--password-file", "-", typed=WORDS.encode() + ending)
    assert given.returncode == 0
    users = Users.load(settings.users_path)
    assert users.check("ana", WORDS) and users.check("berta", WORDS)


def test_users_are_listed_changed_and_removed(environ: dict[str, str], settings: Settings) -> None:
    """`list` shows who may what, and no hash; `passwd` and `remove` take effect at once."""
    assert "nobody may log in yet" in user(environ, "list").stdout
    assert json.loads(user(environ, "list", "--json").stdout) == []
    stdin = ("--password-file", "-")
    user(environ, "add", "ana", *OPERATOR, *stdin, typed=WORDS.encode())
    user(environ, "add", "marta ruiz", "--role", "supervisor", *stdin, typed=WORDS.encode())
    listed = user(environ, "list").stdout
    assert listed == "ana         operator; firefighters\nmarta ruiz  supervisor; all\n"
    found = json.loads(user(environ, "list", "--json").stdout)
    assert [(each["name"], each["roles"], each["departments"]) for each in found] == [
        ("ana", ["operator"], ["firefighters"]),
        ("marta ruiz", ["supervisor"], ["all"]),
    ]
    assert all(set(each) == {"name", "roles", "departments", "created_at"} for each in found)
    users = Users.load(settings.users_path)
    assert user(environ, "passwd", "Ana", *stdin, typed=b"staple and some more").returncode == 0
    assert users.check("ana", WORDS) is None
    assert users.check("ana", "staple and some more")
    assert user(environ, "remove", "ana").returncode == 0
    assert users.names() == ["marta ruiz"]


@pytest.mark.parametrize(
    ("arguments", "typed", "words"),
    [
        (("add",), b"", "needs a NAME"),
        (("add", "ana", *OPERATOR), b"", "no terminal"),
        (("add", "ana", "--role", "operator", "--password-file", "-"), WORDS.encode(), "no department"),
        (("add", "ana", "--password-file", "-"), WORDS.encode(), "needs a role"),
        (("add", "ana", *OPERATOR, "--department", "navy", "--password-file", "-"), b"", "'navy'"),
        (("add", "ana", *OPERATOR, "--password-file", "-"), b"short\n", "too short"),
        (("add", "ana", *OPERATOR, "--password-file", "-"), b"", "too short"),
        (("add", "ana", *OPERATOR, "--password-file", "-"), b"x" * 5000, "over 1024 bytes"),
        (("add", "ana", *OPERATOR, "--password-file", "-"), b"\xff\xfe\xff\xfe123456", "UTF-8"),
        (("add", "ana", *OPERATOR, "--password-file", "/nowhere/password"), b"", "can't be read"),
        (("add", "desk", *OPERATOR, "--password-file", "-"), WORDS.encode(), "part of Almenara"),
        (("passwd", "nobody", "--password-file", "-"), WORDS.encode(), "no user 'nobody'"),
        (("remove", "nobody"), b"", "no user 'nobody'"),
    ],
)
def test_what_is_wrong_is_said_in_one_line(
    environ: dict[str, str], settings: Settings, arguments: tuple[str, ...], typed: bytes, words: str
) -> None:
    """With exit code 2, and no user is made."""
    ran = user(environ, *arguments, typed=typed)
    assert (ran.returncode, ran.stdout) == (2, "")
    assert ran.stderr.startswith("almenara: ") and ran.stderr.count("\n") == 1
    assert words in ran.stderr
    assert Users.load(settings.users_path).names() == []


def test_what_can_not_be_is_refused_before_a_password_is_asked_for(environ: dict[str, str]) -> None:
    """Nobody thinks of one in vain."""
    code, shown = user_at_terminal(environ, "add", "ana", "--role", "operator", typed=[])
    assert code == 2
    assert b"Password" not in shown
