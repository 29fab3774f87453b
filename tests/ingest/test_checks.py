"""Checks in processes of their own: the same answers, and what kills or hangs one is rejected alone."""

import functools
import io
import os
import signal
import struct
from collections.abc import Callable, Iterator

import pytest
from conftest import picture_bytes, wait_until
from PIL import ExifTags, Image
from test_ingest_service import drop, running

from ingest.checks import Checks
from ingest.pictures import PictureError, check_picture
from ingest.rejects import Rejects
from ingest.service import IngestService
from shared.broker import Broker
from shared.images import ImageStore
from shared.incidents import all_ids
from shared.settings import Settings

pytestmark = pytest.mark.filterwarnings("ignore:Callback with id:RuntimeWarning")

Make = Callable[..., Checks]


@pytest.fixture
def checks() -> Iterator[Make]:
    """Make checks, which are ended with the test."""
    made: list[Checks] = []

    def make(*, max_pixels: int = 10_000_000, answer_s: float = 60.0, processes: int = 1) -> Checks:
        made.append(
            Checks(max_bytes=50_000_000, max_pixels=max_pixels, processes=processes, answer_s=answer_s)
        )
        return made[-1]

    yield make
    for each in made:
        each.close()


def slow_bmp(runs: int = 15_000_000) -> bytes:
    """A bitmap of runs of one pixel, which are decoded one by one: seconds of work in 30 megabytes."""
    body, side_px = b"\x01\x07" * runs, 3100
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
    process = pool.processes.all[0]._process
    assert process is not None
    os.kill(process.pid, signal.SIGKILL)
    assert pool.check(tagged("JPEG")).format == "jpeg"


def test_a_picture_that_hangs_is_rejected_and_the_others_come_in(
    settings: Settings, broker: Broker, store: ImageStore, checks: Make
) -> None:
    """A picture that keeps its decoder busy is set aside with the reason; what lies beside it comes in."""
    inbox = settings.inbox[0]
    inbox.mkdir()
    drop(inbox, "33.9, 151.2153.bmp", slow_bmp())
    drop(inbox, "33.8, 151.2153.jpeg", picture_bytes(1))
    with running(IngestService(settings, broker, store, checks(answer_s=3.0, processes=2))):
        rejects = Rejects(settings.rejected_dir)
        wait_until(lambda: rejects.count() == 1, within_s=60, what="the slow picture is rejected")
        wait_until(lambda: len(all_ids(broker)) == 1, within_s=60, what="the other one comes in")
    assert [each.reason for each in rejects.listing()] == ["kills_decoder"]
