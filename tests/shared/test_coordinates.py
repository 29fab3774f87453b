"""A place: what is one, how it is written, how far two are apart."""

import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from shared.coordinates import EARTH_RADIUS_M, Coordinates, CoordinatesError

LATITUDES = st.floats(-90, 90)
LONGITUDES = st.floats(-180, 180)
PLACES = st.builds(Coordinates, latitude_deg=LATITUDES, longitude_deg=LONGITUDES)
HALF_WAY_ROUND_M = math.pi * EARTH_RADIUS_M


@pytest.mark.parametrize(
    ("latitude_deg", "longitude_deg"), [(90, 180), (-90, -180), (0, 0), (33.8568, 151.2153)]
)
def test_coordinates_accept_the_whole_earth(latitude_deg: float, longitude_deg: float) -> None:
    """Every place up to the poles and the date line is one."""
    place = Coordinates(latitude_deg=latitude_deg, longitude_deg=longitude_deg)
    assert (place.latitude_deg, place.longitude_deg) == (latitude_deg, longitude_deg)


@pytest.mark.parametrize(
    ("latitude_deg", "longitude_deg", "named"),
    [
        (90.0000001, 0, "latitude"),
        (-91, 0, "latitude"),
        (0, 180.0000001, "longitude"),
        (0, -181, "longitude"),
        (math.nan, 0, "latitude"),
        (0, math.nan, "longitude"),
        (math.inf, 0, "latitude"),
        (0, -math.inf, "longitude"),
    ],
)
def test_coordinates_refuse_what_is_no_place(latitude_deg: float, longitude_deg: float, named: str) -> None:
    """A number out of range or not finite is refused, and the error names it and says the order."""
    with pytest.raises(CoordinatesError, match=named) as caught:
        Coordinates(latitude_deg=latitude_deg, longitude_deg=longitude_deg)
    assert caught.value.reason == "out_of_range"
    assert "latitude first" in caught.value.remedy


@pytest.mark.parametrize(
    ("latitude_deg", "longitude_deg", "text"),
    [
        (33.8568, 151.2153, "33.8568, 151.2153"),
        (-33.8568, 0.5, "-33.8568, 0.5"),
        (10, 20, "10, 20"),
        (-0.0, 0.0, "0, 0"),
        (-0.00000001, 1e-9, "0, 0"),
        (12.34567891, -179.99999999, "12.3456789, -180"),
        (100 / 3, -100 / 3, "33.3333333, -33.3333333"),
    ],
)
def test_coordinates_are_written_as_short_as_possible(
    latitude_deg: float, longitude_deg: float, text: str
) -> None:
    """Text has at most seven decimals, no trailing zeros, no exponent and no minus zero."""
    assert str(Coordinates(latitude_deg=latitude_deg, longitude_deg=longitude_deg)) == text


@given(PLACES)
def test_coordinates_text_keeps_the_place(place: Coordinates) -> None:
    """Reading the text back gives the same place to within two centimetres."""
    latitude, longitude = str(place).split(", ")
    again = Coordinates(latitude_deg=float(latitude), longitude_deg=float(longitude))
    assert place.distance_m(again) < 0.02


@pytest.mark.parametrize(
    ("one", "other", "expected_m"),
    [
        ((0, 0), (0, 1), HALF_WAY_ROUND_M / 180),
        ((0, 0), (90, 77), HALF_WAY_ROUND_M / 2),
        ((0, 0), (0, 180), HALF_WAY_ROUND_M),
        ((0, 179.5), (0, -179.5), HALF_WAY_ROUND_M / 180),
        ((60, 0), (60, 180), HALF_WAY_ROUND_M / 3),
    ],
)
def test_distance_agrees_with_geometry(
    one: tuple[float, float], other: tuple[float, float], expected_m: float
) -> None:
    """Distances that geometry gives are met within a millimetre, also over the pole and the date line."""
    start = Coordinates(latitude_deg=one[0], longitude_deg=one[1])
    end = Coordinates(latitude_deg=other[0], longitude_deg=other[1])
    assert start.distance_m(end) == pytest.approx(expected_m, abs=0.001)


@given(PLACES, PLACES)
def test_distance_is_symmetric_and_bounded(one: Coordinates, other: Coordinates) -> None:
    """Distance is the same both ways, never negative and never more than half way round."""
    there_m, back_m = one.distance_m(other), other.distance_m(one)
    assert there_m == pytest.approx(back_m, abs=1e-6)
    assert 0 <= there_m <= HALF_WAY_ROUND_M + 1e-6


@given(PLACES)
def test_distance_to_itself_is_nothing(place: Coordinates) -> None:
    """A place is at no distance from itself."""
    assert place.distance_m(place) == 0


def test_coordinates_are_values() -> None:
    """Equal numbers are the same place, as a key too, and a place can't be changed."""
    place = Coordinates(latitude_deg=1.5, longitude_deg=2.5)
    assert {place: "here"}[Coordinates(latitude_deg=1.5, longitude_deg=2.5)] == "here"
    with pytest.raises(AttributeError):
        place.latitude_deg = 3.0  # type: ignore[misc]
