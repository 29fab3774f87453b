import pickle
from pathlib import Path
from typing import Any
from urllib.error import URLError

import numpy as np
import pytest
import safetensors.numpy
import torch
from training_parts import random_state, random_weights

from shared.errors import ConfigError
from training import backbone
from training.backbone import imagenet_backbone, initial_weights, read_backbone, read_tensors


class Fetched:
    """Stands in for torchvision's download: gives a state, or raises."""

    def __init__(self, outcome: Any) -> None:
        self.outcome = outcome
        self.asked: dict[str, Any] = {}

    def get_state_dict(self, **options: Any) -> Any:
        self.asked = options
        if isinstance(self.outcome, Exception):
            raise self.outcome
        return self.outcome


class Malicious:
    """Unpickled, it writes a file."""

    def __init__(self, target: Path) -> None:
        self.target = target

    def __reduce__(self) -> tuple[Any, ...]:
        return Path.touch, (self.target,)


def test_both_kinds_of_file_give_the_same_weights(tmp_path: Path) -> None:
    """A safetensors file and a state dict saved by torch are read alike, in half precision."""
    torch.save(random_state() | {"fc.weight": torch.ones(1000, 512)}, tmp_path / "weights.pth")
    first = read_backbone(random_weights(tmp_path / "weights.safetensors"))
    second = read_backbone(tmp_path / "weights.pth")
    assert first.keys() == second.keys()
    assert "fc.weight" not in second
    assert all(np.array_equal(first[name], second[name]) for name in first)
    assert {array.dtype for array in second.values()} == {np.dtype(np.float16)}


def test_a_pickle_that_runs_something_is_refused(tmp_path: Path) -> None:
    """A file that would run code when unpickled as usual is refused, and nothing has run."""
    target = tmp_path / "ran"
    (tmp_path / "evil.pth").write_bytes(pickle.dumps({"conv1.weight": Malicious(target)}))
    torch.save({"conv1.weight": Malicious(target)}, tmp_path / "evil2.pth")
    for name in ("evil.pth", "evil2.pth"):
        with pytest.raises(ConfigError, match="never run"):
            read_tensors(tmp_path / name, "no")
    assert not target.exists()


def test_a_missing_file_and_wrong_shapes_name_the_flag(tmp_path: Path) -> None:
    """Whatever is wrong with the weights, the remedy is another --init."""
    with pytest.raises(ConfigError, match=r"nowhere\.safetensors can't be read.*--init"):
        read_backbone(tmp_path / "nowhere.safetensors")
    with pytest.raises(ConfigError, match=r"nowhere\.pth can't be read.*--init"):
        read_backbone(tmp_path / "nowhere.pth")
    path = tmp_path / "other.safetensors"
    safetensors.numpy.save_file({"conv1.weight": np.zeros((64, 3, 7, 7), np.float16)}, path)
    with pytest.raises(ConfigError, match=r"have no bn1\.weight of shape \(64,\).*--init"):
        read_backbone(path)
    safetensors.numpy.save_file({"conv1.weight": np.zeros((64, 3, 3, 3), np.float16)}, path)
    with pytest.raises(ConfigError, match=r"of shape \(64, 3, 3, 3\), not \(64, 3, 7, 7\).*--init"):
        read_backbone(path)


def test_imagenet_weights_are_checked_by_hash(monkeypatch: pytest.MonkeyPatch) -> None:
    """Without --init they are torchvision's, weights only, the hash checked, and named in the record."""
    fetched = Fetched(random_state())
    monkeypatch.setattr(backbone, "IMAGENET", fetched)
    weights, _ = initial_weights(None)
    assert weights["conv1.weight"].shape == (64, 3, 7, 7)
    assert fetched.asked == {"progress": False, "check_hash": True, "weights_only": True}


@pytest.mark.parametrize(
    "fault",
    [URLError("no network"), TimeoutError("slow"), RuntimeError("invalid hash value")],
)
def test_imagenet_weights_that_can_not_be_fetched_name_the_flag(
    monkeypatch: pytest.MonkeyPatch, fault: Exception
) -> None:
    """No network, a slow one, or a file that is not what it should be: said, with --init as the remedy."""
    monkeypatch.setattr(backbone, "IMAGENET", Fetched(fault))
    with pytest.raises(ConfigError, match=r"can't be fetched: .*--init"):
        imagenet_backbone()
