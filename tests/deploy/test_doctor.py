import os
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import torch

import deploy.doctor
from console.records import migrate, open_database
from console.users import add_user
from deploy.doctor import Finding, Health, examine
from deploy.private_broker import PrivateBroker
from shared.broker import Broker, connect
from shared.checkpoint import Checkpoint
from shared.routing import Routing
from shared.settings import Settings
from worker.engines import make_engine, options

SUBJECTS = ["inbox", "state folder", "image store", "broker", "model", "engine", "file notifications"]
SUBJECTS += ["desk's record", "web console"]
WITHOUT_FIRE = """
[departments]
ambulance = "Ambulance"
[situations.accident]
name = "Accident"
to = ["ambulance"]
"""


@pytest.fixture
def healthy(settings: Settings) -> Settings:
    """Settings with which everything is as it should be."""
    settings.inbox[0].mkdir()
    record = open_database(settings.database)
    migrate(record)
    record.dispose()
    routing = Routing.load(settings.routing)
    roles = {"roles": ["operator"], "departments": ["firefighters"]}
    add_user(settings.users_path, "ana", "a good long password", routing=routing, **roles)
    return settings


def findings(settings: Settings) -> list[Finding]:
    """Everything that the doctor says."""
    with connect(settings) as client:
        return list(examine(settings, client))


def about(subject: str, found: list[Finding]) -> Finding:
    """The first finding about a subject."""
    return next(finding for finding in found if finding.subject == subject)


def test_a_sound_installation_is_healthy(
    healthy: Settings, broker: Broker, monkeypatch: pytest.MonkeyPatch
) -> None:
    """With broker, model and folders in place every check is well, in the order of the work."""
    monkeypatch.setattr(deploy.doctor, "LOW_DISK_BYTES", 0)  # the disk of whoever runs this may be full
    broker.config_set("maxmemory", "1gb")
    try:
        found = findings(healthy)
    finally:
        broker.config_set("maxmemory", "0")
    assert [finding.subject for finding in found] == SUBJECTS
    assert [finding for finding in found if finding.health is not Health.OK] == []


@pytest.mark.usefixtures("broker")
def test_a_disk_that_is_nearly_full_is_a_warning(healthy: Settings, monkeypatch: pytest.MonkeyPatch) -> None:
    """Before anything fails for want of room."""
    monkeypatch.setattr(deploy.doctor, "LOW_DISK_BYTES", 1 << 80)
    finding = about("state folder", findings(healthy))
    assert finding.health is Health.WARNING
    assert "make room" in finding.remedy


@pytest.mark.usefixtures("broker")
def test_an_examination_leaves_nothing_behind(healthy: Settings) -> None:
    """Whatever was written to see whether it can be is gone again."""
    before = sorted(healthy.state_dir.rglob("*"))
    findings(healthy)
    assert [path for path in healthy.state_dir.rglob("*") if path not in before and path.is_file()] == []
    assert list(healthy.inbox[0].iterdir()) == []


@pytest.mark.usefixtures("broker")
def test_every_inbox_is_examined(healthy: Settings, tmp_path: Path) -> None:
    """Of several inboxes each has its finding."""
    found = findings(healthy.override(inbox=(healthy.inbox[0], tmp_path / "other")))
    assert [finding.health for finding in found if finding.subject == "inbox"] == [Health.OK, Health.WARNING]


FAULTS: dict[str, tuple[str, dict[str, Any], str]] = {
    "a user of no department": ("web console", {"routing": Path("routing.toml")}, "almenara user"),
    "an inbox that is a file": ("inbox", {"inbox": (Path("file"),)}, "may use it"),
    "a state folder that is a file": ("state folder", {"state_dir": Path("file")}, "may use it"),
    "a store that can't be made": ("image store", {"image_store": "file/images"}, "writable"),
    "a store of an unknown kind": ("image store", {"image_store": "pigeon://loft"}, "ALMENARA_IMAGE_STORE"),
    "a broker that is away": ("broker", {"redis_url": "redis://127.0.0.1:1/0"}, "check that it runs"),
    "no private broker": ("broker", {"redis_url": "", "state_dir": Path("other")}, "almenara up"),
    "a model that is missing": ("model", {"checkpoint": Path("none")}, "ALMENARA_CHECKPOINT"),
    "a model that is none": ("model", {"checkpoint": Path("file")}, "almenara train"),
    "a routing file that is missing": ("model", {"routing": Path("none")}, "ALMENARA_ROUTING"),
    "a class that goes nowhere": ("model", {"routing": Path("routing.toml")}, "[situations."),
}


@pytest.mark.parametrize("fault", FAULTS)
@pytest.mark.usefixtures("broker")
def test_a_failed_check_names_the_remedy(
    fault: str, healthy: Settings, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What is wrong is found under its subject with what to do, and every other check is made too."""
    monkeypatch.chdir(tmp_path)
    Path("file").write_bytes(b"no model")
    Path("routing.toml").write_text(WITHOUT_FIRE)
    subject, changes, remedy = FAULTS[fault]
    found = findings(healthy.override(**changes))
    finding = about(subject, found)
    assert finding.health is Health.FAILED
    assert remedy in finding.remedy
    assert finding.detail
    assert {each.subject for each in found} == set(SUBJECTS)


@pytest.mark.usefixtures("broker")
def test_what_is_not_made_yet_is_a_warning(healthy: Settings, tmp_path: Path) -> None:
    """A new place has no record and no user, which the desk and `almenara user` make."""
    new = healthy.override(database_url=f"sqlite:///{tmp_path / 'new.db'}", users_file=str(tmp_path / "new"))
    found = findings(new)
    for subject in ("desk's record", "web console"):
        assert about(subject, found).health is Health.WARNING
        assert "file%3A" not in about(subject, found).detail
        assert "almenara" in about(subject, found).remedy
    assert not (tmp_path / "new.db").exists()


@pytest.mark.usefixtures("broker")
@pytest.mark.skipif(torch.cuda.is_available(), reason="there is a CUDA device")
def test_a_missing_device_is_found(healthy: Settings) -> None:
    """A set engine that this machine can't run is a failure before any worker is started."""
    finding = about("engine", findings(healthy.override(engine="torch-cuda")))
    assert finding.health is Health.FAILED
    assert "ALMENARA_ENGINE=auto" in finding.remedy


@pytest.mark.usefixtures("broker")
def test_the_engine_that_auto_takes_is_said(healthy: Settings) -> None:
    """The doctor names the engine that workers will use, and for each faster one why not."""
    checkpoint = Checkpoint.load(healthy.checkpoint)
    detail = about("engine", findings(healthy)).detail
    chosen = make_engine("auto", checkpoint, state_dir=healthy.state_dir)
    assert detail.startswith(f"auto chooses {chosen.name},")
    hindered = [each for each in options(checkpoint, healthy.state_dir) if each.obstacle]
    assert hindered
    assert all(f"not {each.name}, because {each.obstacle}" in detail for each in hindered)


@pytest.mark.usefixtures("broker")
def test_an_engine_that_is_set_is_said(healthy: Settings) -> None:
    """An engine that is set and runs is well, however slow: it was asked for."""
    finding = about("engine", findings(healthy.override(engine="torch-cpu")))
    assert finding.health is Health.OK
    assert finding.detail.startswith("torch-cpu is set")


@pytest.mark.usefixtures("broker")
@pytest.mark.skipif(torch.cuda.is_available(), reason="there is a CUDA device")
def test_a_slow_engine_for_want_of_openvino_is_a_warning(
    healthy: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Where only PyTorch is left the worker works, and the doctor says what would make it faster."""
    monkeypatch.setitem(sys.modules, "openvino", None)
    finding = about("engine", findings(healthy))
    assert finding.health is Health.WARNING
    assert "OpenVINO can't be used" in finding.detail
    assert finding.remedy == "run `make setup`"


@pytest.mark.usefixtures("broker")
def test_an_inbox_not_made_yet_is_no_failure(settings: Settings) -> None:
    """The ingester makes it, and this is said."""
    finding = about("inbox", findings(settings))
    assert (finding.health, finding.remedy) == (Health.WARNING, "the ingester makes it when it starts")


@pytest.fixture
def elsewhere(healthy: Settings) -> Iterator[tuple[Settings, Broker]]:
    """Settings with a broker that somebody else runs, and a client to change what it is."""
    folder = Path(tempfile.mkdtemp(prefix="almenara-test-"))
    private = PrivateBroker(Settings(state_dir=folder))
    private.prepare()
    process = subprocess.Popen(private.command())
    try:
        private.wait_until_ready(process)
        settings = healthy.override(redis_url=private.url)
        with connect(settings) as client:
            client.config_set("maxmemory", "400mb")
            yield settings, client
    finally:
        process.kill()
        process.wait(timeout=60)
        shutil.rmtree(folder, ignore_errors=True)


@pytest.mark.parametrize(
    ("config", "health", "said"),
    [
        ({"appendonly": "no"}, Health.WARNING, "set appendonly yes"),
        ({"appendfsync": "everysec"}, Health.WARNING, "set appendfsync always"),
        ({"maxmemory": "100mb", "maxmemory-policy": "allkeys-lru"}, Health.FAILED, "noeviction"),
        ({"maxmemory": "0"}, Health.WARNING, "set maxmemory below"),
        ({"client-output-buffer-limit": "normal 0 0 0"}, Health.WARNING, "client-output-buffer-limit"),
    ],
)
def test_what_a_broker_can_lose_is_said(
    elsewhere: tuple[Settings, Broker], config: dict[str, str], health: Health, said: str
) -> None:
    """A broker set up to forget is found, with the setting that puts it right."""
    settings, client = elsewhere
    for name, value in config.items():
        client.config_set(name, value)
    (finding,) = (
        each for each in findings(settings) if each.subject == "broker" and each.health is not Health.OK
    )
    assert finding.health is health
    assert said in finding.remedy


def test_a_broker_that_tells_little_is_a_warning(elsewhere: tuple[Settings, Broker]) -> None:
    """Where a hosted broker hides its settings the doctor says whom to ask."""
    settings, client = elsewhere
    client.acl_setuser("guest", enabled=True, nopass=True, keys=["*"], commands=["+@all", "-config"])
    guest = settings.redis_url.replace("unix://", "unix://guest:any@")
    found = [each for each in findings(settings.override(redis_url=guest)) if each.subject == "broker"]
    assert [each.health for each in found] == [Health.OK, Health.WARNING]
    assert "ask whoever runs it" in found[1].remedy
    client.config_set("maxmemory", "100mb")
    client.config_set("maxmemory-policy", "allkeys-lru")  # which INFO tells, too
    assert Health.FAILED in [each.health for each in findings(settings.override(redis_url=guest))]


@pytest.mark.usefixtures("broker")
@pytest.mark.skipif(os.geteuid() == 0 or sys.platform == "win32", reason="root may write everywhere")
def test_an_inbox_that_may_not_be_written_fails(healthy: Settings) -> None:
    """Files are claimed by a rename inside the inbox, which takes the right to write there."""
    healthy.inbox[0].chmod(0o500)
    assert about("inbox", findings(healthy)).health is Health.FAILED
