"""Checks in processes of their own: the same answers, and what kills or hangs one is rejected alone."""

import functools
import io
import os
import signal
import struct
import threading
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from conftest import picture_bytes, wait_until
from PIL import ExifTags, Image
from test_ingest_service import drop, running

import ingest.checks
from ingest.checks import Checks
from ingest.claims import claimed_files
from ingest.pictures import Picture, PictureError, check_picture
from ingest.rejects import Rejects
from ingest.service import IngestService
from ingest.signatures import SlowPictureError
from shared.broker import Broker
from shared.images import ImageStore
from shared.incidents import all_ids
from shared.settings import Settings

pytestmark = [
    pytest.mark.filterwarnings("ignore:Callback with id:RuntimeWarning"),
    pytest.mark.timeout(400),  # more than the waits of one test together
]

Make = Callable[..., Checks]


@pytest.fixture
def checks() -> Iterator[Make]:
    """Make checks, which are ended with the test."""
    made: list[Checks] = []

    def make(
        *, max_pixels: int = 10_000_000, answer_s: float = 60.0, cpu_s: float = 60.0, processes: int = 1
    ) -> Checks:
        limits = {"max_bytes": 50_000_000, "max_pixels": max_pixels, "processes": processes}
        made.append(Checks(**limits, answer_s=answer_s, cpu_s=cpu_s))
        return made[-1]

    yield make
    for each in made:
        each.close()


def slow_bmp(runs: int = 15_000_000) -> bytes:
    """A bitmap of runs of one pixel, which are decoded one by one: seconds of work in 30 megabytes."""
    return _bmp(b"\x01\x07" * runs, 3100)


def sound_bmp(side_px: int) -> bytes:
    """Another one, with all of its lines."""
    return _bmp((b"\x01\x07" * side_px + b"\0\0") * side_px, side_px)


def _bmp(body: bytes, side_px: int) -> bytes:
    header = struct.pack("<IiiHHIIiiII", 40, side_px, side_px, 1, 8, 1, len(body), 0, 0, 256, 0)
    return struct.pack("<2sIHHI", b"BM", 1078 + len(body), 0, 0, 1078) + header + bytes(1024) + body


def tagged(form: str) -> bytes:
    """A picture that says where and when it was taken."""
    exif = Image.Exif()
    exif[ExifTags.Base.Artist] = "somebody"  # empty but for what lies deeper, not all formats write it
    exif.get_ifd(ExifTags.IFD.GPSInfo).update({1: "N", 2: (33.0, 30.0, 0.0), 3: "W", 4: (70.0, 15.0, 0.0)})
    exif.get_ifd(ExifTags.IFD.Exif)[ExifTags.Base.DateTimeOriginal] = "2026:11:24 10:02:03"
    file = io.BytesIO()
    Image.radial_gradient("L").convert("RGB").save(file, form, exif=exif)
    return file.getvalue()


def test_answers_are_those_of_a_thread(checks: Make) -> None:
    """A process says of each format what the same check says here, place and time included."""
    process = checks()
    for form in ("JPEG", "PNG", "WEBP"):
        data = tagged(form)
        found = process.check(data)
        assert found == check_picture(data, max_bytes=50_000_000, max_pixels=10_000_000)
        assert found.gps is not None


def test_refusals_keep_their_reason_and_remedy(checks: Make) -> None:
    """What is refused is refused in the same words."""
    process = checks(max_pixels=100)
    for data in (b"", b"%PDF-1.7", tagged("PNG")[:-30], tagged("JPEG")):
        errors = []
        here = functools.partial(check_picture, max_bytes=50_000_000, max_pixels=100)
        for check in (process.check, here):
            with pytest.raises(PictureError) as caught:
                check(data)
            errors.append((caught.value.reason, caught.value.detail, caught.value.remedy))
        assert errors[0] == errors[1]


def test_a_process_that_dies_is_started_again(checks: Make) -> None:
    """The next picture finds a new process where the last one was killed."""
    pool = checks()
    pool.check(tagged("JPEG"))
    process = pool.processes.members[0]._process
    assert process is not None
    os.kill(process.pid, signal.SIGKILL)
    assert pool.check(tagged("JPEG")).format == "jpeg"


@pytest.fixture
def deadly(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Words in place of pictures end the processes of checks, or keep them."""
    (tmp_path / "sitecustomize.py").write_text(
        "import os, sys, time\n"
        "if 'ingest.checks' in sys.orig_argv:\n"
        "    import ingest.pictures\n"
        "    check = ingest.pictures.check_picture\n"
        "    def deadly(data, **limits):\n"
        "        if data == b'KILL': os.kill(os.getpid(), 11)\n"
        "        if data == b'MUTE': os._exit(3)\n"
        "        if data == b'FALL': raise RuntimeError('of ours')\n"
        "        if data == b'HANG': time.sleep(600)\n"
        "        return check(data, **limits)\n"
        "    ingest.pictures.check_picture = deadly\n"
    )
    monkeypatch.setenv("PYTHONPATH", str(tmp_path))


@pytest.mark.usefixtures("deadly")
def test_a_picture_that_kills_is_refused_alone(checks: Make) -> None:
    """One that ends its process, by a signal or otherwise, is refused, and the next one is checked."""
    pool = checks()
    for word in (b"KILL", b"MUTE", b"FALL"):
        with pytest.raises(PictureError) as caught:
            pool.check(word)
        assert caught.value.reason == "kills_decoder"
    assert pool.check(tagged("JPEG")).format == "jpeg"


@pytest.mark.usefixtures("deadly")
def test_a_picture_that_hangs_is_refused(checks: Make) -> None:
    """One that keeps its process, and needs nothing of a core, is given up by the clock."""
    with pytest.raises(PictureError, match=r"more than 0\.5 s") as caught:
        checks(answer_s=0.5).check(b"HANG")
    assert caught.value.reason == "kills_decoder"


def test_a_picture_that_keeps_a_core_is_rejected_and_the_others_come_in(
    settings: Settings, broker: Broker, store: ImageStore, checks: Make
) -> None:
    """A picture that keeps its decoder busy is set aside with the reason; what lies beside it comes in."""
    inbox = settings.inbox[0]
    inbox.mkdir()
    drop(inbox, "33.9, 151.2153.bmp", slow_bmp())
    drop(inbox, "33.8, 151.2153.jpeg", picture_bytes(1))
    # Of a core, not by the clock: on a busy machine that would strike the sound one too.
    with running(IngestService(settings, broker, store, checks(cpu_s=2.0, processes=2).check)):
        rejects = Rejects(settings.rejected_dir)
        wait_until(lambda: rejects.count() == 1, within_s=60, what="the slow picture is rejected")
        wait_until(lambda: len(all_ids(broker)) == 1, within_s=60, what="the other one comes in")
    assert [each.reason for each in rejects.listing()] == ["kills_decoder"]


def test_a_picture_that_takes_too_much_of_a_core_is_refused(checks: Make) -> None:
    """However the clock goes, and at the first try: it would take as much at the second."""
    with pytest.raises(PictureError, match="core's time") as caught:
        checks(cpu_s=0.05).check(slow_bmp())
    assert caught.value.reason == "kills_decoder"


def large_jpeg() -> bytes:
    """A progressive picture of 36 megapixels in few bytes: 0.3 s of work, and many more scans would fit."""
    file = io.BytesIO()
    Image.new("L", (6000, 6000)).save(file, "JPEG", progressive=True)
    return file.getvalue()


def test_what_takes_long_is_told_from_what_is_unsound(checks: Make, monkeypatch: pytest.MonkeyPatch) -> None:
    """By its header, or once it has taken long; checked for as long as it needs, it is a picture."""
    monkeypatch.setattr(ingest.checks, "_QUICK_CPU_S", 0.05)
    pool = checks(max_pixels=50_000_000)
    for data in (large_jpeg(), sound_bmp(1700)):
        with pytest.raises(SlowPictureError):
            pool.check_quickly(data)
        assert pool.check(data).width_px in (6000, 1700)
    with pytest.raises(PictureError) as caught:
        pool.check_quickly(b"%PDF-1.7")
    assert caught.value.reason == "not_an_image"


def test_slow_pictures_keep_no_other_waiting(
    settings: Settings, broker: Broker, store: ImageStore, checks: Make
) -> None:
    """However many come first, under however many labels, one that is quick comes in before them."""
    inbox, opened, pool = settings.inbox[0], threading.Event(), checks(max_pixels=50_000_000, processes=2)
    inbox.mkdir()
    slow = large_jpeg()
    for number in range(20):
        drop(inbox, f"camera{number}_33.{4000 + number}_-3.7000.jpeg", slow)

    def slowly(data: bytes) -> Picture:
        opened.wait(300)
        return pool.check(data)

    with running(IngestService(settings, broker, store, pool.check_quickly, slowly)):
        wait_until(lambda: len(claimed_files(inbox)) == 20, within_s=60, what="the slow ones are claimed")
        drop(inbox, "plaza_41.20000_-3.70000.jpeg", picture_bytes(1))
        try:
            wait_until(lambda: len(all_ids(broker)) == 1, within_s=60, what="the quick one comes in")
        finally:
            opened.set()
        wait_until(lambda: len(all_ids(broker)) == 21, within_s=100, what="then all come in")
    assert not Rejects(settings.rejected_dir).count()
