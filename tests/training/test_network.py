from collections.abc import Iterator

import numpy as np
import pytest
import torch
from training_parts import TINY, random_state, single_threaded

from training.backbone import Backbone, backbone_of
from training.network import Hardware, Network, logits

WEIGHTS = backbone_of({name: tensor.numpy() for name, tensor in random_state().items()}, "random weights")


@pytest.fixture(scope="module", autouse=True)
def one_thread() -> Iterator[None]:
    with single_threaded():
        yield


def pixels(count: int = 3) -> np.ndarray:
    """(N, 64, 64, 3) uint8."""
    return np.random.default_rng(0).integers(0, 256, (count, 64, 64, 3)).astype(np.uint8)


def test_it_starts_as_the_network_whose_weights_it_got() -> None:
    """Pooled features are those of the frozen backbone, and its weights come out as they went in."""
    network = Network(WEIGHTS, 3, 0, seed=0).eval()
    plain = Hardware(torch.device("cpu"), torch.float32)
    with torch.inference_mode():
        pooled = network.backbone(plain.images(torch.from_numpy(pixels()), TINY)).numpy()
    assert pooled == pytest.approx(Backbone(WEIGHTS, TINY)(pixels()), abs=1e-4)
    found = network.weights()
    assert set(found) == {*WEIGHTS, "fc.weight", "fc.bias"}
    assert all(np.array_equal(array, found[name]) for name, array in WEIGHTS.items())


def test_the_seed_draws_the_new_layers_and_nothing_else_does() -> None:
    """Whatever chance was used for before, the same seed starts alike, another one otherwise."""
    first = Network(WEIGHTS, 3, 8, seed=0)
    torch.rand(5)
    second, other = Network(WEIGHTS, 3, 8, seed=0), Network(WEIGHTS, 3, 8, seed=1)
    assert torch.equal(first.fc.weight, second.fc.weight)
    assert not torch.equal(first.fc.weight, other.fc.weight)
    assert first.projection is not None and second.projection is not None
    assert torch.equal(first.projection.weight, second.projection.weight)


def test_early_layers_learn_slowly_and_only_matrices_decay() -> None:
    """The first convolution takes the smallest share of the rate, new layers the largest."""
    network = Network(WEIGHTS, 3, 8, seed=0)
    groups = network.parameter_groups(0.05)
    of = {parameter: group for group in groups for parameter in group["params"]}
    assert len(of) == len(list(network.parameters()))
    shares = [
        of[network.get_parameter(name)]["share"]
        for name in (
            "backbone.conv1.weight",
            "backbone.layer2.0.conv1.weight",
            "backbone.layer4.0.conv1.weight",
            "fc.weight",
        )
    ]
    assert shares == sorted(shares) and len(set(shares)) == 4
    assert of[network.fc.weight]["weight_decay"] == 0.05
    assert of[network.fc.bias]["weight_decay"] == 0
    assert of[network.get_parameter("backbone.bn1.weight")]["weight_decay"] == 0


def test_half_precision_gives_nearly_the_same_scores() -> None:
    """Where a processor can multiply in bfloat16, classes do not change for it."""
    network = Network(WEIGHTS, 3, 0, seed=0).eval()
    exact, quick = (
        logits(network, pixels(8), Hardware(torch.device("cpu"), dtype), TINY)
        for dtype in (torch.float32, torch.bfloat16)
    )
    assert exact.shape == (8, 3)
    assert quick == pytest.approx(exact, abs=0.05 * float(np.abs(exact).max()))


@pytest.mark.skipif(not torch.cuda.is_available(), reason="there is no CUDA GPU here")
def test_a_gpu_gives_nearly_the_same_scores() -> None:
    """Training on a GPU judges as the processor does."""
    network = Network(WEIGHTS, 3, 0, seed=0).eval()
    exact = logits(network, pixels(8), Hardware(torch.device("cpu"), torch.float32), TINY)
    found = Hardware.found()
    quick = logits(network.to(found.device), pixels(8), found, TINY)
    assert quick == pytest.approx(exact, abs=0.05 * float(np.abs(exact).max()))
