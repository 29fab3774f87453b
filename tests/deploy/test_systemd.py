"""The systemd units: closed towards each other, and true to what commands, folders and files there are."""

import os
import re
import subprocess
import sys
from pathlib import Path

import pytest
from sqlalchemy import text
from unit_parts import REPOSITORY, SERVICES, UNITS, lines_of, unit

from console.records import migrate, open_database
from deploy.flags import make_parser
from shared.liveness import SILENT_AFTER_S
from shared.model_files import FOLDER
from shared.settings import Settings


def test_who_makes_cap_messages_reaches_the_record() -> None:
    """Webhooks have the record's address, and see its folder."""
    for name, file in (
        ("desk", "database.url"),
        ("web", "database-web.url"),
        ("webhooks", "database-web.url"),
    ):
        found = " ".join(lines_of(name, "LoadCredential"))
        assert re.search(rf"database-url:/etc/almenara/{file}", found), name
    folder = str(Path((UNITS / "database.url").read_text().strip().removeprefix("sqlite:///")).parent)
    assert folder in lines_of("webhooks", "BindPaths")


def outside(name: str, path: str) -> str:
    """What a unit has at a path of the state folder, by its name outside; empty: nothing to write to."""
    closed = " ".join(lines_of(name, "ReadOnlyPaths") + lines_of(name, "InaccessiblePaths")).split()
    if path in [each.removeprefix("-") for each in closed]:
        return ""
    bound = [each.partition(":") for each in " ".join(lines_of(name, "BindPaths")).split()]
    there = [source for source, _, target in bound if path == (target or source)]
    writable = " ".join(lines_of(name, "ReadWritePaths")).split()
    return there[0] if there else path if any(Path(path).is_relative_to(each) for each in writable) else ""


def test_the_web_console_can_not_write_what_others_run_or_record() -> None:
    """Whoever takes over the most exposed service gives workers no network and changes no SQLite record."""
    state = "/var/lib/almenara"
    read = " ".join(lines_of("worker@", "BindPaths") + lines_of("worker@", "BindReadOnlyPaths")).split()
    assert {f"{state}/engines", f"{state}/models"} <= set(read)
    for path in (*read, f"{state}/desk/desk.db", f"{state}/desk/desk.db-wal", f"{state}/broker"):
        assert outside("web", path) not in {*read, path}, path
    assert outside("web", f"{state}/{FOLDER}") == f"{state}/web-models"
    assert outside("web", f"{state}/users.json") == f"{state}/users.json"


@pytest.mark.skipif(os.geteuid() != 0, reason="only root may mount")
def test_a_record_is_read_where_only_its_shared_memory_can_be_written(tmp_path: Path) -> None:
    """As the web console's unit has it: an SQLite reader sees what a desk writes, and can't write it."""
    file = tmp_path / "desk.db"
    desk = open_database(f"sqlite:///{file}")
    migrate(desk)
    closed = 'for file; do mount --bind "$file" "$file" && mount -o remount,ro,bind "$file" || exit 9; done; '
    reading = (
        "from console.records import check_record, open_database as o; import sys; "
        "check_record(o(f'sqlite:///{sys.argv[1]}', read_only=True)); open(sys.argv[1], 'ab')"
    )
    script = f'{closed} exec "$PYTHON" -c "$READING" "$1"'
    with desk.connect() as held:
        held.execute(text("SELECT 1"))
        out = subprocess.run(
            ["unshare", "--mount", "sh", "-c", script, "sh", file, f"{file}-wal"],
            env={**os.environ, "PYTHON": sys.executable, "READING": reading, "PYTHONPATH": str(REPOSITORY)},
            capture_output=True, text=True, check=False, timeout=60,
        )  # fmt: skip
    desk.dispose()
    if out.returncode == 9 or "unshare" in out.stderr:
        pytest.skip("mounting is forbidden here")
    assert out.stderr
    assert "Read-only file system" in out.stderr.splitlines()[-1]  # reading went well, and writing did not


def test_a_gpus_worker_is_another_user() -> None:
    """It has no user namespace of its own, and so must not share the user whose processes hold passwords."""
    text_of = (UNITS / "almenara-worker-cuda.conf").read_text()
    assert "PrivateUsers=no" in text_of
    (user,) = re.findall(r"(?m)^User=(.*)$", text_of)
    assert user != unit("worker@")["Service"]["User"]
    assert re.search(rf"(?m)^u {user} ", (UNITS / "almenara.sysusers").read_text())
    bound = " ".join(re.findall(r"(?m)^BindPaths=(.*)$", text_of)).split()
    folders = (UNITS / "almenara.tmpfiles").read_text()
    for source, _, target in (each.partition(":") for each in bound):
        assert re.search(rf"(?m)^d {source} \d+ {user} ", folders)
        assert target in lines_of("worker@", "BindPaths")
    assert re.findall(r"(?m)^BindReadOnlyPaths=(.*)$", text_of) == lines_of("worker@", "BindReadOnlyPaths")


@pytest.mark.skipif(
    os.geteuid() != 0 or sys.platform != "linux", reason="only root starts other users' processes"
)
def test_another_user_of_the_same_group_reads_no_environment() -> None:
    """What `sudo almenara` has in its environment the user of GPUs' workers can't read; its own user can."""
    waiting = ["sleep", "600"]
    environ = {**os.environ, "ALMENARA_REDIS_URL": "unix://operator:secret@/run/broker.sock"}
    try:
        started = subprocess.Popen(waiting, env=environ, user=54321, group=54321)
    except OSError as error:  # a root of few users, as in a container without privileges
        pytest.skip(f"this root can't be another user: {error.strerror}")
    with started as command:
        try:
            reading = ["cat", f"/proc/{command.pid}/environ"]
            same, other = (
                subprocess.run(
                    reading, user=user, group=54321, extra_groups=[], capture_output=True, check=False
                )
                for user in (54321, 54322)
            )
        finally:
            command.kill()
    assert b"operator:secret" in same.stdout
    assert other.stdout == b""
    assert other.returncode != 0


@pytest.mark.parametrize("name", ["worker@", "web"])
def test_announced_models_have_a_place_where_they_are_used(name: str) -> None:
    """A worker runs them, and the web console explains with them: STATE_DIR/models is there to be written."""
    folder = f"/var/lib/almenara/{FOLDER}"
    writable = " ".join(lines_of(name, "BindPaths")).split()
    assert folder in [each.rpartition(":")[2] for each in writable]
    closed = " ".join(lines_of(name, "ReadOnlyPaths") + lines_of(name, "InaccessiblePaths")).split()
    assert not any(Path(folder).is_relative_to(each) for each in closed)


@pytest.mark.parametrize("name", SERVICES)
def test_a_unit_starts_a_command_that_there_is(name: str) -> None:
    """What a unit runs is understood by `almenara`, and its bound folders are made at install."""
    program, *arguments = unit(name)["Service"]["ExecStart"].split()
    assert program == "/opt/almenara/bin/almenara"
    make_parser().parse_args(arguments)
    folders = (UNITS / "almenara.tmpfiles").read_text()
    for key in ("BindPaths", "BindReadOnlyPaths", "ReadWritePaths", "ReadOnlyPaths", "InaccessiblePaths"):
        for path in " ".join(lines_of(name, key)).split():
            if not path.startswith("-"):  # a file that a service makes
                assert f"d {path.partition(':')[0]} " in folders


@pytest.mark.parametrize("name", SERVICES)
def test_a_unit_agrees_with_how_its_service_lives(name: str) -> None:
    """Watchdog, exit codes and time to stop are those that the service promises."""
    service = unit(name)["Service"]
    assert (service["Type"], service["Restart"]) == ("notify", "always")
    assert float(service["WatchdogSec"]) == SILENT_AFTER_S
    assert service["RestartPreventExitStatus"] == "2"  # deploy/cli.py: wrong settings
    assert unit(name)["Unit"]["StartLimitIntervalSec"] == "0"
    if name == "worker@":
        assert float(service["TimeoutStopSec"]) > Settings().batch_timeout_s


def test_no_unit_holds_a_secret_and_no_two_have_one_port() -> None:
    """Addresses with passwords come as credentials; every service has a port of its own."""
    ports = []
    for name in SERVICES:
        words = " ".join(lines_of(name, "Environment")).split()
        variables = dict(word.split("=", 1) for word in words)
        ports.append(variables["ALMENARA_METRICS_PORT"])
        assert variables["ALMENARA_REDIS_URL_FILE"].startswith("%d/")
        assert not {"ALMENARA_REDIS_URL", "ALMENARA_DATABASE_URL"} & set(variables)
        credentials = {line.split(":")[0] for line in lines_of(name, "LoadCredential")}
        named = {value[3:] for value in variables.values() if value.startswith("%d/")}
        assert named == credentials
    assert sorted(ports) == ["9401", "9403", "9404", "9405", "941%i"]
