"""Photographs for a report: small, and beside each what spoke for the class that the model chose."""

from base64 import b64encode
from dataclasses import dataclass, replace
from io import BytesIO

import numpy as np
from markupsafe import Markup
from numpy.typing import NDArray
from PIL import Image

from shared.checkpoint import Checkpoint
from shared.decoding import ImageError, opened, turned, upright
from shared.preprocessing import decode
from training.attention import Attention, brightest_place, lay_over
from training.dataset import Photograph

THUMBNAIL_PX = 224

_EMPTY = Markup()


@dataclass(frozen=True, kw_only=True, slots=True)
class Picture:
    """One photograph in a report.

    Attributes:
        name: its path inside its folder.
        label: the class that it shows.
        said: the class that the model chose.
        confidence: its calibrated probability of that.
        photograph: a ``data:`` address of a JPEG, or empty.
        attention: the same of its class activation map.
        brightest: where that is brightest, in words.
        trouble: why there is no picture, or an empty string.
    """

    name: str
    label: str
    said: str
    confidence: float
    photograph: Markup = _EMPTY
    attention: Markup = _EMPTY
    brightest: str = ""
    trouble: str = ""


class Album:
    """Makes pictures of photographs that a model has looked at."""

    def __init__(self, checkpoint: Checkpoint) -> None:
        self._checkpoint, self._attention = checkpoint, Attention(checkpoint)

    def picture(self, photograph: Photograph, said: int, confidence: float) -> Picture:
        """Look at a photograph again; one that can't be read any more says so in its place.

        Args:
            photograph: what is shown.
            said: position of the class that the model chose.
            confidence: its calibrated probability of that.
        """
        shown = Picture(
            name=photograph.name,
            label=photograph.label,
            said=self._checkpoint.classes[said],
            confidence=confidence,
        )
        try:
            content = photograph.path.read_bytes()
            pixels = decode(content, self._checkpoint.preprocessing)  # (H, W, 3)
        except (ImageError, OSError) as error:
            return replace(shown, trouble=str(error))
        activation = self._attention(pixels[None])[0, said]  # (1, H, W, 3) in, (h, w) out
        proportions = _proportions(content)
        return replace(
            shown,
            photograph=_thumbnail(pixels, proportions),
            attention=_thumbnail(lay_over(pixels, activation), proportions),
            brightest=brightest_place(activation),
        )


def data_address(content: bytes, media_type: str) -> Markup:
    """A ``data:`` address that holds the content itself: the page needs no file beside it."""
    return Markup(f"data:{media_type};base64,{b64encode(content).decode()}")  # noqa: S704  # base64 has no markup


def _thumbnail(pixels: NDArray[np.uint8], proportions: tuple[int, int]) -> Markup:
    """A JPEG in the photograph's own proportions, THUMBNAIL_PX at most on its longer side."""
    longer = min(THUMBNAIL_PX, len(pixels))
    size = [max(1, round(longer * side / max(proportions))) for side in proportions]
    file = BytesIO()
    Image.fromarray(pixels).resize((size[0], size[1]), Image.Resampling.BILINEAR).save(
        file, "JPEG", quality=80
    )
    return data_address(file.getvalue(), "image/jpeg")


def _proportions(content: bytes) -> tuple[int, int]:
    """Width and height, upright, of what the model saw squashed to a square."""
    try:
        with opened(content) as image:
            return turned(image.size, upright(image))
    except ImageError:  # it was decoded before; if its header is odd, it is shown as the model saw it
        return 1, 1
