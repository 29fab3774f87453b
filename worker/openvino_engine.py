"""OpenVINO on the CPU: the network built straight from the checkpoint, without torch, and run in f32 or bf16,
or as a quantised file has it.

OpenVINO is loaded where it is needed: where it can't be, the other engines still work.
"""

import sys
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import ArrayLike

from shared.checkpoint import Checkpoint
from shared.cores import usable_cores
from worker.inference import Logits, Pixels, check_batch, check_scores, seconds_an_image

if TYPE_CHECKING:
    import openvino

PRECISIONS = {"openvino-f32": "f32", "openvino-bf16": "bf16", "openvino-int8": "f32"}
"""What each engine computes in; for int8, what is left in floating point."""

_WARM_UP_IMAGES = 8
_BATCH_NORM_EPSILON = 1e-5  # torchvision's
_STAGES = 4


def load_openvino() -> Any:
    """The package ``openvino``; it tells nobody that it runs.

    Raises:
        ImportError: it is not installed, or not for this machine.
    """
    # Merely importing openvino or nncf would report to their maker's statistics over the internet. Without
    # this package they don't, and both are made to work without it.
    sys.modules.setdefault("openvino_telemetry", None)  # type: ignore[arg-type]
    import openvino

    return openvino


class OpenVinoEngine:
    """A compiled network on the CPU.

    One request at a time, on all threads, for batches of any size: measured on 2 cores, neither more streams
    nor a network compiled for one size of batch is faster.
    """

    def __init__(self, name: str, network: "openvino.Model", threads: int | None) -> None:
        """Compile.

        Args:
            name: a key of ``PRECISIONS``.
            network: as ``build`` gives it, quantised or not.
            threads: for one forward pass; None for every core that this process may use.

        Raises:
            ImportError: OpenVINO can't be loaded.
            RuntimeError: it can't compile the network here.
        """
        self.name = name
        self._size_px = int(network.input(0).partial_shape[1].get_length())
        self._classes = int(network.output(0).partial_shape[1].get_length())
        options = {
            "PERFORMANCE_HINT": "LATENCY",
            # Left to itself it was seen to use one core of two.
            "INFERENCE_NUM_THREADS": threads or usable_cores(),
            # Left to itself it computes in bf16 wherever the processor can.
            "INFERENCE_PRECISION_HINT": PRECISIONS[name],
            # Decoding threads want the same cores; pinned, a thread would wait for one that is taken.
            "ENABLE_CPU_PINNING": False,
        }
        self._request = load_openvino().Core().compile_model(network, "CPU", options).create_infer_request()

    def scores(self, batch: Pixels) -> Logits:
        """See ``Engine.scores``."""
        check_batch(batch, self._size_px)
        if not len(batch):
            return np.zeros((0, self._classes), np.float32)
        logits: Logits = self._request.infer([np.ascontiguousarray(batch)])[0]  # (N, C)
        check_scores(logits, self.name)
        return logits

    def warm_up(self) -> float:
        """See ``Engine.warm_up``."""
        return seconds_an_image(self.scores, _WARM_UP_IMAGES, self._size_px)


def capabilities() -> set[str]:
    """What the processor does natively, in OpenVINO's words: ``FP32``, perhaps ``BF16`` and ``INT8``.

    Raises:
        ImportError: OpenVINO can't be loaded.
        RuntimeError: it does not support this processor.
    """
    return set(load_openvino().Core().get_property("CPU", "OPTIMIZATION_CAPABILITIES"))


def processor() -> str:
    """The processor's name.

    Raises:
        ImportError: OpenVINO can't be loaded.
        RuntimeError: it does not support this processor.
    """
    return str(load_openvino().Core().get_property("CPU", "FULL_DEVICE_NAME"))


def build(checkpoint: Checkpoint) -> "openvino.Model":
    """ResNet-34 with the checkpoint's weights, from (N, S, S, 3) uint8 RGB to (N, C) float32 logits.

    Scaling and normalising are its first operations. Layers have the names of the checkpoint's weights.

    Raises:
        ImportError: OpenVINO can't be loaded.

    Source: He et al. 2015, "Deep residual learning for image recognition"; strides as torchvision has them.
    """
    return _Builder(checkpoint).network()


class _Builder:
    """Puts the operations together."""

    def __init__(self, checkpoint: Checkpoint) -> None:
        self._openvino = load_openvino()
        self._ops = self._openvino.opset13
        self._checkpoint = checkpoint

    def network(self) -> "openvino.Model":
        ops, preprocessing = self._ops, self._checkpoint.preprocessing
        pixels = ops.parameter([-1, preprocessing.size_px, preprocessing.size_px, 3], np.uint8, name="pixels")
        images = ops.transpose(ops.convert(pixels, "f32"), ops.constant([0, 3, 1, 2]))  # (N, 3, S, S)
        images = ops.subtract(images, _constant(ops, 255 * np.reshape(preprocessing.mean, (1, 3, 1, 1))))
        images = ops.divide(images, _constant(ops, 255 * np.reshape(preprocessing.std, (1, 3, 1, 1))))
        values = ops.relu(
            self._convolution(images, "conv1", "bn1", stride=2, padding=3)
        )  # (N, 64, S / 2, S / 2)
        values = ops.max_pool(values, [2, 2], [1, 1], [1, 1], [1, 1], [3, 3]).output(
            0
        )  # (N, 64, S / 4, S / 4)
        for stage in range(1, _STAGES + 1):
            values = self._stage(values, f"layer{stage}", stride=1 if stage == 1 else 2)
        values = ops.reduce_mean(values, ops.constant([2, 3]), keep_dims=False)  # (N, 512)
        logits = ops.matmul(values, self._weight("fc.weight"), False, True, name="fc")  # (N, C)
        logits = ops.add(logits, self._weight("fc.bias"), name="logits")
        return self._openvino.Model([logits], [pixels], "resnet34")

    def _stage(self, values: Any, prefix: str, stride: int) -> Any:
        """Residual blocks; the first one shrinks by the stride."""
        ops, weights, block = self._ops, self._checkpoint.weights, 0
        while f"{prefix}.{block}.conv1.weight" in weights:
            name, step = f"{prefix}.{block}", stride if block == 0 else 1
            changed = ops.relu(
                self._convolution(values, f"{name}.conv1", f"{name}.bn1", stride=step, padding=1)
            )
            changed = self._convolution(changed, f"{name}.conv2", f"{name}.bn2", stride=1, padding=1)
            if f"{name}.downsample.0.weight" in weights:
                values = self._convolution(
                    values, f"{name}.downsample.0", f"{name}.downsample.1", stride=step, padding=0
                )
            values = ops.relu(ops.add(changed, values, name=f"{name}.add"))
            block += 1
        return values

    def _convolution(self, values: Any, name: str, norm: str, *, stride: int, padding: int) -> Any:
        """A convolution and its batch normalisation, which OpenVINO folds into it."""
        strides, pads = [stride, stride], [padding, padding]
        filters = self._weight(f"{name}.weight")
        convolved = self._ops.convolution(values, filters, strides, pads, pads, [1, 1], name=name)
        parts = [self._weight(f"{norm}.{part}") for part in ("weight", "bias", "running_mean", "running_var")]
        return self._ops.batch_norm_inference(convolved, *parts, _BATCH_NORM_EPSILON)

    def _weight(self, name: str) -> Any:
        return _constant(self._ops, self._checkpoint.weights[name])


def _constant(ops: Any, values: ArrayLike) -> Any:
    return ops.constant(np.ascontiguousarray(values, np.float32))
