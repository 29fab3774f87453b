"""File names: a place is read however people write it, and nothing else is taken for one."""

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from ingest.names import FileNameError, ParsedName, format_name, parse_name
from shared.coordinates import Coordinates
from shared.labels import clean_label

PLACES = st.builds(Coordinates, latitude_deg=st.floats(-90, 90), longitude_deg=st.floats(-180, 180))

PLAIN = [  # name, place, label
    ("33.8568, 151.2153.jpeg", "33.8568, 151.2153", ""),
    ("33.8568, 151.2153", "33.8568, 151.2153", ""),
    ("33.8568,151.2153.JPG", "33.8568, 151.2153", ""),
    ("-33.8568, -151.2153.webp", "-33.8568, -151.2153", ""),
    ("−33.8568, +151.2153.png", "-33.8568, 151.2153", ""),
    ("33.8568_151.2153.jpg", "33.8568, 151.2153", ""),
    ("33.8568__-151.2153.jpg", "33.8568, -151.2153", ""),
    ("33.8568;151.2153.tiff", "33.8568, 151.2153", ""),
    ("33.8568 , 151.2153.bmp", "33.8568, 151.2153", ""),
    ("33.8568   151.2153.jfif", "33.8568, 151.2153", ""),
    ("33.8568，151.2153.jpg", "33.8568, 151.2153", ""),
    ("33.8568%2C%20151.2153.jpeg", "33.8568, 151.2153", ""),
    ("(33.8568, 151.2153).jpg", "33.8568, 151.2153", ""),
    ("+33.8568-151.2153.jpg", "33.8568, -151.2153", ""),
    ("33.8568°, 151.2153°.jpg", "33.8568, 151.2153", ""),
    ("-33.9_18.4.jpg", "-33.9, 18.4", ""),
    ("33.85 151.21.jpg", "33.85, 151.21", ""),
    ("33, 151.jpg", "33, 151", ""),
    ("33,-151.jpg", "33, -151", ""),
    ("33, 151.2153.jpg", "33, 151.2153", ""),
    ("33.8568, 151.jpg", "33.8568, 151", ""),
    ("0, 0.jpg", "0, 0", ""),
    ("90, -180.jpg", "90, -180", ""),
    ("10.02, 11.30.jpg", "10.02, 11.3", ""),
    ("-10.02, 11.30 cam.jpg", "-10.02, 11.3", "cam"),
]
LETTERS = [
    ("19.4326N 99.1332W.jpg", "19.4326, -99.1332", ""),
    ("N19.4326 W99.1332.jpg", "19.4326, -99.1332", ""),
    ("N19.4326 W99.1332", "19.4326, -99.1332", ""),
    ("n19.4326,w99.1332.jpg", "19.4326, -99.1332", ""),
    ("19.4326N 99.1332O.jpg", "19.4326, -99.1332", ""),
    ("99.1332W 19.4326N.jpg", "19.4326, -99.1332", ""),
    ("W99.1332_S19.4326_cam.jpg", "-19.4326, -99.1332", "cam"),
    ("N19.4326W99.1332.jpg", "19.4326, -99.1332", ""),
    ("19.4326N99.1332W.jpg", "19.4326, -99.1332", ""),
    ("19.4326 N, 99.1332 W.jpg", "19.4326, -99.1332", ""),
    ("N 19.4326 W 99.1332 cam.jpg", "19.4326, -99.1332", "cam"),
    ("33.8568S-151.2153E.jpg", "-33.8568, 151.2153", ""),
    ("33.8568S, 151.2153.jpg", "-33.8568, 151.2153", ""),
    ("33S, 151E.jpg", "-33, 151", ""),
    ("lat33.8568_lon-151.2153.jpg", "33.8568, -151.2153", ""),
    ("lat-33.8568_lon151.2153.jpg", "-33.8568, 151.2153", ""),
    ("Longitude 151.2153 Latitude 33.8568.jpg", "33.8568, 151.2153", ""),
    ("33.8568, 151.2153 E 5th Ave.jpg", "33.8568, 151.2153", "E 5th Ave"),
    ("33.8568, 151.2153 North side.jpg", "33.8568, 151.2153", "North side"),
]
SEXAGESIMAL = [
    ("33°51'24.5\"S 151°12'55\"E.jpg", "-33.8568056, 151.2152778", ""),
    ("33°51′24.5″S 151°12′55″E.jpg", "-33.8568056, 151.2152778", ""),
    ("33°51’24.5”S 151°12’55”E.jpg", "-33.8568056, 151.2152778", ""),
    ("33º51'24.5''S 151º12'55''E.jpg", "-33.8568056, 151.2152778", ""),
    ("33°51'24.5S_151°12'55E_cam7.jpg", "-33.8568056, 151.2152778", "cam7"),
    ("33° 51' 24.5\" S, 151° 12' 55\" E.jpg", "-33.8568056, 151.2152778", ""),
    ("S33°51'24.5\", E151°12'55\".jpg", "-33.8568056, 151.2152778", ""),
    ("33 deg 51' 24.50\" S, 151 deg 12' 55.00\" E.jpg", "-33.8568056, 151.2152778", ""),
    ("33d51m24.5sS 151d12m55sE.jpg", "-33.8568056, 151.2152778", ""),
    ("33d51m24.5S 151d12m55E.jpg", "-33.8568056, 151.2152778", ""),
    ("33-51-24.5S 151-12-55E.jpg", "-33.8568056, 151.2152778", ""),
    ("S33-51-24.5 E151-12-55.jpg", "-33.8568056, 151.2152778", ""),
    ("33 51 24.5 S 151 12 55 E.jpg", "-33.8568056, 151.2152778", ""),
    ("33_51_24.5S_151_12_55E.jpg", "-33.8568056, 151.2152778", ""),
    ("33°51'24.5\", 151°12'55\".jpg", "33.8568056, 151.2152778", ""),
    ("33°51.408'S 151°12.9'E.jpg", "-33.8568, 151.215", ""),
    ("33°51'S 151°12'E.jpg", "-33.85, 151.2", ""),
    ("N 19° 25.956 W 099° 07.992.jpg", "19.4326, -99.1332", ""),
    ("33\udcb051'24.5\"S 151\udcb012'55\"E.jpg", "-33.8568056, 151.2152778", ""),
    ("33Â°51'24.5\"S 151Â°12'55\"E.jpg", "-33.8568056, 151.2152778", ""),
]
COMMAS = [
    ("33,8568 151,2153.jpg", "33.8568, 151.2153", ""),
    ("33,8568_-151,2153.jpg", "33.8568, -151.2153", ""),
    ("33,8568; 151,2153.jpg", "33.8568, 151.2153", ""),
    ("-33,8568 -70,1234 cámara 7.jpg", "-33.8568, -70.1234", "cámara 7"),
    ("33,8568N 99,1332W.jpg", "33.8568, -99.1332", ""),
    ("33,8568N, 99,1332O.jpg", "33.8568, -99.1332", ""),
]
LABELLED = [
    ("33.8568, 151.2153 cam-7 2026-11-24T10.02.jpeg", "33.8568, 151.2153", "cam-7 2026-11-24T10.02"),
    ("33.8568,151.2153_cam7_001.jpg", "33.8568, 151.2153", "cam7_001"),
    ("33.8568, 151.2153-2.jpg", "33.8568, 151.2153", "2"),
    ("33.8568, 151.2153 (2).jpeg", "33.8568, 151.2153", ""),
    ("33.8568, 151.2153 cam7 (2) (1).jpeg", "33.8568, 151.2153", "cam7"),
    ("33.8568, 151.2153 - Copy.jpeg", "33.8568, 151.2153", ""),
    ("33.8568, 151.2153(front door).jpeg", "33.8568, 151.2153", "front door"),
    ("33.8568, 151.2153@night;#3.jpeg", "33.8568, 151.2153", "night;#3"),
    ("33.8568, 151.2153, 45.5 m.jpg", "33.8568, 151.2153", "45.5 m"),
    ("33.8568, 151.2153.jpg.jpeg", "33.8568, 151.2153", ""),
    ("33.8568, 151.2153.NIGHT.jpg", "33.8568, 151.2153", "NIGHT"),
    ("33.8568, 151.2153.heic", "33.8568, 151.2153", ""),
    ("33.8568, 151.2153 O’Connell St.jpg", "33.8568, 151.2153", "O’Connell St"),
    ("33.8568, 151.2153 33.8568 151.2153.jpg", "33.8568, 151.2153", "33.8568 151.2153"),
    ("cam7_33.8568_151.2153.jpg", "33.8568, 151.2153", "cam7"),
    ("cam7_33.8568_-151.2153_night.jpg", "33.8568, -151.2153", "cam7 night"),
    ("Camera 7 - 33.8568, 151.2153.jpg", "33.8568, 151.2153", "Camera 7"),
    ("GPS(33.8568,151.2153).jpg", "33.8568, 151.2153", "GPS"),
    ("geo:33.8568,151.2153.jpg", "33.8568, 151.2153", "geo"),
    ("@33.8568,151.2153,15z.jpg", "33.8568, 151.2153", "15z"),
    ("001_33.8568_151.2153.jpg", "33.8568, 151.2153", "001"),
    ("20261124_100203_33.8568_151.2153.jpg", "33.8568, 151.2153", "20261124_100203"),
    ("2026-11-24 10.02.03 33.8568, 151.2153.jpg", "33.8568, 151.2153", "2026-11-24 10.02.03"),
    ("PXL_20261124_100203123_N33.8568_E151.2153.jpg", "33.8568, 151.2153", "PXL_20261124_100203123"),
    ("192.168.1.64_01_33.8568_-70.1234_MOTION.jpg", "33.8568, -70.1234", "192.168.1.64_01 MOTION"),
    ("写真33.8568，151.2153現場.jpg", "33.8568, 151.2153", "写真 現場"),
]
ELSEWHERE = """
IMG_20261124_100203.jpg|IMG-20261124-WA0001.jpg|IMG_20261124_100203_1.jpg|IMG_0042.HEIC|DSC_0042.JPG
DSCF1234.JPG|photo.png|photo (3).jpg|image0.jpeg|unnamed.webp|P1010023.JPG|GOPR0042.JPG|GH010042.JPG
MVIMG_20261124_100203.jpg|2026-11-24 10.02.03.jpg|2026-11-24 10.02.03-1.jpg|2026-11-24_10-02-03.jpg
20261124_100203.jpg|20261124_100203(0).jpg|2026.11.24 10.02.03.jpg|24.11.2026 10.02.jpg
24.11.2026, 10.02 Uhr.jpg|24.11.26 10.02.jpg|11-24-26 10.02.jpg|24.11 10.02.jpg|10.02 11.30.jpg
10.02, 11.30 news.jpg|10.30-11.45 meeting.jpg|2026-11-24, 10.02.jpg|20261124, 100203.jpg
WhatsApp Image 2026-11-24 at 10.02.03.jpeg|WhatsApp Image 2026-11-24 at 10.02.03 AM (1).jpeg
Imagen de WhatsApp 2026-11-24 a las 10.02.03_4f89a1e3.jpg|photo_2026-11-24_10-02-03.jpg
photo_5195283742_y.jpg|signal-2026-11-24-10-02-03-123.jpg|signal-2026-11-24-100203_002.jpeg
FB_IMG_1700000000000.jpg|received_1234567890.jpeg|Screenshot_2026-11-24-10-02-03.png
Screenshot_20261124-100203_Maps.jpg|Screenshot 2026-11-24 at 10.02.03 AM.png
Screenshot_2026-11-24-10-02-03-123_com.google.android.apps.maps.jpg
Bildschirmfoto 2026-11-24 um 10.02.03.png|Captura de pantalla 2026-11-24 a la(s) 10.02.03 a. m..png
Capture d’écran 2026-11-24 à 10.02.03.png|スクリーンショット 2026-11-24 10.02.03.png
截屏2026-11-24 10.02.03.png
Снимок экрана 2026-11-24 в 10.02.03.png|PXL_20261124_100203123.jpg|PXL_20261124_100203123.MP.jpg
PXL_20261124_100203123.PORTRAIT-01.COVER.jpg|WP_20131124_10_02_03_Pro.jpg|DJI_20261124100203_0001_D.JPG
MDAlarm_20261124-100203.jpg|image23-11-24_10-02-03-45.jpg
192.168.1.64_01_20261124100203123_MOTION_DETECTION.jpg|Camera1_192.168.1.64_20261124.jpg
10.02.03[M][0@0][0].jpg|Camera1_00_20261124100203.jpg|ch01_20261124_100203_E.jpg
Snapshot 2026-11-24 10:02:03.jpg|cam 10:02:03 E 7.jpg|v1.2 3.4.jpg|1.2 3.4.jpg|1.2.3 4.5.6 release.jpg
S01E02.jpg|Show.S01E02.1080p.jpg|e1n2.jpg|W12.png|S7.jpg|1080x1920.jpg|16.9_4.3.jpg|1.5s_2.0s.jpg
f2.8 1.8.jpg|12,5 km.jpg|1,150.75 USD.jpg|3.50, 4 cups.jpg|rotated 90° 45° x.jpg
3, 4 people fighting.jpg|3, 4, 5.jpg|Unit 3, 12 Main St 2000.jpg|November 24, 2026.jpg|page 12, 13.jpg
nan, mother and me.jpg|x 3.14 2.72 y.jpg|1700000000.123_0.98.jpg|crop 0.51_0.33 of 7.jpg|33.8568.jpg
33.8568, .jpg|33.8568, Sydney.jpg|3f2504e0-4f89-11d3-9a0c-0305e82c3301.jpg
d41d8cd98f00b204e9800998ecf8427e.jpg|5e3.jpg|.jpg|.jpeg|jpg|...|(2).jpg
"""
NOT_A_PLACE = [name for line in ELSEWHERE.strip().splitlines() for name in line.split("|")]

REFUSED = [
    ("95.0, 10.0.jpg", "out_of_range"),
    ("33.8568, 181.0.jpg", "out_of_range"),
    ("151.2153, 33.8568.jpg", "out_of_range"),
    ("cam7 151.2153, 33.8568.jpg", "out_of_range"),
    ("200, 300.jpg", "out_of_range"),
    ("9" * 200 + ", 1.jpg", "out_of_range"),
    ("9" * 900 + ".5, 1.5.jpg", "out_of_range"),
    ("334567.12, 6251234.5.jpg", "out_of_range"),
    ("33°71'24\"S 151°12'55\"E.jpg", "out_of_range"),
    ("33-51-60S 151-12-55E.jpg", "out_of_range"),
    ("nan, inf.jpg", "not_a_number"),
    ("NaN, NaN.jpeg", "not_a_number"),
    ("-inf, 151.2153.jpg", "not_a_number"),
    ("nan, 151.2153.jpg", "not_a_number"),
    ("None, None.jpg", "not_a_number"),
    ("null_null.jpg", "not_a_number"),
    ("12.3.4, 151.2153.jpg", "not_a_number"),
    ("33.8568, 12.3.4.jpg", "not_a_number"),
    ("33.8568, 151.2153cam.jpg", "not_a_number"),
    ("3.38568e1, 1.512153e2.jpg", "not_a_number"),
    ("33.8568, 151.2153 34.1234, 150.2345.jpg", "ambiguous"),
    ("33.8568N 151.2153E 34.1234N 150.2345E.jpg", "ambiguous"),
    ("cam 33.8568 51.2153 12.3456.jpg", "ambiguous"),
    ("12.345 33.8568, 51.2153.jpg", "ambiguous"),
    ("33.8568-151.2153.jpg", "ambiguous"),
    ("33.8568 - 151.2153.jpg", "ambiguous"),
    ("cam7-33.8568_151.2153.jpg", "ambiguous"),
    ("- 33.8568, 151.2153.jpg", "ambiguous"),
    ("lat-33.8568_lon-151.2153.jpg", "ambiguous"),
    ("-33.8568S, 151.2153E.jpg", "ambiguous"),
    ("33.8568N, 51.2153N.jpg", "ambiguous"),
    ("N33.8568S, 51.2153E.jpg", "ambiguous"),
    ("33.8568, 151.2153 W.jpg", "ambiguous"),
    ("33.8568, 151.2153 W 5th Ave.jpg", "ambiguous"),
    ("33.8568 W 70.2153.jpg", "ambiguous"),
    ("cam S 33.8568, 151.2153.jpg", "ambiguous"),
    ("33,151.jpg", "ambiguous"),
    ("33,151.2153.jpg", "ambiguous"),
    ("33.8568, 151-2153.jpg", "ambiguous"),
    ("33,8568, 151,2153.jpg", "ambiguous"),
    ("33,8568,151,2153.jpg", "ambiguous"),
    ("33,8568 151.2153.jpg", "ambiguous"),
    ("33.8568, 151,2153.jpg", "ambiguous"),
]


@pytest.mark.parametrize(("name", "place", "label"), PLAIN + LETTERS + SEXAGESIMAL + COMMAS + LABELLED)
def test_name_that_holds_a_place_is_read(name: str, place: str, label: str) -> None:
    """Signs, letters, minutes, decimal commas and labels are all understood."""
    parsed = parse_name(name)
    assert (str(parsed.coordinates), parsed.label) == (place, label)


@pytest.mark.parametrize("name", NOT_A_PLACE)
def test_name_without_a_place_is_left_alone(name: str) -> None:
    """Dates, times, counters, versions, sizes and addresses are not taken for a place."""
    assert parse_name(name).coordinates is None


@pytest.mark.parametrize(
    "name",
    [
        "٣٣٫٨٥٦٨, ١٥١٫٢١٥٣.jpg",
        "٣3.8568, 151.2153.jpg",
        "３３.８５６８, １５１.２１５３.jpg",
        "²3.8568, 151.2153.jpg",
        "33.8568, 151.٢153.jpg",
    ],
)
def test_name_with_other_digits_holds_no_place(name: str) -> None:
    """Digits of other scripts are neither read nor dropped to make another number."""
    try:
        place = parse_name(name).coordinates
    except FileNameError:
        place = None
    assert place is None


@pytest.mark.parametrize(("name", "reason"), REFUSED)
def test_name_that_tries_and_fails_says_why(name: str, reason: str) -> None:
    """A place out of range, not a number or open to two readings is refused with that reason and a remedy."""
    with pytest.raises(FileNameError) as caught:
        parse_name(name)
    assert caught.value.reason == reason
    assert caught.value.detail
    assert caught.value.remedy


def test_swapped_coordinates_are_told_so() -> None:
    """Longitude first is refused, and the remedy gives the right order."""
    with pytest.raises(FileNameError) as caught:
        parse_name("151.2153, 33.8568.jpg")
    assert caught.value.remedy == "latitude comes first: name it 33.8568, 151.2153 if that is the place"


def test_name_without_a_place_keeps_its_words_as_label() -> None:
    """The label of a name without a place is the name without its extension."""
    assert parse_name("cam\x1b7 front.jpeg") == ParsedName(coordinates=None, label="cam7 front")


@pytest.mark.parametrize(
    ("label", "extension", "name"),
    [
        ("", "jpeg", "33.8568, 151.jpeg"),
        ("", ".png", "33.8568, 151.png"),
        ("cam-7", "jpeg", "33.8568, 151.0000 cam-7.jpeg"),
        ("a/b\x00\n c", "jpeg", "33.8568, 151.0000 a-b c.jpeg"),
        ("W", "jpeg", "33.8568, 151.jpeg"),
        ("34.1234, 150.1234", "jpeg", "33.8568, 151.jpeg"),
    ],
)
def test_format_name_writes_the_plain_form(label: str, extension: str, name: str) -> None:
    """The plain form has the label after it, unless the label would be read as coordinates."""
    place = Coordinates(latitude_deg=33.8568, longitude_deg=151)
    assert format_name(place, label, extension) == name


@settings(max_examples=500)
@given(PLACES, st.text(max_size=80))
def test_format_name_reads_back(place: Coordinates, label: str) -> None:
    """Any place with any label makes a legal file name that gives the same place again."""
    name = format_name(place, label)
    assert "/" not in name
    assert "\0" not in name
    assert len(name.encode()) <= 255
    assert str(parse_name(name).coordinates) == str(place)


@given(PLACES, st.from_regex(r"cam-[0-9]{1,3} [a-z]{3,20}", fullmatch=True))
def test_format_name_keeps_an_ordinary_label(place: Coordinates, label: str) -> None:
    """A camera's name comes back as it was given."""
    assert parse_name(format_name(place, label)).label == label


@given(
    st.floats(-90, 90),
    st.floats(-180, 180),
    st.integers(3, 9),
    st.sampled_from([", ", ",", " ", "_", ";", "; ", "__"]),
    st.sampled_from(["", " cam-7", "_001", " (2)", " 2026-11-24T10.02"]),
)
def test_name_in_decimals_is_never_misread(
    latitude_deg: float, longitude_deg: float, decimals: int, separator: str, label: str
) -> None:
    """Three decimals or more give exactly the place they say, whatever parts them and follows them."""
    latitude, longitude = f"{latitude_deg:.{decimals}f}", f"{longitude_deg:.{decimals}f}"
    expected = Coordinates(latitude_deg=float(latitude), longitude_deg=float(longitude))
    assert parse_name(f"{latitude}{separator}{longitude}{label}.jpg").coordinates == expected


GRAMMAR_TEXT = st.text(alphabet="0123456789.,-+ _;°'\"NSEWOnsewodmlat()eé写\udcb0", max_size=60)


@settings(max_examples=1500)
@given(st.one_of(st.text(alphabet=st.characters(), max_size=255), GRAMMAR_TEXT))
def test_any_text_has_one_of_three_outcomes(name: str) -> None:
    """Any text is a place, no place, or a failed try with a known reason; the label is always clean."""
    try:
        parsed = parse_name(name)
    except FileNameError as error:
        assert error.reason in {"out_of_range", "not_a_number", "ambiguous"}
        str(error).encode()
    else:
        assert parsed.coordinates is None or isinstance(parsed.coordinates, Coordinates)
        assert parsed.label == clean_label(parsed.label)


@given(st.binary(max_size=255))
def test_undecodable_names_do_no_harm(name: bytes) -> None:
    """A name of any bytes, as the system hands it over, is read or refused."""
    try:
        parse_name(name.decode(errors="surrogateescape")).label.encode()
    except FileNameError as error:
        assert error.detail


REPEATED = (
    "1|1.|1,|1.1,|1 |1-|1_|-|(|(1)| (1)|N|N1|1N|1°|1°1'|1d1m|.jpg|lat|33.8568, 151.2153 |33,8568 |1e|é"
    "|a\u0301\u0316|%2C| - Copy|nan, |1.1.1 |'| ,|1 N |33.8568N |0.1234-"
)


@pytest.mark.parametrize("piece", REPEATED.split("|"))
def test_reading_never_takes_long(piece: str) -> None:
    """A name of a million characters is dealt with, whatever is repeated in it.

    Reading that takes quadratic time would take hours: pytest's own limit ends it.
    """
    try:
        parse_name(piece * (1_000_000 // len(piece)))
    except FileNameError as error:
        assert error.detail


@pytest.mark.parametrize("letter", ["N", "S", "W"])
def test_a_lone_letter_that_would_move_the_place_is_refused(letter: str) -> None:
    """One space must not decide between two places thousands of kilometres apart."""
    with pytest.raises(FileNameError) as refused:
        parse_name(f"30.12, 40.12 {letter}.jpg")
    assert refused.value.reason == "ambiguous"
