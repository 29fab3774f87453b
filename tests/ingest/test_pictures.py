"""Pictures: sound ones pass whatever they are called, the rest is refused with a reason and harms nothing."""

import functools
import io
import struct
import subprocess
import sys
import warnings
import zlib
from collections.abc import Callable

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import ExifTags, Image

from ingest.pictures import Picture, PictureError, check_picture

FORMATS = ("jpeg", "progressive", "png", "webp", "lossless", "bmp", "tiff", "lzw")
SIGNATURES = (b"\xff\xd8\xff\xe1", b"\x89PNG\r\n\x1a\n", b"RIFF\x40\0\0\0WEBPVP8 ", b"II*\0", b"BM")
REASONS = {"empty", "not_an_image", "too_large_bytes", "too_many_pixels", "truncated", "corrupt"}


@functools.cache
def picture_bytes(form: str, width_px: int = 40, height_px: int = 30) -> bytes:
    """A picture with some texture, so that its data is not trivial."""
    image = Image.radial_gradient("L").resize((width_px, height_px))
    image = Image.merge("RGB", (image, image.rotate(90), image.transpose(Image.Transpose.FLIP_LEFT_RIGHT)))
    name = {"progressive": "jpeg", "lossless": "webp", "lzw": "tiff"}.get(form, form)
    options: dict[str, dict[str, object]] = {
        "progressive": {"progressive": True},
        "lossless": {"lossless": True},
        "lzw": {"compression": "tiff_lzw"},
    }
    file = io.BytesIO()
    image.save(file, name, **options.get(form, {}))
    return file.getvalue()


def check(data: bytes, *, max_bytes: int = 10**7, max_pixels: int = 10**7) -> Picture:
    """Check with limits that no picture here reaches unless it is about them."""
    return check_picture(data, max_bytes=max_bytes, max_pixels=max_pixels)


def refusal(data: bytes, *, max_bytes: int = 10**7, max_pixels: int = 10**7) -> PictureError:
    """The error a check must end with."""
    with pytest.raises(PictureError) as caught:
        check_picture(data, max_bytes=max_bytes, max_pixels=max_pixels)
    assert caught.value.detail
    return caught.value


def png_chunk(kind: bytes, content: bytes) -> bytes:
    """A PNG chunk with its length and checksum."""
    return struct.pack(">L", len(content)) + kind + content + struct.pack(">L", zlib.crc32(kind + content))


def png_of(width_px: int, height_px: int, pixels: bytes) -> bytes:
    """A greyscale PNG that announces a size, whatever it holds."""
    header = png_chunk(b"IHDR", struct.pack(">LLBBBBB", width_px, height_px, 8, 0, 0, 0, 0))
    body = png_chunk(b"IDAT", zlib.compress(pixels))
    return b"\x89PNG\r\n\x1a\n" + header + body + png_chunk(b"IEND", b"")


@pytest.mark.parametrize(
    ("form", "expected"),
    list(zip(FORMATS, ("jpeg", "jpeg", "png", "webp", "webp", "bmp", "tiff", "tiff"), strict=True)),
)
def test_sound_pictures_pass(form: str, expected: str) -> None:
    """Each accepted format passes and is told by its content, with its size."""
    picture = check(picture_bytes(form))
    assert (picture.format, picture.extension) == (expected, expected)
    assert (picture.width_px, picture.height_px) == (40, 30)
    assert (picture.gps, picture.taken_at) == (None, None)


@pytest.mark.parametrize("form", FORMATS)
def test_one_pixel_is_a_picture(form: str) -> None:
    """The smallest picture passes."""
    picture = check(picture_bytes(form, 1, 1))
    assert (picture.width_px, picture.height_px) == (1, 1)


@pytest.mark.parametrize("mode", ["1", "L", "P", "LA", "RGBA", "I;16", "CMYK"])
def test_every_colour_mode_passes(mode: str) -> None:
    """Black and white, grey, palette, transparency, 16 bits and print colours are all pictures."""
    form = {"CMYK": "JPEG", "LA": "PNG"}.get(mode, "PNG")
    file = io.BytesIO()
    Image.new(mode, (9, 7)).save(file, form)
    assert check(file.getvalue()).width_px == 9


def test_first_picture_of_several_counts() -> None:
    """Phones' multi-picture JPEGs, animations and page stacks are taken for their first picture."""
    for form, expected in (("MPO", "jpeg"), ("PNG", "png"), ("WEBP", "webp"), ("TIFF", "tiff")):
        first, second = Image.new("RGB", (20, 10), "red"), Image.new("RGB", (20, 10), "blue")
        file = io.BytesIO()
        first.save(file, form, save_all=True, append_images=[second])
        picture = check(file.getvalue())
        assert (picture.format, picture.width_px, picture.height_px) == (expected, 20, 10)


def test_bare_dib_is_a_bitmap() -> None:
    """A bitmap without its file header, as some .dib files are, passes as bitmap."""
    assert check(picture_bytes("bmp")[14:]).format == "bmp"


@pytest.mark.parametrize("trailer", [b"\0" * 5000, b"\r\n", b"SEFT", b"\xff\xda" * 3000])
def test_bytes_after_the_end_do_no_harm(trailer: bytes) -> None:
    """Padding and the trailers that phones append are ignored."""
    assert check(picture_bytes("jpeg") + trailer).format == "jpeg"
    assert check(picture_bytes("png") + trailer).format == "png"


def test_exif_is_read_along() -> None:
    """Place and time come from a JPEG's EXIF although it is decoded at a reduced scale."""
    exif = Image.Exif()
    exif[ExifTags.Base.Make] = "Lighthouse"
    exif.get_ifd(ExifTags.IFD.GPSInfo).update({1: "N", 2: (33.0, 30.0, 0.0), 3: "W", 4: (70.0, 15.0, 0.0)})
    exif.get_ifd(ExifTags.IFD.Exif)[ExifTags.Base.DateTimeOriginal] = "2026:11:24 10:02:03"
    for form in ("JPEG", "PNG", "WEBP", "TIFF"):
        file = io.BytesIO()
        Image.new("RGB", (640, 480)).save(file, form, exif=exif.tobytes())
        picture = check(file.getvalue())
        assert (str(picture.gps), picture.taken_at) == ("33.5, -70.25", "2026:11:24 10:02:03"), form
        assert (picture.width_px, picture.height_px) == (640, 480)


@pytest.mark.parametrize(
    ("data", "words"),
    [
        (b"%PDF-1.7\n%...", "PDF"),
        (b"GIF89a\x01\x00\x01\x00", "animation format"),
        (b"\0\0\0\x18ftypmif1\0\0\0\0avif", "AVIF"),
        (b"\0\0\0\x18ftypmif1\0\0\0\0", "HEIF"),
        (b"\0\0\0\x18ftypavif\0\0\0\0", "AVIF"),
        (b"\0\0\0\x18ftypisom\0\0\0\0", "MP4"),
        (b"\0\0\0\x14ftypqt  \0\0\0\0", "QuickTime"),
        (b"PK\x03\x04\x14\0", "ZIP"),
        (b"RIFF\x24\0\0\0WAVEfmt ", "WAV"),
        (b"\n <!DOCTYPE html><html>", "HTML"),
        (b"\xef\xbb\xbf<html lang='es'>", "HTML"),
        (b"<?xml version='1.0'?><svg/>", "SVG"),
        (b"BMW is a car maker. Nothing else here.", "text"),
        ("Hola, ¿qué tal?\r\n".encode(), "text"),
        (b"\0" * 4096, "zero bytes"),
        (bytes(range(1, 200)) + b"\0", "unknown kind"),
        (b"\x89PNG\n\x1a\n\0\0\0\rIHDR", "line ends"),
        (b"\xff\xd8", "unknown kind"),
    ],
)
def test_other_files_are_told_what_they_are(data: bytes, words: str) -> None:
    """What is no picture is refused as such, in words that say what it looks like."""
    error = refusal(data)
    assert error.reason == "not_an_image"
    assert words in error.detail
    assert error.remedy


def test_empty_file_is_called_empty() -> None:
    """A file of no bytes has a reason of its own."""
    assert refusal(b"").reason == "empty"


def test_byte_limit_is_inclusive() -> None:
    """A file of exactly the limit passes, one byte more does not."""
    data = picture_bytes("jpeg")
    assert check(data, max_bytes=len(data)).format == "jpeg"
    assert refusal(data, max_bytes=len(data) - 1).reason == "too_large_bytes"


@pytest.mark.parametrize("form", FORMATS)
def test_pixel_limit_is_inclusive(form: str) -> None:
    """A picture of exactly the limit passes, one of a pixel more does not."""
    assert check(picture_bytes(form), max_pixels=1200).format
    error = refusal(picture_bytes(form), max_pixels=1199)
    assert error.reason == "too_many_pixels"
    assert "40 x 30" in error.detail


def test_bomb_is_refused_by_its_header() -> None:
    """A small file that announces gigapixels is refused before anything of that size is made."""
    jpeg = bytearray(picture_bytes("jpeg"))
    at = jpeg.index(b"\xff\xc0") + 5
    jpeg[at : at + 4] = struct.pack(">HH", 65000, 65000)
    webp = bytearray(picture_bytes("lossless"))
    webp[21:25] = b"\xff\xff\xff\x0f"
    vp8x = (
        b"RIFF" + struct.pack("<L", 22) + b"WEBPVP8X" + struct.pack("<LL", 10, 0) + b"\xff" * 3 + b"\x7f\0\0"
    )
    bmp = bytearray(picture_bytes("bmp"))
    bmp[18:26] = struct.pack("<LL", 100_000, 100_000)
    for data in (png_of(100_000, 100_000, b"\0" * 10), bytes(jpeg), bytes(webp), vp8x, bytes(bmp)):
        assert refusal(data, max_pixels=50_000_000).reason == "too_many_pixels"


@pytest.mark.parametrize("form", ["jpeg", "png", "webp", "bmp", "tiff", "lzw"])
def test_pillows_own_limit_does_not_interfere(form: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """A picture within our limit passes even where Pillow's is lower, and Pillow's is left as it was."""
    monkeypatch.setattr(Image, "MAX_IMAGE_PIXELS", 100)
    assert check(picture_bytes(form)).width_px == 40
    assert Image.MAX_IMAGE_PIXELS == 100


@pytest.mark.parametrize("form", FORMATS)
def test_truncation_is_found_at_every_point(form: str) -> None:
    """A file cut anywhere is refused; formats without an end mark may pass only with all pixels there."""
    data = picture_bytes(form)
    for end in range(1, len(data)):
        try:
            picture = check(data[:end])
        except PictureError as error:
            assert error.reason in {"not_an_image", "truncated", "corrupt"}
        else:
            assert picture.format == "tiff", end


@pytest.mark.parametrize("form", ["jpeg", "progressive", "png", "webp", "bmp"])
def test_half_a_file_is_called_truncated(form: str) -> None:
    """A transfer broken half way has the reason that says so."""
    data = picture_bytes(form, 300, 200)
    assert refusal(data[: len(data) // 2]).reason == "truncated"
    if form in {"jpeg", "progressive"}:
        assert refusal(data[: len(data) // 2] + b"\0" * (len(data) // 2)).reason == "truncated"


@pytest.mark.parametrize("form", FORMATS)
@settings(max_examples=60, deadline=None)
@given(data=st.data())
def test_flipped_bits_never_escape_as_another_error(form: str, data: st.DataObject) -> None:
    """Whatever bytes are changed, the outcome is a picture or one of the known reasons."""
    damaged = bytearray(picture_bytes(form))
    for _ in range(data.draw(st.integers(1, 6))):
        damaged[data.draw(st.integers(0, len(damaged) - 1))] = data.draw(st.integers(0, 255))
    try:
        assert check(bytes(damaged)).width_px > 0
    except PictureError as error:
        assert error.reason in REASONS
        str(error).encode()


@settings(max_examples=200, deadline=None)
@given(
    st.sampled_from([b"\xff\xd8\xff\xe1", b"\x89PNG\r\n\x1a\n", b"RIFF\x40\0\0\0WEBPVP8 ", b"II*\0", b"BM"]),
    st.binary(),
)
def test_random_bytes_behind_a_signature_are_refused(signature: bytes, rest: bytes) -> None:
    """A true beginning with rubbish behind it is no picture."""
    assert refusal(signature + rest).reason in REASONS


@pytest.mark.parametrize(
    "error",
    [
        SyntaxError("broken"), struct.error("short"), ValueError("bad"), OverflowError(), IndexError(),
        KeyError(7), MemoryError(), RuntimeError(), zlib.error("inflate"), EOFError(), OSError("disk"),
        AssertionError(), RecursionError(), TypeError(), UserWarning("warned"), AttributeError(),
        Image.DecompressionBombError("bomb"),
    ],
)  # fmt: skip
def test_any_error_of_a_decoder_becomes_a_picture_error(
    error: Exception, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Whatever a decoder raises comes out as a picture error with its cause."""
    monkeypatch.setattr("PIL.PngImagePlugin.PngImageFile.load", raiser(error))
    assert refusal(picture_bytes("png")).__cause__ is error


@pytest.mark.parametrize("stop", [KeyboardInterrupt, SystemExit])
def test_a_stop_is_no_fault_of_the_picture(
    stop: type[BaseException], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Being told to stop in the middle of a check stops it."""
    monkeypatch.setattr("PIL.PngImagePlugin.PngImageFile.load", raiser(stop()))
    with pytest.raises(stop):
        check(picture_bytes("png"))


def raiser(error: BaseException) -> Callable[..., None]:
    """A method that raises this."""

    def raise_it(*_: object) -> None:
        raise error

    return raise_it


def test_sizes_of_nothing_are_refused() -> None:
    """A picture that announces no columns or no rows is corrupt."""
    bmp = bytearray(picture_bytes("bmp"))
    bmp[18:22] = bytes(4)
    jpeg = bytearray(picture_bytes("jpeg"))
    at = jpeg.index(b"\xff\xc0") + 5
    jpeg[at : at + 2] = bytes(2)
    for data in (bytes(bmp), bytes(jpeg), png_of(0, 5, b""), png_of(5, 0, b"")):
        assert refusal(data).reason == "corrupt"


def test_importing_leaves_pillows_limits_alone() -> None:
    """Importing the check changes none of Pillow's settings."""
    program = (
        "from PIL import Image, ImageFile\n"
        "before = (Image.MAX_IMAGE_PIXELS, ImageFile.LOAD_TRUNCATED_IMAGES)\n"
        "import ingest.pictures\n"
        "print(before == (Image.MAX_IMAGE_PIXELS, ImageFile.LOAD_TRUNCATED_IMAGES))\n"
    )
    ran = subprocess.run([sys.executable, "-c", program], capture_output=True, check=True, text=True)
    assert ran.stdout == "True\n"


def test_a_warning_alone_refuses_nothing() -> None:
    """Odd EXIF that makes Pillow warn does not cost the photograph."""
    exif = b"Exif\0\0II*\0\x08\0\0\0\x01\0\x0f\x01\x02\0\xff\xff\xff\0\0\0\0\x7f\0\0\0\0"
    file = io.BytesIO()
    Image.new("RGB", (8, 8)).save(file, "JPEG", exif=exif)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        assert check(file.getvalue()).gps is None
