"""Thumbnails: small, upright, plain, and nothing of what a file tells besides."""

import io
import zlib

import numpy as np
import pytest
from hostile import (
    PLACE_WORDS,
    RED,
    camera_exif,
    file_of,
    png_chunk,
    png_of_size,
    png_with,
    scene,
    swapped_profile,
)
from PIL import ExifTags, Image

from console.thumbnails import thumbnail
from shared.decoding import ImageError

LIMIT = 10_000_000
UNDO = {
    2: Image.Transpose.FLIP_LEFT_RIGHT,
    3: Image.Transpose.ROTATE_180,
    4: Image.Transpose.FLIP_TOP_BOTTOM,
    5: Image.Transpose.TRANSPOSE,
    6: Image.Transpose.ROTATE_90,
    7: Image.Transpose.TRANSVERSE,
    8: Image.Transpose.ROTATE_270,
}


def shown(image_bytes: bytes, width_px: int = 320) -> Image.Image:
    """What a console shows of a file."""
    image = Image.open(io.BytesIO(thumbnail(image_bytes, width_px, max_pixels=LIMIT)))
    assert (image.format, image.mode) == ("JPEG", "RGB")
    return image


def difference(image: Image.Image, expected: Image.Image) -> float:
    """Mean distance in levels."""
    resized = expected.convert("RGB").resize(image.size, Image.Resampling.BICUBIC)
    return float(np.abs(np.asarray(image).astype(int) - np.asarray(resized)).mean())


def markers(jpeg: bytes) -> list[int]:
    """The markers of a JPEG up to its pixels."""
    found: list[int] = []
    at = 2
    while not found or found[-1] != 0xDA:
        assert jpeg[at] == 0xFF
        found.append(jpeg[at + 1])
        at += 2 + int.from_bytes(jpeg[at + 2 : at + 4], "big")
    return found


@pytest.mark.parametrize("profile", [None, swapped_profile()], ids=["srgb", "profile"])
@pytest.mark.parametrize("kind", ["JPEG", "PNG", "WEBP", "TIFF"])
def test_no_metadata_leaves_the_store(kind: str, profile: bytes | None) -> None:
    """Place, owner, comments, profile and whatever else were in the file; the thumbnail has pixels alone."""
    options = {"comment": PLACE_WORDS} if kind == "JPEG" else {}
    original = file_of(
        scene(), kind, exif=camera_exif(), icc_profile=profile, xmp=b"<x>" + PLACE_WORDS, **options
    )
    assert PLACE_WORDS in original
    if kind != "TIFF":  # which has its place elsewhere
        before = Image.open(io.BytesIO(original)).getexif()
        assert before.get_ifd(ExifTags.IFD.GPSInfo)[2] == (33.0, 30.0, 0.0)
    made = thumbnail(original, 320, max_pixels=LIMIT)
    assert PLACE_WORDS not in made
    after = Image.open(io.BytesIO(made))
    assert not after.getexif()
    assert set(after.info) <= {"jfif", "jfif_version", "jfif_unit", "jfif_density"}
    # JFIF's own header, tables, sizes, pixels: no APP1 or above, no comment.
    assert set(markers(made)) <= {0xE0, 0xDB, 0xC0, 0xC4, 0xDA}
    assert made.endswith(b"\xff\xd9")


@pytest.mark.parametrize("kind", ["JPEG", "PNG", "WEBP", "TIFF"])
@pytest.mark.parametrize("orientation", range(1, 9))
def test_a_turned_camera_gives_an_upright_thumbnail(kind: str, orientation: int) -> None:
    """Each of the eight orientations is undone, and width is measured upright."""
    stored = scene().transpose(UNDO[orientation]) if orientation in UNDO else scene()
    image = shown(file_of(stored, kind, exif=camera_exif(orientation)))
    assert image.size == (320, 213)
    assert difference(image, scene()) < 4


@pytest.mark.parametrize(
    ("size_px", "width_px", "expected"),
    [
        ((900, 600), 320, (320, 213)),
        ((900, 600), 1280, (900, 600)),
        ((3000, 2000), 1280, (1280, 853)),
        ((40, 30), 320, (40, 30)),
        ((600, 900), 320, (320, 480)),
        ((9000, 3), 320, (320, 1)),
        ((3, 9000), 320, (1, 1280)),
        ((1, 1), 320, (1, 1)),
    ],
)
@pytest.mark.parametrize("kind", ["JPEG", "PNG"])
def test_a_thumbnail_fits_and_is_never_enlarged(
    size_px: tuple[int, int], width_px: int, expected: tuple[int, int], kind: str
) -> None:
    """At most as wide as asked and four times as tall, in the picture's proportions."""
    assert shown(file_of(scene(*size_px), kind), width_px).size == expected


def test_a_large_jpeg_looks_as_it_does_in_full() -> None:
    """Decoding at reduced scale saves time and costs nothing that can be seen."""
    assert difference(shown(file_of(scene(3000, 2000), quality=95)), scene(3000, 2000)) < 2


@pytest.mark.parametrize("kind", ["JPEG", "PNG", "WEBP"])
def test_colours_of_another_screen_are_shown_as_they_were(kind: str) -> None:
    """A profile is applied before it is dropped: what it calls red and means as blue is blue."""
    image = shown(file_of(Image.new("RGB", (60, 40), (255, 0, 0)), kind, icc_profile=swapped_profile()))
    red, _green, blue = np.asarray(image)[20, 30].astype(int)
    assert blue > 200 and red < 80


@pytest.mark.parametrize("profile", [b"", b"no profile", swapped_profile()[:200], bytes(128), b"\xff" * 5000])
def test_a_damaged_profile_is_no_reason_to_show_nothing(profile: bytes) -> None:
    """The picture is shown as if it had none."""
    assert difference(shown(file_of(scene(), "PNG", icc_profile=profile)), scene()) < 4


def test_a_profile_of_other_pixels_is_not_applied() -> None:
    """A grey picture with a profile of colours stays as it is."""
    grey = scene().convert("L")
    assert difference(shown(file_of(grey, "PNG", icc_profile=swapped_profile())), grey) < 4


@pytest.mark.parametrize("mode", ["1", "L", "LA", "P", "RGBA", "I;16", "CMYK"])
def test_every_kind_of_pixels_becomes_a_plain_picture(mode: str) -> None:
    """Bilevel, grey, palette, alpha, 16-bit and print pictures look as they did."""
    grey = scene().convert("L")
    if mode == "I;16":
        image = Image.fromarray(np.asarray(grey).astype(np.uint16) * 257)
    else:
        image = grey.convert("RGB").convert(mode)
    kind = "JPEG" if mode == "CMYK" else "PNG"
    assert difference(shown(file_of(image, kind)), image if mode == "1" else grey) < 5


def test_transparency_falls_on_white() -> None:
    """What is see-through is white, whatever colour hides beneath."""
    image = Image.new("RGBA", (40, 40), (*RED, 0))
    image.paste((*RED, 255), (20, 0, 40, 40))
    found = np.asarray(shown(file_of(image, "PNG"))).astype(int)
    assert found[20, 4].min() > 250
    assert np.abs(found[20, 36] - RED).max() < 8


@pytest.mark.parametrize(
    ("image_bytes", "reason"),
    [
        (b"", "truncated"),
        (b"<svg onload=alert(1)>", "undecodable"),
        (b"GIF89a" + bytes(50), "undecodable"),
        (file_of(scene())[:2000], "truncated"),
        (file_of(scene(), "PNG")[:400], "truncated"),
        (file_of(scene(), "WEBP")[:400], "truncated"),
        (b"\xff\xd8\xff" + bytes(500), "undecodable"),
        (png_of_size(2**31 - 1, 2**31 - 1), "too_many_pixels"),
        (png_of_size(4000, 3000), "too_many_pixels"),
        (png_of_size(3000, 3000), "truncated"),
        (file_of(Image.new("1", (20_000, 20_000)), "PNG"), "too_many_pixels"),
        (file_of(Image.new("1", (20_000, 20_000)), "TIFF", compression="group4"), "too_many_pixels"),
    ],
)
def test_what_is_no_picture_to_show_is_refused(image_bytes: bytes, reason: str) -> None:
    """Empty, cut, foreign and mendacious files, and bombs that are small until they are decoded."""
    with pytest.raises(ImageError) as caught:
        thumbnail(image_bytes, 320, max_pixels=LIMIT)
    assert caught.value.reason == reason


@pytest.mark.parametrize(
    ("kind", "head"), [(b"zTXt", b"Comment\0\0"), (b"iCCP", b"profile\0\0"), (b"iTXt", b"Comment\0\1\0\0\0")]
)
def test_a_bomb_in_the_words_of_a_png_does_not_go_off(kind: bytes, head: bytes) -> None:
    """Text and profile that would unpack to 200 MB: refused, or left aside; the pixels are not the matter."""
    bomb = png_with(png_chunk(kind, head + zlib.compress(bytes(200_000_000), 9)))
    assert len(bomb) < 1_000_000
    try:
        image = shown(bomb)
    except ImageError as error:
        assert error.reason == "undecodable"
    else:
        assert difference(image, scene()) < 5
