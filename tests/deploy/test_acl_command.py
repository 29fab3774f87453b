"""`almenara acl`: the files that it makes, keeps and changes."""

import re
from pathlib import Path
from typing import Any

import pytest

from deploy.cli import main
from deploy.rights import roles
from shared.routing import Routing
from shared.settings import Settings


@pytest.fixture
def run(monkeypatch: pytest.MonkeyPatch, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> Any:
    """Runs `almenara acl` in a scratch folder; its exit code and what it printed."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("ALMENARA_STATE_DIR", str(tmp_path / "state"))

    def command(*arguments: str) -> tuple[int, str]:
        code = main(["acl", *arguments])
        shown = capsys.readouterr()
        return code, shown.out + shown.err

    return command


def test_files_are_for_their_owner_and_passwords_are_not_shown(run: Any, tmp_path: Path) -> None:
    """Each role has a password and an address with it; on the screen and in the ACL file are none."""
    code, shown = run("--out", "acl", "--url", "rediss://broker.example.org:6380/0?ssl_ca_certs=/ca.pem")
    assert code == 0
    folder = tmp_path / "acl"
    assert {path.stat().st_mode & 0o777 for path in folder.iterdir()} == {0o600}
    assert folder.stat().st_mode & 0o777 == 0o700
    departments = Routing.load(Settings().routing).departments
    known = roles(departments)
    assert {path.name for path in folder.glob("*.password")} == {f"{role}.password" for role in known}
    _, printed = run("--out", "acl")
    _, listed = run()
    text = (folder / "users.acl").read_text()
    for role in known:
        password = (folder / f"{role}.password").read_text().strip()
        assert re.fullmatch(r"[0-9a-f]{64}", password)
        assert password not in shown + printed + listed + text
        address = f"rediss://{role}:{password}@broker.example.org:6380/0?ssl_ca_certs=/ca.pem"
        assert (folder / f"{role}.url").read_text().strip() == address


def test_a_second_run_only_adds(run: Any, tmp_path: Path) -> None:
    """With a new department in the routing file, the others keep their passwords."""
    run("--out", "acl")
    before = {path.name: path.read_text() for path in (tmp_path / "acl").glob("*.password")}
    routing = tmp_path / "routing.toml"
    text = Settings().routing.read_text(encoding="utf-8")
    routing.write_text(text.replace("[departments]", '[departments]\ncoast-guard = "Coast Guard"'))
    code, _ = run_with(routing, run, "--out", "acl")
    assert code == 0
    after = {path.name: path.read_text() for path in (tmp_path / "acl").glob("*.password")}
    assert after.items() >= before.items()
    assert set(after) - set(before) == {"console-coast-guard.password"}
    assert "user console-coast-guard reset on #" in (tmp_path / "acl" / "users.acl").read_text()


def test_a_department_that_vanishes_keeps_its_user_until_it_is_dropped(run: Any, tmp_path: Path) -> None:
    """A forgotten ALMENARA_ROUTING locks no department out; one that is gone for good is dropped by name."""
    routing = tmp_path / "routing.toml"
    text = Settings().routing.read_text(encoding="utf-8")
    routing.write_text(text.replace("[departments]", '[departments]\ncoast-guard = "Coast Guard"'))
    run_with(routing, run, "--out", "acl")
    users = tmp_path / "acl" / "users.acl"
    before = users.read_text()
    code, said = run("--out", "acl")
    assert (code, sorted(users.read_text().splitlines())) == (0, sorted(before.splitlines()))
    assert "console-coast-guard is kept" in said and "--drop coast-guard" in said
    assert run("--out", "acl", "--drop", "firefighters")[0] == 2
    assert "console-coast-guard" in users.read_text()
    assert run("--out", "acl", "--drop", "coast-guard")[0] == 0
    assert "console-coast-guard" not in users.read_text()
    assert not list((tmp_path / "acl").glob("console-coast-guard.*"))
    assert "is kept" not in run("--out", "acl")[1]


def run_with(routing: Path, run: Any, *arguments: str) -> tuple[int, str]:
    """The same with another routing file."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("ALMENARA_ROUTING", str(routing))
        outcome: tuple[int, str] = run(*arguments)
    return outcome


def test_one_role_gets_a_new_password(run: Any, tmp_path: Path) -> None:
    """`--rotate` changes that role's and no other's; a role that is none is refused with those there are."""
    run("--out", "acl")
    before = (tmp_path / "acl" / "users.acl").read_text().splitlines()
    code, _ = run("--out", "acl", "--rotate", "console-review")
    after = (tmp_path / "acl" / "users.acl").read_text().splitlines()
    assert code == 0
    assert [line.split()[1] for line, old in zip(after, before, strict=True) if line != old] == [
        "console-review"
    ]
    code, shown = run("--out", "acl", "--rotate", "mayor")
    assert code == 2
    assert "console-review" in shown


def test_without_a_folder_it_prints_what_it_would_write(run: Any, tmp_path: Path) -> None:
    """Nothing is written; roles without a password are off, and the rules are there."""
    code, shown = run()
    assert code == 0
    assert "user console-firefighters reset off -@all" in shown
    assert "user default reset off" in shown
    assert list(tmp_path.iterdir()) == []


def test_sentinels_get_users_only_where_they_are(run: Any, tmp_path: Path) -> None:
    """Users for replicas and Sentinels may much, and are left out elsewhere."""
    assert "user sentinel" not in run()[1]
    run("--out", "acl", "--sentinel")
    assert "user replica reset on #" in (tmp_path / "acl" / "users.acl").read_text()


def test_a_weak_password_is_not_taken(run: Any, tmp_path: Path) -> None:
    """One that somebody wrote into the file by hand must be long: its plain SHA-256 lies in the ACL file."""
    run("--out", "acl")
    (tmp_path / "acl" / "web.password").write_text("hunter2\n")
    code, shown = run("--out", "acl")
    assert code == 2
    assert "web.password" in shown
    assert "hunter2" not in shown
