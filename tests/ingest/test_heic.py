import io
import random
import sys
from collections.abc import Iterator
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from deployment import Deployment
from PIL import ExifTags, Image

import ingest.pictures
from console.pictures import Pictures
from ingest.checks import Checks
from ingest.completeness import Looks, Readiness
from ingest.pictures import PictureError, check_picture
from ingest.signatures import picture_format
from ingest.structure import looks_complete
from shared import heif
from shared.decoding import ImageError, opened
from shared.images import ImageStore
from shared.preprocessing import Preprocessing, decode

pillow_heif = pytest.importorskip("pillow_heif", reason="without the extra `heic`; `make test` has it")

LIMITS: dict[str, Any] = {"max_bytes": 10**7, "max_pixels": 10**7}
RED = (220, 30, 20)
OWNER = b"Secret Camera 9"


def scene(width_px: int, height_px: int) -> Image.Image:
    """A red left half beside a grey gradient, brighter downwards: not the same whichever way it is turned."""
    image = Image.linear_gradient("L").resize((width_px, height_px)).convert("RGB")
    image.paste(RED, (0, 0, width_px // 2, height_px))
    return image


def camera_exif(orientation: int) -> bytes:
    """What a telephone writes: how it was held, whose it is, and where."""
    exif = Image.Exif()
    exif[ExifTags.Base.Orientation] = orientation
    exif[ExifTags.Base.Artist] = OWNER.decode()
    gps = {1: "N", 2: (33.0, 30.0, 0.0), 3: "W", 4: (70.0, 15.0, 0.0)}
    exif.get_ifd(ExifTags.IFD.GPSInfo).update(gps)
    return exif.tobytes()


def jpeg(orientation: int) -> bytes:
    """The same as a JPEG."""
    file = io.BytesIO()
    scene(900, 600).save(file, "JPEG", exif=camera_exif(orientation))
    return file.getvalue()


@cache
def heic(orientation: int = 1, *, width_px: int = 900, height_px: int = 600) -> bytes:
    """A picture as a telephone makes it: with its place, and turned as it was held."""
    file = io.BytesIO()
    drawn = pillow_heif.from_pillow(scene(width_px, height_px))
    drawn.save(file, quality=80, exif=camera_exif(orientation))
    return file.getvalue()


@pytest.fixture
def without_extra(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """As if nobody had installed it."""
    monkeypatch.setitem(sys.modules, "pillow_heif", None)
    heif.is_available.cache_clear()
    yield
    monkeypatch.undo()
    heif.is_available.cache_clear()


def test_a_heic_is_a_picture_with_its_place() -> None:
    """Format by content, size, EXIF place; the same in a process of its own."""
    picture = check_picture(heic(), **LIMITS)
    assert (picture.format, picture.extension) == ("heic", "heic")
    assert (picture.width_px, picture.height_px) == (900, 600)
    assert picture.gps is not None
    assert (picture.gps.latitude_deg, picture.gps.longitude_deg) == (33.5, -70.25)


def test_a_heic_can_be_checked_in_a_process_of_its_own() -> None:
    """Under the limits of memory and time that any other picture has there."""
    checks = Checks(**LIMITS, processes=1)
    try:
        assert checks.check(heic()) == check_picture(heic(), **LIMITS)
    finally:
        checks.close()


def test_a_heic_may_have_fewer_pixels_than_others(monkeypatch: pytest.MonkeyPatch) -> None:
    """One tile repeated makes a hundred megapixels of few bytes."""
    monkeypatch.setattr(ingest.pictures, "HEIC_PIXELS", 100_000)
    with pytest.raises(PictureError) as caught:
        check_picture(heic(), **LIMITS)
    assert caught.value.reason == "too_many_pixels"
    assert check_picture(jpeg(1), **LIMITS).format == "jpeg"


@pytest.mark.parametrize("orientation", [1, 3, 6, 8])
def test_a_heic_comes_out_upright_once(orientation: int) -> None:
    """The model sees it turned as a JPEG of the same camera is, and not turned twice."""
    preprocessing = Preprocessing(size_px=96, mean=(0.5, 0.5, 0.5), std=(0.2, 0.2, 0.2))
    as_heic = decode(heic(orientation), preprocessing).astype(int)
    as_jpeg = decode(jpeg(orientation), preprocessing).astype(int)
    assert np.abs(as_heic - as_jpeg).mean() < 6


def test_the_console_shows_a_heic(tmp_path: Path) -> None:
    """As JPEG, upright, made in the confined process, without what the telephone wrote."""
    store = ImageStore(str(tmp_path))
    place = store.put_picture(heic(6), "a" * 64, "heic")
    pictures = Pictures(store, 10**7)
    try:
        shown = pictures.jpeg(place, 320)
    finally:
        pictures.close()
    assert OWNER not in shown
    with Image.open(io.BytesIO(shown)) as image:
        assert (image.format, image.width, image.height) == ("JPEG", 320, 480)
        pixel = image.getpixel((160, 60))
        assert isinstance(pixel, tuple)
        assert all(abs(got - wanted) < 40 for got, wanted in zip(pixel, RED, strict=True))


def test_half_a_heic_is_waited_for_and_then_refused(tmp_path: Path) -> None:
    """Wherever it ends: no look takes it for whole, and the check says that it is cut."""
    whole = heic()
    path = tmp_path / "a.heic"
    for length in sorted({1, 8, 31, 33, 200, whole.index(b"mdat") - 4, len(whole) // 2, len(whole) - 1}):
        part = whole[:length]
        path.write_bytes(part)
        assert Looks(3600.0).look(path, closed=True) is Readiness.WAIT, length
        if length > 12:
            with pytest.raises(PictureError) as caught:
                check_picture(part, **LIMITS)
            assert caught.value.reason == "truncated", length
    path.write_bytes(whole)
    assert Looks(3600.0).look(path, closed=True) is Readiness.READY


def test_what_some_phones_add_behind_a_heic_is_no_harm() -> None:
    """A box of theirs, or bytes that are none."""
    for more in (b"\0\0\0\x10sefdabcdefgh", b"\x01\x02\x03\x04\x05\x06\x07\x08\x09\x0a"):
        data = heic() + more
        assert looks_complete(data[:32], data[-64:], len(data), lambda at, count: data[at : at + count])  # noqa: B023
        assert check_picture(data, **LIMITS).format == "heic"


@pytest.mark.parametrize("length", [0, 1, 7, 2**31])
def test_impossible_boxes_are_refused(length: int) -> None:
    """A length that leads nowhere, or for ever round."""
    whole = heic()
    at = whole.index(b"meta") - 4
    data = whole[:at] + length.to_bytes(4, "big") + whole[at + 4 :]
    with pytest.raises(PictureError):
        check_picture(data, **LIMITS)


def test_a_file_of_ten_thousand_boxes_is_refused_at_once() -> None:
    """The walk has an end."""
    data = heic()[:28] + b"\0\0\0\x08free" * 10_000
    with pytest.raises(PictureError):
        check_picture(data, **LIMITS)


def test_a_heic_that_is_too_large_is_not_decoded() -> None:
    """By what it announces; one that announces less than it has is refused by the decoder's own limit."""
    with pytest.raises(PictureError) as caught:
        check_picture(heic(), max_bytes=10**7, max_pixels=1000)
    assert caught.value.reason == "too_many_pixels"
    with pytest.raises(ImageError) as refused, opened(heic(), max_pixels=1000):
        pass
    assert refused.value.reason == "too_many_pixels"
    large = heic(width_px=1600, height_px=1200)
    at = large.index(b"ispe") + 8
    lying = large[:at] + (64).to_bytes(4, "big") * 2 + large[at + 8 :]
    with pytest.raises(PictureError):
        check_picture(lying, max_bytes=10**7, max_pixels=10**6)


@pytest.mark.filterwarnings("ignore")
def test_damaged_heics_are_refused_or_shown_and_nothing_else() -> None:
    """Three hundred of them, changed in their boxes or in their pixels: no other error comes out."""
    chance = random.Random(6)
    sound = heic(width_px=160, height_px=120)
    for number in range(300):
        data = bytearray(sound)
        for _ in range(chance.choice((1, 3, 20))):
            data[chance.randrange(len(data) if number % 2 else 600)] = chance.randrange(256)
        try:
            check_picture(bytes(data), **LIMITS)
        except PictureError as error:
            assert error.reason in {"corrupt", "truncated", "not_an_image", "too_many_pixels"}


def test_without_the_extra_a_heic_is_rejected_with_a_remedy(without_extra: None) -> None:
    """The remedy names the extra, and what a telephone can send instead; nothing is opened."""
    assert picture_format(heic()) is None
    with pytest.raises(PictureError) as caught:
        check_picture(heic(), **LIMITS)
    assert caught.value.reason == "not_an_image"
    assert "`heic`" in caught.value.remedy
    assert "Most Compatible" in caught.value.remedy
    with pytest.raises(ImageError) as refused, opened(heic()):
        pass
    assert "`heic`" in refused.value.remedy


def test_an_avif_is_no_heic() -> None:
    """It has boxes too, and nothing here decodes it."""
    head = b"\0\0\0\x1cftypavif\0\0\0\0mif1avif"
    assert not heif.is_heif(head)
    with pytest.raises(PictureError, match="AVIF"):
        check_picture(head, **LIMITS)


def test_a_heic_in_the_inbox_becomes_an_incident(deployment: Deployment) -> None:
    """Through the real ingester, kept as it came."""
    deployment.start("ingest", "ingest")
    deployment.drop(1, data=heic())
    deployment.wait_admitted(1, within_s=90)
    [incident] = deployment.incidents()
    assert incident["image"].endswith(".heic")
    assert ImageStore(deployment.settings.image_store_url).get(incident["image"]) == heic()
