"""Nearness of places: the box in which a database looks first for what is within a distance."""

import math
from typing import Any

from sqlalchemy import ColumnElement, and_, or_
from sqlalchemy.orm import InstrumentedAttribute

from shared.coordinates import EARTH_RADIUS_M, Coordinates


def in_box(
    latitude: InstrumentedAttribute[Any],
    longitude: InstrumentedAttribute[Any],
    place: Coordinates,
    radius_m: float,
) -> ColumnElement[bool]:
    """Whether columns are in the box of latitudes and longitudes that just holds a circle."""
    angle = radius_m / EARTH_RADIUS_M * (1 + 1e-9)
    south = place.latitude_deg - math.degrees(angle)
    north = place.latitude_deg + math.degrees(angle)
    within = latitude.between(south, north)
    if south <= -90 or north >= 90:
        return within  # a pole lies inside: every meridian passes
    half = math.degrees(math.asin(min(1.0, math.sin(angle) / math.cos(math.radians(place.latitude_deg)))))
    west, east = place.longitude_deg - half, place.longitude_deg + half
    if west < -180:
        return and_(within, or_(longitude >= west + 360, longitude <= east))
    if east > 180:
        return and_(within, or_(longitude >= west, longitude <= east - 360))
    return and_(within, longitude.between(west, east))
