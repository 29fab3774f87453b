import struct
from io import BytesIO
from typing import Any

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from PIL import Image, features

from shared.errors import PermanentError
from shared.preprocessing import ImageError, Preprocessing, decode

SMALL = Preprocessing(size_px=32, mean=(0.5, 0.5, 0.5), std=(0.2, 0.2, 0.2))
FORMATS = ("JPEG", "PNG", "WEBP", "BMP", "TIFF")
RED = (220, 30, 20)


def file_of(image: Image.Image, format_: str = "PNG", **options: Any) -> bytes:
    file = BytesIO()
    image.save(file, format_, **options)
    return file.getvalue()


def scene(width_px: int = 90, height_px: int = 60) -> Image.Image:
    """A red left half beside a grey gradient: not the same whichever way it is turned."""
    image = Image.linear_gradient("L").resize((width_px, height_px)).convert("RGB")
    image.paste(RED, (0, 0, width_px // 2, height_px))
    return image


def difference(pixels: np.ndarray, image: Image.Image) -> float:
    """Mean distance in levels from what Pillow alone makes of ``image``."""
    squashed = np.asarray(image.convert("RGB").resize((32, 32), Image.Resampling.BILINEAR))
    return float(np.abs(pixels.astype(int) - squashed).mean())


@pytest.mark.parametrize("format_", FORMATS)
def test_every_format_decodes_to_the_same_square(format_: str) -> None:
    """JPEG, PNG, WebP, BMP and TIFF give the picture, squashed, as writable uint8 RGB."""
    pixels = decode(file_of(scene(), format_), SMALL)
    assert pixels.shape == (32, 32, 3)
    assert pixels.dtype == np.uint8
    assert pixels.flags.writeable and pixels.flags.c_contiguous
    assert difference(pixels, scene()) < 4


@pytest.mark.parametrize("mode", ["1", "L", "LA", "P", "RGBA", "I;16"])
def test_every_kind_of_png_becomes_rgb(mode: str) -> None:
    """Bilevel, grey, palette, alpha and 16-bit pictures look as they did."""
    grey = scene().convert("L")
    if mode == "I;16":
        image = Image.fromarray(np.asarray(grey).astype(np.uint16) * 257)
    else:
        image = grey.convert(mode)
    expected = image.convert("L") if mode == "1" else grey
    assert difference(decode(file_of(image), SMALL), expected) < 2


def test_a_cmyk_jpeg_keeps_its_colours() -> None:
    """Print files from newspapers are not shown as negatives."""
    pixels = decode(file_of(scene().convert("CMYK"), "JPEG", quality=95), SMALL)
    assert difference(pixels, scene()) < 4


def test_transparency_falls_on_white() -> None:
    """What is see-through is white, whatever colour hides beneath; a half stays half."""
    image = Image.new("RGBA", (40, 40), (0, 0, 0, 0))
    image.paste((0, 0, 0, 128), (20, 0, 40, 40))
    pixels = decode(file_of(image), SMALL)
    assert pixels[16, 2].tolist() == [255, 255, 255]
    assert abs(int(pixels[16, 30, 0]) - 127) <= 2


@pytest.mark.parametrize("transparency", [0, bytes([0, 255])])
def test_a_transparent_palette_falls_on_white(transparency: int | bytes) -> None:
    """Both ways of marking a palette colour as transparent work, though Pillow warns about one."""
    image = Image.new("P", (40, 40), 0)
    image.putpalette([0, 0, 0, *RED])
    image.paste(1, (20, 0, 40, 40))
    pixels = decode(file_of(image, transparency=transparency), SMALL)
    assert pixels[16, 2].tolist() == [255, 255, 255]
    assert pixels[16, 30].tolist() == list(RED)


@pytest.mark.parametrize("orientation", range(1, 9))
def test_a_turned_camera_gives_an_upright_picture(orientation: int) -> None:
    """Each of the eight EXIF orientations is undone."""
    undo = {
        2: Image.Transpose.FLIP_LEFT_RIGHT,
        3: Image.Transpose.ROTATE_180,
        4: Image.Transpose.FLIP_TOP_BOTTOM,
        5: Image.Transpose.TRANSPOSE,
        6: Image.Transpose.ROTATE_90,
        7: Image.Transpose.TRANSVERSE,
        8: Image.Transpose.ROTATE_270,
    }
    stored = scene().transpose(undo[orientation]) if orientation in undo else scene()
    exif = Image.Exif()
    exif[0x0112] = orientation
    assert difference(decode(file_of(stored, exif=exif.tobytes()), SMALL), scene()) < 2


@pytest.mark.parametrize("exif", [b"Exif\0\0garbage!", b"Exif\0\0II*\0\x08\0\0\0\xff\xff"])
def test_damaged_exif_leaves_the_picture_as_it_lies(exif: bytes) -> None:
    """A good picture is not lost for its bad labels, even where Pillow's warnings are errors."""
    assert difference(decode(file_of(scene(), "JPEG", exif=exif), SMALL), scene()) < 4


def test_the_first_frame_is_taken() -> None:
    """An animation counts as what it opens with."""
    second = Image.new("RGB", (90, 60), "blue")
    content = file_of(scene(), "TIFF", save_all=True, append_images=[second])
    assert difference(decode(content, SMALL), scene()) < 2


def test_a_large_jpeg_decodes_to_the_same_picture_as_in_full() -> None:
    """Decoding at reduced scale, which saves time, changes nothing that can be seen."""
    large = scene(1920, 1080)
    assert difference(decode(file_of(large, "JPEG", quality=95), SMALL), large) < 3


@pytest.mark.parametrize("format_", FORMATS)
def test_half_a_file_is_truncated(format_: str) -> None:
    """A cut upload is refused with the reason that says so."""
    content = file_of(scene(), format_)
    with pytest.raises(ImageError) as raised:
        decode(content[: len(content) // 2], SMALL)
    assert raised.value.reason == "truncated"


@pytest.mark.parametrize(
    ("content", "reason"),
    [
        (b"", "truncated"),
        (b"not a picture", "undecodable"),
        (b"\xff\xd8\xff", "undecodable"),
        (b"<svg xmlns='http://www.w3.org/2000/svg'/>", "undecodable"),
        (file_of(Image.new("RGB", (9, 9)), "GIF"), "undecodable"),
        (b"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 9 9\n", "undecodable"),
    ],
)
def test_what_is_no_photograph_is_refused(content: bytes, reason: str) -> None:
    """Empty, foreign and disallowed files become a permanent error with a stable reason."""
    with pytest.raises(ImageError) as raised:
        decode(content, SMALL)
    assert isinstance(raised.value, PermanentError)
    assert raised.value.reason == reason


def test_too_many_pixels_are_refused_before_decoding() -> None:
    """A header that promises more than the limit is enough; the pixels need not even be there."""
    header = struct.pack(
        "<2sIHHIIiiHHIIiiII", b"BM", 54, 0, 0, 54, 40, 30_000, 30_000, 1, 24, 0, 0, 0, 0, 0, 0
    )
    with pytest.raises(ImageError, match="30000 x 30000") as raised:
        decode(header, SMALL)
    assert raised.value.reason == "too_many_pixels"


def test_the_limit_on_pixels_is_the_callers() -> None:
    """One pixel over is refused, exactly the limit is not."""
    content = file_of(scene(90, 60))
    assert decode(content, SMALL, max_pixels=5400).shape == (32, 32, 3)
    with pytest.raises(ImageError):
        decode(content, SMALL, max_pixels=5399)


@pytest.mark.parametrize("pillows_limit", [100, 3000])
def test_pillows_own_limit_does_not_interfere(monkeypatch: pytest.MonkeyPatch, pillows_limit: int) -> None:
    """Neither Pillow's error nor its warning decides about a picture that the caller allows."""
    content = file_of(scene(90, 60), "JPEG")
    monkeypatch.setattr(Image, "MAX_IMAGE_PIXELS", pillows_limit)
    assert decode(content, SMALL).shape == (32, 32, 3)


@pytest.mark.parametrize("format_", FORMATS)
@settings(max_examples=150, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(changes=st.lists(st.tuples(st.integers(0, 1200), st.integers(0, 255)), min_size=1, max_size=12))
def test_damage_gives_a_picture_or_an_image_error(format_: str, changes: list[tuple[int, int]]) -> None:
    """However bytes are changed, nothing but ImageError comes out, with Pillow's warnings as errors."""
    content = bytearray(file_of(scene(40, 30), format_))
    for position, value in changes:
        content[position % len(content)] = value
    try:
        pixels = decode(bytes(content), SMALL, max_pixels=1_000_000)
    except ImageError as error:
        assert error.reason in {"undecodable", "truncated", "too_many_pixels"}
    else:
        assert pixels.shape == (32, 32, 3)


def test_webp_is_there() -> None:
    """The Pillow that is installed reads WebP, which phones send."""
    assert features.check("webp")


@pytest.mark.parametrize(
    "values",
    [{"size_px": 31}, {"size_px": 1025}, {"mean": (0.5, 0.5, 1.5)}, {"std": (0.2, 0.0, 0.2)}],
)
def test_preprocessing_out_of_range_is_refused(values: dict[str, Any]) -> None:
    """A size, mean or deviation that no model was trained with does not get into a checkpoint."""
    good: dict[str, Any] = {"size_px": 224, "mean": (0.5, 0.5, 0.5), "std": (0.2, 0.2, 0.2)}
    with pytest.raises(ValueError, match=next(iter(values))):
        Preprocessing(**good | values)
