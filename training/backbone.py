"""The ResNet-34 that training starts from: where its weights come from, and how it looks at pixels."""

import hashlib
import pickle
import warnings
from pathlib import Path
from typing import Any
from urllib.error import URLError

import numpy as np
import safetensors.numpy
import torch
from numpy.typing import NDArray
from safetensors import SafetensorError
from torchvision.models import ResNet34_Weights, resnet34

from shared.checkpoint import resnet34_shapes
from shared.errors import ConfigError
from shared.preprocessing import Preprocessing

WIDTH = 512
"""Numbers a photograph: ResNet-34's last stage, averaged over the picture."""

PREPROCESSING = Preprocessing(size_px=224, mean=(0.485, 0.456, 0.406), std=(0.229, 0.224, 0.225))
"""What ResNet-34 weights from ImageNet and its kin take."""

IMAGENET = ResNet34_Weights.IMAGENET1K_V1

_REMEDY = "give --init a .safetensors or .pth file with torchvision's resnet34 names"

Weights = dict[str, NDArray[Any]]
"""Arrays by torchvision's names."""


def read_backbone(path: Path) -> Weights:
    """Read ResNet-34 weights with torchvision's names; a classifier among them is left out.

    Returns:
        float16, as a checkpoint will hold them: what is measured is what is shipped. Batch
        normalisation's step counters are left out.

    Raises:
        ConfigError: the file can't be read or is not a ResNet-34.
    """
    return backbone_of(read_tensors(path, _REMEDY), f"the weights {path}")


def imagenet_backbone() -> Weights:
    """torchvision's own ResNet-34 weights, from its download or its cache; as ``read_backbone`` gives them.

    Raises:
        ConfigError: they can't be fetched, or are not what torchvision says they are.
    """
    try:
        # The hash is checked when the file comes in; weights only, because it is a pickle.
        state = IMAGENET.get_state_dict(progress=False, check_hash=True, weights_only=True)
    except (URLError, OSError, RuntimeError, pickle.UnpicklingError) as error:
        raise ConfigError(
            f"torchvision's ImageNet weights for ResNet-34 can't be fetched: {error}", remedy=_REMEDY
        ) from error
    return backbone_of(_arrays(state), "torchvision's ResNet-34")


def initial_weights(path: Path | None) -> tuple[Weights, str]:
    """The backbone to start from, and its name for the record: ``None`` stands for ImageNet's.

    Raises:
        ConfigError: as ``read_backbone`` and ``imagenet_backbone``.
    """
    if path is None:
        return imagenet_backbone(), str(IMAGENET)
    return read_backbone(path), hashlib.sha256(path.read_bytes()).hexdigest()[:12]


def read_tensors(path: Path, remedy: str) -> Weights:
    """Every floating-point tensor in a safetensors file or a PyTorch state dict, by name.

    Nothing in the file is ever run: a state dict is loaded with weights only.

    Raises:
        ConfigError: it can't be read, or holds anything but tensors.
    """
    try:
        if path.suffix == ".safetensors":
            return safetensors.numpy.load(path.read_bytes())
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # about the pickle's protocol; it is read, or refused below
            state = torch.load(path, map_location="cpu", weights_only=True)
    except pickle.UnpicklingError as error:
        raise ConfigError(
            f"{path} is refused: it is no state dict, or holds more than weights, which is never run",
            remedy=remedy,
        ) from error
    except OSError as error:
        raise ConfigError(f"{path} can't be read: {error.strerror or error}", remedy=remedy) from error
    except (SafetensorError, RuntimeError, LookupError, TypeError, ValueError, EOFError) as error:
        raise ConfigError(f"{path} can't be read: {error}", remedy=remedy) from error
    if not isinstance(state, dict) or not all(isinstance(value, torch.Tensor) for value in state.values()):
        raise ConfigError(f"{path} is no state dict of tensors by name", remedy=remedy)
    return _arrays(state)


def backbone_of(found: Weights, what: str, remedy: str = _REMEDY) -> Weights:
    """The tensors of a ResNet-34 without its classifier, float16.

    Args:
        found: arrays by torchvision's names; others are ignored.
        what: names the source in a complaint.
        remedy: what to do about a complaint.

    Raises:
        ConfigError: one is missing, or has another shape.
    """
    expected = {name: shape for name, shape in resnet34_shapes(2).items() if not name.startswith("fc.")}
    for name, shape in expected.items():
        if name not in found:
            raise ConfigError(f"{what} have no {name} of shape {shape}", remedy=remedy)
        if found[name].shape != shape:
            raise ConfigError(f"{what} have {name} of shape {found[name].shape}, not {shape}", remedy=remedy)
    return {name: found[name].astype(np.float16) for name in expected}


class Backbone:
    """The frozen network: pixels in, pooled features out.

    It stays in evaluation mode, batch normalisation with the statistics it came with.
    """

    def __init__(self, weights: Weights, preprocessing: Preprocessing) -> None:
        model = resnet34(weights=None)
        model.fc = torch.nn.Identity()
        model.load_state_dict({name: torch.from_numpy(array) for name, array in weights.items()})
        self._model: torch.nn.Module = model.float().eval().to(memory_format=torch.channels_last)
        self._mean = torch.tensor(preprocessing.mean).view(1, 3, 1, 1)  # (1, 3, 1, 1)
        self._std = torch.tensor(preprocessing.std).view(1, 3, 1, 1)  # (1, 3, 1, 1)

    @torch.inference_mode()
    def __call__(self, batch: NDArray[np.uint8]) -> NDArray[np.float32]:
        """(B, H, W, 3) uint8 RGB in, (B, 512) float32 out."""
        images = torch.from_numpy(batch).permute(0, 3, 1, 2).float()  # (B, 3, H, W)
        values: NDArray[np.float32] = self._model((images / 255 - self._mean) / self._std).numpy()  # (B, 512)
        return values


def _arrays(state: dict[str, torch.Tensor]) -> Weights:
    return {name: tensor.numpy() for name, tensor in state.items() if tensor.is_floating_point()}
