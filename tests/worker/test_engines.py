import csv
import os
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from torchvision.models import resnet34

from shared.checkpoint import Checkpoint, resnet34_shapes
from shared.errors import ConfigError
from shared.preprocessing import Preprocessing, decode
from shared.verdict import Thresholds
from worker.engines import EngineError, make_engine

SHIPPED = Path(__file__).parents[2] / "models" / "street6-resnet34.safetensors"
PHOTOS_PER_CLASS = 10


@pytest.fixture(scope="module")
def checkpoint() -> Checkpoint:
    random = np.random.default_rng(0)
    weights = {}
    for name, shape in resnet34_shapes(3).items():
        # Kaiming's scale keeps the signal alive through 34 layers; one-dimensional tensors leave it alone.
        scale = (2 / np.prod(shape[1:])) ** 0.5 if len(shape) > 1 else 0.05
        centre = 1.0 if name.endswith(("running_var", "weight")) and len(shape) == 1 else 0.0
        weights[name] = (centre + scale * random.normal(size=shape)).astype(np.float16)
    return Checkpoint(
        weights=weights,
        classes=("fire", "protest", "normal"),
        preprocessing=Preprocessing(size_px=64, mean=(0.4, 0.5, 0.6), std=(0.2, 0.25, 0.3)),
        temperature=1.0,
        thresholds=Thresholds(dispatch=0.5, no_emergency=0.5),
    )


@pytest.fixture(scope="module")
def batch() -> np.ndarray:
    return np.random.default_rng(1).integers(0, 256, (5, 64, 64, 3), dtype=np.uint8)


def test_scores_are_those_of_torchvision(checkpoint: Checkpoint, batch: np.ndarray) -> None:
    """The engine gives what a plain ResNet-34 gives for pixels scaled and normalised in NumPy."""
    model = resnet34(weights=None, num_classes=3).eval()
    model.load_state_dict({name: torch.from_numpy(array) for name, array in checkpoint.weights.items()})
    images = (batch / 255 - np.array(checkpoint.preprocessing.mean)) / np.array(checkpoint.preprocessing.std)
    with torch.inference_mode():
        expected = model(torch.from_numpy(images.transpose(0, 3, 1, 2)).float()).numpy()  # (5, 3)
    scores = make_engine("torch-cpu", checkpoint).scores(batch)
    assert scores.dtype == np.float32
    np.testing.assert_allclose(scores, expected, rtol=1e-3, atol=1e-3 * np.abs(expected).max())


def test_order_is_kept_and_neighbours_do_not_matter(checkpoint: Checkpoint, batch: np.ndarray) -> None:
    """Row i belongs to photograph i, alone or among others."""
    engine = make_engine("torch-cpu", checkpoint)
    together = engine.scores(batch)
    alone = np.concatenate([engine.scores(batch[i : i + 1]) for i in range(len(batch))])
    assert np.ptp(together, axis=0).min() > 0.01
    np.testing.assert_allclose(together, alone, rtol=1e-3, atol=1e-3)


def test_an_empty_batch_has_no_scores(checkpoint: Checkpoint) -> None:
    """A batch whose photographs were all set aside is no special case for the caller."""
    assert make_engine("torch-cpu", checkpoint).scores(np.zeros((0, 64, 64, 3), np.uint8)).shape == (0, 3)


def test_a_read_only_batch_is_scored(checkpoint: Checkpoint, batch: np.ndarray) -> None:
    """Pixels in shared memory, which nobody may write, do no harm."""
    frozen = batch.copy()
    frozen.flags.writeable = False
    engine = make_engine("torch-cpu", checkpoint)
    assert np.array_equal(engine.scores(frozen), engine.scores(batch))


@pytest.mark.parametrize(
    "odd",
    [
        np.zeros((1, 3, 64, 64), np.uint8),
        np.zeros((64, 64, 3), np.uint8),
        np.zeros((1, 32, 32, 3), np.uint8),
        np.zeros((1, 64, 64, 3), np.float32),
    ],
)
def test_a_batch_of_another_kind_is_refused(checkpoint: Checkpoint, odd: np.ndarray) -> None:
    """Channels first, a lone photograph, another size and floats are our own mistakes, and say so."""
    with pytest.raises(ValueError, match="a batch of"):
        make_engine("torch-cpu", checkpoint).scores(odd)


def test_scores_that_are_not_finite_are_an_engine_error(checkpoint: Checkpoint, batch: np.ndarray) -> None:
    """A model that overflows is at fault itself: no photograph is blamed and no verdict given."""
    loud = {
        name: np.full_like(array, 6e4) if name.endswith("bn2.weight") else array
        for name, array in checkpoint.weights.items()
    }
    with pytest.raises(EngineError, match="not finite") as raised:
        make_engine("torch-cpu", replace(checkpoint, weights=loud)).scores(batch)
    assert raised.value.reason == "engine"


def test_warm_up_measures_seconds_an_image(checkpoint: Checkpoint) -> None:
    """The measurement is of one photograph at the checkpoint's size: milliseconds, not batches or zero."""
    assert 1e-5 < make_engine("torch-cpu", checkpoint).warm_up() < 2


def test_auto_takes_the_cpu_where_there_is_nothing_better(
    checkpoint: Checkpoint, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Without a CUDA device, ``auto`` works all the same."""
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    assert make_engine("auto", checkpoint).name == "torch-cpu"


def test_asking_for_cuda_without_one_stops_with_a_remedy(
    checkpoint: Checkpoint, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Whoever asks for a GPU by name is told that there is none, instead of getting a slow worker."""
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    with pytest.raises(ConfigError, match="CUDA device") as raised:
        make_engine("torch-cuda", checkpoint)
    assert "ALMENARA_ENGINE" in raised.value.remedy


def test_an_unknown_engine_is_refused(checkpoint: Checkpoint) -> None:
    """The message repeats the word and the remedy lists those there are."""
    with pytest.raises(ConfigError, match=r"'tpu'.*auto, torch-cpu or torch-cuda"):
        make_engine("tpu", checkpoint)


def test_threads_are_set_when_asked_for(checkpoint: Checkpoint) -> None:
    """Several workers on one machine can share its cores; None changes nothing."""
    before = torch.get_num_threads()
    try:
        make_engine("torch-cpu", checkpoint, threads=1)
        assert torch.get_num_threads() == 1
        make_engine("torch-cpu", checkpoint)
        assert torch.get_num_threads() == 1
    finally:
        torch.set_num_threads(before)


@pytest.mark.skipif(not torch.cuda.is_available(), reason="no CUDA device")
def test_cuda_agrees_with_the_cpu(checkpoint: Checkpoint, batch: np.ndarray) -> None:
    """Half precision on the device gives the CPU's scores within its rounding."""
    cpu, cuda = make_engine("torch-cpu", checkpoint), make_engine("torch-cuda", checkpoint)
    expected = cpu.scores(batch)
    np.testing.assert_allclose(cuda.scores(batch), expected, rtol=0.05, atol=0.05 * np.abs(expected).max())


def test_the_shipped_checkpoint_knows_streets() -> None:
    """Of ten validation photographs of each class, three in four get the right class."""
    if "ALMENARA_PHOTOS" not in os.environ:
        pytest.skip("ALMENARA_PHOTOS does not name a folder of labelled photographs")
    folder, shipped = Path(os.environ["ALMENARA_PHOTOS"]), Checkpoint.load(SHIPPED)
    with (folder / "index.csv").open(newline="", encoding="utf-8") as file:
        rows = sorted((row["class"], row["path"]) for row in csv.DictReader(file) if row["split"] == "val")
    chosen = [
        pair for name in shipped.classes for pair in [r for r in rows if r[0] == name][:PHOTOS_PER_CLASS]
    ]
    pixels = [decode((folder / path).read_bytes(), shipped.preprocessing) for _, path in chosen]
    best = make_engine("torch-cpu", shipped).scores(np.stack(pixels)).argmax(axis=1)
    right = [shipped.classes[i] == label for i, (label, _) in zip(best, chosen, strict=True)]
    assert len(right) == PHOTOS_PER_CLASS * len(shipped.classes)
    assert np.mean(right) >= 0.75
