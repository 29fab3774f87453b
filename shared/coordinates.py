"""A place on the Earth."""

import math
from dataclasses import dataclass

from shared.errors import PermanentError

EARTH_RADIUS_M = 6_371_008.8  # mean radius R1 of WGS 84 (Moritz, Geodetic Reference System 1980)


class CoordinatesError(PermanentError):
    """Raised when two numbers are not a place."""

    default_reason = "bad_coordinates"


@dataclass(frozen=True, kw_only=True, slots=True)
class Coordinates:
    """WGS 84 decimal degrees.

    Attributes:
        latitude_deg: in [-90, 90], north positive.
        longitude_deg: in [-180, 180], east positive.

    Raises:
        CoordinatesError: a number is not finite or out of its range.
    """

    latitude_deg: float
    longitude_deg: float

    def __post_init__(self) -> None:
        for name, degrees, limit in (
            ("latitude", self.latitude_deg, 90.0),
            ("longitude", self.longitude_deg, 180.0),
        ):
            if not math.isfinite(degrees) or abs(degrees) > limit:
                raise CoordinatesError(
                    f"{name} {degrees} is not between -{limit:g} and {limit:g} degrees",
                    reason="out_of_range",
                    remedy="name the file LATITUDE, LONGITUDE in decimal degrees, latitude first",
                )

    def __str__(self) -> str:
        return f"{_shortest(self.latitude_deg)}, {_shortest(self.longitude_deg)}"

    def distance_m(self, other: "Coordinates") -> float:
        """Great-circle distance in metres. Source: haversine formula on a sphere of EARTH_RADIUS_M."""
        latitude_1, latitude_2 = math.radians(self.latitude_deg), math.radians(other.latitude_deg)
        d_latitude = latitude_2 - latitude_1
        d_longitude = math.radians(other.longitude_deg - self.longitude_deg)
        a = (
            math.sin(d_latitude / 2) ** 2
            + math.cos(latitude_1) * math.cos(latitude_2) * math.sin(d_longitude / 2) ** 2
        )
        return 2 * EARTH_RADIUS_M * math.asin(min(1.0, math.sqrt(a)))


def _shortest(degrees: float) -> str:
    """Seven decimals at most (about a centimetre), without trailing zeros: ``33.8568``, ``-0.5``, ``10``."""
    text = f"{degrees:.7f}".rstrip("0").rstrip(".")
    return "0" if text == "-0" else text
