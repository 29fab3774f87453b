"""The systemd units: sound in systemd's own eyes, closed, and true to how the services behave."""

import configparser
import os
import re
import shutil
import signal
import socket
import subprocess
import sys
from collections.abc import Iterator
from functools import partial
from pathlib import Path

import psutil
import pytest
from conftest import wait_until
from deployment import Deployment
from sqlalchemy import text

from console.records import migrate, open_database
from console.users import Role, first_user
from deploy.flags import make_parser
from shared.liveness import SILENT_AFTER_S
from shared.model_files import FOLDER
from shared.settings import Settings

REPOSITORY = Path(__file__).parents[2]
UNITS = REPOSITORY / "deploy" / "systemd"
SERVICES = ("ingest", "worker@", "desk", "web", "webhooks")
EXPOSURE_LIMIT = 2.0
"""What `systemd-analyze security` may give a unit, of 10; 9.6 is a unit without any hardening."""
EXPOSURE_LIMIT_CUDA = 2.5

STUBS = ("sysinit.target", "basic.target", "shutdown.target", "network.target", "multi-user.target")


def unit(name: str) -> configparser.RawConfigParser:
    """A unit with what all have in common, keys as written; of a repeated key the last."""
    parser = configparser.RawConfigParser(strict=False)
    parser.optionxform = str  # type: ignore[assignment,method-assign]
    parser.read([UNITS / "almenara-.service.d" / "10-common.conf", UNITS / f"almenara-{name}.service"])
    return parser


def lines_of(name: str, key: str) -> list[str]:
    """Every value that a unit gives to a key."""
    text = (UNITS / f"almenara-{name}.service").read_text()
    return re.findall(rf"(?m)^{key}=(.*)$", text)


def analysed(*arguments: str) -> "subprocess.CompletedProcess[str]":
    """`systemd-analyze` with these arguments; skips where there is none."""
    program = shutil.which("systemd-analyze")
    if program is None:
        pytest.skip("there is no systemd-analyze: on Debian, apt-get install systemd")
    return subprocess.run([program, *arguments], capture_output=True, text=True, check=False, timeout=60)


@pytest.fixture(scope="module")
def installed(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """What `make install` puts on a machine, in a folder, with the programs of the units as stubs."""
    root = tmp_path_factory.mktemp("root")
    install(root)
    for program in (
        "opt/almenara/bin/almenara",
        "opt/almenara/bin/broker",
        "opt/almenara/bin/python",
        "usr/bin/install",
    ):
        path = root / program
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text("#!/bin/sh\n")
        path.chmod(0o755)
    for stub in STUBS:
        (root / "etc/systemd/system" / stub).write_text("[Unit]\nDescription=stands for the system's own\n")
    return root


def install(root: Path) -> None:
    """`make install` but for the Python packages, into a folder."""
    environ = {**os.environ, "DESTDIR": str(root), "PYTHON_PACKAGES": "no"}
    subprocess.run(["make", "install"], cwd=REPOSITORY, env=environ, check=True, capture_output=True)


def loaded(installed: Path) -> list[str]:
    """Names of the installed units, a template's with an instance."""
    found = (installed / "etc/systemd/system").glob("almenara*")
    return sorted(path.name.replace("@.", "@1.") for path in found if path.is_file())


def exposure(root: Path, name: str) -> float:
    """What `systemd-analyze security` thinks of a unit, 0 (safe) to 10."""
    out = analysed("security", "--offline=yes", f"--root={root}", "--no-pager", name)
    found = re.search(r"Overall exposure level for \S+: ([0-9.]+)", out.stdout)
    assert found, out.stderr
    return float(found[1])


def test_systemd_finds_nothing_wrong_with_the_units(installed: Path) -> None:
    """`systemd-analyze verify` loads every installed unit and has nothing to say."""
    units = loaded(installed)
    assert len(units) == 7
    out = analysed("verify", f"--root={installed}", "--man=no", *units)
    assert (out.returncode, out.stdout + out.stderr) == (0, "")


def test_every_service_is_closed(installed: Path) -> None:
    """`systemd-analyze security` gives each service less than the limit."""
    services = [name for name in loaded(installed) if name.endswith(".service")]
    found = {name: exposure(installed, name) for name in services}
    assert len(found) == 6
    assert max(found.values()) < EXPOSURE_LIMIT, found


def test_a_worker_with_a_gpu_is_nearly_as_closed(installed: Path, tmp_path: Path) -> None:
    """The drop-in for CUDA is understood and opens the driver's devices alone."""
    root = tmp_path / "root"
    shutil.copytree(installed, root, symlinks=True)
    folder = root / "etc/systemd/system/almenara-worker@.service.d"
    folder.mkdir()
    shutil.copy(UNITS / "almenara-worker-cuda.conf", folder / "cuda.conf")
    out = analysed("verify", f"--root={root}", "--man=no", "almenara-worker@1.service")
    assert (out.returncode, out.stdout + out.stderr) == (0, "")
    assert exposure(root, "almenara-worker@1.service") < EXPOSURE_LIMIT_CUDA


def test_install_again_keeps_what_an_operator_set(tmp_path: Path) -> None:
    """Installing over an installation replaces units and no settings."""
    install(tmp_path)
    settings, common = tmp_path / "etc/almenara/almenara.env", "etc/systemd/system/almenara-ingest.service"
    settings.write_text("ALMENARA_SETTLE_S=9\n")
    (tmp_path / common).write_text("")
    install(tmp_path)
    assert settings.read_text() == "ALMENARA_SETTLE_S=9\n"
    assert (tmp_path / common).read_text()
    assert (tmp_path / "usr/local/sbin/almenara").stat().st_mode & 0o111
    assert (tmp_path / "etc/almenara/database.url").stat().st_mode & 0o077 == 0
    assert (tmp_path / "etc/almenara/database-web.url").readlink() == Path("database.url")
    subprocess.run(
        ["install", "-m", "600", "/dev/stdin", tmp_path / "etc/almenara/database-web.url"],
        input=b"postgresql://reader@host/record\n", check=True,
    )  # fmt: skip
    install(tmp_path)
    assert (tmp_path / "etc/almenara/database-web.url").read_text() == "postgresql://reader@host/record\n"
    assert "sqlite" in (tmp_path / "etc/almenara/database.url").read_text()


def test_the_operators_command_has_the_settings_and_its_own_role(tmp_path: Path) -> None:
    """`sudo almenara` hands on settings and the operator's address in the environment, never as arguments."""
    install(tmp_path)
    etc = tmp_path / "etc/almenara"
    with (etc / "almenara.env").open("a") as file:
        file.write('ALMENARA_CAMERAS="north-bridge=30, plaza=10"\n')
    (etc / "acl").mkdir()
    (etc / "acl/operator.url").write_text("unix://operator:secret@/run/almenara/broker.sock\n")
    (etc / "webhooks").mkdir()
    (etc / "webhooks/webhooks.toml").write_text("")
    programs = tmp_path / "bin"
    programs.mkdir()
    (programs / "runuser").write_text('#!/bin/sh\necho "$@"\nenv\n')
    (programs / "runuser").chmod(0o755)
    script = (tmp_path / "usr/local/sbin/almenara").read_text().replace("/etc/almenara", str(etc))
    environ = {"PATH": f"{programs}:{os.environ['PATH']}"}
    command = ["sh", "-c", script, "almenara", "status", "--live"]
    out = subprocess.run(command, env=environ, capture_output=True, text=True, check=True, timeout=60)
    arguments, *variables = out.stdout.splitlines()
    assert arguments == "--user almenara -- /opt/almenara/bin/almenara status --live"
    settings = Settings.from_env(dict(line.split("=", 1) for line in variables if "=" in line))
    assert settings.redis_url == "unix://operator:secret@/run/almenara/broker.sock"
    assert settings.silence_s == {"north-bridge": 1800, "plaza": 600}
    assert settings.webhooks == str(etc / "webhooks/webhooks.toml")  # as `almenara webhooks --dead` needs it


def test_installed_settings_are_right(installed: Path) -> None:
    """The installed almenara.env has settings that there are; the record lies where the desk may write."""
    text = (installed / "etc/almenara/almenara.env").read_text()
    environ = dict(line.split("=", 1) for line in text.splitlines() if line and not line.startswith("#"))
    url = (installed / "etc/almenara/database.url").read_text().strip()
    settings = Settings.from_env(environ | {"ALMENARA_DATABASE_URL": url})
    assert settings.metrics_port == 0  # each unit has its own
    made = re.findall(r"(?m)^d (\S+)", (installed / "etc/tmpfiles.d/almenara.conf").read_text())
    wanted = [settings.state_dir, settings.image_store_url, *settings.inbox, Path(url[10:]).parent]
    assert {str(each) for each in wanted} <= set(made)


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
    waiting = ["sleep", "60"]
    environ = {**os.environ, "ALMENARA_REDIS_URL": "unix://operator:secret@/run/broker.sock"}
    with subprocess.Popen(waiting, env=environ, user=54321, group=54321) as command:
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


class Manager:
    """systemd's side of one service: a notify socket, and what has been said on it."""

    def __init__(self, folder: Path, name: str, everybody: "list[Manager]") -> None:
        self._everybody = everybody
        everybody.append(self)
        self._socket = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
        self.address = folder / f"{name}.notify"
        self._socket.bind(str(self.address))
        self._socket.setblocking(False)
        self.heard: list[str] = []

    def listen(self) -> list[str]:
        """Everything that the service has said so far."""
        while True:
            try:
                self.heard.append(self._socket.recv(200).decode())
            except BlockingIOError:
                return self.heard

    def wait_for(self, line: str, *, times: int = 1, within_s: float = 60) -> None:
        """Wait until the service has said a line so often."""

        def heard() -> bool:
            # The kernel keeps ten lines for each; whose manager listened to another alone would lose some.
            for each in self._everybody:
                each.listen()
            return self.heard.count(line) >= times

        wait_until(
            heard,
            within_s=within_s,
            what=f"{line} from {self.address.stem}; heard {self.heard[-3:]}",
        )

    def wait_for_more(self, line: str, *, times: int = 2) -> None:
        """Wait until it has said a line so much more often."""
        self.wait_for(line, times=self.listen().count(line) + times)

    def close(self) -> None:
        """Stop listening."""
        self._socket.close()


@pytest.fixture
def managed(deployment: Deployment) -> Iterator[dict[str, Manager]]:
    """Every service as its unit starts it, each with a manager of its own, ready."""
    first_user(deployment.settings.users_path, "ana", tuple(Role))
    managers: dict[str, Manager] = {}
    everybody: list[Manager] = []
    for name in ("ingest", "worker@", "desk", "web"):
        _, *arguments = unit(name)["Service"]["ExecStart"].split()
        managers[name] = Manager(deployment.folder, name, everybody)
        deployment.extra_environ = {
            "NOTIFY_SOCKET": str(managers[name].address),
            "WATCHDOG_USEC": "900000",
        }
        deployment.start(name, *arguments)
    try:
        for manager in managers.values():
            manager.wait_for("READY=1", within_s=100)
        yield managers
    finally:
        for manager in managers.values():
            manager.close()


def frozen(deployment: Deployment, name: str) -> bool:
    """Whether a stopped service has stopped in every thread."""
    return str(psutil.Process(deployment.processes[name].pid).status()) == str(psutil.STATUS_STOPPED)


@pytest.mark.fault
def test_services_feed_the_watchdog_also_without_a_broker(
    deployment: Deployment, managed: dict[str, Manager]
) -> None:
    """They are ready, live while the broker is away, are silent when frozen, and end well at SIGTERM."""
    deployment.kill("broker")
    for manager in managed.values():
        manager.wait_for_more("WATCHDOG=1")

    for name, manager in managed.items():
        deployment.signal(name, signal.SIGSTOP)
        wait_until(partial(frozen, deployment, name), within_s=10, what=f"{name} is frozen")
        said = len(manager.listen())
        other = next(each for each in managed.values() if each is not manager)
        other.wait_for_more("WATCHDOG=1")  # meanwhile a service that turns would have spoken
        assert len(manager.listen()) == said, f"{name} is frozen and says that it lives"
        deployment.signal(name, signal.SIGCONT)
        manager.wait_for_more("WATCHDOG=1", times=1)

    deployment.start_broker()
    for name, manager in managed.items():
        manager.wait_for_more("WATCHDOG=1")
        assert deployment.stop(name) == 0, name
        assert manager.listen()[-1] == "STOPPING=1"


def test_wrong_settings_end_a_service_with_the_status_that_ends_restarts(tmp_path: Path) -> None:
    """The exit status that the units don't restart after is the one that wrong settings give."""
    environ = {**os.environ, "ALMENARA_SETTLE_S": "soon"}
    command = [sys.executable, "-m", "deploy", "ingest"]
    out = subprocess.run(command, env=environ, cwd=REPOSITORY, capture_output=True, check=False, timeout=60)
    assert str(out.returncode) == unit("ingest")["Service"]["RestartPreventExitStatus"]
