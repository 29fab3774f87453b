"""Attention: why the model says what it says, laid over the picture."""

import gc
import io
import sys
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
import torch
from engine_parts import SHIPPED, noise, random_checkpoint
from PIL import Image, ImageDraw
from torchvision.models import resnet34

from shared.checkpoint import Checkpoint
from shared.decoding import ImageError
from shared.errors import ConfigError, PermanentError
from shared.preprocessing import decode
from worker.attention import Attention, Explainer, UnknownClassError, overlay_png
from worker.engines import make_engine

RUNTIMES = ("openvino", "torch")


@pytest.fixture(scope="module", autouse=True)
def engines_end_here() -> Iterator[None]:
    """What a test's failed pass keeps alive is freed here: not at any time, in any thread of a later test."""
    yield
    gc.collect()


@pytest.fixture(scope="module")
def checkpoint() -> Checkpoint:
    """Three classes, 96 px: maps of 3 x 3."""
    return random_checkpoint(96)


@pytest.fixture(scope="module", params=RUNTIMES)
def attention(request: pytest.FixtureRequest, checkpoint: Checkpoint) -> Attention:
    """On each runtime."""
    return Attention(checkpoint, runtime=request.param)


@pytest.fixture(scope="module")
def explainer(checkpoint: Checkpoint, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Explainer]:
    """One process for all tests of this module."""
    saved = checkpoint.save(tmp_path_factory.mktemp("model") / "random.safetensors")
    assert saved.path is not None
    made = Explainer(saved.path)
    yield made
    made.close()


def drawn(size_px: tuple[int, int] = (120, 90), orientation: int = 1) -> bytes:
    """A JPEG of a fire in a street, more or less."""
    image = Image.new("RGB", (120, 90), (90, 100, 110))
    draw = ImageDraw.Draw(image)
    draw.polygon([(60, 80), (80, 10), (110, 80)], fill=(250, 120, 20))
    draw.rectangle([5, 40, 40, 85], fill=(30, 40, 160))
    file, exif = io.BytesIO(), Image.Exif()
    exif[0x0112] = orientation
    image.resize(size_px).save(file, "JPEG", quality=95, exif=exif)
    return file.getvalue()


def opened(png: bytes) -> Image.Image:
    """An overlay as a browser sees it."""
    image = Image.open(io.BytesIO(png))
    assert image.format == "PNG"
    return image.convert("RGBA")


def test_a_map_averages_to_the_score_of_its_class(attention: Attention, checkpoint: Checkpoint) -> None:
    """Mean over the picture plus bias is what the whole network says, computed straight in PyTorch."""
    pixels = noise(1, 96)[0]
    maps = attention.maps(pixels)
    assert maps.shape == (3, 3, 3)
    assert maps.dtype == np.float32
    model = resnet34(weights=None, num_classes=3)
    model.load_state_dict({name: torch.from_numpy(array) for name, array in checkpoint.weights.items()})
    mean = torch.tensor(checkpoint.preprocessing.mean).view(1, 3, 1, 1)
    std = torch.tensor(checkpoint.preprocessing.std).view(1, 3, 1, 1)
    images = (torch.from_numpy(pixels[None]).permute(0, 3, 1, 2).float() / 255 - mean) / std
    with torch.inference_mode():
        expected = model.float().eval()(images).numpy()[0]
    bias = checkpoint.weights["fc.bias"].astype(np.float32)
    assert np.ptp(expected) > 0.1
    assert np.allclose(maps.mean(axis=(1, 2)) + bias, expected, atol=1e-3, rtol=1e-4)


def test_a_map_averages_to_what_the_worker_scores(attention: Attention, checkpoint: Checkpoint) -> None:
    """The explanation is of the score that the engine gives, picture decoding included."""
    pixels = decode(drawn(), checkpoint.preprocessing)
    scores = make_engine("openvino-f32", checkpoint, 1).scores(pixels[None])[0]
    bias = checkpoint.weights["fc.bias"].astype(np.float32)
    assert np.allclose(attention.maps(pixels).mean(axis=(1, 2)) + bias, scores, atol=1e-3, rtol=1e-4)


def test_both_runtimes_see_the_same(checkpoint: Checkpoint) -> None:
    """OpenVINO and PyTorch agree on every place of the map of a drawn picture."""
    pixels = decode(drawn(), checkpoint.preprocessing)
    with_openvino, with_torch = (Attention(checkpoint, runtime=each).maps(pixels) for each in RUNTIMES)
    assert np.ptp(with_torch) > 0.1
    assert np.allclose(with_openvino, with_torch, atol=1e-3, rtol=1e-4)
    for situation in checkpoint.classes:
        first, second = (Attention(checkpoint, runtime=each)(drawn(), situation) for each in RUNTIMES)
        assert np.abs(first - second).max() < 1e-3


def test_torch_steps_in_where_openvino_can_not_be_used(
    checkpoint: Checkpoint, monkeypatch: pytest.MonkeyPatch
) -> None:
    """On a machine without OpenVINO there are maps all the same."""
    monkeypatch.setitem(sys.modules, "openvino", None)
    assert Attention(checkpoint).runtime == "torch"
    with pytest.raises(ImportError):
        Attention(checkpoint, runtime="openvino")


def test_attention_is_the_map_of_the_situation_in_shares(
    attention: Attention, checkpoint: Checkpoint
) -> None:
    """Of all maps the one asked for, from 0 where least speaks for it to 1 where most does."""
    maps = attention.maps(decode(drawn(), checkpoint.preprocessing))
    for position, situation in enumerate(checkpoint.classes):
        found = attention(drawn(), situation)
        assert (float(found.min()), float(found.max())) == (0, 1)
        assert np.corrcoef(found.ravel(), maps[position].ravel())[0, 1] > 0.9999


@pytest.mark.parametrize("corner", [(0, 0), (0, 6), (6, 0), (6, 6)])
@pytest.mark.parametrize("orientation", [1, 6])
def test_evidence_lies_where_it_is_in_the_picture(corner: tuple[int, int], orientation: int) -> None:
    """What changes in a corner of the upright picture changes the map most near that corner."""
    checkpoint = Checkpoint.load(SHIPPED)  # one by chance mixes all places
    attention = Attention(checkpoint, runtime="openvino")
    row, column = corner
    before = Image.new("RGB", (280, 210), (90, 100, 110))
    after = before.copy()
    after.paste((250, 120, 20), (40 * column, 30 * row, 40 * column + 40, 30 * row + 30))
    turn = {1: None, 6: Image.Transpose.ROTATE_90}[orientation]
    exif = Image.Exif()
    exif[0x0112] = orientation
    maps = []
    for image in (before, after):
        file = io.BytesIO()
        (image if turn is None else image.transpose(turn)).save(file, "PNG", exif=exif)
        maps.append(attention.maps(decode(file.getvalue(), checkpoint.preprocessing)))
    change = np.abs(maps[1] - maps[0]).sum(axis=0)  # (7, 7)
    found = np.unravel_index(change.argmax(), change.shape)
    assert abs(int(found[0]) - row) <= 1 and abs(int(found[1]) - column) <= 1


@pytest.mark.parametrize("situation", ["flood_risk", "", "Fire", "../fire"])
def test_a_situation_that_the_model_does_not_know_is_refused(attention: Attention, situation: str) -> None:
    """A person may have given it, or another model."""
    with pytest.raises(UnknownClassError) as caught:
        attention(drawn(), situation)
    assert caught.value.reason == "unknown_class"


def test_a_picture_that_can_not_be_decoded_has_no_map(attention: Attention) -> None:
    """The words are those of decoding."""
    with pytest.raises(ImageError):
        attention(drawn()[:200], "fire")


def test_an_overlay_is_hot_where_the_map_is() -> None:
    """Corner for corner; gone where nothing speaks for it, and never so that the picture is hidden."""
    activation = np.zeros((7, 7), np.float32)
    activation[0, 6] = 1
    overlay = np.asarray(opened(overlay_png(activation, (400, 200), 320)))
    assert overlay.shape == (160, 320, 4)
    alpha = overlay[..., 3]
    assert alpha[5, 315] > 120 and alpha.max() < 200
    assert alpha[40:, :200].max() == 0
    assert overlay[5, 315, :3].astype(int).sum() > overlay[30, 290, :3].astype(int).sum()


@pytest.mark.parametrize(
    ("proportions", "expected"),
    [((400, 300), (640, 480)), ((4000, 3000), (640, 480)), ((1, 10_000), (1, 2560)), ((10_000, 1), (640, 1))],
)
def test_an_overlay_has_the_proportions_of_its_picture(
    proportions: tuple[int, int], expected: tuple[int, int]
) -> None:
    """As wide as asked, whatever the picture's size; bounded for the narrowest of them."""
    assert opened(overlay_png(np.ones((7, 7), np.float32), proportions, 640)).size == expected


@pytest.mark.parametrize(("orientation", "size"), [(1, (640, 480)), (6, (640, 853)), (3, (640, 480))])
def test_an_overlay_lies_over_the_upright_picture(
    explainer: Explainer, attention: Attention, orientation: int, size: tuple[int, int]
) -> None:
    """What the process gives is the map of the situation, in the turned picture's proportions."""
    picture = drawn(orientation=orientation)
    png = explainer(picture, "protest")
    assert opened(png).size == size
    expected = np.asarray(opened(overlay_png(attention(picture, "protest"), size, 640)))[..., 3]
    assert np.abs(np.asarray(opened(png))[..., 3].astype(int) - expected).max() <= 1


def test_an_explainer_refuses_in_the_words_of_its_process(explainer: Explainer) -> None:
    """Unknown situations and broken pictures are refused; the next picture is explained."""
    for picture, situation, reason in (
        (drawn(), "flood_risk", "unknown_class"),
        (drawn(), "", "unknown_class"),
        (drawn(), "x" * 300, "unknown_class"),
        (drawn()[:200], "fire", "truncated"),
        (b"", "fire", "truncated"),
        (b"no picture", "fire", "undecodable"),
    ):
        with pytest.raises(PermanentError) as caught:
            explainer(picture, situation)
        assert caught.value.reason == reason
    assert opened(explainer(drawn(), "fire")).size == (640, 480)


def test_an_explainer_without_its_model_says_so(tmp_path: Path) -> None:
    """A checkpoint that is not there needs a person."""
    explainer = Explainer(tmp_path / "gone.safetensors")
    try:
        with pytest.raises(ConfigError, match=r"gone\.safetensors"):
            explainer(drawn(), "fire")
    finally:
        explainer.close()
