import io
import os
import sys
import time
from collections.abc import Callable
from pathlib import Path

import pytest
from conftest import checking, picture_bytes
from PIL import ExifTags, Image

from ingest.claims import Claim
from ingest.intake import PLACES_DIFFER_M, Intake, StillWritten
from shared.coordinates import Coordinates
from shared.errors import PermanentError
from shared.images import ImageStore
from shared.incidents import Photograph
from shared.settings import Settings

NAME = "33.8568, 151.2153 cam 7.jpeg"
HERE = Coordinates(latitude_deg=33.8568, longitude_deg=151.2153)
Make = Callable[..., Claim]


@pytest.fixture
def intake(settings: Settings, store: ImageStore) -> Intake:
    limited = settings.override(max_file_bytes=200_000, max_pixels=100_000, settle_s=600.0)
    return Intake(limited, store, checking(limited), checking(limited))


@pytest.fixture
def claimed(tmp_path: Path) -> Make:
    """Make a claim of a file that was last changed so many seconds ago."""

    def make(name: str, data: bytes, *, age_s: float = 3600.0, subfolder: str = "") -> Claim:
        path = tmp_path / "claim" / name
        path.parent.mkdir(exist_ok=True)
        path.write_bytes(data)
        os.utime(path, (time.time() - age_s,) * 2)
        return Claim("0123", path, tmp_path / "inbox", subfolder)

    return make


def with_gps(place: Coordinates) -> bytes:
    """A picture whose EXIF says where and when it was taken."""
    image = Image.open(io.BytesIO(picture_bytes(1)))
    exif = Image.Exif()
    gps = exif.get_ifd(ExifTags.IFD.GPSInfo)
    gps[ExifTags.GPS.GPSLatitudeRef] = "N" if place.latitude_deg >= 0 else "S"
    gps[ExifTags.GPS.GPSLatitude] = (abs(place.latitude_deg), 0.0, 0.0)
    gps[ExifTags.GPS.GPSLongitudeRef] = "E" if place.longitude_deg >= 0 else "W"
    gps[ExifTags.GPS.GPSLongitude] = (abs(place.longitude_deg), 0.0, 0.0)
    exif.get_ifd(ExifTags.IFD.Exif)[ExifTags.Base.DateTimeOriginal] = "2026:11:24 10:02:03"
    buffer = io.BytesIO()
    image.save(buffer, "JPEG", exif=exif)
    return buffer.getvalue()


def examine(intake: Intake, claim: Claim) -> Photograph:
    """Examine one claim and give what it holds its name in the store."""
    aside = intake.store.aside()
    try:
        photograph = intake.examine(claim, aside)
        intake.store.commit(aside)
    finally:
        aside.discard()
    return photograph


def refusal(intake: Intake, claim: Claim) -> PermanentError:
    """Why a file can't be taken in."""
    with pytest.raises(PermanentError) as caught:
        examine(intake, claim)
    return caught.value


def test_a_photograph_is_stored_with_what_is_known(intake: Intake, store: ImageStore, claimed: Make) -> None:
    """Place and label come from the name; picture and sidecar are in the store."""
    photograph = examine(intake, claimed(NAME, picture_bytes(1)))
    assert (photograph.coordinates, photograph.label, photograph.place_from) == (HERE, "cam 7", "name")
    assert (photograph.name, photograph.note) == (NAME, "")
    assert store.get(photograph.image) == picture_bytes(1)
    assert [each for _, each in store.sidecars()] == [photograph]


def test_a_claim_is_only_read(intake: Intake, claimed: Make) -> None:
    """The claimed file is still there: it goes when the broker has the incident, and not before."""
    claim = claimed(NAME, picture_bytes(1))
    examine(intake, claim)
    assert claim.path.read_bytes() == picture_bytes(1)


def test_the_same_picture_of_the_same_place_is_one_incident(intake: Intake, claimed: Make) -> None:
    """Under another name it has the same id; at another place, or as another picture, it has not."""
    first, again, elsewhere, other = (
        examine(intake, claimed(name, picture_bytes(seed))).incident_id
        for name, seed in ((NAME, 1), ("33.8568 151.2153.jpg", 1), ("33.8569, 151.2153.jpg", 1), (NAME, 2))
    )
    assert first == again
    assert len({first, elsewhere, other}) == 3


def test_the_subfolder_is_the_label_of_a_name_without_one(intake: Intake, claimed: Make) -> None:
    """A camera with a folder of its own is known by it; words in the name say more."""
    bare = claimed("33.8568, 151.2153.jpeg", picture_bytes(1), subfolder="north/gate 7")
    assert examine(intake, bare).label == "north/gate 7"
    assert examine(intake, claimed(NAME, picture_bytes(1), subfolder="north")).label == "cam 7"


REFUSED = {
    "no_coordinates": ("street.jpg", picture_bytes(1)),
    "out_of_range": ("95.1234, 151.2153.jpg", picture_bytes(1)),
    "ambiguous": ("33.8568, 151.2153 and 40.4168, -3.7038.jpg", picture_bytes(1)),
    "empty": (NAME, b""),
    "not_an_image": (NAME, b"<!doctype html><title>502 Bad Gateway</title>"),
    "truncated": (NAME, picture_bytes(1)[:-200]),
    "corrupt": (NAME, picture_bytes(1, kind="PNG")[:60] + bytes(20) + picture_bytes(1, kind="PNG")[80:]),
    "too_many_pixels": (NAME, picture_bytes(1, size_px=(400, 300))),
    "too_large_bytes": (NAME, picture_bytes(1) + bytes(200_000)),
}


@pytest.mark.parametrize("reason", REFUSED)
def test_what_is_refused_and_why(intake: Intake, store: ImageStore, claimed: Make, reason: str) -> None:
    """Each fault has its reason word, a remedy for a person, and leaves nothing in the store."""
    error = refusal(intake, claimed(*REFUSED[reason]))
    assert error.reason == reason
    assert error.remedy
    assert list(store.pictures()) == []
    assert list(store.sidecars()) == []


def test_a_link_is_refused_and_not_followed(intake: Intake, claimed: Make, tmp_path: Path) -> None:
    """A link may lead to what the sender must not see, even if that is a picture."""
    claim = claimed(NAME, picture_bytes(1))
    claim.path.rename(tmp_path / "secret.jpeg")
    claim.path.symlink_to(tmp_path / "secret.jpeg")
    assert refusal(intake, claim).reason == "not_a_file"


def test_a_pipe_is_refused_and_not_waited_for(intake: Intake, claimed: Make) -> None:
    """Reading a pipe could take for ever."""
    claim = claimed(NAME, b"")
    claim.path.unlink()
    os.mkfifo(claim.path)
    assert refusal(intake, claim).reason == "not_a_file"


@pytest.mark.skipif(os.geteuid() == 0, reason="root may read everything")
def test_a_file_that_may_not_be_read_is_refused(intake: Intake, claimed: Make) -> None:
    """The reason is the permission, not the picture."""
    claim = claimed(NAME, picture_bytes(1))
    claim.path.chmod(0)
    assert refusal(intake, claim).reason == "not_readable"


def test_a_refused_name_is_said_in_printable_words(intake: Intake, claimed: Make) -> None:
    """A name of undecodable bytes is part of a message that can be written anywhere."""
    error = refusal(intake, claimed("caf\udce9.jpg", picture_bytes(1)))
    assert "caf" in error.detail
    error.detail.encode("utf-8")


def test_a_picture_with_gps_needs_no_name(intake: Intake, claimed: Make) -> None:
    """Where the name tells no place, the camera's own does, with its time; the name is the label."""
    place = Coordinates(latitude_deg=-33.5, longitude_deg=151.25)
    photograph = examine(intake, claimed("IMG_0042.jpg", with_gps(place)))
    assert (photograph.coordinates, photograph.place_from) == (place, "exif")
    assert (photograph.label, photograph.taken_at) == ("IMG_0042", "2026:11:24 10:02:03")


@pytest.mark.parametrize(("share", "noted"), [(0.9, False), (1.1, True)])
def test_name_and_gps_that_disagree_are_noted(
    intake: Intake, claimed: Make, share: float, noted: bool
) -> None:
    """Up to a kilometre is how well people know; beyond that the name is used and a person is told."""
    one_degree_m = HERE.distance_m(Coordinates(latitude_deg=34.8568, longitude_deg=151.2153))
    away_deg = share * PLACES_DIFFER_M / one_degree_m
    place = Coordinates(latitude_deg=round(HERE.latitude_deg + away_deg, 7), longitude_deg=HERE.longitude_deg)
    photograph = examine(intake, claimed(NAME, with_gps(place)))
    assert (photograph.coordinates, photograph.place_from) == (HERE, "name")
    assert (str(place) in photograph.note) is noted


def test_a_young_file_without_its_end_waits(intake: Intake, claimed: Make) -> None:
    """Half a picture that changed a moment ago may be half-way; one that rests is rejected."""
    half = picture_bytes(1)[:-200]
    with pytest.raises(StillWritten):
        examine(intake, claimed(NAME, half, age_s=60.0))
    assert refusal(intake, claimed(NAME, half, age_s=1200.0)).reason == "truncated"


def test_a_young_file_of_another_fault_does_not_wait(intake: Intake, claimed: Make) -> None:
    """What no writer could still put right is rejected at once."""
    assert refusal(intake, claimed(NAME, b"no picture at all", age_s=60.0)).reason == "not_an_image"


@pytest.mark.skipif(sys.platform != "linux", reason="read leases are Linux's")
def test_a_claimed_file_still_open_waits(intake: Intake, claimed: Make) -> None:
    """A writer that kept its file open across the claim is given the time to finish."""
    claim = claimed(NAME, picture_bytes(1))
    with claim.path.open("ab"), pytest.raises(StillWritten):
        examine(intake, claim)
    assert examine(intake, claim).coordinates == HERE
