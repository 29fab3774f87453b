"""Users: who gets in, who does not, and what sessions rest on."""

import json
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from argon2 import PasswordHasher
from users_parts import OTHER_WORDS, ROUTING, WORDS, add, environ, records, rewrite

from console.passwords import is_outdated, matches
from console.userfile import Role
from console.users import Users, find_user, remove_user, set_password
from shared.errors import ConfigError


@pytest.fixture
def path(tmp_path: Path) -> Path:
    """Of a users file that is not there yet, nor is its folder."""
    return tmp_path / "state" / "users.json"


def test_a_user_gets_in_with_their_password(path: Path) -> None:
    """And not with another, nor under another name; what a browser may know has no hash."""
    added = add(path, roles=["reviewer", "operator"], departments=["firefighters", "ambulance"])
    users = Users.load(path)
    assert users.check("Ana Ruiz", WORDS) == added
    assert users.check("Ana Ruiz", OTHER_WORDS) is None
    assert users.check("Ana", WORDS) is None
    assert users.check("", "") is None
    assert added.to_json() == {
        "name": "Ana Ruiz",
        "roles": ["operator", "reviewer"],
        "departments": ["firefighters", "ambulance"],
    }
    assert "argon2" not in repr(added)


def test_a_name_that_nobody_has_costs_as_much_as_a_wrong_password(
    path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """One hash is computed in either case, with the same parameters: time does not tell who is there."""
    add(path)
    users = Users.load(path)
    computed: list[str] = []

    def counted(password_hash: str, password: str) -> bool:
        computed.append(password_hash.rsplit("$", 2)[0])
        return matches(password_hash, password)

    monkeypatch.setattr("console.users.matches", counted)
    for name in ("Ana Ruiz", "nobody", "", "x" * 10_000):
        computed.clear()
        assert users.check(name, OTHER_WORDS) is None
        assert computed == ["$argon2id$v=19$m=65536,t=3,p=4"]


def test_nobody_is_in_a_file_that_is_not_there(path: Path) -> None:
    """And whoever comes into it afterwards is known without a restart."""
    users = Users.load(path)
    assert (users.names(), users.check("Ana Ruiz", WORDS)) == ([], None)
    add(path)
    assert users.names() == ["Ana Ruiz"]
    assert users.check("Ana Ruiz", WORDS)


def test_changes_count_at_once(path: Path) -> None:
    """Another process's `user passwd` and `user remove` are seen by a server that runs."""
    add(path)
    add(path, "Berta")
    users = Users.load(path)
    set_password(path, "Ana Ruiz", OTHER_WORDS)
    assert users.check("Ana Ruiz", WORDS) is None
    assert users.check("Ana Ruiz", OTHER_WORDS)
    remove_user(path, "Ana Ruiz")
    assert users.find("Ana Ruiz") is None
    assert users.check("Ana Ruiz", OTHER_WORDS) is None
    assert users.names() == ["Berta"]
    path.unlink()
    assert users.names() == []


def test_a_fingerprint_changes_with_what_a_session_rests_on(path: Path) -> None:
    """Password, roles and departments; not with what befalls others, nor with a new start."""
    first = add(path)
    add(path, "Berta")
    users = Users.load(path)
    assert users.find("Ana Ruiz") == users.check("Ana Ruiz", WORDS) == first
    seen = {first.fingerprint}
    set_password(path, "Ana Ruiz", WORDS)
    changes: list[Callable[[dict[str, Any]], object]] = [
        lambda table: None,
        lambda table: table["users"][0].update(roles=["operator", "supervisor"]),
        lambda table: table["users"][0].update(departments=["ambulance"]),
    ]
    for change in changes:
        rewrite(path, change)
        found = users.find("Ana Ruiz")
        assert found is not None and found.fingerprint not in seen
        seen.add(found.fingerprint)
    berta = users.find("Berta")
    assert berta == find_user(path, "Berta")
    assert berta is not None and berta.fingerprint not in seen


def test_an_old_hash_is_renewed_when_its_owner_logs_in(path: Path) -> None:
    """The file gets a hash of today's parameters; a wrong password renews nothing."""
    add(path)
    add(path, "Berta")
    weak = PasswordHasher(time_cost=1, memory_cost=8, parallelism=1).hash(WORDS)
    rewrite(path, lambda table: table["users"][0].update(hash=weak))
    users = Users.load(path)
    assert users.check("Ana Ruiz", OTHER_WORDS) is None
    assert records(path)[0]["hash"] == weak
    user = users.check("Ana Ruiz", WORDS)
    renewed = records(path)[0]["hash"]
    assert not is_outdated(renewed)
    assert user == users.find("Ana Ruiz") == users.check("Ana Ruiz", WORDS)
    assert records(path)[0]["hash"] == renewed
    assert [each["name"] for each in records(path)] == ["Ana Ruiz", "Berta"]


@pytest.mark.parametrize(("typed", "gets_in"), [(WORDS, False), (OTHER_WORDS, True)])
def test_a_password_changed_in_the_same_instant_counts(
    path: Path, monkeypatch: pytest.MonkeyPatch, typed: str, gets_in: bool
) -> None:
    """Whoever renews an old hash does not write over a new password, nor let the old one in."""
    add(path, password=typed)
    weak = PasswordHasher(time_cost=1, memory_cost=8, parallelism=1).hash(typed)
    rewrite(path, lambda table: table["users"][0].update(hash=weak))

    def outdated(password_hash: str) -> bool:
        if password_hash == weak:
            set_password(path, "Ana Ruiz", OTHER_WORDS)
        return is_outdated(password_hash)

    monkeypatch.setattr("console.users.is_outdated", outdated)
    users = Users.load(path)
    assert (users.check("Ana Ruiz", typed) is not None) == gets_in
    assert users.check("Ana Ruiz", OTHER_WORDS) == users.find("Ana Ruiz")


@pytest.mark.parametrize(
    ("given", "reason"),
    [
        ({"departments": ["fire-fighters"]}, "unknown_department"),
        ({"departments": ["firefighters", "review"]}, "unknown_department"),
        ({"departments": []}, "bad_departments"),
        ({"departments": ["all", "firefighters"]}, "bad_departments"),
        ({"roles": []}, "unknown_role"),
        ({"roles": ["operator", "king"]}, "unknown_role"),
        ({"password": "short"}, "bad_password"),
    ],
)
def test_a_user_who_fits_nowhere_is_refused(path: Path, given: dict[str, Any], reason: str) -> None:
    """Roles and departments are known ones, and everybody sees something; the remedy names the choice."""
    with pytest.raises(ConfigError) as caught:
        add(path, **given)
    assert (caught.value.reason, path.exists()) == (reason, False)
    assert caught.value.remedy


@pytest.mark.parametrize(
    ("roles", "departments", "kept"),
    [
        (["reviewer"], [], ()),
        (["supervisor"], [], ("all",)),
        (["supervisor", "viewer"], ["firefighters"], ("all",)),
        (["operator"], ["all"], ("all",)),
        (["viewer"], ["ambulance", "firefighters", "ambulance"], ("ambulance", "firefighters")),
    ],
)
def test_departments_follow_roles(
    path: Path, roles: list[str], departments: list[str], kept: tuple[str, ...]
) -> None:
    """A reviewer needs none, and a supervisor has all."""
    user = add(path, roles=roles, departments=departments)
    assert user.departments == kept
    assert user.belongs_to("firefighters") == (kept == ("all",) or "firefighters" in kept)
    assert not user.belongs_to("review")
    assert [user.has(role) for role in Role] == [role in roles for role in Role]


def test_users_of_a_department_that_is_gone_are_named(path: Path) -> None:
    """When the routing file changes, start-up says who is left without."""
    add(path)
    add(path, "Berta", departments=["all"])
    users = Users.load(path)
    users.check_departments(ROUTING.departments)
    with pytest.raises(ConfigError, match=r"firefighters \(of Ana Ruiz\)") as caught:
        users.check_departments(["ambulance"])
    assert caught.value.reason == "unknown_department"


def test_many_who_log_in_at_once_do_not_take_all_memory(path: Path) -> None:
    """They wait for each other, two hashes of 64 MiB at a time, and all get their answer."""
    add(path)
    show = "import sys, pathlib, users_parts; users_parts.twelve_at_once(pathlib.Path(sys.argv[1]))"
    ran = subprocess.run(
        [sys.executable, "-c", show, str(path)], env=environ(), check=True, capture_output=True, timeout=100
    )
    found = json.loads(ran.stdout)
    assert found["in"] == [True, False] * 6
    assert found["taken_mib"] < 6 * 64 + 100
