"""A photograph made small and plain: upright, in sRGB, and without anything that its file told besides.

``python -m console.thumbnails MAX_PIXELS`` is the process that `console.pictures` has this done in.
"""

import struct
import sys
from collections.abc import Sequence
from io import BytesIO

from PIL import Image, ImageCms

from shared.decoding import colours, fitted, opened, serve_pictures, turned, upright

_QUALITY = 82  # of the JPEG: where the eye stops to see its blocks
_DRAFT = 1.5
_WIDTH = struct.Struct("!I")
_SRGB = ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB"))
_MODES = {"RGB": "RGB", "GRAY": "L", "CMYK": "CMYK"}
"""Colour space of an ICC profile -> the mode of pixels that it is about."""


def thumbnail(image_bytes: bytes, width_px: int, *, max_pixels: int) -> bytes:
    """A JPEG of the photograph: at most so wide and four times as tall, never enlarged, with no metadata.

    Args:
        image_bytes: a JPEG, PNG, WebP, BMP or TIFF file; of several frames the first counts.
        width_px: of the photograph when it is upright.
        max_pixels: the most to decode.

    Raises:
        ImageError: it can't be decoded, ends too early, or is too large.
    """
    with opened(image_bytes, max_pixels=max_pixels) as image:
        whole_px, hint = image.size, upright(image)
        # A camera's JPEG is decoded at 1/2, 1/4 or 1/8 where the filter is still left pixels to average.
        draft_px = turned(fitted(turned(whole_px, hint), _DRAFT * width_px), hint)
        image.draft(None, draft_px)
        image.load()
        turn = upright(image)
        size_px = turned(fitted(turned(whole_px, turn), width_px), turn)
        small = _resizable(image).resize(size_px, Image.Resampling.BICUBIC, reducing_gap=2.0)
        if small.mode == "RGBA":
            small = Image.alpha_composite(Image.new("RGBA", small.size, "white"), small).convert("RGB")
        plain = _in_srgb(small, image.info.get("icc_profile"))
        return _jpeg(plain if turn is None else plain.transpose(turn))


def main(arguments: Sequence[str]) -> None:
    """Serve thumbnails; the one argument is the most pixels of a picture."""
    max_pixels = int(arguments[0])

    def answer(request: bytes) -> bytes:
        (width_px,) = _WIDTH.unpack_from(request)
        return thumbnail(request[_WIDTH.size :], width_px, max_pixels=max_pixels)

    serve_pictures(answer, max_pixels)


def request_for(image_bytes: bytes, width_px: int) -> bytes:
    """What that process is asked."""
    return _WIDTH.pack(width_px) + image_bytes


def _resizable(image: Image.Image) -> Image.Image:
    """In the mode that its profile is about where it can be, else in RGB or RGBA."""
    if image.mode in _MODES.values() and not image.has_transparency_data:
        return image
    return colours(image)


def _in_srgb(image: Image.Image, profile: object) -> Image.Image:
    if isinstance(profile, bytes):
        try:
            described = ImageCms.ImageCmsProfile(BytesIO(profile))
            if _MODES.get(described.profile.xcolor_space.strip()) == image.mode:
                converted = ImageCms.profileToProfile(image, described, _SRGB, outputMode="RGB")
                assert converted is not None  # as it is not done in place
                return converted
        except (ImageCms.PyCMSError, OSError, ValueError):
            pass  # a damaged profile is no reason to show no picture
    return image.convert("RGB")


def _jpeg(image: Image.Image) -> bytes:
    # A new image: the old one's comments and more hang on it, and Pillow would write some of them.
    plain = Image.new("RGB", image.size)
    plain.paste(image)
    file = BytesIO()
    plain.save(file, "JPEG", quality=_QUALITY)
    return file.getvalue()


if __name__ == "__main__":
    main(sys.argv[1:])
