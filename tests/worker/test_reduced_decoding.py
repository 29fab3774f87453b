"""A phone's large picture is decoded at a part of its size: what that changes for the model."""

import csv
import io
from pathlib import Path

import numpy as np
import pytest
from conftest import photographs_folder
from PIL import Image
from PIL.JpegImagePlugin import JpegImageFile

from shared.checkpoint import Checkpoint
from shared.preprocessing import decode
from worker.engines import Engine, make_engine

SHIPPED = Path(__file__).parents[2] / "models" / "street6-resnet34.safetensors"
PHOTOGRAPHS = 42


@pytest.fixture(scope="module")
def checkpoint() -> Checkpoint:
    """The model that ships."""
    return Checkpoint.load(SHIPPED)


def as_a_phone_sends(path: Path) -> bytes:
    """The photograph in 12 megapixels."""
    with Image.open(path) as image:
        large = image.convert("RGB").resize((4000, 3000), Image.Resampling.BICUBIC)
    buffer = io.BytesIO()
    large.save(buffer, "JPEG", quality=88)
    return buffer.getvalue()


def said(engine: Engine, pictures: list[bytes], checkpoint: Checkpoint) -> list[str]:
    """The best class of each picture."""
    pixels = np.stack([decode(each, checkpoint.preprocessing) for each in pictures])
    return [checkpoint.classes[index] for index in engine.scores(pixels).argmax(axis=1)]


def test_reduced_decoding_costs_no_accuracy(checkpoint: Checkpoint, monkeypatch: pytest.MonkeyPatch) -> None:
    """Enlarged to 12 megapixels, validation photographs are judged right as often as in full."""
    photos = photographs_folder()
    with (photos / "index.csv").open(newline="", encoding="utf-8") as file:
        val = [row for row in csv.DictReader(file) if row["split"] == "val"]
    chosen = val[:: max(1, len(val) // PHOTOGRAPHS)]
    pictures = [as_a_phone_sends(photos / row["path"]) for row in chosen]
    engine = make_engine("auto", checkpoint)
    reduced = said(engine, pictures, checkpoint)
    sizes = []

    def whole(image: JpegImageFile, *_: object) -> None:
        sizes.append(image.size)

    monkeypatch.setattr(JpegImageFile, "draft", whole)
    full = said(engine, pictures, checkpoint)
    assert sizes == [(4000, 3000)] * len(pictures), "the whole pictures were not decoded"
    right = [sum(map(str.__eq__, words, (row["class"] for row in chosen))) for words in (reduced, full)]
    assert abs(right[0] - right[1]) <= 1
    assert sum(map(str.__eq__, reduced, full)) >= len(chosen) - 2
