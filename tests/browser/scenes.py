"""Street scenes, drawn: emergencies, a quiet street, and one in which little can be made out."""

import io
import math
import random
from collections.abc import Callable, Mapping

import numpy as np
from PIL import Image, ImageChops, ImageDraw, ImageFilter

WIDTH_PX, HEIGHT_PX = 960, 640
_KERB = 430
"""Where houses end and the pavement begins, in pixels from above; the road begins a little below."""
_ROAD = 462

Colour = tuple[int, int, int]
_WALLS: tuple[Colour, ...] = (
    (176, 120, 92),
    (196, 172, 140),
    (138, 128, 122),
    (160, 96, 84),
    (206, 196, 178),
)
_COATS: tuple[Colour, ...] = ((52, 72, 110), (150, 60, 56), (64, 92, 70), (90, 84, 96), (196, 168, 96))


def draw(kind: str, seed: int = 0) -> Image.Image:
    """A scene by its kind, a key of `KINDS`; another street for each seed."""
    return KINDS[kind](random.Random(f"{kind} {seed}"))


def jpeg(image: Image.Image, comment: str = "") -> bytes:
    """A picture as a file. A comment makes it another file with the same pixels."""
    file = io.BytesIO()
    image.save(file, "JPEG", quality=90, comment=comment.encode())
    return file.getvalue()


def _fire(chance: random.Random) -> Image.Image:
    image = _street(chance, night=True)
    left = chance.randint(330, 470)
    for _ in range(26):  # smoke, drifting
        x, y = left + 90 + chance.gauss(60, 70), chance.uniform(-20, 260)
        _blob(image, (x, y), chance.uniform(50, 110), (64, 58, 60), 0.4)
    flames = Image.new("RGB", image.size)
    pen = ImageDraw.Draw(flames)
    for colour, count, size in (((200, 52, 8), 90, 44), ((255, 128, 16), 80, 32), ((255, 222, 110), 60, 17)):
        for _ in range(count):
            height = chance.random() ** 1.6
            x = left + 90 + chance.gauss(0, 62) * (1 - height * 0.7)
            radius = size * (1.1 - height) + 3
            pen.ellipse(_box(x, 432 - height * 300, radius * 0.7, radius * 1.25), fill=colour)
    image = ImageChops.add(image, flames.filter(ImageFilter.GaussianBlur(46)))
    return _finish(ImageChops.lighter(image, flames.filter(ImageFilter.GaussianBlur(5))))


def _flood(chance: random.Random) -> Image.Image:
    image = _street(chance, overcast=True)
    level = 398
    mirrored = image.crop((0, level - (HEIGHT_PX - level), WIDTH_PX, level)).transpose(
        Image.Transpose.FLIP_TOP_BOTTOM
    )
    water = Image.blend(
        mirrored.filter(ImageFilter.GaussianBlur(5)), Image.new("RGB", mirrored.size, (106, 98, 80)), 0.62
    )
    pen = ImageDraw.Draw(water)
    for _ in range(240):
        y = chance.random() ** 0.7 * water.height
        x, length = chance.uniform(-40, WIDTH_PX), 10 + y / water.height * 90
        shade = chance.choice(((138, 130, 110), (84, 78, 66)))
        pen.line((x, y, x + length, y + chance.uniform(-1, 1)), fill=shade, width=1 + int(y / 90))
    image.paste(water, (0, level))
    _car(image, chance.randint(180, 560), 440, (150, 60, 56), tilt_deg=-4)
    sunk = water.crop((0, 64, WIDTH_PX, water.height))
    image.paste(sunk, (0, level + 64))
    return _finish(image.filter(ImageFilter.GaussianBlur(0.6)))


def _protest(chance: random.Random) -> Image.Image:
    image = _street(chance)
    for line in range(5):
        for _ in range(17 - line):
            y = 436 + line * 34
            _person(
                image,
                chance,
                (chance.uniform(-10, WIDTH_PX), y),
                0.8 + line * 0.2,
                sign=chance.random() < 0.4,
            )
    return _finish(image)


def _accident(chance: random.Random) -> Image.Image:
    image = _street(chance)
    x = chance.randint(240, 420)
    _car(image, x, 500, (44, 84, 140), tilt_deg=3)
    _car(image, x + 168, 496, (190, 188, 180), tilt_deg=-13)
    pen = ImageDraw.Draw(image)
    for _ in range(70):
        bit = (x + 182 + chance.gauss(0, 90), 560 + chance.gauss(0, 20))
        pen.rectangle(
            _box(*bit, chance.uniform(1, 5), chance.uniform(1, 2)),
            fill=chance.choice(((40, 40, 42), (210, 214, 218))),
        )
    for _ in range(14):
        _blob(
            image,
            (x + 190 + chance.gauss(0, 30), chance.uniform(330, 470)),
            chance.uniform(24, 60),
            (214, 214, 216),
            0.3,
        )
    return _finish(image)


def _altercation(chance: random.Random) -> Image.Image:
    image = _street(chance, night=True)
    for x in (404, 470, 560):
        _person(image, chance, (x + chance.uniform(-12, 12), 520), 2.3, reach=-1 if x > 450 else 1)
    return _finish(image)


def _quiet(chance: random.Random) -> Image.Image:
    image = _street(chance)
    for _ in range(3):
        _person(image, chance, (chance.uniform(60, WIDTH_PX - 60), 440), 0.9)
    _car(image, chance.randint(120, 620), 488, chance.choice(_WALLS))
    return _finish(image)


def _fog(chance: random.Random) -> Image.Image:
    image = _street(chance, overcast=True)
    _person(image, chance, (chance.uniform(300, 660), 470), 1.4)
    veil = Image.new("RGB", image.size, (176, 180, 184))
    return _finish(Image.blend(image, veil, 0.72).filter(ImageFilter.GaussianBlur(5)))


KINDS: Mapping[str, Callable[[random.Random], Image.Image]] = {
    "fire": _fire,
    "flood_risk": _flood,
    "protest": _protest,
    "accident": _accident,
    "altercation": _altercation,
    "normal": _quiet,
    "unsure": _fog,
}


def _street(chance: random.Random, *, night: bool = False, overcast: bool = False) -> Image.Image:
    above, below = ((14, 18, 38), (58, 52, 78)) if night else ((96, 148, 204), (206, 224, 236))
    if overcast:
        above, below = (116, 124, 134), (176, 180, 184)
    image = _gradient(above, below)
    light = 0.42 if night else 0.8 if overcast else 1.0
    pen = ImageDraw.Draw(image)
    left = -chance.randint(0, 60)
    while left < WIDTH_PX:
        width, top = chance.randint(120, 190), chance.randint(70, 210)
        _house(pen, chance, (left, top, left + width), light, lit=night)
        left += width
    pen.rectangle((0, _KERB, WIDTH_PX, _ROAD), fill=_dimmed((150, 148, 142), light))
    pen.rectangle((0, _ROAD, WIDTH_PX, HEIGHT_PX), fill=_dimmed((78, 80, 84), light))
    pen.line((0, _ROAD, WIDTH_PX, _ROAD), fill=_dimmed((188, 186, 178), light), width=4)
    for x in range(-40, WIDTH_PX, 150):
        pen.polygon(
            ((x, 556), (x + 74, 556), (x + 66, 566), (x - 12, 566)), fill=_dimmed((226, 224, 210), light)
        )
    for x in (chance.randint(90, 180), chance.randint(700, 830)):
        pen.rectangle((x, 190, x + 6, _KERB + 6), fill=_dimmed((60, 64, 66), light))
        pen.rectangle((x - 26, 184, x + 8, 194), fill=_dimmed((60, 64, 66), light))
        if night:
            _blob(image, (x - 16, 204), 70, (255, 222, 150), 0.5)
    return image


def _house(
    pen: ImageDraw.ImageDraw, chance: random.Random, span: tuple[int, int, int], light: float, *, lit: bool
) -> None:
    left, top, right = span
    wall = _dimmed(chance.choice(_WALLS), light)
    pen.rectangle((left, top, right, _KERB), fill=wall)
    pen.rectangle((left, top, right, top + 10), fill=_dimmed(wall, 0.72))
    pen.line((right, top, right, _KERB), fill=_dimmed(wall, 0.66), width=3)
    columns = (right - left - 20) // 40
    for x in range(left + 18, left + 18 + columns * 40, 40):
        for y in range(top + 30, 350, 58):
            shines = lit and chance.random() < 0.35
            pane: Colour = (252, 214, 132) if shines else _dimmed((94, 116, 136), 0.5 if lit else light)
            pen.rectangle((x - 3, y - 3, x + 25, y + 37), fill=_dimmed(wall, 0.8))
            pen.rectangle((x, y, x + 22, y + 34), fill=pane)
            pen.line((x + 11, y, x + 11, y + 34), fill=_dimmed(wall, 0.7), width=2)
    pen.rectangle((left + 16, 366, right - 16, 376), fill=_dimmed((120, 52, 44), light))
    pen.rectangle((left + 22, 378, right - 22, _KERB), fill=_dimmed((66, 76, 84), light))


def _car(image: Image.Image, x: int, y: int, colour: Colour, *, tilt_deg: float = 0) -> None:
    layer = Image.new("RGBA", (260, 170))
    pen = ImageDraw.Draw(layer)
    pen.ellipse((20, 122, 244, 142), fill=(20, 20, 22, 90))
    pen.rounded_rectangle((24, 68, 236, 124), 18, fill=colour)
    pen.polygon(((62, 70), (88, 30), (166, 30), (200, 70)), fill=_dimmed(colour, 0.85))
    pen.polygon(((74, 68), (93, 38), (122, 38), (122, 68)), fill=(150, 176, 190))
    pen.polygon(((130, 68), (130, 38), (160, 38), (184, 68)), fill=(150, 176, 190))
    pen.rectangle((24, 96, 236, 101), fill=_dimmed(colour, 0.7))
    pen.ellipse((222, 80, 238, 94), fill=(250, 240, 200))
    for wheel in (72, 190):
        pen.ellipse(_box(wheel, 122, 23, 23), fill=(26, 26, 28))
        pen.ellipse(_box(wheel, 122, 10, 10), fill=(150, 152, 154))
    layer = layer.rotate(tilt_deg, Image.Resampling.BICUBIC, expand=True)
    image.paste(layer, (x, y - 90), layer)


def _person(
    image: Image.Image,
    chance: random.Random,
    feet: tuple[float, float],
    size: float,
    *,
    sign: bool = False,
    reach: int = 0,
) -> None:
    pen = ImageDraw.Draw(image)
    x, y = feet
    coat = chance.choice(_COATS)
    for leg in (-5, 5):
        pen.line((x, y + 2 * size, x + leg * size, y + 34 * size), fill=(44, 46, 54), width=int(7 * size))
    pen.rounded_rectangle((x - 11 * size, y - 32 * size, x + 11 * size, y + 8 * size), 7 * size, fill=coat)
    arm = _dimmed(coat, 0.8)
    if sign:
        pen.line(
            (x, y - 26 * size, x + 9 * size, y - 70 * size), fill=(120, 96, 70), width=max(2, int(3 * size))
        )
        board = _box(x + 9 * size, y - 80 * size, 26 * size, 15 * size)
        pen.rectangle(board, fill=chance.choice(((240, 236, 226), (232, 206, 90), (200, 72, 60))))
        for line in (-5, 3):
            pen.line(
                (board[0] + 6, y + (line - 80) * size, board[2] - 6, y + (line - 80) * size),
                fill=(50, 50, 56),
                width=2,
            )
    elif reach:
        pen.line((x, y - 24 * size, x + 30 * reach * size, y - 34 * size), fill=arm, width=int(7 * size))
    else:
        pen.line((x + 10 * size, y - 24 * size, x + 13 * size, y + 4 * size), fill=arm, width=int(5 * size))
    skin = chance.choice(((224, 180, 150), (150, 104, 78), (198, 150, 116), (96, 66, 52)))
    pen.ellipse(_box(x, y - 42 * size, 8.5 * size, 10 * size), fill=skin)
    pen.chord(_box(x, y - 44 * size, 9 * size, 9.5 * size), 180, 360, fill=(46, 36, 32))


def _blob(
    image: Image.Image, centre: tuple[float, float], radius: float, colour: Colour, strength: float
) -> None:
    """A soft spot."""
    side = math.ceil(radius * 2)
    away = np.hypot(*(np.mgrid[0:side, 0:side] - radius)) / radius
    cover = Image.fromarray((255 * strength * np.clip(1 - away, 0, 1) ** 1.3).astype(np.uint8))
    image.paste(colour, (int(centre[0] - radius), int(centre[1] - radius)), cover)


def _gradient(above: Colour, below: Colour) -> Image.Image:
    share = np.linspace(0, 1, HEIGHT_PX)[:, None, None]  # (H, 1, 1)
    rows = np.array(above) * (1 - share) + np.array(below) * share  # (H, 1, 3)
    return Image.fromarray(np.repeat(rows, WIDTH_PX, axis=1).astype(np.uint8))


def _finish(image: Image.Image) -> Image.Image:
    """A camera's grain and darker corners."""
    y, x = np.mgrid[-1 : 1 : HEIGHT_PX * 1j, -1 : 1 : WIDTH_PX * 1j]
    corners = 1 - 0.16 * (x**2 + y**2)[..., None]
    grain = np.random.default_rng(7).normal(0, 3.5, (HEIGHT_PX, WIDTH_PX, 1))
    return Image.fromarray(np.clip(np.asarray(image) * corners + grain, 0, 255).astype(np.uint8))


def _box(x: float, y: float, width: float, height: float) -> tuple[float, float, float, float]:
    return x - width, y - height, x + width, y + height


def _dimmed(colour: Colour, share: float) -> Colour:
    red, green, blue = (round(part * share) for part in colour)
    return red, green, blue
