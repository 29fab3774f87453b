import gc
import os
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from dataclasses import fields, replace
from pathlib import Path

import numpy as np
import pytest
import torch
from conftest import photographs_folder
from engine_parts import SHIPPED, noise, probabilities, random_checkpoint, validation
from structlog.testing import capture_logs
from torchvision.models import resnet34

import worker.engines
from shared.checkpoint import Checkpoint
from shared.errors import ConfigError
from shared.settings import Settings
from worker.engines import ENGINES, Engine, EngineError, make_engine, options
from worker.inference import Pixels

ROOT = Path(__file__).parents[2]
Make = Callable[[str], Engine]


@pytest.fixture(scope="module", autouse=True)
def engines_end_here() -> Iterator[None]:
    """What a test's failed pass keeps alive is freed here: not at any time, in any thread of a later test."""
    yield
    gc.collect()


@pytest.fixture(scope="module")
def checkpoint() -> Checkpoint:
    return random_checkpoint()


@pytest.fixture(scope="module")
def batch() -> Pixels:
    return noise(5)


@pytest.fixture(
    scope="module", params=[name for name in ENGINES if name != "openvino-int8"]
)  # that has tests of its own
def engine(request: pytest.FixtureRequest, checkpoint: Checkpoint) -> Engine:
    """Each engine in turn, where this machine can run it."""
    option = next(each for each in options(checkpoint, None) if each.name == request.param)
    if option.obstacle:
        pytest.skip(f"{option.name}: {option.obstacle}")
    return make_engine(option.name, checkpoint)


def tolerance(engine: Engine) -> float:
    """Share of the largest score that an engine's scores may be off by."""
    return {"torch-cpu": 1e-3, "openvino-f32": 1e-3}.get(engine.name, 0.05)


def test_scores_are_those_of_torchvision(engine: Engine, checkpoint: Checkpoint, batch: Pixels) -> None:
    """An engine gives what a plain ResNet-34 gives for pixels scaled and normalised in NumPy."""
    model = resnet34(weights=None, num_classes=3).eval()
    model.load_state_dict({name: torch.from_numpy(array) for name, array in checkpoint.weights.items()})
    images = (batch / 255 - np.array(checkpoint.preprocessing.mean)) / np.array(checkpoint.preprocessing.std)
    with torch.inference_mode():
        expected = model(torch.from_numpy(images.transpose(0, 3, 1, 2)).float()).numpy()  # (5, 3)
    scores = engine.scores(batch)
    assert scores.dtype == np.float32
    off = tolerance(engine)
    np.testing.assert_allclose(scores, expected, rtol=off, atol=off * np.abs(expected).max())


def test_order_is_kept_and_neighbours_do_not_matter(engine: Engine, batch: Pixels) -> None:
    """Row i belongs to photograph i, alone or among others."""
    together = engine.scores(batch)
    alone = np.concatenate([engine.scores(batch[i : i + 1]) for i in range(len(batch))])
    assert np.ptp(together, axis=0).min() > 0.01
    off = tolerance(engine)
    np.testing.assert_allclose(together, alone, rtol=off, atol=off)


def test_an_empty_batch_has_no_scores(engine: Engine) -> None:
    """A batch whose photographs were all set aside is no special case for the caller."""
    assert engine.scores(noise(0)).shape == (0, 3)


def test_scores_stay_as_they_are(engine: Engine, batch: Pixels) -> None:
    """What an engine has given is the caller's: the next batch does not write over it."""
    first = engine.scores(batch)
    before = first.copy()
    engine.scores(255 - batch)
    assert np.array_equal(first, before)


def test_a_read_only_batch_is_scored(engine: Engine, batch: Pixels) -> None:
    """Pixels in shared memory, which nobody may write, do no harm."""
    frozen = batch.copy()
    frozen.flags.writeable = False
    off = tolerance(engine)  # two passes may add up in another order
    np.testing.assert_allclose(engine.scores(frozen), engine.scores(batch), rtol=off, atol=off)


def test_a_large_batch_is_that_of_its_parts(engine: Engine) -> None:
    """However an engine cuts or pads a batch, every photograph has its own scores."""
    many = noise(131)
    parts = np.concatenate([engine.scores(many[begin : begin + 50]) for begin in range(0, 131, 50)])
    off = tolerance(engine)
    np.testing.assert_allclose(engine.scores(many), parts, rtol=off, atol=off)


@pytest.mark.parametrize(
    "odd",
    [
        np.zeros((1, 3, 64, 64), np.uint8),
        np.zeros((64, 64, 3), np.uint8),
        np.zeros((1, 32, 32, 3), np.uint8),
        np.zeros((1, 64, 64, 3), np.float32),
    ],
)
def test_a_batch_of_another_kind_is_refused(engine: Engine, odd: Pixels) -> None:
    """Channels first, a lone photograph, another size and floats are our own mistakes, and say so."""
    with pytest.raises(ValueError, match="a batch of"):
        engine.scores(odd)


def test_scores_that_are_not_finite_are_an_engine_error(
    engine: Engine, checkpoint: Checkpoint, batch: Pixels
) -> None:
    """A model that overflows is at fault itself: no photograph is blamed and no verdict given."""
    loud = {
        name: np.full_like(array, 6e4) if name.endswith("bn2.weight") else array
        for name, array in checkpoint.weights.items()
    }
    with pytest.raises(EngineError, match="not finite") as raised:
        make_engine(engine.name, replace(checkpoint, weights=loud)).scores(batch)
    assert raised.value.reason == "engine"


def test_warm_up_measures_seconds_an_image(engine: Engine) -> None:
    """The measurement is of one photograph at the checkpoint's size, not of a batch, and not zero."""
    began_s = time.perf_counter()
    measured_s = engine.warm_up()
    # The best of three runs, of at least four pictures each, is a twelfth of all at most.
    assert 0 < measured_s <= (time.perf_counter() - began_s) / 12


def test_engines_agree_on_photographs(engine: Engine) -> None:
    """On validation photographs every engine decides as eager PyTorch does, within its stated tolerance."""
    shipped = Checkpoint.load(SHIPPED)
    pixels, _ = validation(photographs_folder(), shipped, per_class=17)
    expected = probabilities(make_engine("torch-cpu", shipped).scores(pixels), shipped)
    found = probabilities(make_engine(engine.name, shipped).scores(pixels), shipped)
    agreement, difference = {
        "torch-cpu": (1.0, 1e-5),
        "openvino-f32": (1.0, 1e-3),
        "openvino-bf16": (0.985, 0.05),
        "torch-cuda": (0.99, 0.05),
    }[engine.name]
    assert (found.argmax(axis=1) == expected.argmax(axis=1)).mean() >= agreement
    assert np.abs(found - expected).max() <= difference


def test_the_shipped_checkpoint_knows_streets(tmp_path: Path) -> None:
    """Of ten validation photographs of each class, the engine that is chosen gets three in four right."""
    shipped = Checkpoint.load(SHIPPED)
    pixels, labels = validation(photographs_folder(), shipped, per_class=10)
    best = make_engine("auto", shipped, state_dir=tmp_path).scores(pixels).argmax(axis=1)
    right = [shipped.classes[i] == label for i, label in zip(best, labels, strict=True)]
    assert len(right) == 10 * len(shipped.classes)
    assert np.mean(right) >= 0.75


def test_the_setting_knows_every_engine() -> None:
    """ALMENARA_ENGINE takes the engines there are, and no other word."""
    parse = next(each.metadata["parse"] for each in fields(Settings) if each.name == "engine")
    assert [parse(name) for name in ("auto", *ENGINES)] == ["auto", *ENGINES]
    with pytest.raises(ValueError, match=", ".join(ENGINES)):
        parse("tpu")


def test_auto_takes_the_fastest_that_runs_here(checkpoint: Checkpoint, tmp_path: Path) -> None:
    """``auto`` is the first engine of the list that has no obstacle."""
    able = [option.name for option in options(checkpoint, tmp_path) if not option.obstacle]
    assert make_engine("auto", checkpoint, state_dir=tmp_path).name == able[0]


def test_every_obstacle_has_a_remedy(checkpoint: Checkpoint, tmp_path: Path) -> None:
    """All engines are listed, the fastest first, and what keeps one from running can be put right."""
    found = options(checkpoint, tmp_path)
    assert [option.name for option in found] == list(ENGINES)
    assert {bool(option.remedy) for option in found if option.obstacle} <= {True}
    assert {option.remedy for option in found if not option.obstacle} == {""}


def without_openvino(monkeypatch: pytest.MonkeyPatch) -> None:
    """As where no OpenVINO is installed."""
    monkeypatch.setitem(sys.modules, "openvino", None)


@pytest.mark.skipif(torch.cuda.is_available(), reason="there is a CUDA device")
def test_auto_falls_back_on_pytorch(checkpoint: Checkpoint, monkeypatch: pytest.MonkeyPatch) -> None:
    """Where OpenVINO can't be loaded, ``auto`` works all the same, and says what it costs."""
    without_openvino(monkeypatch)
    with capture_logs() as logged:
        assert make_engine("auto", checkpoint).name == "torch-cpu"
    (said,) = (line for line in logged if "why" in line)
    assert said["log_level"] == "warning"
    assert "OpenVINO" in said["why"]


@pytest.mark.skipif(torch.cuda.is_available(), reason="there is a CUDA device")
def test_auto_passes_over_an_engine_that_does_not_start(
    checkpoint: Checkpoint, monkeypatch: pytest.MonkeyPatch
) -> None:
    """An OpenVINO that loads and can't compile costs speed, not the worker."""

    def fail(*_: object) -> None:
        raise RuntimeError("no such instruction")

    monkeypatch.setattr(worker.engines, "OpenVinoEngine", fail)
    with capture_logs() as logged:
        assert make_engine("auto", checkpoint).name == "torch-cpu"
    assert "no such instruction" in [line.get("error") for line in logged]
    with pytest.raises(ConfigError, match="no such instruction"):
        make_engine("openvino-f32", checkpoint)


def test_asking_for_what_this_machine_lacks_stops_with_a_remedy(
    checkpoint: Checkpoint, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Whoever asks for an engine by name gets it or is told why not, never a slower one."""
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    monkeypatch.setattr(worker.engines, "capabilities", lambda: {"FP32", "INT8"})
    for name, obstacle, remedy in (
        ("torch-cuda", "CUDA device", "ALMENARA_ENGINE"),
        ("openvino-bf16", "bf16", "ALMENARA_ENGINE"),
        ("openvino-int8", "quantised", "almenara optimise"),
    ):
        with pytest.raises(ConfigError, match=f"{name}.*{obstacle}") as raised:
            make_engine(name, checkpoint, state_dir=tmp_path)
        assert remedy in raised.value.remedy


def test_an_engine_without_openvino_says_so(checkpoint: Checkpoint, monkeypatch: pytest.MonkeyPatch) -> None:
    """A missing package is named, with how to get it."""
    without_openvino(monkeypatch)
    with pytest.raises(ConfigError, match=r"openvino-f32.*OpenVINO can't be used") as raised:
        make_engine("openvino-f32", checkpoint)
    assert "make setup" in raised.value.remedy


def test_an_unknown_engine_is_refused(checkpoint: Checkpoint) -> None:
    """The message repeats the word and the remedy lists those there are."""
    with pytest.raises(ConfigError, match=r"'tpu'.*auto, torch-cuda, .* or torch-cpu"):
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


def test_openvino_needs_no_torch_and_reports_to_nobody() -> None:
    """A worker on OpenVINO neither waits for torch nor sends anything to OpenVINO's maker."""
    program = (
        "import sys\n"
        "from engine_parts import noise, random_checkpoint\n"
        "from worker.engines import make_engine\n"
        "before = set(sys.modules)\n"
        "make_engine('openvino-f32', random_checkpoint()).scores(noise(1))\n"
        "print(sorted({'torch', 'torchvision', 'openvino'} & before), 'torch' in sys.modules,\n"
        "      [name for name in sys.modules if name.startswith('openvino_telemetry.')])"
    )
    path = os.pathsep.join([str(ROOT), str(ROOT / "tests" / "worker")])
    ran = subprocess.run(
        [sys.executable, "-c", program], env={"PYTHONPATH": path}, capture_output=True, text=True, check=True
    )
    assert ran.stdout.strip() == "[] False []"
