"""Decoding: sizes of photographs as they are shown."""

import io

import pytest
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image

from shared.decoding import ImageError, fitted, opened, turned, upright

SIDES = st.integers(1, 100_000)


@given(SIDES, SIDES, st.integers(1, 4000), st.booleans())
def test_a_fitted_size_keeps_proportions_and_bounds(
    width: int, height: int, width_px: int, enlarged: bool
) -> None:
    """As wide as asked, four times as tall as that, or as it was; one scale gives both sides, rounded."""
    found = fitted((width, height), width_px, enlarged=enlarged)
    assert 1 <= found[0] <= width_px and 1 <= found[1] <= 4 * width_px
    as_it_was = found == (width, height) and not enlarged
    assert found[0] == width_px or found[1] == 4 * width_px or as_it_was
    pairs = list(zip(found, (width, height), strict=True))
    least = max(0 if side == 1 else (side - 0.5) / whole for side, whole in pairs)
    most = min((side + 0.5) / whole for side, whole in pairs)
    assert least <= most + 1e-9


@pytest.mark.parametrize("orientation", range(1, 9))
def test_a_turn_gives_the_size_of_the_turned_picture(orientation: int) -> None:
    """Width and height are those that Pillow gets when it really turns the picture."""
    file, exif = io.BytesIO(), Image.Exif()
    exif[0x0112] = orientation
    Image.new("RGB", (30, 20)).save(file, "JPEG", exif=exif)
    with opened(file.getvalue()) as image:
        turn = upright(image)
        assert turned(image.size, turn) == (image if turn is None else image.transpose(turn)).size
    assert (turn is None) == (orientation == 1)


def test_whatever_is_raised_while_it_is_open_is_about_the_picture() -> None:
    """Whoever looks at a stranger's picture has one error to expect."""
    file = io.BytesIO()
    Image.new("RGB", (30, 20)).save(file, "PNG")
    with pytest.raises(ImageError, match="can't be decoded"), opened(file.getvalue()):
        raise MemoryError
