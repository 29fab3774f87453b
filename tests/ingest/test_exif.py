"""EXIF: a sound GPS directory gives a place, a damaged one gives none, and nothing is ever raised."""

import io
import math
import struct
import warnings
from collections.abc import Mapping

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import ExifTags, Image
from PIL.TiffImagePlugin import IFDRational

from ingest.exif import gps_coordinates, taken_at
from shared.coordinates import Coordinates

GPS = ExifTags.GPS
SYDNEY: Mapping[int, object] = {
    GPS.GPSLatitudeRef: "S",
    GPS.GPSLatitude: (33.0, 51.0, 24.5),
    GPS.GPSLongitudeRef: "E",
    GPS.GPSLongitude: (151.0, 12.0, 55.0),
}


def saved(gps: Mapping[int, object], times: Mapping[int, object] | None = None) -> bytes:
    """A small JPEG with these GPS tags and these tags of the Exif directory."""
    exif = Image.Exif()
    exif.get_ifd(ExifTags.IFD.GPSInfo).update(gps)
    exif.get_ifd(ExifTags.IFD.Exif).update(times or {})
    file = io.BytesIO()
    Image.new("RGB", (8, 8)).save(file, "JPEG", exif=exif)
    return file.getvalue()


def opened(data: bytes) -> Image.Image:
    """The picture in these bytes."""
    return Image.open(io.BytesIO(data))


def with_gps_in_memory(gps: Mapping[int, object]) -> Image.Image:
    """A picture that reports exactly these tags, also such as no file could hold."""
    image = Image.new("RGB", (8, 8))
    image.getexif().get_ifd(ExifTags.IFD.GPSInfo).update(gps)
    return image


def test_gps_is_read_from_degrees_minutes_and_seconds() -> None:
    """A camera's three numbers and letters become signed decimal degrees."""
    place = gps_coordinates(opened(saved(SYDNEY)))
    assert place is not None
    assert place.distance_m(Coordinates(latitude_deg=-33.8568056, longitude_deg=151.2152778)) < 1


@pytest.mark.parametrize(
    ("latitude", "longitude", "expected"),
    [
        ((33.5,), (70.25,), "33.5, -70.25"),
        ((33.0, 30.0), (70.0, 15.0), "33.5, -70.25"),
        ((33.0, 29.0, 60.0), (70.0, 15.0, 0.0), "33.5, -70.25"),
        (33.5, 70.25, "33.5, -70.25"),
        ((90, 0, 0), (180, 0, 0), "90, -180"),
        ((IFDRational(67, 2),), (IFDRational(281, 4),), "33.5, -70.25"),
    ],
)
def test_gps_is_read_in_every_split_of_degrees(latitude: object, longitude: object, expected: str) -> None:
    """Degrees alone, degrees and minutes, and a carried 60 seconds are all understood."""
    tags = {**SYDNEY, GPS.GPSLatitude: latitude, GPS.GPSLongitude: longitude}
    image = with_gps_in_memory({**tags, GPS.GPSLatitudeRef: "n", GPS.GPSLongitudeRef: "West"})
    assert str(gps_coordinates(image)) == expected


@pytest.mark.parametrize(
    "damage",
    [
        {GPS.GPSLatitudeRef: None},
        {GPS.GPSLatitudeRef: ""},
        {GPS.GPSLatitudeRef: "E"},
        {GPS.GPSLatitudeRef: "?"},
        {GPS.GPSLatitudeRef: 7},
        {GPS.GPSLongitudeRef: b"\xff"},
        {GPS.GPSLatitude: None},
        {GPS.GPSLatitude: ()},
        {GPS.GPSLatitude: (1, 2, 3, 4)},
        {GPS.GPSLatitude: "33.8568"},
        {GPS.GPSLatitude: b"33"},
        {GPS.GPSLatitude: ("33", "51", "24")},
        {GPS.GPSLatitude: (IFDRational(1, 0), 0, 0)},
        {GPS.GPSLatitude: (IFDRational(0, 0), 0, 0)},
        {GPS.GPSLatitude: (33, math.nan, 0)},
        {GPS.GPSLatitude: (math.inf, 0, 0)},
        {GPS.GPSLatitude: (-33, 0, 0)},
        {GPS.GPSLatitude: (33, 61, 0)},
        {GPS.GPSLatitude: (33, 0, 1e9)},
        {GPS.GPSLatitude: (91, 0, 0)},
        {GPS.GPSLongitude: (181, 0, 0)},
        {GPS.GPSLongitude: ({}, [], None)},
        {GPS.GPSLatitude: 10**400},
        {GPS.GPSStatus: "V"},
        {GPS.GPSLatitude: (0, 0, 0), GPS.GPSLongitude: (0, 0, 0)},
    ],
)
def test_gps_that_is_damaged_gives_no_place(damage: Mapping[int, object]) -> None:
    """Missing letters, wrong types, zero denominators and impossible numbers all mean no place."""
    assert gps_coordinates(with_gps_in_memory({**SYDNEY, **damage})) is None


def test_gps_is_absent_in_a_picture_without_exif() -> None:
    """A drawing has no place and no time."""
    image = Image.new("RGB", (8, 8))
    assert gps_coordinates(image) is None
    assert taken_at(image) is None


def test_gps_survives_a_pointer_that_leads_nowhere() -> None:
    """A GPS directory that lies outside the file means no place."""
    image = Image.new("RGB", (8, 8))
    image.info["exif"] = b"Exif\0\0MM\0*" + struct.pack(">LHHHLLL", 8, 1, 0x8825, 4, 1, 0x7FFFFFF0, 0)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        assert gps_coordinates(image) is None


@settings(max_examples=300)
@given(st.data())
def test_gps_of_flipped_bits_never_raises(data: st.DataObject) -> None:
    """Whatever bits are flipped in the EXIF block, the outcome is a place or none."""
    sound = Image.open(io.BytesIO(SAVED)).info["exif"]
    damaged = bytearray(sound)
    for at in data.draw(st.lists(st.integers(6, len(sound) - 1), min_size=1, max_size=8)):
        damaged[at] ^= data.draw(st.integers(1, 255))
    image = Image.new("RGB", (8, 8))
    image.info["exif"] = bytes(damaged)
    place = gps_coordinates(image)
    assert place is None or isinstance(place, Coordinates)
    assert isinstance(taken_at(image), str | None)


@given(st.binary(max_size=300))
def test_gps_of_random_exif_never_raises(exif: bytes) -> None:
    """Bytes that are no EXIF at all mean no place and no time."""
    image = Image.new("RGB", (8, 8))
    image.info["exif"] = b"Exif\0\0" + exif
    assert gps_coordinates(image) is None
    assert taken_at(image) is None


@pytest.mark.parametrize(
    ("written", "expected"),
    [
        ("2026:11:24 10:02:03", "2026:11:24 10:02:03"),
        ("2026:11:24 10:02:03\x1b[2J", "2026:11:24 10:02:03[2J"),
        (b"2026:11:24\x00\x00", "2026:11:24"),
        ("    :  :     :  :  ", None),
        ("   ", None),
        (20261124, None),
    ],
)
def test_taken_at_is_what_the_camera_wrote_but_clean(written: object, expected: str | None) -> None:
    """DateTimeOriginal comes through without control characters, and only when it is a time."""
    image = Image.new("RGB", (8, 8))
    image.getexif().get_ifd(ExifTags.IFD.Exif)[ExifTags.Base.DateTimeOriginal] = written
    assert taken_at(image) == expected


SAVED = saved(SYDNEY, {ExifTags.Base.DateTimeOriginal: "2026:11:24 10:02:03"})
