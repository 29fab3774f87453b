"""The file of users: what it says, who may read it, and what can happen to it."""

import os
import subprocess
import sys
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest
from argon2 import PasswordHasher
from users_parts import OTHER_WORDS, WORDS, add, environ, records, rewrite

from console.userfile import Role
from console.users import Users, find_user, first_user, remove_user, set_password
from shared.errors import ConfigError


@pytest.fixture
def path(tmp_path: Path) -> Path:
    """Of a users file that is not there yet, nor is its folder."""
    return tmp_path / "state" / "users.json"


def test_the_file_is_its_owners_alone_and_holds_no_password(path: Path) -> None:
    """Mode 0600 whatever the umask, nothing else left beside it but its lock."""
    before = os.umask(0)
    try:
        add(path)
    finally:
        os.umask(before)
    assert path.stat().st_mode & 0o777 == 0o600
    assert WORDS not in path.read_text(encoding="utf-8")
    assert sorted(each.name for each in path.parent.iterdir()) == [".users.json.lock", "users.json"]
    assert records(path)[0]["hash"].startswith("$argon2id$")


def test_users_added_by_many_processes_at_once_are_all_there(path: Path) -> None:
    """Each reads and writes the file alone: nobody is lost."""
    show = "import sys, pathlib, users_parts; users_parts.add(pathlib.Path(sys.argv[1]), sys.argv[2])"
    names = [f"user {number}" for number in range(8)]
    processes = [
        subprocess.Popen([sys.executable, "-c", show, str(path), name], env=environ()) for name in names
    ]
    assert [process.wait(100) for process in processes] == [0] * len(names)
    assert sorted(Users.load(path).names()) == names


@pytest.mark.parametrize("mode", [0o640, 0o604, 0o660, 0o644, 0o620])
def test_a_file_open_to_others_is_refused(path: Path, mode: int) -> None:
    """With the command that closes it; by whoever reads it, and by whoever would change it."""
    add(path)
    path.chmod(mode)
    for use in (lambda: Users.load(path), lambda: add(path, "Berta"), lambda: find_user(path, "Ana Ruiz")):
        with pytest.raises(ConfigError, match=f"chmod 600 {path}") as caught:
            use()
        assert caught.value.reason == "users_file_open"
    path.chmod(0o600)
    assert Users.load(path).names() == ["Ana Ruiz"]


@pytest.mark.parametrize(
    ("change", "words"),
    [
        (lambda table: table.update(format_version=2), "format version 2"),
        (lambda table: table.update(users="all"), "no users file"),
        (lambda table: table["users"][0].pop("hash"), "no 'hash'"),
        (lambda table: table["users"][0].update(hash="hunter2"), "no Argon2id hash"),
        (lambda table: table["users"][0].update(roles=["king"]), "king"),
        (lambda table: table["users"][0].update(roles=[]), "no role"),
        (lambda table: table["users"][0].update(roles="operator"), "roles and departments are lists"),
        (lambda table: table["users"][0].update(departments=[]), "no department"),
        (lambda table: table["users"][0].update(departments="all"), "roles and departments are lists"),
        (lambda table: table["users"][0].update(departments=["all", "ambulance"]), "besides"),
        (lambda table: table["users"][0].update(name="a\u202eb"), "invisible"),
        (lambda table: table["users"][0].update(name=7), "no text"),
        (lambda table: table["users"].append(dict(table["users"][0], name="ANA RUIZ")), "two users"),
        (lambda table: table["users"].append("Berta"), "damaged"),
    ],
)
def test_a_damaged_file_is_refused_with_what_is_wrong(
    path: Path, change: Callable[[dict[str, Any]], object], words: str
) -> None:
    """Named in words, with a remedy; and never half read."""
    add(path)
    rewrite(path, change)
    with pytest.raises(ConfigError, match=words) as caught:
        Users.load(path)
    assert (caught.value.reason, str(path) in caught.value.detail) == ("users_file", True)
    assert caught.value.remedy


@pytest.mark.parametrize("content", [b"", b"{", b"[]", b"\xff\xfe", b"[" * 100_000, b'{"users": []}'])
def test_what_is_no_users_file_is_refused(path: Path, content: bytes) -> None:
    """Cut, of another kind, or made to break its reader."""
    add(path)
    path.write_bytes(content)
    with pytest.raises(ConfigError, match="no users file"):
        Users.load(path)


def test_a_slip_of_the_pen_logs_nobody_out(path: Path) -> None:
    """A server that runs keeps the users it knew until the file is sound again."""
    add(path)
    users = Users.load(path)
    sound = path.read_bytes()
    path.write_text("{")
    assert users.find("Ana Ruiz")
    assert users.check("Ana Ruiz", WORDS)
    path.write_bytes(sound)
    path.chmod(0o644)
    assert users.find("Ana Ruiz")
    path.chmod(0o600)
    set_password(path, "Ana Ruiz", OTHER_WORDS)
    assert users.check("Ana Ruiz", WORDS) is None


def test_who_is_not_there_can_not_be_changed(path: Path) -> None:
    """Named in the answer, and the file is as it was."""
    add(path)
    before = path.read_bytes()
    changes: list[Callable[[], object]] = [
        lambda: remove_user(path, "Berta"),
        lambda: set_password(path, "Berta", OTHER_WORDS),
    ]
    for use in changes:
        with pytest.raises(ConfigError, match="'Berta'") as caught:
            use()
        assert caught.value.reason == "unknown_user"
    assert path.read_bytes() == before


def test_the_first_user_is_made_once(path: Path) -> None:
    """Of eight starts at once one is told the password, which works; later ones are told none."""
    with ThreadPoolExecutor(8) as pool:
        told = list(pool.map(lambda _: first_user(path, "operator", [Role.OPERATOR]), range(8)))
    (password,) = [each for each in told if each is not None]
    users = Users.load(path)
    assert users.names() == ["operator"]
    user = users.check("operator", password)
    assert user is not None and user.departments == ("all",)
    assert first_user(path, "operator", [Role.OPERATOR]) is None


@pytest.mark.skipif(os.geteuid() != 0, reason="only root makes files for others")
def test_what_root_changes_stays_the_services(path: Path) -> None:
    """`sudo almenara user add` does not lock the service out of its own file, first time or later."""
    path.parent.mkdir()
    os.chown(path.parent, 4321, 4322)
    for name in ("Ana Ruiz", "Berta"):
        add(path, name)
        for file in path.parent.iterdir():
            found = file.stat()
            assert (found.st_uid, found.st_gid, found.st_mode & 0o777) == (4321, 4322, 0o600)


def test_a_link_to_the_file_stays_a_link(path: Path, tmp_path: Path) -> None:
    """What it leads to is changed."""
    real = tmp_path / "elsewhere" / "real.json"
    add(real)
    path.parent.mkdir()
    path.symlink_to(real)
    add(path, "Berta")
    assert path.is_symlink()
    assert Users.load(real).names() == ["Ana Ruiz", "Berta"]


def test_a_file_that_can_not_be_written_lets_its_users_in(path: Path) -> None:
    """The old hash stays, and they log in all the same."""
    add(path)
    weak = PasswordHasher(time_cost=1, memory_cost=8, parallelism=1).hash(WORDS)
    rewrite(path, lambda table: table["users"][0].update(hash=weak))
    (path.parent / ".users.json.lock").unlink()
    (path.parent / ".users.json.lock").mkdir()  # root may write anywhere, but no folder is a lock
    users = Users.load(path)
    assert users.check("Ana Ruiz", WORDS)
    assert records(path)[0]["hash"] == weak
