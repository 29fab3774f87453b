"""What `make install` puts on a machine: sound and closed in systemd's eyes, and an operator's to change."""

import os
import re
import shutil
import subprocess
from pathlib import Path

import pytest
from unit_parts import REPOSITORY, UNITS

from shared.settings import Settings

EXPOSURE_LIMIT = 2.0
"""What `systemd-analyze security` may give a unit, of 10; 9.6 is a unit without any hardening."""
EXPOSURE_LIMIT_CUDA = 2.5

STUBS = ("sysinit.target", "basic.target", "shutdown.target", "network.target", "multi-user.target")


def analysed(*arguments: str) -> "subprocess.CompletedProcess[str]":
    """`systemd-analyze` with these arguments; skips where there is none."""
    program = shutil.which("systemd-analyze")
    if program is None:
        pytest.skip("there is no systemd-analyze: on Debian, apt-get install systemd")
    return subprocess.run([program, *arguments], capture_output=True, text=True, check=False, timeout=100)


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
    # Neither what was told to a `make` that runs these tests, nor another program's folder.
    others = ("PREFIX", "EXTRAS", "MAKEFLAGS", "MFLAGS", "MAKEOVERRIDES")
    outside = {name: value for name, value in os.environ.items() if name not in others}
    environ = {**outside, "DESTDIR": str(root), "PYTHON_PACKAGES": "no"}
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
