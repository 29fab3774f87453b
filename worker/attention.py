"""Class activation maps for consoles: where in a photograph the evidence for a situation lies.

ResNet-34 averages its last feature map over the picture and weighs the averages to get the score of a class.
Weighing first and averaging later gives the same score, and before the averaging there is a map. The model
sees the whole picture squashed to a square, so stretching the map again lays it over the whole picture.

``python -m worker.attention CHECKPOINT MAX_PIXELS WIDTH_PX`` is the process that `Explainer` starts.

Source: Zhou et al. 2016, "Learning deep features for discriminative localization", section 2.
"""

import hashlib
import sys
import threading
from collections.abc import Callable, Sequence
from io import BytesIO
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from shared.announcements import FINGERPRINT_DIGITS, fingerprint_of
from shared.checkpoint import Checkpoint
from shared.confinement import Confinement, cant_start
from shared.decoding import MAX_PIXELS, fitted, opened, serve_pictures, turned, upright
from shared.errors import ConfigError, PermanentError
from shared.heat import heat, shares, spread
from shared.preprocessing import decode
from worker.inference import Pixels
from worker.openvino_engine import build, load_openvino

Features = NDArray[np.float32]
OVERLAY_PX = 640
"""Width of an overlay. It is smooth: a page can stretch it."""

_OPAQUE = 0.7
"""How much of the picture the brightest heat hides."""

_ANSWER_S = 20.0
_OWN_BYTES = 3 * 2**30  # OpenVINO takes 0.8 GiB of address space (measured)


class UnknownModelError(PermanentError):
    """Raised when the model that decided can't be had any more: another one must not speak for it."""

    default_reason = "unknown_model"


class UnknownClassError(PermanentError):
    """Raised when the model does not know a situation: a person gave it, or another model."""

    default_reason = "unknown_class"


class Attention:
    """The network of a checkpoint up to its last feature map, and its classifier beside it.

    Takes one thread: a picture now and then must not take the worker's cores.
    """

    def __init__(
        self, checkpoint: Checkpoint, *, max_pixels: int = MAX_PIXELS, runtime: str = "auto"
    ) -> None:
        """Load the network.

        Args:
            checkpoint: the model; not kept.
            max_pixels: of a picture.
            runtime: ``openvino``, ``torch``, or ``auto``: OpenVINO where it can be used.

        Raises:
            ImportError: the runtime can't be loaded.
            RuntimeError: it can't run the network here.
        """
        self._preprocessing, self._max_pixels = checkpoint.preprocessing, max_pixels
        self.classes = checkpoint.classes
        self.weight = checkpoint.weights["fc.weight"].astype(np.float32)  # (C, 512)
        self.runtime, self._features = _features(checkpoint, runtime)

    def maps(self, pixels: Pixels) -> NDArray[np.float32]:
        """The maps of every class.

        Args:
            pixels: (S, S, 3) uint8 RGB, as ``shared.preprocessing.decode`` gives them.

        Returns:
            (C, h, w) float32, a 32nd of the size; the mean of a map, plus the class's bias, is the class's
            score before the softmax.
        """
        features = self._features(pixels[None])  # (1, 512, h, w)
        maps: NDArray[np.float32] = np.einsum("ck,khw->chw", self.weight, features[0])
        return maps

    def __call__(self, image_bytes: bytes, situation: str) -> NDArray[np.float32]:
        """Where a photograph speaks for a situation.

        Args:
            image_bytes: the whole file.
            situation: one of the checkpoint's classes.

        Returns:
            (h, w) float32 in [0, 1], over the whole upright picture: 1 where most speaks for it.

        Raises:
            UnknownClassError: the model has no such class.
            ImageError: the picture can't be decoded.
        """
        if situation not in self.classes:
            raise UnknownClassError(f"this model does not know {situation!r}")
        pixels = decode(image_bytes, self._preprocessing, max_pixels=self._max_pixels)
        return shares(self.maps(pixels)[self.classes.index(situation)])


class Explainer:
    """Overlays that say why: made in a process of its own, which is started at the first one.

    Always by the model that decided: for another one than the last picture's the process is started anew.
    Safe to use from several threads; one picture is looked at at a time.
    """

    def __init__(
        self,
        checkpoint: Path,
        max_pixels: int = MAX_PIXELS,
        *,
        width_px: int = OVERLAY_PX,
        announced: Callable[[str], Path | None] = lambda _: None,
    ) -> None:
        """Nothing is loaded yet.

        Args:
            checkpoint: the configured model's file, read when the process starts.
            max_pixels: of a picture.
            width_px: of an overlay.
            announced: the file of another model that a record names, or None.
        """
        self._configured, self._announced = checkpoint.resolve(), announced
        self._arguments = (str(max_pixels), str(width_px))
        self._lock = threading.Lock()
        self._fingerprint: str | None = None
        self._file = self._configured
        self._process = self._started(self._configured)

    def __call__(self, image_bytes: bytes, situation: str, model: str = "") -> bytes:
        """A PNG with transparency, in the proportions of the whole upright picture, to be laid over it.

        Args:
            image_bytes: the whole file.
            situation: one of the model's classes.
            model: that decided, as the record has it; empty for the configured one.

        Raises:
            UnknownModelError: that model is neither the configured one nor can be had.
            PermanentError: ``unknown_class``: the model has no such class; or the picture can't be decoded.
            TransientError: others are before us, or the process does not start.
            ConfigError: the checkpoint can't be used.
        """
        word = situation.encode()
        if not 0 < len(word) < 256:
            raise UnknownClassError("that is no situation")
        return self._of(model).ask(bytes([len(word)]) + word + image_bytes)

    def close(self) -> None:
        """End the process; another picture would start it again."""
        self._process.close()

    def _of(self, model: str) -> Confinement:
        with self._lock:
            file = self._configured
            if model and fingerprint_of(model) != self._configured_fingerprint():
                found = self._announced(model)
                if found is None:
                    raise UnknownModelError(f"it was decided by {model}, which can't be had here any more")
                file = found
            if file != self._file:
                self._process.close()
                self._file, self._process = file, self._started(file)
            return self._process

    def _configured_fingerprint(self) -> str:
        if self._fingerprint is None:
            try:
                content = self._configured.read_bytes()
            except OSError:
                return ""  # an announced model may be there all the same
            self._fingerprint = hashlib.sha256(content).hexdigest()[:FINGERPRINT_DIGITS]
        return self._fingerprint

    def _started(self, checkpoint: Path) -> Confinement:
        return Confinement("worker.attention", str(checkpoint), *self._arguments, answer_s=_ANSWER_S)


def overlay_png(activation: NDArray[np.float32], proportions: tuple[int, int], width_px: int) -> bytes:
    """A map as heat: pale yellow and least transparent where it is 1, gone where it is 0.

    Args:
        activation: (h, w) float32 in [0, 1].
        proportions: width and height of the picture it is laid over, upright.
        width_px: of the overlay; less where it would be over four times as tall.

    Returns:
        A PNG with a palette of 256 colours, each with its transparency.
    """
    levels = (
        (255 * spread(activation, fitted(proportions, width_px, enlarged=True))).round().astype(np.uint8)
    )  # (H, W)
    steps = np.linspace(0, 1, 256, dtype=np.float32)
    image = Image.fromarray(levels)
    image.putpalette(heat(steps).round().astype(np.uint8).tobytes())
    file = BytesIO()
    image.save(file, "PNG", transparency=(255 * _OPAQUE * steps**1.5).round().astype(np.uint8).tobytes())
    return file.getvalue()


def main(arguments: Sequence[str]) -> None:
    """Serve overlays of pictures; the arguments are CHECKPOINT, MAX_PIXELS and WIDTH_PX."""
    path, max_pixels, width_px = Path(arguments[0]), int(arguments[1]), int(arguments[2])
    try:
        attention = Attention(Checkpoint.load(path), max_pixels=max_pixels)
    except ConfigError as error:
        cant_start(error)
        return
    except (ImportError, RuntimeError) as error:
        cant_start(ConfigError(f"the model can't be run to explain it: {error}", remedy="run `make setup`"))
        return

    def answer(request: bytes) -> bytes:
        begin = 1 + request[0]
        situation, image_bytes = request[1:begin].decode(), request[begin:]
        activation = attention(image_bytes, situation)
        with opened(image_bytes, max_pixels=max_pixels) as image:
            proportions = turned(image.size, upright(image))
        return overlay_png(activation, proportions, width_px)

    # torch reserves address space at will.
    own_bytes = _OWN_BYTES if attention.runtime == "openvino" else None
    serve_pictures(answer, max_pixels, own_bytes=own_bytes)


def _features(checkpoint: Checkpoint, runtime: str) -> tuple[str, Callable[[Pixels], Features]]:
    """What runs the network, and the function from (N, S, S, 3) pixels to (N, 512, h, w)."""
    if runtime in ("auto", "openvino"):
        try:
            return "openvino", _with_openvino(checkpoint)
        except (ImportError, RuntimeError):
            if runtime == "openvino":
                raise
    return "torch", _with_torch(checkpoint)


def _with_openvino(checkpoint: Checkpoint) -> Callable[[Pixels], Features]:
    openvino = load_openvino()
    network = build(checkpoint)
    classifier = next(each for each in network.get_ops() if each.get_friendly_name() == "fc")
    averaged = classifier.input_value(0).get_node()  # (N, 512)
    network = openvino.Model([averaged.input_value(0)], network.get_parameters(), "features")
    options = {
        "PERFORMANCE_HINT": "LATENCY",
        "INFERENCE_NUM_THREADS": 1,
        "INFERENCE_PRECISION_HINT": "f32",
        "ENABLE_CPU_PINNING": False,
    }
    request = openvino.Core().compile_model(network, "CPU", options).create_infer_request()

    def run(batch: Pixels) -> Features:
        features: Features = request.infer([np.ascontiguousarray(batch)])[0]
        return features

    return run


def _with_torch(checkpoint: Checkpoint) -> Callable[[Pixels], Features]:
    import torch
    from torchvision.models import resnet34

    model = resnet34(weights=None, num_classes=len(checkpoint.classes))
    model.load_state_dict({name: torch.from_numpy(array) for name, array in checkpoint.weights.items()})
    *layers, _pool, _classifier = model.float().eval().children()
    features_of = torch.nn.Sequential(*layers)
    mean = torch.tensor(checkpoint.preprocessing.mean).view(1, 3, 1, 1)  # (1, 3, 1, 1)
    std = torch.tensor(checkpoint.preprocessing.std).view(1, 3, 1, 1)  # (1, 3, 1, 1)

    def run(batch: Pixels) -> Features:
        images = torch.from_numpy(np.require(batch, requirements=["C", "W"])).permute(0, 3, 1, 2).float()
        with torch.inference_mode():
            features: Features = features_of((images / 255 - mean) / std).numpy()
        return features

    return run


if __name__ == "__main__":
    main(sys.argv[1:])
