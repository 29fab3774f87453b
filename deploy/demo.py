"""`almenara demo`: photographs replayed into the inbox under made-up coordinates."""

import itertools
import random
import time
import uuid
from collections.abc import Callable, Iterator
from pathlib import Path

from PIL import Image, ImageDraw

from ingest.names import format_name
from shared.coordinates import Coordinates, CoordinatesError
from shared.errors import ConfigError

PICTURES = {".jpg", ".jpeg", ".png", ".webp", ".bmp", ".tif", ".tiff"}
DRAWN = 12
Box = tuple[float, float, float, float]
DEFAULT_BOX: Box = (-33.92, 151.13, -33.80, 151.28)
"""Sydney, as the original study's example was."""


def parse_box(text: str) -> Box:
    """``LAT,LON,LAT,LON``: two opposite corners, in degrees.

    Raises:
        ConfigError: it is not four numbers that make two places.
    """
    try:
        first_lat, first_lon, second_lat, second_lon = (float(part) for part in text.split(","))
        Coordinates(latitude_deg=first_lat, longitude_deg=first_lon)
        Coordinates(latitude_deg=second_lat, longitude_deg=second_lon)
    except (ValueError, CoordinatesError) as error:
        raise ConfigError(
            f"--box {text!r} is not LAT,LON,LAT,LON", remedy="such as -33.92,151.13,-33.80,151.28"
        ) from error
    return first_lat, first_lon, second_lat, second_lon


def find_pictures(folder: Path) -> list[Path]:
    """Every picture below a folder, by name.

    Raises:
        ConfigError: there is none.
    """
    found = sorted(path for path in folder.rglob("*") if path.suffix.lower() in PICTURES and path.is_file())
    if not found:
        raise ConfigError(
            f"there is no picture in {folder}", remedy="name a folder with photographs, or none for drawings"
        )
    return found


def replay(
    pictures: Iterator[bytes],
    inbox: Path,
    *,
    box: Box,
    rate_per_s: float,
    seed: int,
    sleep: Callable[[float], None] = time.sleep,
    clock: Callable[[], float] = time.monotonic,
) -> Iterator[Path]:
    """Put pictures into an inbox, each at a place in the box; yields each file as it lands.

    Args:
        pictures: the files' bytes.
        rate_per_s: photographs a second.
        seed: the same places for the same seed.
        sleep: waits seconds.
        clock: gives seconds that never go back.
    """
    chance = random.Random(seed)  # noqa: S311 - places, not secrets
    inbox.mkdir(parents=True, exist_ok=True)
    began_s = clock()
    for index, data in enumerate(pictures):
        latitude_deg, longitude_deg = (
            round(chance.uniform(*sorted((box[axis], box[axis + 2]))), 5) for axis in (0, 1)
        )
        coordinates = Coordinates(latitude_deg=latitude_deg, longitude_deg=longitude_deg)
        extension = "png" if data.startswith(b"\x89PNG") else "jpeg"
        target = inbox / format_name(coordinates, f"demo {index + 1}", extension)
        # Written aside and renamed: whole the moment it has its name.
        temporary = inbox / f".{uuid.uuid4().hex}.tmp"
        temporary.write_bytes(data)
        temporary.rename(target)
        yield target
        if (ahead_s := began_s + (index + 1) / rate_per_s - clock()) > 0:
            sleep(ahead_s)


def drawings(folder: Path, seed: int) -> Iterator[bytes]:
    """Simple street scenes drawn with Pillow. What a model says of them means nothing."""
    chance = random.Random(seed)  # noqa: S311 - drawings, not secrets
    for index in range(DRAWN):
        path = folder / f"drawing-{index}.jpeg"
        _scene(chance, index).save(path, quality=88)
        yield path.read_bytes()


def _scene(chance: random.Random, index: int) -> Image.Image:
    width_px, height_px = 400, 300
    night = index % 3 == 2
    scene = Image.new("RGB", (width_px, height_px), (24, 28, 48) if night else (150, 190, 225))
    draw = ImageDraw.Draw(scene)
    left = 0
    while left < width_px:
        house_px, top = chance.randint(50, 90), chance.randint(40, 130)
        draw.rectangle(
            (left, top, left + house_px, 210), fill=tuple(chance.randint(70, 180) for _ in range(3))
        )
        for x, y in itertools.product(range(left + 8, left + house_px - 14, 22), range(top + 10, 190, 30)):
            draw.rectangle((x, y, x + 10, y + 14), fill=(250, 230, 140) if night else (60, 80, 100))
        left += house_px
    draw.rectangle((0, 210, width_px, height_px), fill=(70, 70, 74))
    for x in range(10, width_px, 60):
        draw.rectangle((x, 252, x + 30, 257), fill=(225, 225, 215))
    _subject(draw, chance, index % 4)
    return scene


def _subject(draw: ImageDraw.ImageDraw, chance: random.Random, kind: int) -> None:
    if kind == 0:  # flames
        for _ in range(60):
            x, y, r = chance.randint(140, 260), chance.randint(70, 210), chance.randint(8, 26)
            draw.ellipse((x - r, y - r, x + r, y + r), fill=(255, chance.randint(80, 200), 20))
    elif kind == 1:  # water
        draw.rectangle((0, 190, 400, 300), fill=(92, 104, 92))
        for y in range(196, 300, 9):
            draw.line((0, y, 400, y + chance.randint(-3, 3)), fill=(125, 138, 128), width=2)
    elif kind == 2:  # a crowd with signs
        for _ in range(70):
            x, y = chance.randint(0, 395), chance.randint(205, 280)
            draw.ellipse((x, y, x + 12, y + 12), fill=(200, 160, 130))
            draw.rectangle(
                (x - 3, y + 12, x + 15, y + 40), fill=tuple(chance.randint(20, 220) for _ in range(3))
            )
    else:  # two cars
        for x in (120, 205):
            draw.rectangle((x, 222, x + 85, 262), fill=tuple(chance.randint(60, 230) for _ in range(3)))
            draw.ellipse((x + 8, 252, x + 30, 274), fill=(20, 20, 20))
            draw.ellipse((x + 55, 252, x + 77, 274), fill=(20, 20, 20))
