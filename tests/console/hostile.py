"""Pictures that strangers might send, drawn on the spot."""

import io
import struct
import zlib
from typing import Any

from PIL import ExifTags, Image

RED = (220, 30, 20)
PLACE_WORDS = b"Secret Camera 9"


def file_of(image: Image.Image, kind: str = "JPEG", **options: Any) -> bytes:
    """An image as a file."""
    file = io.BytesIO()
    image.save(file, kind, **options)
    return file.getvalue()


def scene(width_px: int = 900, height_px: int = 600) -> Image.Image:
    """A red left half beside a grey gradient, brighter downwards: not the same whichever way it is turned."""
    image = Image.linear_gradient("L").resize((width_px, height_px)).convert("RGB")
    image.paste(RED, (0, 0, width_px // 2, height_px))
    return image


def camera_exif(orientation: int = 1) -> Image.Exif:
    """What a telephone writes: where it was, whose it is, a thumbnail's worth of notes."""
    exif = Image.Exif()
    exif[ExifTags.Base.Orientation] = orientation
    exif[ExifTags.Base.Artist] = PLACE_WORDS.decode()
    gps = {1: "N", 2: (33.0, 30.0, 0.0), 3: "W", 4: (70.0, 15.0, 0.0)}
    exif.get_ifd(ExifTags.IFD.GPSInfo).update(gps)
    exif.get_ifd(ExifTags.IFD.Exif)[ExifTags.Base.UserComment] = PLACE_WORDS
    return exif


def png_chunk(kind: bytes, content: bytes) -> bytes:
    """One chunk of a PNG file."""
    return struct.pack("!I", len(content)) + kind + content + struct.pack("!I", zlib.crc32(kind + content))


def png_of_size(width_px: int, height_px: int) -> bytes:
    """A PNG that announces a size and has next to nothing."""
    header = struct.pack("!IIBBBBB", width_px, height_px, 8, 2, 0, 0, 0)
    rows = zlib.compress(bytes(1000))
    return (
        b"\x89PNG\r\n\x1a\n" + png_chunk(b"IHDR", header) + png_chunk(b"IDAT", rows) + png_chunk(b"IEND", b"")
    )


def png_with(chunk: bytes) -> bytes:
    """A sound PNG with one more chunk before its pixels."""
    sound = file_of(scene(90, 60), "PNG")
    head = 8 + 25  # signature, IHDR
    return sound[:head] + chunk + sound[head:]


def swapped_profile() -> bytes:
    """An ICC profile of a screen whose red shines blue and whose blue shines red; else it is sRGB's."""
    primaries = {
        b"r": (0.1431, 0.0606, 0.7141),
        b"g": (0.3851, 0.7169, 0.0971),
        b"b": (0.4360, 0.2225, 0.0139),
    }
    gamma = b"curv\0\0\0\0" + struct.pack("!IH", 1, 0x0233) + b"\0\0"
    tags = [(b"wtpt", _xyz(0.9642, 1.0, 0.8249))]
    for letter, primary in primaries.items():
        tags += [(letter + b"XYZ", _xyz(*primary)), (letter + b"TRC", gamma)]
    tags += [
        (b"desc", b"desc\0\0\0\0" + struct.pack("!I", 5) + b"swap\0" + bytes(79)),
        (b"cprt", b"text\0\0\0\0me\0\0"),
    ]
    table, body, begin = struct.pack("!I", len(tags)), b"", 128 + 4 + 12 * len(tags)
    for name, content in tags:
        table += name + struct.pack("!II", begin + len(body), len(content))
        body += content + bytes(-len(content) % 4)
    header = bytearray(128)
    header[0:4] = struct.pack("!I", begin + len(body))
    header[8:12] = b"\x02\x10\0\0"
    header[12:24] = b"mntrRGB XYZ "
    header[36:40] = b"acsp"
    header[68:80] = struct.pack("!iii", 63190, 65536, 54061)
    return bytes(header) + table + body


def _xyz(*values: float) -> bytes:
    return b"XYZ \0\0\0\0" + b"".join(struct.pack("!i", round(value * 65536)) for value in values)
