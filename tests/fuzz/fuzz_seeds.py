"""What the fuzzer begins with: drawn pictures of every kind, real ones if there are any, names, records."""

import functools
import io
import json
import random
import struct
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import safetensors.numpy
from PIL import ExifTags, Image, ImageCms

from shared import heif
from shared.coordinates import Coordinates
from shared.incidents import Photograph, encoded
from shared.moves import Action, Move
from shared.settings import Settings

MARK = "marked-as-secret"
"""In what is secret of a setting."""
NOW = "2026-11-24T10:02:03.000000Z"
REAL_MOST = 60
REAL_MOST_BYTES = 200_000

NAMES = (
    "33.8568, 151.2153.jpeg",
    "-33.8568, -151.2153 cam-7.jpg",
    "33.8568N, 151.2153W (north bridge).JPEG",
    "33°51'24.5\"S 151°12'55.1\"E.png",
    "33º51′24″N, 151º12′55″W plaza 2026-11-24.webp",
    "lat=33.8568 lon=151.2153.jpg",
    "33,8568; 151,2153.jpg",
    "2026-11-24 10.02.03.jpg",
    "33.8568_151.2153_cam.jpeg",
    "N33.8568 E151.2153.tif",
    "0, 0.jpeg",
    "90, 180.bmp",
    "IMG_0001.JPG",
    "10.02, 11.30 news.jpg",
    "３３.８５６８, １５１.２１５３.jpeg",
)


def _file(image: Image.Image, kind: str, **options: Any) -> bytes:
    # Copies, as what one codec leaves on an image disturbs the next.
    if "append_images" in options:
        options["append_images"] = [each.copy() for each in options["append_images"]]
    file = io.BytesIO()
    image.copy().save(file, kind, **options)
    return file.getvalue()


def _scene(side_px: int = 64) -> Image.Image:
    image = Image.radial_gradient("L").resize((side_px, side_px * 3 // 4))
    parts = (image, image.rotate(90), image.transpose(Image.Transpose.FLIP_LEFT_RIGHT))
    return Image.merge("RGB", parts)


def exif() -> Image.Exif:
    """What a telephone writes."""
    made = Image.Exif()
    made[ExifTags.Base.Orientation] = 6
    made[ExifTags.Base.Artist] = "somebody"
    made.get_ifd(ExifTags.IFD.GPSInfo).update({1: "N", 2: (33.0, 30.0, 0.0), 3: "W", 4: (70.0, 15.0, 0.0)})
    made.get_ifd(ExifTags.IFD.Exif)[ExifTags.Base.DateTimeOriginal] = "2026:11:24 10:02:03"
    return made


def _run_length_bmp() -> bytes:
    """A bitmap that is compressed by runs, which Pillow reads and does not write."""
    runs = b"".join(bytes((16, shade)) * 4 + b"\0\0" for shade in range(48)) + b"\0\1"
    info = struct.pack("<IiiHHIIiiII", 40, 64, 48, 1, 8, 1, len(runs), 0, 0, 256, 0)
    palette = b"".join(bytes((shade, shade, shade, 0)) for shade in range(256))
    return struct.pack("<2sIHHI", b"BM", 1078 + len(runs), 0, 0, 1078) + info + palette + runs


@functools.cache
def pictures() -> Mapping[str, tuple[bytes, ...]]:
    """Drawn pictures: format -> files of it. `foreign` are those that are to be refused."""
    rgb, frames = _scene(), [_scene().rotate(angle) for angle in (30, 60, 90)]
    profile = ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB")).tobytes()
    wide = Image.fromarray((np.arange(64 * 48, dtype=np.uint32).reshape(48, 64) * 20).astype(np.uint16))
    drawn = {
        "jpeg": (
            _file(rgb, "JPEG", exif=exif(), icc_profile=profile, comment=b"words"),
            _file(rgb, "JPEG", progressive=True, quality=90),
            _file(rgb.convert("L"), "JPEG", optimize=True),
            _file(rgb.convert("CMYK"), "JPEG"),
            _file(rgb, "MPO", save_all=True, append_images=frames[:1]),
            _file(rgb, "JPEG", restart_marker_blocks=2, subsampling=2),
        ),
        "png": (
            _file(rgb, "PNG", exif=exif(), icc_profile=profile),
            _file(rgb.convert("P"), "PNG", transparency=3),
            _file(wide, "PNG"),
            _file(rgb.convert("RGBA"), "PNG", save_all=True, append_images=frames),
            _file(rgb.convert("1"), "PNG"),
        ),
        "webp": (
            _file(rgb, "WEBP", exif=exif(), icc_profile=profile),
            _file(rgb.convert("RGBA"), "WEBP", lossless=True),
            _file(rgb, "WEBP", save_all=True, append_images=frames),
            _file(rgb, "WEBP"),
        ),
        "bmp": (
            _file(rgb, "BMP"),
            _file(rgb.convert("P"), "BMP"),
            _file(rgb.convert("1"), "BMP"),
            _file(rgb, "DIB"),
            _run_length_bmp(),
        ),
        "tiff": (
            _file(rgb, "TIFF", exif=exif()),
            _file(rgb, "TIFF", compression="tiff_lzw", tiffinfo={317: 2}),
            _file(rgb, "TIFF", compression="jpeg"),
            _file(rgb, "TIFF", compression="tiff_adobe_deflate"),
            _file(rgb.convert("1"), "TIFF", compression="group4"),
            _file(rgb, "TIFF", compression="packbits"),
            _file(rgb, "TIFF", save_all=True, append_images=frames),
            _file(rgb, "TIFF", big_tiff=True),
            _file(wide, "TIFF"),
        ),
        "foreign": (
            _file(
                rgb.convert("P"), "GIF", save_all=True, append_images=[each.convert("P") for each in frames]
            ),
            _file(rgb, "ICO"),
            _file(rgb, "PPM"),
            b"%PDF-1.7\n" + bytes(range(256)) * 4,
            b"<!doctype html><html><body>404" + b" " * 500,
        ),
    }
    if heif.is_available():
        from pillow_heif import from_pillow

        file = io.BytesIO()
        from_pillow(rgb).save(file)
        drawn["heic"] = (file.getvalue(),)
    return drawn


@functools.cache
def real_pictures(folder: str) -> tuple[bytes, ...]:
    """A few photographs of a folder; none where it is ""."""
    if not folder:
        return ()
    paths = sorted(path for path in Path(folder).rglob("*.jp*g") if path.stat().st_size < REAL_MOST_BYTES)
    return tuple(path.read_bytes() for path in random.Random(0).sample(paths, min(REAL_MOST, len(paths))))


def _photograph() -> Photograph:
    return Photograph(
        incident_id="0" * 32,
        image=f"pictures/00/{'0' * 64}.jpeg",
        coordinates=Coordinates(latitude_deg=33.8568, longitude_deg=151.2153),
        label="cam-7",
        received_at=NOW,
        name=NAMES[0],
        place_from="name",
    )


def few_shapes(class_count: int) -> dict[str, tuple[int, ...]]:
    """In place of ResNet-34's: the first and the last of its weights, and smaller."""
    return {
        "conv1.weight": (4, 3, 3, 3),
        "bn1.weight": (4,),
        "fc.weight": (class_count, 4),
        "fc.bias": (class_count,),
    }


def _checkpoint() -> bytes:
    """The model's own header before four small weights."""
    with Settings().checkpoint.open("rb") as file:
        length_bytes = int.from_bytes(file.read(8), "little")
        metadata: dict[str, str] = json.loads(file.read(length_bytes))["__metadata__"]
    classes = len(json.loads(metadata["almenara"])["classes"])
    tensors = {name: np.zeros(shape, np.float16) for name, shape in few_shapes(classes).items()}
    return safetensors.numpy.save(tensors, metadata=metadata)


@functools.cache
def records() -> Mapping[str, bytes]:
    """One sound text of each kind that is read back from somewhere."""
    move = Move(
        move_id="1" * 32,
        department="firefighters",
        case="2" * 32,
        action=Action.NOTE,
        by="ana",
        at=NOW,
        note="two units",
    )
    data: dict[str, Any] = {
        "schema_version": 1,
        "incident_id": "0" * 32,
        "number": "0001",
        "verdict": "dispatched",
        "situation": "fire",
        "confidence": 0.9,
        "scores": {"fire": 0.9, "normal": 0.1},
        "latitude_deg": 33.8,
        "longitude_deg": 151.2,
        "label": "cam-7",
        "departments": ["firefighters"],
        "received_at": NOW,
        "dispatched_at": NOW,
        "image": f"pictures/00/{'0' * 64}.jpeg",
        "model": "m",
    }
    dispatch = {
        "specversion": "1.0",
        "id": "0001",
        "source": "/almenara/worker",
        "type": "almenara.dispatch.v1",
        "time": NOW,
        "department": "firefighters",
        "data": data,
    }
    user = {
        "name": "ana",
        "hash": "$argon2id$v=19$m=65536,t=3,p=4$c2FsdHNhbHQ$aGFzaGhhc2g",
        "roles": ["operator"],
        "departments": ["firefighters"],
        "created_at": NOW,
    }
    return {
        "sidecar": encoded(_photograph().to_fields()).encode(),
        "move": move.encode().encode(),
        "dispatch": encoded(dispatch).encode(),
        "row": json.dumps({"schema_version": 1, "case": "2" * 32, "version": 7}).encode(),
        "users": json.dumps({"format_version": 1, "users": [user]}).encode(),
        "routing": Settings().routing.read_bytes(),
        "checkpoint": _checkpoint(),
    }
