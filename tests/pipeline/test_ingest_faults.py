"""Files in, under faults: every photograph becomes exactly one incident."""

import hashlib
import io
import signal
import subprocess
import sys
from pathlib import Path

import pytest
from conftest import picture_bytes, wait_until
from deployment import Deployment, photograph_name
from PIL import Image

from ingest.claims import claimed_files
from ingest.rejects import Rejects
from shared.images import ImageStore
from shared.incidents import all_ids

pytestmark = [pytest.mark.fault, pytest.mark.timeout(900)]

# Copies its argument's bytes into a file in slow pieces, as a camera on a bad line does.
SLOW_WRITER = """
import sys, time
data = sys.stdin.buffer.read()
with open(sys.argv[1], "wb", buffering=0) as file:
    for begin in range(0, len(data), 400):
        file.write(data[begin:begin + 400])
        time.sleep(0.15)
"""

# Makes Pillow die at one picture as a decoder with a fault in its C code does: by a signal.
KILLER_COMMENT = b"kills the decoder"
DEADLY_PILLOW = f"""
import os
from PIL.JpegImagePlugin import JpegImageFile
load = JpegImageFile.load
def deadly(self):
    if self.info.get("comment") == {KILLER_COMMENT!r}:
        os.kill(os.getpid(), 9)
    return load(self)
JpegImageFile.load = deadly
"""


# Ends the ingester, as a kill would, at the so-manieth call of one function.
DEADLY_CALL = """
import os, pathlib, sys
if "ingest" in sys.argv or "ingest" in sys.orig_argv:
    import ingest.service, shared.durable
    owner, name, calls = {target}
    real = getattr(owner, name)
    def deadly(*arguments, **named):
        global calls
        calls -= 1
        if not calls:
            os.kill(os.getpid(), 9)
        return real(*arguments, **named)
    setattr(owner, name, deadly)
"""
STEPS = {
    "while files are written aside": '(shared.durable, "_write_temporary", 9)',
    "before they are flushed": '(shared.durable.Aside, "commit", 1)',
    "before the first name": '(pathlib.Path, "replace", 1)',
    "between two names": '(pathlib.Path, "replace", 4)',
    "before the broker hears of them": '(ingest.service, "admit", 1)',
    "before the claims are let go": '(ingest.service.Claims, "release", 1)',
    "between two claims": '(ingest.service.Claims, "release", 4)',
}


def test_a_flood_survives_the_death_of_one_of_two_ingesters(deployment: Deployment) -> None:
    """2,000 files at once, two ingesters on one folder, one killed again and again: 2,000 incidents."""
    dropped = 1000
    for seed in range(dropped):
        deployment.drop(seed)
    deployment.start("ingest-1", "ingest")
    deployment.start("ingest-2", "ingest")
    client = deployment.client()
    for _ in range(3):
        # The other one may have taken in everything before we look.
        enough = min(len(all_ids(client)) + 40, dropped)
        wait_until(lambda e=enough: len(all_ids(client)) >= e, within_s=120, what="the flood is taken in")  # type: ignore[misc]
        deployment.kill("ingest-1")
        for seed in range(dropped, dropped + 300):
            deployment.drop(seed)
        dropped += 300
        deployment.start("ingest-1", "ingest")
    for seed in range(1900, 2000):
        deployment.drop(seed)
    deployment.wait_admitted(2000, within_s=240)
    wait_until(lambda: not _claimed(deployment), within_s=120, what="no claim is left over")
    incidents = deployment.incidents()
    assert len(incidents) == 2000
    assert {incident["seen_count"] for incident in incidents} == {"1"}


def test_files_that_land_while_nothing_runs_are_found_at_start(deployment: Deployment) -> None:
    """What lies in the inbox before the ingester starts is taken in."""
    names = {deployment.drop(seed) for seed in range(20)}
    deployment.start("ingest", "ingest")
    deployment.wait_admitted(20, within_s=120)
    assert {incident["name"] for incident in deployment.incidents()} == names


def test_a_camera_that_reuses_one_name_loses_nothing(deployment: Deployment) -> None:
    """Thirty different pictures written over one name, as fast as each is taken, are thirty incidents."""
    deployment.start("ingest", "ingest")
    target = deployment.inbox / photograph_name(1)
    for seed in range(30):
        wait_until(lambda: not target.exists(), within_s=120, what="the ingester took the last one")
        target.write_bytes(picture_bytes(seed))
    deployment.wait_admitted(30, within_s=120)
    assert len({incident["image"] for incident in deployment.incidents()}) == 30


def test_a_slow_writer_is_waited_for(deployment: Deployment) -> None:
    """A picture written in slow pieces is taken whole, once it is closed."""
    deployment.start("ingest", "ingest")
    data = picture_bytes(5, size_px=(160, 120))
    subprocess.run(
        [sys.executable, "-c", SLOW_WRITER, str(deployment.inbox / photograph_name(5))],
        input=data,
        check=True,
    )
    deployment.wait_admitted(1, within_s=120)
    (incident,) = deployment.incidents()
    assert (deployment.settings.state_dir / "images" / incident["image"]).read_bytes() == data
    assert deployment.run("status", "--rejected").stdout.strip() == "Nothing was rejected."


def test_an_ingester_outlives_its_broker(deployment: Deployment) -> None:
    """Files that come while the broker is dead wait, and are taken in when it is back on the same files."""
    process = deployment.start("ingest", "ingest")
    deployment.drop(0)
    deployment.wait_admitted(1, within_s=120)
    deployment.kill("broker")
    for seed in range(1, 60):
        deployment.drop(seed)
    wait_until(lambda: _claimed(deployment) >= 59, within_s=120, what="the files are claimed meanwhile")
    deployment.start_broker()
    deployment.wait_admitted(60, within_s=120)
    assert process.poll() is None
    assert {incident["seen_count"] for incident in deployment.incidents()} == {"1"}


def test_a_stopped_ingester_keeps_its_claims(deployment: Deployment) -> None:
    """An ingester that is only asleep is not robbed by another, and finishes when it wakes."""
    deployment.start("ingest-1", "ingest")
    deployment.drop(0)
    deployment.wait_admitted(1, within_s=120)
    deployment.signal("ingest-1", signal.SIGSTOP)
    deployment.start("ingest-2", "ingest")
    for seed in range(1, 20):
        deployment.drop(seed)
    deployment.wait_admitted(20, within_s=120)
    deployment.signal("ingest-1", signal.SIGCONT)
    deployment.drop(20)
    deployment.wait_admitted(21, within_s=120)
    assert deployment.stop("ingest-1") == 0
    assert {incident["seen_count"] for incident in deployment.incidents()} == {"1"}


def test_a_resend_is_counted_and_makes_no_second_incident(deployment: Deployment) -> None:
    """The same picture of the same place, sent three times, is one incident seen three times."""
    deployment.start("ingest", "ingest")
    client = deployment.client()
    for times in range(1, 4):
        deployment.drop(7)
        wait_until(
            lambda t=times: [each["seen_count"] for each in deployment.incidents()] == [str(t)],  # type: ignore[misc]
            within_s=120,
            what=f"seen {times} times",
        )
    assert client.llen("rq:queue:classify") == 1


def test_a_picture_that_kills_the_decoder_is_set_aside(deployment: Deployment) -> None:
    """The process that checks it dies; the ingester lives, sets the file aside, and takes in the others."""
    (deployment.folder / "sitecustomize.py").write_text(DEADLY_PILLOW)
    deployment.extra_environ["PYTHONPATH"] = str(deployment.folder)
    for seed in range(10):
        deployment.drop(seed)
    killer = io.BytesIO()
    with Image.open(io.BytesIO(picture_bytes(10))) as picture:
        picture.save(killer, "JPEG", comment=KILLER_COMMENT)
    name = deployment.drop(10, data=killer.getvalue())
    ingester = deployment.start("ingest", "ingest")
    deployment.wait_admitted(10, within_s=240)
    rejects = Rejects(deployment.settings.rejected_dir)
    wait_until(lambda: rejects.count() == 1, within_s=120, what="the killer is set aside")
    assert ingester.poll() is None
    assert [(reject.name, reject.reason) for reject in rejects.listing()] == [(name, "kills_decoder")]
    assert len(deployment.incidents()) == 10


@pytest.mark.parametrize("step", STEPS)
def test_a_kill_at_any_step_of_a_batch_loses_nothing(deployment: Deployment, step: str) -> None:
    """No half picture has its final name then, and the next ingester makes each photograph one incident."""
    (deployment.folder / "sitecustomize.py").write_text(DEADLY_CALL.format(target=STEPS[step]))
    for seed in range(40):
        deployment.drop(seed)
    deployment.extra_environ["PYTHONPATH"] = str(deployment.folder)
    assert deployment.start("ingest-1", "ingest").wait(timeout=120) == -signal.SIGKILL
    _assert_whole(deployment)
    del deployment.extra_environ["PYTHONPATH"]
    deployment.start("ingest-2", "ingest")
    deployment.wait_admitted(40, within_s=120)
    wait_until(lambda: not _claimed(deployment), within_s=120, what="no claim is left over")
    assert {incident["seen_count"] for incident in deployment.incidents()} == {"1"}
    _assert_whole(deployment)
    assert len(list((deployment.settings.state_dir / "images" / "pictures").glob("*/[!.]*"))) == 40


def _assert_whole(deployment: Deployment) -> None:
    """Under every final name in the store is the whole file."""
    store = ImageStore(deployment.settings.image_store_url)
    for place, _ in store.pictures():
        assert hashlib.sha256(store.get(place)).hexdigest() == Path(place).stem
    assert all(photograph is not None for _, photograph in store.sidecars())


def _claimed(deployment: Deployment) -> int:
    return len(claimed_files(deployment.inbox))
