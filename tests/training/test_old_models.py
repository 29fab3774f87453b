import pickle
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
import torch
from torchvision.models import resnet34
from training_parts import random_state, single_threaded

from shared.checkpoint import Checkpoint
from shared.errors import ConfigError
from shared.verdict import Thresholds
from training.old_models import class_name, import_model

SIX = ("flood_risk", "fire", "protest", "accident", "altercation", "robbery")


@pytest.fixture(scope="module", autouse=True)
def one_thread() -> Iterator[None]:
    with single_threaded():
        yield


def old_model(classes: int, *, of_children: bool) -> torch.nn.Sequential:
    """The study's model with weights by chance: a backbone, Flatten, and a new linear layer."""
    torch.manual_seed(classes)
    backbone = resnet34(weights=None)
    backbone.load_state_dict(random_state(), strict=False)
    backbone.fc = torch.nn.Identity()
    first = torch.nn.Sequential(*list(backbone.children())[:-1]) if of_children else backbone
    return torch.nn.Sequential(first, torch.nn.Flatten(), torch.nn.Linear(512, classes)).eval()


def score(checkpoint: Checkpoint, images: torch.Tensor) -> torch.Tensor:
    """What the worker's network makes of normalised images."""
    model = resnet34(weights=None, num_classes=len(checkpoint.classes))
    model.load_state_dict({name: torch.from_numpy(array) for name, array in checkpoint.weights.items()})
    scores: torch.Tensor = model.eval()(images)
    return scores


@pytest.mark.parametrize("of_children", [False, True])
@pytest.mark.parametrize("count", [6, 7])
def test_an_old_model_scores_as_before(tmp_path: Path, *, of_children: bool, count: int) -> None:
    """Both ways to write the backbone, six classes or seven: the checkpoint gives the old scores."""
    old = old_model(count, of_children=of_children)
    torch.save(old.state_dict(), tmp_path / "old.pth")
    classes = ["Water", *SIX[1:], "Infrastructure Damage"][:count]
    checkpoint = import_model(tmp_path / "old.pth", classes).save(tmp_path / "new.safetensors")
    loaded = Checkpoint.load(tmp_path / "new.safetensors")
    assert loaded.classes == (*SIX, "infrastructure_damage")[:count]
    assert (loaded.temperature, loaded.thresholds) == (1.0, Thresholds(dispatch=0.0, no_emergency=1.0))
    assert loaded.fingerprint == checkpoint.fingerprint
    images = torch.randn(2, 3, 64, 64, generator=torch.Generator().manual_seed(0))
    with torch.inference_mode():
        assert torch.allclose(score(loaded, images), old(images), atol=0.02)


def test_a_parallel_models_prefix_is_dropped(tmp_path: Path) -> None:
    """A state dict saved from DataParallel is the same model; thresholds can be given."""
    state = old_model(6, of_children=False).state_dict()
    torch.save({f"module.{name}": tensor for name, tensor in state.items()}, tmp_path / "old.pth")
    checkpoint = import_model(tmp_path / "old.pth", SIX, temperature=1.5, dispatch=0.6, no_emergency=0.9)
    assert np.array_equal(checkpoint.weights["fc.weight"], state["2.weight"].numpy())
    assert (checkpoint.temperature, checkpoint.thresholds.dispatch) == (1.5, 0.6)


def test_what_does_not_fit_is_refused(tmp_path: Path) -> None:
    """Too few names, a name twice, another network, or a threshold out of range: each says what is wrong."""
    path = tmp_path / "old.pth"
    state = old_model(6, of_children=True).state_dict()
    torch.save(state, path)
    with pytest.raises(ConfigError, match="6 classes apart, and --classes names 2: fire, protest"):
        import_model(path, ["Fire", "Protest"])
    with pytest.raises(ConfigError, match="named twice"):
        import_model(path, ["Water", "flood risk", *SIX[2:]])
    with pytest.raises(ConfigError, match="dispatch threshold 7"):
        import_model(path, SIX, dispatch=7.0)
    torch.save({name: tensor for name, tensor in state.items() if "0.7." not in name}, path)
    with pytest.raises(ConfigError, match=r"have no layer4\.0"):
        import_model(path, SIX)
    torch.save({name: tensor for name, tensor in state.items() if not name.startswith("2.")}, path)
    with pytest.raises(ConfigError, match="no linear layer on 512"):
        import_model(path, SIX)


def test_a_whole_pickled_model_is_refused(tmp_path: Path) -> None:
    """Only weights are taken: a pickled model could run anything."""
    torch.save(torch.nn.Sequential(torch.nn.Linear(512, 6)), tmp_path / "model.pth")
    (tmp_path / "list.pth").write_bytes(pickle.dumps([print]))
    for name in ("model.pth", "list.pth"):
        with pytest.raises(ConfigError, match="more than weights"):
            import_model(tmp_path / name, SIX)


@pytest.mark.parametrize(
    ("old", "new"),
    [
        ("Water", "flood_risk"),
        (" Flood Risk", "flood_risk"),
        ("fire", "fire"),
        ("Infrastructure Damage", "infrastructure_damage"),
    ],
)
def test_old_names_become_words(old: str, new: str) -> None:
    """Any spelling, and the study's name for floods."""
    assert class_name(old) == new
