"""Where and when a photograph was taken, as its EXIF tags say.

EXIF is written by strangers and often damaged: whatever is not plainly sound is treated as absent.
"""

import math
from collections.abc import Mapping

from PIL import ExifTags, Image

from shared.coordinates import Coordinates
from shared.labels import clean_label

_DIRECTIONS = {"N": 1, "S": -1, "E": 1, "W": -1}


def gps_coordinates(image: Image.Image) -> Coordinates | None:
    """Read the place from the GPS tags of an opened picture.

    Returns:
        None when there is no place, or the tags are damaged, incomplete, out of range, marked void by the
        receiver (GPSStatus V) or exactly 0, 0, which cameras write before their first fix. Never raises.
    """
    try:
        tags = image.getexif().get_ifd(ExifTags.IFD.GPSInfo)
        if _letter(tags.get(ExifTags.GPS.GPSStatus)) == "V":
            return None
        latitude_deg = _signed_degrees(tags, ExifTags.GPS.GPSLatitude, ExifTags.GPS.GPSLatitudeRef, "NS")
        longitude_deg = _signed_degrees(tags, ExifTags.GPS.GPSLongitude, ExifTags.GPS.GPSLongitudeRef, "EW")
        if latitude_deg is None or longitude_deg is None or (latitude_deg == 0 and longitude_deg == 0):
            return None
        return Coordinates(latitude_deg=latitude_deg, longitude_deg=longitude_deg)
    except Exception:  # whatever damage makes of Pillow, the photograph is taken in without a place
        return None


def taken_at(image: Image.Image) -> str | None:
    """Read DateTimeOriginal as the camera wrote it, cleaned as a label: local time, no zone. Never raises."""
    try:
        written = image.getexif().get_ifd(ExifTags.IFD.Exif).get(ExifTags.Base.DateTimeOriginal)
        label = clean_label(_text(written))
        return label if any(character.isdecimal() for character in label) else None  # "    :  :" when unset
    except Exception:  # as above
        return None


def _signed_degrees(
    tags: Mapping[int, object], value_tag: int, letter_tag: int, letters: str
) -> float | None:
    """Degrees with their sign. None without a letter: that would leave a choice between two places."""
    letter = _letter(tags.get(letter_tag))
    magnitude_deg = _degrees(tags.get(value_tag))
    if magnitude_deg is None or letter not in letters or not letter:
        return None
    return _DIRECTIONS[letter] * magnitude_deg


def _degrees(value: object) -> float | None:
    """Degrees from one to three numbers: degrees, minutes, seconds. None unless each is sane."""
    parts = value if isinstance(value, tuple | list) else (value,)
    if not 1 <= len(parts) <= 3 or any(isinstance(part, str | bytes) for part in parts):
        return None
    numbers: list[float] = [float(part) for part in parts]
    if not all(math.isfinite(number) and number >= 0 for number in numbers):
        return None
    # Some writers put 60.0 where rounding carried over; anything larger is damage.
    if any(number > 60 for number in numbers[1:]):
        return None
    return math.fsum(number / 60.0**power for power, number in enumerate(numbers))


def _letter(value: object) -> str:
    return _text(value).strip().upper()[:1]


def _text(value: object) -> str:
    if isinstance(value, bytes):
        value = value.decode("latin-1")
    return value.replace("\0", " ") if isinstance(value, str) else ""
