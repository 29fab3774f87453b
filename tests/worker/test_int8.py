import gc
import zipfile
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from engine_parts import noise, random_checkpoint
from structlog.testing import capture_logs

from shared.checkpoint import Checkpoint
from shared.errors import ConfigError
from worker import int8
from worker.engines import make_engine, options
from worker.openvino_engine import build, processor

pytestmark = pytest.mark.skipif(
    any(each.obstacle for each in options(random_checkpoint(), None) if each.name == "openvino-f32"),
    reason="OpenVINO does not run here",
)


@pytest.fixture(scope="module", autouse=True)
def engines_end_here() -> Iterator[None]:
    """What a test's failed pass keeps alive is freed here: not at any time, in any thread of a later test."""
    yield
    gc.collect()


@pytest.fixture(scope="module")
def checkpoint(tmp_path_factory: pytest.TempPathFactory) -> Checkpoint:
    return random_checkpoint().save(tmp_path_factory.mktemp("models") / "random.safetensors")


@pytest.fixture(autouse=True)
def no_cuda(monkeypatch: pytest.MonkeyPatch) -> None:
    """``auto`` would take a GPU first."""
    monkeypatch.setattr("worker.engines._has_cuda_driver", lambda: False)


@pytest.fixture
def state(tmp_path: Path, checkpoint: Checkpoint) -> Path:
    """A state folder that keeps a network of the checkpoint, which need not be quantised for that."""
    int8.save(build(checkpoint), measured(checkpoint), int8.place(tmp_path, checkpoint))
    return tmp_path


def measured(checkpoint: Checkpoint) -> int8.Measured:
    """What `almenara optimise` might have found."""
    return int8.Measured(
        model=checkpoint.model_id,
        pictures=300,
        agreement=0.9933,
        accuracy=None,
        accuracy_f32=None,
        processor=processor(),
        made_at="2026-11-24T10:02:03.000000Z",
        made_with={"openvino": "2026.4.1"},
    )


def obstacle(checkpoint: Checkpoint, state: Path) -> str:
    """What keeps int8 from running."""
    return next(each.obstacle for each in options(checkpoint, state) if each.name == "openvino-int8")


def test_a_network_that_is_kept_is_used(checkpoint: Checkpoint, state: Path) -> None:
    """``auto`` takes it; it gives the scores that the network gave before it was written."""
    engine = make_engine("auto", checkpoint, state_dir=state)
    assert engine.name == "openvino-int8"
    expected = make_engine("openvino-f32", checkpoint).scores(noise(3))
    np.testing.assert_allclose(engine.scores(noise(3)), expected, rtol=1e-4, atol=1e-4)


def test_what_was_measured_is_kept_with_it(checkpoint: Checkpoint, state: Path) -> None:
    """The file says what it was accepted for, and there is nothing beside it."""
    path = int8.place(state, checkpoint)
    assert int8.measured(path, checkpoint) == measured(checkpoint)
    assert [each for each in state.rglob("*") if each.is_file()] == [path]


def test_another_checkpoint_has_none(checkpoint: Checkpoint, state: Path) -> None:
    """A network is of one checkpoint, whatever the files are called."""
    other = replace(checkpoint, fingerprint="0" * 12)
    assert "no quantised network" in obstacle(other, state)
    int8.place(state, checkpoint).rename(int8.place(state, other))
    assert f"is of {checkpoint.model_id}, not of {other.model_id}" in obstacle(other, state)
    with pytest.raises(ConfigError, match="not of"):
        make_engine("openvino-int8", other, state_dir=state)


def test_a_damaged_file_is_passed_over(checkpoint: Checkpoint, state: Path) -> None:
    """``auto`` goes on with the next engine and says why; who asks for int8 is told what to do."""
    path = int8.place(state, checkpoint)
    content = bytearray(path.read_bytes())
    content[len(content) // 2] ^= 1  # one bit of a weight
    path.write_bytes(content)
    with capture_logs() as logged:
        engine = make_engine("auto", checkpoint, state_dir=state)
    assert engine.name in {"openvino-bf16", "openvino-f32"}
    assert [line["engine"] for line in logged if "engine" in line] == ["openvino-int8"]
    with pytest.raises(ConfigError, match="can't be read") as raised:
        make_engine("openvino-int8", checkpoint, state_dir=state)
    assert "almenara optimise" in raised.value.remedy


@pytest.mark.parametrize("content", [b"", b"no archive"])
def test_what_is_no_network_is_an_obstacle(checkpoint: Checkpoint, state: Path, content: bytes) -> None:
    """The doctor knows of a file that can't be opened before a worker meets it."""
    int8.place(state, checkpoint).write_bytes(content)
    assert "can't be read" in obstacle(checkpoint, state)


def test_an_archive_of_something_else_is_an_obstacle(checkpoint: Checkpoint, state: Path) -> None:
    """Neither does an archive without the right content pass."""
    with zipfile.ZipFile(int8.place(state, checkpoint), "w") as archive:
        archive.writestr("measured.json", "[]")
    assert "can't be read" in obstacle(checkpoint, state)


def test_where_nothing_can_be_written_the_remedy_is_said(checkpoint: Checkpoint, tmp_path: Path) -> None:
    """A state folder that is a file is the operator's to put right."""
    (tmp_path / "state").touch()
    with pytest.raises(ConfigError, match="can't be kept") as raised:
        int8.save(build(checkpoint), measured(checkpoint), int8.place(tmp_path / "state", checkpoint))
    assert "ALMENARA_STATE_DIR" in raised.value.remedy


def test_a_network_measured_on_another_processor_is_not_used(checkpoint: Checkpoint, tmp_path: Path) -> None:
    """Where int8 rounds otherwise, what was accepted elsewhere says nothing."""
    elsewhere = replace(measured(checkpoint), processor="another")
    int8.save(build(checkpoint), elsewhere, int8.place(tmp_path, checkpoint))
    assert "measured on another processor (another)" in obstacle(checkpoint, tmp_path)
    assert make_engine("auto", checkpoint, state_dir=tmp_path).name != "openvino-int8"
