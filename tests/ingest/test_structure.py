"""Structure: unfinished files are told from finished ones, and damage that decoders forgive is found."""

import functools
import io
import struct
import zlib

import pytest
from PIL import Image

from ingest.pictures import PictureError, looks_complete
from ingest.structure import check_structure, webp_size_px

FORMATS = ("jpeg", "progressive", "png", "webp", "lossless", "bmp", "tiff", "lzw")


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


def png_chunk(kind: bytes, content: bytes) -> bytes:
    """A PNG chunk with its length and checksum."""
    return struct.pack(">L", len(content)) + kind + content + struct.pack(">L", zlib.crc32(kind + content))


def complete(data: bytes, size_bytes: int | None = None) -> bool:
    """Ask about a file of these bytes."""
    return looks_complete(data[:32], data[-64:], len(data) if size_bytes is None else size_bytes)


@pytest.mark.parametrize("form", FORMATS)
def test_whole_files_look_complete(form: str) -> None:
    """A file that has been written to its end is never held back."""
    assert complete(picture_bytes(form))
    assert complete(picture_bytes(form, 1, 1))


@pytest.mark.parametrize("trailer", [b"\0" * 60, b"\r\n \r\n", b"\0" * 200 + b"SEFT"])
def test_padded_jpeg_looks_complete(trailer: bytes) -> None:
    """Padding and a phone's trailer after the end mark are known."""
    assert complete(picture_bytes("jpeg") + trailer)


@pytest.mark.parametrize("form", ["jpeg", "progressive", "png", "webp", "lossless", "bmp"])
def test_half_written_files_look_incomplete(form: str) -> None:
    """A file cut anywhere before its last bytes looks incomplete, at its very beginning too."""
    data = picture_bytes(form)
    ends = [*range(1, min(len(data), 200)), *range(200, len(data) - 12, 97)]
    assert [end for end in ends if complete(data[:end])] == []


def test_reserved_space_looks_incomplete() -> None:
    """A file whose space is reserved but not written, and an empty one, look incomplete."""
    assert not complete(b"")
    assert not complete(b"\0" * 100_000)
    assert not complete(picture_bytes("jpeg")[:400] + b"\0" * 600)


@pytest.mark.parametrize("data", [b"%PDF-1.7", b"hello", b"II*\0" + bytes(40), bytes(range(40, 90))])
def test_unknown_files_look_complete(data: bytes) -> None:
    """Where the beginning can't tell, the file is not held back: the full check decides."""
    assert complete(data)


def test_damaged_pixels_of_a_png_are_found_by_checksum() -> None:
    """One changed byte of pixel data is found although it would still decode."""
    stored = b"".join(b"\0" + bytes(40) for _ in range(30))
    header = png_chunk(b"IHDR", struct.pack(">LLBBBBB", 40, 30, 8, 0, 0, 0, 0))
    body = bytearray(png_chunk(b"IDAT", zlib.compress(stored, 0)))
    body[60] ^= 1
    with pytest.raises(PictureError, match="IDAT"):
        check_structure("png", b"\x89PNG\r\n\x1a\n" + header + bytes(body) + png_chunk(b"IEND", b""))


def test_jpeg_of_endless_scans_is_refused_at_once() -> None:
    """A JPEG of thousands of passes, which would keep a decoder busy for hours, is not decoded."""
    data = picture_bytes("progressive")
    last = data.rindex(b"\xff\xda")
    with pytest.raises(PictureError, match="scans"):
        check_structure("jpeg", data[:-2] + data[last:-2] * 5000 + b"\xff\xd9")


def test_jpeg_of_endless_segments_is_refused_at_once() -> None:
    """A JPEG with thousands of notes, which take a decoder quadratic time to join, is not decoded."""
    data = picture_bytes("jpeg")
    with pytest.raises(PictureError, match="segments"):
        check_structure("jpeg", data[:2] + b"\xff\xe1\0\x08Exif\0\0" * 5000 + data[2:])


@pytest.mark.parametrize("stray", [b"a", b"\xff", b"\xff\x00", b"\xff\xd0"])
def test_jpeg_with_a_megabyte_of_nothing_is_refused_at_once(stray: bytes) -> None:
    """Bytes between segments, which decoders go through one by one, are passed over only if few."""
    data = picture_bytes("jpeg")
    first = b"\xff\xe0\0\x04ab"
    check_structure("jpeg", data[:2] + first + stray * 1000 + data[2:])
    with pytest.raises(PictureError, match="belong to none"):
        check_structure("jpeg", data[:2] + first + stray * 1_000_000 + data[2:])


def test_png_of_endless_chunks_is_refused_at_once() -> None:
    """A PNG of nothing but empty chunks is not decoded."""
    with pytest.raises(PictureError, match="chunks"):
        check_structure("png", picture_bytes("png")[:33] + png_chunk(b"IDAT", b"") * 100_001)


def test_jpeg_without_a_scan_is_corrupt() -> None:
    """Beginning and end with no picture between them are found."""
    with pytest.raises(PictureError, match="without a picture"):
        check_structure("jpeg", b"\xff\xd8\xff\xe0\0\x04ab\xff\xd9")


@pytest.mark.parametrize("form", ["webp", "lossless"])
def test_webp_size_is_read_from_its_header(form: str) -> None:
    """Both codings announce the size that was saved, without and with an extended header."""
    assert webp_size_px(picture_bytes(form)[:30]) == (40, 30)
    file = io.BytesIO()
    Image.new("RGBA", (301, 77), (1, 2, 3, 4)).save(
        file, "WEBP", exif=b"Exif\0\0MM\0*\0\0\0\x08\0\0\0\0\0\0", lossless=form == "lossless"
    )
    assert file.getvalue()[12:16] == b"VP8X"
    assert webp_size_px(file.getvalue()[:30]) == (301, 77)
    assert webp_size_px(b"RIFF\x10\0\0\0WEBPJUNK" + bytes(14)) is None
