"""Users: who gets in, who does not, and what a file can do to it."""

import json
import os
import re
import subprocess
import sys
import unicodedata
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest
from argon2 import PasswordHasher

from console.passwords import is_outdated, matches
from console.userfile import Role
from console.users import (
    User,
    Users,
    add_user,
    check_user,
    find_user,
    first_user,
    remove_user,
    set_password,
)
from shared.errors import ConfigError
from shared.routing import Routing
from shared.settings import Settings

ROOT = Path(__file__).parents[2]
ROUTING = Routing.load(Settings().routing)
WORDS = "correct horse battery"
OTHER_WORDS = "staple and some more"


@pytest.fixture
def path(tmp_path: Path) -> Path:
    """Of a users file that is not there yet, nor is its folder."""
    return tmp_path / "state" / "users.json"


def add(path: Path, name: str = "Ana Ruiz", password: str = WORDS, **changes: Any) -> User:
    """Add an operator of the firefighters."""
    given: dict[str, Any] = {"roles": ["operator"], "departments": ["firefighters"], **changes}
    return add_user(path, name, password, routing=ROUTING, **given)


def records(path: Path) -> list[dict[str, Any]]:
    """Users as the file has them."""
    listed: list[dict[str, Any]] = json.loads(path.read_text(encoding="utf-8"))["users"]
    return listed


def rewrite(path: Path, change: Callable[[dict[str, Any]], object]) -> None:
    """Change the file as somebody with an editor would."""
    table = json.loads(path.read_text(encoding="utf-8"))
    change(table)
    path.write_text(json.dumps(table), encoding="utf-8")


def environ() -> dict[str, str]:
    """For processes that import this module."""
    folders = (ROOT, ROOT / "tests", Path(__file__).parent)
    return {**os.environ, "PYTHONPATH": os.pathsep.join(map(str, folders))}


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


def test_users_added_by_many_processes_at_once_are_all_there(path: Path) -> None:
    """Each reads and writes the file alone: nobody is lost."""
    show = "import sys, pathlib, test_users; test_users.add(pathlib.Path(sys.argv[1]), sys.argv[2])"
    names = [f"user {number}" for number in range(8)]
    processes = [
        subprocess.Popen([sys.executable, "-c", show, str(path), name], env=environ()) for name in names
    ]
    assert [process.wait(60) for process in processes] == [0] * len(names)
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


@pytest.mark.parametrize(
    "name",
    [
        "",
        " ",
        " Ana",
        "Ana ",
        "A  B",
        "A\tB",
        "A\nB",
        "A\x1b[31mB",
        "A\u202eB",
        "A\u200bB",
        "A\u00a0B",
        "A\ud800",
        "x" * 65,
        "desk",
        "Desk",
        "ｄｅｓｋ",
        "model",
    ],
)
def test_a_name_that_could_deceive_is_refused(path: Path, name: str) -> None:
    """Control, bidirectional and invisible characters, too long ones, and those of parts of Almenara."""
    with pytest.raises(ConfigError) as caught:
        add(path, name)
    assert caught.value.reason == "bad_name"
    assert str(caught.value).isprintable()
    assert not path.exists()


@pytest.mark.parametrize("name", ["a", "x" * 64, "María José Ñ.", "山田 太郎", "O'Brien; DROP", "ana@desk"])
def test_a_name_of_any_tongue_is_taken(path: Path, name: str) -> None:
    """At most 64 characters, typed in either way of writing accents, in capitals or not."""
    assert add(path, unicodedata.normalize("NFD", name)).name == unicodedata.normalize("NFC", name)
    users = Users.load(path)
    for typed in (name, unicodedata.normalize("NFD", name), name.upper()):
        found = users.check(typed, WORDS)
        assert found is not None and found.name == name


@pytest.mark.parametrize("name", ["Ana Ruiz", "ana ruiz", "ANA RUIZ", "Ａna Ruiz"])
def test_two_users_can_not_have_one_name(path: Path, name: str) -> None:
    """Capitals and wide letters make no other name: nobody poses as somebody."""
    add(path)

    def checked() -> None:
        check_user(path, name, roles=["viewer"], departments=["all"], routing=ROUTING)

    uses: list[Callable[[], object]] = [lambda: add(path, name, OTHER_WORDS), checked]
    for use in uses:
        with pytest.raises(ConfigError, match="already") as caught:
            use()
        assert caught.value.reason == "name_taken"
    assert Users.load(path).check("Ana Ruiz", WORDS)


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


def twelve_at_once(path: Path) -> None:
    """Log in from twelve threads, and print who got in and how much memory that took, in MiB."""
    users = Users.load(path)
    with ThreadPoolExecutor(12) as pool:
        found = list(pool.map(lambda number: users.check("Ana Ruiz", WORDS + "!" * (number % 2)), range(12)))
    # Not ru_maxrss: Linux hands the tests' own high mark on to the processes they start.
    (taken_kib,) = re.findall(r"VmHWM:\s+(\d+) kB", Path("/proc/self/status").read_text())
    print(json.dumps({"in": [each is not None for each in found], "taken_mib": int(taken_kib) // 1024}))


def test_many_who_log_in_at_once_do_not_take_all_memory(path: Path) -> None:
    """They wait for each other, two hashes of 64 MiB at a time, and all get their answer."""
    add(path)
    show = "import sys, pathlib, test_users; test_users.twelve_at_once(pathlib.Path(sys.argv[1]))"
    ran = subprocess.run(
        [sys.executable, "-c", show, str(path)], env=environ(), check=True, capture_output=True, timeout=60
    )
    found = json.loads(ran.stdout)
    assert found["in"] == [True, False] * 6
    assert found["taken_mib"] < 6 * 64 + 100
