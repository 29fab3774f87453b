"""Users of other people's programs: `almenara acl --consumer`. tests/console asks a broker what they may."""

from collections.abc import Callable
from pathlib import Path

import pytest

from deploy import consumers
from deploy.cli import main
from shared.errors import ConfigError
from shared.routing import Routing
from shared.settings import Settings


@pytest.fixture
def run(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> Callable[..., tuple[int, str]]:
    """Runs `almenara acl` in a scratch folder; its exit code and what it printed."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("ALMENARA_STATE_DIR", str(tmp_path / "state"))

    def command(*arguments: str) -> tuple[int, str]:
        code = main(["acl", *arguments])
        shown = capsys.readouterr()
        return code, shown.out + shown.err

    return command


def user(name: str) -> str:
    """A user's line of the ACL file; empty: there is none."""
    lines = Path("acl/users.acl").read_text().splitlines()
    return next((line for line in lines if line.startswith(f"user {name} ")), "")


def test_a_consumer_stays_until_its_line_is_taken_out(run: Callable[..., tuple[int, str]]) -> None:
    """Another run keeps user and password, others come beside it, and its line in the file is its end."""
    run("--out", "acl", "--url", "redis://b:6379/0", "--consumer", "siren:firefighters")
    before, password = user("consumer-siren"), Path("acl/consumer-siren.password").read_text()
    assert "~dispatch:firefighters " in before
    assert password.strip() not in before
    assert Path("acl/consumer-siren.url").read_text().startswith("redis://consumer-siren:")
    code, _ = run("--out", "acl", "--consumer", "map:firefighters,review")
    assert code == 0
    assert user("consumer-siren") == before
    assert "(~dispatch:firefighters ~dispatch:review " in user("consumer-map")
    file = Path("acl", consumers.FILE)
    assert file.read_text() == "map firefighters review\nsiren firefighters\n"
    file.write_text("map firefighters review\n")
    assert "consumer-siren; remove" in run("--out", "acl")[1]
    assert user("consumer-siren") == ""
    assert user("consumer-map")


@pytest.mark.parametrize(
    ("wrong", "said"),
    [
        ("siren", "no name and departments"),
        (":firefighters", "no name and departments"),
        ("Siren:firefighters", "no name and departments"),
        ("siren on nopass ~*:firefighters", "no name and departments"),
        ("siren:fire", "no department 'fire'"),
        ("siren:firefighters ~* +@all", "no department"),
    ],
)
def test_a_wrong_consumer_is_refused(run: Callable[..., tuple[int, str]], wrong: str, said: str) -> None:
    """Nothing is written of what is no name and no department."""
    code, shown = run("--out", "acl", "--consumer", wrong)
    assert code == 2
    assert said in shown
    assert not Path("acl").exists()


def test_without_a_folder_nothing_can_be_remembered(run: Callable[..., tuple[int, str]]) -> None:
    """`--consumer` alone says that it needs one."""
    code, shown = run("--consumer", "siren:firefighters")
    assert code == 2
    assert "--out" in shown


@pytest.mark.parametrize("line", ["siren", "siren ~*", "siren firefighters +@all", "siren firefighters)"])
def test_a_file_with_something_else_is_refused(tmp_path: Path, line: str) -> None:
    """What stands there becomes a line of the ACL file: no right can be smuggled in."""
    (tmp_path / consumers.FILE).write_text(f"{line}\n")
    with pytest.raises(ConfigError, match=r"[Cc]orrect that line"):
        consumers.load(tmp_path)


def test_every_department_can_be_remembered(tmp_path: Path) -> None:
    """What the routing file calls a department is read back as it was written."""
    routing = Routing.load(Settings().routing)
    name, words = consumers.parsed(f"all:{','.join(routing.departments)}", routing)
    (tmp_path / consumers.FILE).write_text(consumers.text_of({name: words}))
    assert consumers.load(tmp_path) == {name: tuple(routing.departments)}
