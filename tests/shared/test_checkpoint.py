import json
import os
import re
import subprocess
import sys
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import safetensors.numpy

from shared.checkpoint import METADATA_KEY, Checkpoint, resnet34_shapes
from shared.errors import ConfigError
from shared.preprocessing import Preprocessing
from shared.verdict import Thresholds

CLASSES = ("flood_risk", "fire", "normal")


@pytest.fixture(scope="module")
def checkpoint() -> Checkpoint:
    random = np.random.default_rng(0)
    return Checkpoint(
        weights={
            name: random.normal(0, 0.02, shape).astype(np.float16)
            for name, shape in resnet34_shapes(len(CLASSES)).items()
        },
        classes=CLASSES,
        preprocessing=Preprocessing(size_px=224, mean=(0.4, 0.5, 0.6), std=(0.2, 0.2, 0.3)),
        temperature=1.5,
        thresholds=Thresholds(dispatch=0.6, no_emergency=0.7),
        metrics={"val": {"accuracy": 0.9}},
        data_fingerprint="abc",
        config={"seed": 3},
        code_version="0.1.0",
    )


@pytest.fixture(scope="module")
def saved(checkpoint: Checkpoint, tmp_path_factory: pytest.TempPathFactory) -> Checkpoint:
    return checkpoint.save(tmp_path_factory.mktemp("models") / "tiny.safetensors")


def path_of(saved: Checkpoint) -> Path:
    assert saved.path is not None
    return saved.path


def rewritten(saved: Checkpoint, folder: Path, change: Callable[[dict[str, Any]], object]) -> Path:
    """The same file with another header; its tensors stay as they are."""
    content = path_of(saved).read_bytes()
    length_bytes = int.from_bytes(content[:8], "little")
    outer = json.loads(content[8 : 8 + length_bytes])
    header = json.loads(outer["__metadata__"][METADATA_KEY])
    change(header)
    outer["__metadata__"][METADATA_KEY] = json.dumps(header)
    new = json.dumps(outer).encode()
    path = folder / "changed.safetensors"
    path.write_bytes(len(new).to_bytes(8, "little") + new + content[8 + length_bytes :])
    return path


def test_what_is_saved_is_what_is_loaded(checkpoint: Checkpoint, saved: Checkpoint) -> None:
    """Every field and every weight survives the file."""
    loaded = Checkpoint.load(path_of(saved))
    for name in ("classes", "preprocessing", "temperature", "thresholds", "metrics", "config"):
        assert getattr(loaded, name) == getattr(checkpoint, name), name
    assert (loaded.data_fingerprint, loaded.code_version) == ("abc", "0.1.0")
    assert loaded.weights.keys() == checkpoint.weights.keys()
    assert all(np.array_equal(loaded.weights[name], array) for name, array in checkpoint.weights.items())


def test_model_id_names_the_file_and_its_content(saved: Checkpoint) -> None:
    """Saver and loader agree on the identity, which is the stem and twelve digits of the hash."""
    loaded = Checkpoint.load(path_of(saved))
    assert loaded.model_id == saved.model_id
    assert re.fullmatch(r"tiny@[0-9a-f]{12}", loaded.model_id)


def test_another_content_has_another_fingerprint(saved: Checkpoint, tmp_path: Path) -> None:
    """A changed header alone changes the identity."""
    path = rewritten(saved, tmp_path, lambda header: header["config"].update(seed=4))
    assert Checkpoint.load(path).fingerprint != saved.fingerprint


def test_weights_are_stored_in_half_precision(checkpoint: Checkpoint, tmp_path: Path) -> None:
    """Wider weights are rounded when saved, and the checkpoint that save returns has them rounded too."""
    wide = {name: array.astype(np.float32) * 1.0001 for name, array in checkpoint.weights.items()}
    returned = replace(checkpoint, weights=wide).save(tmp_path / "wide.safetensors")
    loaded = Checkpoint.load(tmp_path / "wide.safetensors")
    assert {array.dtype for array in loaded.weights.values()} == {np.dtype(np.float16)}
    assert np.array_equal(returned.weights["fc.weight"], loaded.weights["fc.weight"])


def test_a_failed_save_leaves_the_old_file_and_no_litter(
    saved: Checkpoint, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """When the disk fails before the rename, the file that was there is untouched."""
    target = tmp_path / "kept.safetensors"
    target.write_bytes(b"old")

    def fail(_descriptor: int) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "fsync", fail)
    with pytest.raises(ConfigError, match="No space left"):
        saved.save(target)
    assert target.read_bytes() == b"old"
    assert [path.name for path in tmp_path.iterdir()] == ["kept.safetensors"]


def test_a_missing_file_names_itself_and_a_remedy(tmp_path: Path) -> None:
    """Whoever mistyped the path sees it again, and what to set."""
    with pytest.raises(ConfigError, match=r"nowhere\.safetensors.*No such file.*ALMENARA_CHECKPOINT"):
        Checkpoint.load(tmp_path / "nowhere.safetensors")


@pytest.mark.parametrize("content", [b"", b"\x00" * 7, b"\xff" * 64, b"\x80\x04K\x01.", b'{"a": 1}' * 9])
def test_what_is_not_safetensors_is_refused(tmp_path: Path, content: bytes) -> None:
    """Empty, short, random, pickled and JSON files all end in a ConfigError that names the file."""
    path = tmp_path / "odd.safetensors"
    path.write_bytes(content)
    with pytest.raises(ConfigError, match=r"odd\.safetensors"):
        Checkpoint.load(path)


def test_a_cut_file_is_refused(saved: Checkpoint, tmp_path: Path) -> None:
    """Half a copy never loads as a model."""
    path = tmp_path / "half.safetensors"
    content = path_of(saved).read_bytes()
    path.write_bytes(content[: len(content) // 2])
    with pytest.raises(ConfigError, match=r"half\.safetensors is refused"):
        Checkpoint.load(path)


def test_safetensors_without_our_header_are_refused(tmp_path: Path) -> None:
    """Plain weights are not a checkpoint, and the message says what is missing."""
    path = tmp_path / "plain.safetensors"
    safetensors.numpy.save_file({"fc.bias": np.zeros(3, np.float16)}, path)
    with pytest.raises(ConfigError, match=METADATA_KEY):
        Checkpoint.load(path)


@pytest.mark.parametrize(
    ("change", "complaint"),
    [
        (lambda h: h.update(format_version=2), "format version 2 is unknown"),
        (lambda h: h.update(architecture="vgg16"), "'vgg16' is not 'resnet34'"),
        (lambda h: h.update(classes=["fire", "Flood Risk", "normal"]), "'Flood Risk' is not a class name"),
        (lambda h: h.update(classes=["fire", "fire", "normal"]), "named twice"),
        (lambda h: h.update(classes=["fire", 7, "normal"]), "7 is not a class name"),
        (lambda h: h.update(classes=["fire", "normal"]), r"fc\.weight has shape \(3, 512\), not \(2, 512\)"),
        (lambda h: h.update(classes=["normal"]), "fewer than two classes"),
        (lambda h: h.update(temperature=0), "temperature 0.0 is not above 0"),
        (lambda h: h.update(temperature=float("nan")), "temperature nan is not above 0"),
        (lambda h: h.update(temperature=True), "True is not a number"),
        (lambda h: h.update(temperature=10**400), "changed.safetensors"),
        (lambda h: h["thresholds"].update(dispatch=1.5), "dispatch threshold 1.5"),
        (lambda h: h["thresholds"].update(no_emergency=float("nan")), "no_emergency threshold nan"),
        (lambda h: h["thresholds"].pop("dispatch"), "lacks 'dispatch'"),
        (lambda h: h["preprocessing"].update(size_px=7), "size_px 7"),
        (lambda h: h["preprocessing"].update(size_px=224.5), "224.5 is not a whole number"),
        (lambda h: h["preprocessing"].update(std=[0.2, 0, 0.2]), "contains a zero"),
        (lambda h: h["preprocessing"].update(mean=[0.5, 0.5]), "changed.safetensors"),
        (lambda h: h["preprocessing"].update(mean=[0.5, 0.5, 120]), "mean"),
        (lambda h: h.pop("config"), "lacks 'config'"),
        (lambda h: h.update(metrics=3), "changed.safetensors"),
    ],
)
def test_a_wrong_header_is_refused_by_name(
    saved: Checkpoint, tmp_path: Path, change: Callable[[dict[str, Any]], object], complaint: str
) -> None:
    """Each fault of the header stops the load, names the file, and says what is wrong."""
    path = rewritten(saved, tmp_path, change)
    with pytest.raises(ConfigError, match=complaint) as raised:
        Checkpoint.load(path)
    assert str(path) in raised.value.detail
    assert raised.value.remedy


@pytest.mark.parametrize(
    ("name", "array", "complaint"),
    [
        ("conv1.weight", None, "lack conv1.weight"),
        ("layer9.0.conv1.weight", np.zeros(1), "which ResNet-34 has not"),
        ("layer4.2.bn2.bias", np.zeros(7), "shape"),
        ("fc.bias", np.array([0, np.nan, 0]), "not a finite number"),
        ("bn1.running_var", np.full(64, 1e6), "not a finite number"),  # more than float16 holds
    ],
)
def test_weights_that_do_not_fit_are_not_saved(
    checkpoint: Checkpoint, tmp_path: Path, name: str, array: np.ndarray | None, complaint: str
) -> None:
    """A missing, unknown, misshapen, broken or overflowing tensor never reaches a file."""
    weights = {key: value for key, value in checkpoint.weights.items() if key != name}
    if array is not None:
        weights[name] = array
    with pytest.raises(ConfigError, match=complaint):
        replace(checkpoint, weights=weights).save(tmp_path / "bad.safetensors")
    assert not list(tmp_path.iterdir())


def test_counters_of_training_steps_are_left_out(checkpoint: Checkpoint, tmp_path: Path) -> None:
    """A state dict straight from torch saves, without the integers that inference never reads."""
    weights = dict(checkpoint.weights) | {"bn1.num_batches_tracked": np.array(3)}
    saved = replace(checkpoint, weights=weights).save(tmp_path / "counted.safetensors")
    assert "bn1.num_batches_tracked" not in Checkpoint.load(path_of(saved)).weights


def test_a_model_without_normal_is_a_checkpoint(checkpoint: Checkpoint, tmp_path: Path) -> None:
    """The original six classes alone are allowed."""
    classes = ("flood_risk", "fire", "protest")
    saved = replace(checkpoint, classes=classes).save(tmp_path / "six.safetensors")
    assert Checkpoint.load(path_of(saved)).classes == classes


def test_loading_does_not_load_torch(saved: Checkpoint) -> None:
    """A console or an ingester that reads a checkpoint's header stays small."""
    script = (
        "import sys; from pathlib import Path; from shared.checkpoint import Checkpoint; "
        "print(Checkpoint.load(Path(sys.argv[1])).name, 'torch' in sys.modules)"
    )
    ran = subprocess.run(
        [sys.executable, "-c", script, str(saved.path)],
        capture_output=True,
        text=True,
        check=True,
        timeout=60,
    )
    assert ran.stdout.split() == ["tiny", "False"]
