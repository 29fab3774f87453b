import json
import os
import subprocess
import sys
from pathlib import Path

import pytest
from conftest import make_entries, picture_bytes

from ingest.rejects import Rejects
from shared.broker import Broker
from shared.errors import PermanentError
from shared.keys import dispatch_key
from shared.settings import Settings

COMMANDS = ["up", "ingest", "worker", "console", "status", "doctor", "predict", "audit", "demo"]
COMMANDS += ["train", "evaluate", "import", "optimise"]
ROOT = Path(__file__).parents[2]


@pytest.fixture
def environ(settings: Settings) -> dict[str, str]:
    """The environment of a command on the scratch settings."""
    ours = ("ALMENARA_", "PYTHON", "FORCE_COLOR", "CLICOLOR_FORCE", "TTY_")  # colours where no terminal is
    outside = {name: value for name, value in os.environ.items() if not name.startswith(ours)}
    return {**outside, **settings.to_env(), "COLUMNS": "100"}


def almenara(
    environ: dict[str, str], *arguments: str, stdout: int = subprocess.PIPE
) -> "subprocess.CompletedProcess[str]":
    """Run a command to its end; whatever happens, nobody is shown a traceback."""
    ran = subprocess.run(
        [sys.executable, "-m", "deploy", *arguments],
        env=environ,
        cwd=ROOT,
        stdin=subprocess.DEVNULL,
        stdout=stdout,
        stderr=subprocess.PIPE,
        encoding="utf-8",
        timeout=100,
        check=False,
    )
    assert "Traceback" not in ran.stderr
    return ran


def refused(environ: dict[str, str], *arguments: str, code: int) -> str:
    """Run a command that must fail with this code; the one line it says."""
    ran = almenara(environ, *arguments)
    assert (ran.returncode, ran.stdout) == (code, "")
    assert ran.stderr.startswith("almenara: ")
    return ran.stderr


def test_the_command_lists_what_there_is(environ: dict[str, str]) -> None:
    """`almenara --help` names every subcommand with what it does."""
    ran = almenara(environ, "--help")
    assert ran.returncode == 0
    assert [command for command in COMMANDS if f"\n    {command}" not in ran.stdout] == []


@pytest.mark.parametrize("command", COMMANDS)
def test_every_command_explains_itself(environ: dict[str, str], command: str) -> None:
    """`--help` ends with examples that can be typed, and works with settings that are wrong."""
    ran = almenara({**environ, "ALMENARA_ENGINE": "abacus"}, command, "--help")
    assert ran.returncode == 0
    examples = ran.stdout.partition("examples:\n")[2]
    assert f"  almenara {command}" in examples
    assert "ALMENARA_" in examples


@pytest.mark.parametrize(
    "command", [["status"], ["worker"], ["ingest"], ["console", "all"], ["audit"], ["demo"]]
)
def test_a_wrong_setting_stops_every_command(environ: dict[str, str], command: list[str]) -> None:
    """Exit code 2, and all that is wrong by name."""
    wrong = {**environ, "ALMENARA_ENGINE": "abacus", "ALMENARA_LEASE": "8"}
    said = refused(wrong, *command, code=2)
    assert "ALMENARA_ENGINE='abacus'" in said
    assert "ALMENARA_LEASE:" in said


@pytest.mark.parametrize(
    "command", [["status"], ["status", "--json"], ["console", "review", "--no-follow"], ["audit"]]
)
def test_a_broker_that_is_away_is_said(environ: dict[str, str], command: list[str]) -> None:
    """Exit code 69, and what to look at."""
    away = {**environ, "ALMENARA_REDIS_URL": "redis://127.0.0.1:1/0"}
    assert "ALMENARA_REDIS_URL" in refused(away, *command, code=69)


def test_a_private_broker_that_does_not_run_is_said(environ: dict[str, str]) -> None:
    """Without a URL the remedy is to start everything."""
    assert "almenara up" in refused({**environ, "ALMENARA_REDIS_URL": ""}, "status", code=69)


@pytest.mark.parametrize(
    ("command", "named"),
    [
        (["console", "navy", "--no-follow"], "'navy'"),
        (["console", "all", "--since", "yesterday", "--no-follow"], "--since"),
        (["demo", "--rate", "0"], "--rate"),
        (["demo", "--box", "1,2,3"], "--box"),
        (["demo", "--box", "95,151,-33,151"], "--box"),
        (["demo", "/nowhere"], "/nowhere"),
        (["ingest", "--as", "x.jpg"], "--retry"),
        (["ingest", "--retry", "/etc/hostname"], "not a rejected file"),
    ],
)
@pytest.mark.usefixtures("broker")
def test_wrong_arguments_are_said(environ: dict[str, str], command: list[str], named: str) -> None:
    """Exit code 2, and the argument or file that is wrong."""
    assert named in refused(environ, *command, code=2)


@pytest.mark.parametrize(
    "command", [[], ["fly"], ["console"], ["predict"], ["console", "all", "--json", "--plain"]]
)
def test_an_unknown_command_shows_usage(environ: dict[str, str], command: list[str]) -> None:
    """Exit code 2 and how it is used."""
    ran = almenara(environ, *command)
    assert ran.returncode == 2
    assert ran.stderr.startswith("usage: almenara")


def test_settings_are_listed_without_secrets(environ: dict[str, str]) -> None:
    """`doctor --settings` shows every setting with its value and meaning, passwords hidden."""
    secret = {**environ, "ALMENARA_REDIS_URL": "redis://:hunter2@broker", "ALMENARA_SETTLE_S": "1.5"}
    ran = almenara(secret, "doctor", "--settings")
    assert ran.returncode == 0
    assert "ALMENARA_SETTLE_S=1.5\n" in ran.stdout
    assert "ALMENARA_REDIS_URL=(set)\n" in ran.stdout
    assert "hunter2" not in ran.stdout
    assert json.loads(almenara(secret, "doctor", "--settings", "--json").stdout)["ALMENARA_SETTLE_S"] == "1.5"


def test_a_flag_wins_over_the_environment(environ: dict[str, str], tmp_path: Path) -> None:
    """`demo --inbox` puts its pictures there, and not into ALMENARA_INBOX."""
    ran = almenara(environ, "demo", "--rate", "10000", "--inbox", str(tmp_path / "other"))
    assert ran.returncode == 0
    assert len(list((tmp_path / "other").iterdir())) == 12
    assert not (tmp_path / "inbox").exists()


def test_the_console_prints_the_agreed_line(environ: dict[str, str], broker: Broker) -> None:
    """`console DEPARTMENT --plain` is what scripts read: the plain line and nothing else."""
    for department, event in make_entries(1):
        broker.xadd(dispatch_key(department), {"event": event})
    ran = almenara(environ, "console", "police-force", "--plain", "--no-follow")
    assert (ran.returncode, ran.stderr) == (0, "")
    assert ran.stdout == (
        "ID: 0001     Coordinates: 33.8568, 151.2153     "
        "Units of Assistance: ['Protest => Police Force and Transit Police']\n"
    )


@pytest.mark.usefixtures("broker")
def test_status_is_json_for_scripts(environ: dict[str, str]) -> None:
    """One object with the fields of DESIGN section 7."""
    status = json.loads(almenara(environ, "status", "--json").stdout)
    assert status["queue"] == {"waiting": 0, "in_flight": 0, "failed": 0}
    assert {"dispatched", "unsure", "no_emergency"} <= set(status["incidents"])
    assert (status["rejected"], status["workers"]) == (0, [])


def test_a_rejected_file_is_listed_and_tried_again(environ: dict[str, str], settings: Settings) -> None:
    """What `status --rejected` lists, `ingest --retry --as` puts back, both without a broker."""
    inbox = settings.inbox[0]
    inbox.mkdir()
    (inbox / "a\x1b[31m.jpg").write_bytes(picture_bytes(1))
    error = PermanentError("no place", reason="no_coordinates", remedy="name it")
    reject = Rejects(settings.rejected_dir).add(inbox / "a\x1b[31m.jpg", inbox, error)
    alone = {**environ, "ALMENARA_REDIS_URL": "redis://127.0.0.1:1/0"}
    listed = almenara(alone, "status", "--rejected").stdout
    assert "no_coordinates: no place. Name it." in listed
    assert "\x1b" not in listed
    ran = almenara(alone, "ingest", "--retry", reject.path, "--as", "33.8568, 151.2153.jpg")
    assert (ran.returncode, ran.stdout) == (0, f"back in the inbox: {inbox / '33.8568, 151.2153.jpg'}\n")
    assert almenara(alone, "status", "--rejected").stdout == "Nothing was rejected.\n"


def test_a_name_that_is_no_text_is_put_back(environ: dict[str, str], settings: Settings) -> None:
    """Undecodable bytes in a name end no command."""
    inbox = settings.inbox[0]
    inbox.mkdir()
    (inbox / "caf\udce9.jpg").write_bytes(picture_bytes(1))
    rejects = Rejects(settings.rejected_dir)
    rejects.add(inbox / "caf\udce9.jpg", inbox, PermanentError("no place"))
    (kept,) = rejects.folder.glob("*/*")
    ran = almenara(environ, "ingest", "--retry", str(kept))
    assert (ran.returncode, ran.stdout) == (0, f"back in the inbox: {inbox}/caf\\uDCE9.jpg\n")


@pytest.mark.usefixtures("broker")
def test_an_audit_that_finds_something_exits_with_1(environ: dict[str, str], settings: Settings) -> None:
    """Books that balance are exit code 0, and books that do not are 1, in both forms."""
    settings.inbox[0].mkdir()
    assert almenara(environ, "audit").returncode == 0
    settings.inbox[0].rmdir()
    ran = almenara(environ, "audit", "--json")
    assert ran.returncode == 1
    assert json.loads(ran.stdout)["balanced"] is False


def test_a_reader_that_has_gone_is_no_fault(environ: dict[str, str]) -> None:
    """`almenara ... | head` ends quietly and well."""
    read_end, write_end = os.pipe()
    os.close(read_end)
    ran = almenara(environ, "doctor", "--settings", stdout=write_end)
    os.close(write_end)
    assert (ran.returncode, ran.stderr) == (0, "")
