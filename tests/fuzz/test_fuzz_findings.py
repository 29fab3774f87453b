"""What fuzzing has found, each as the smallest input that shows it."""

import io
from pathlib import Path

import pytest
from fuzz_targets import Targets
from PIL import Image

from ingest.names import format_name, parse_name
from shared import board
from shared.coordinates import Coordinates
from shared.errors import ConfigError
from shared.images import ImageStore, sidecar_place
from shared.routing import Routing

NESTED = b"[" * 100_000


def test_sidecar_nested_without_end_is_damaged(tmp_path: Path) -> None:
    """A sidecar of a hundred thousand brackets counts as damaged; it ended every audit."""
    store = ImageStore(str(tmp_path))
    path = tmp_path / sidecar_place("0" * 32)
    path.parent.mkdir(parents=True)
    path.write_bytes(NESTED)
    assert [found for _, found in store.sidecars()] == [None]


def test_row_nested_without_end_is_damaged() -> None:
    """So does a row of a board, and what it says was decided."""
    for fields in ({b"row": NESTED}, {b"outcomes": NESTED}):
        with pytest.raises(board.BoardError):
            board._change((b"1-0", fields))


def test_routing_nested_without_end_is_refused(tmp_path: Path) -> None:
    """A routing file of brackets is refused as any other that is no TOML."""
    path = tmp_path / "routing.toml"
    path.write_bytes(b"a = " + NESTED)
    with pytest.raises(ConfigError, match="not TOML"):
        Routing.load(path)


def test_label_that_ends_like_a_file_reads_back_the_same() -> None:
    """A label that ends in an extension is written without it: it lost it at the next reading."""
    place = Coordinates(latitude_deg=33.8566667, longitude_deg=-151.2152778)
    written = format_name(place, "plaza 2026-11-24.webp")
    parsed = parse_name(written)
    assert format_name(place, parsed.label) == written
    assert str(parsed.coordinates) == str(place)


def test_animated_and_many_paged_pictures_are_their_first() -> None:
    """Thousands of frames cost no more than one: an animation is taken for its first picture."""
    frames = [Image.new("RGB", (64, 64), (shade % 256, 90, 20)) for shade in range(3000)]
    targets = Targets()
    try:
        for form in ("WEBP", "PNG", "TIFF"):
            file = io.BytesIO()
            many = frames if form == "WEBP" else frames[:300]
            many[0].save(file, form, save_all=True, append_images=many[1:])
            assert targets.picture(file.getvalue()) == "accepted"
    finally:
        targets.close()
