"""PyTorch: eager on a CPU, where it always works, and in CUDA graphs on a GPU.

torch is loaded where it is needed: a worker on another engine neither waits for it nor holds it in memory.
"""

from functools import cached_property
from typing import TYPE_CHECKING, Any

import numpy as np

from shared.checkpoint import Checkpoint
from worker.inference import Logits, Pixels, check_batch, check_scores, seconds_an_image

if TYPE_CHECKING:
    import torch

_CPU_WARM_UP_IMAGES = 4
_GRAPH_SIZES = (1, 2, 4, 8, 16, 32, 64)
"""Batches that a CUDA graph is captured for; others are padded to the next, larger ones cut."""


def cuda_is_available() -> bool:
    """Whether PyTorch sees a CUDA device."""
    import torch

    return torch.cuda.is_available()


class TorchEngine:
    """Eager PyTorch on the CPU, float32."""

    name = "torch-cpu"

    def __init__(self, checkpoint: Checkpoint, threads: int | None) -> None:
        """Take a number of threads for the whole process; None leaves torch's choice."""
        import torch

        if threads is not None:
            torch.set_num_threads(threads)
        self._size_px = checkpoint.preprocessing.size_px
        self._checkpoint = checkpoint

    @cached_property
    def _network(self) -> "_Network":
        # Made by the thread that runs it: where another has OpenMP threads too, both sleep in the middle of
        # every layer (measured: 45 ms a picture instead of 25).
        import torch

        return _Network(self._checkpoint, "cpu", torch.float32)

    def scores(self, batch: Pixels) -> Logits:
        """See ``Engine.scores``."""
        import torch

        check_batch(batch, self._size_px)
        with torch.inference_mode():
            logits: Logits = self._network(_tensor(batch)).numpy()  # (N, C)
        check_scores(logits, self.name)
        return logits

    def warm_up(self) -> float:
        """See ``Engine.warm_up``."""
        return seconds_an_image(self.scores, _CPU_WARM_UP_IMAGES, self._size_px)


class CudaEngine:
    """PyTorch on a CUDA device: half precision, channels last, one CUDA graph for each of a few batch sizes.

    A graph is one launch instead of a hundred, which is what a small batch's time goes into. A batch beyond
    the largest graph is cut in pieces that take turns on two lanes, so that one piece's pixels cross to the
    device while the other's are computed.
    """

    name = "torch-cuda"

    def __init__(self, checkpoint: Checkpoint) -> None:
        """Capture the graphs, on the current device."""
        import torch

        self._size_px = checkpoint.preprocessing.size_px
        self._classes = len(checkpoint.classes)
        network = _Network(checkpoint, "cuda", torch.float16)
        self._lanes = [_Lane(network, self._size_px, self._classes) for _ in range(2)]

    def scores(self, batch: Pixels) -> Logits:
        """See ``Engine.scores``."""
        check_batch(batch, self._size_px)
        logits = np.empty((len(batch), self._classes), np.float32)  # (N, C)
        pieces = [slice(begin, begin + _GRAPH_SIZES[-1]) for begin in range(0, len(batch), _GRAPH_SIZES[-1])]
        for turn, piece in enumerate(pieces):
            self._lanes[turn % 2].start(batch[piece])
            if turn > 0:  # only now, while the next piece is under way
                logits[pieces[turn - 1]] = self._lanes[(turn - 1) % 2].finish()
        if pieces:
            logits[pieces[-1]] = self._lanes[(len(pieces) - 1) % 2].finish()
        check_scores(logits, self.name)
        return logits

    def warm_up(self) -> float:
        """See ``Engine.warm_up``."""
        return seconds_an_image(self.scores, 2 * _GRAPH_SIZES[-1], self._size_px)


class _Lane:
    """A CUDA stream with its own graphs and buffers; those on the host are pinned, or copies would wait."""

    def __init__(self, network: "_Network", size_px: int, classes: int) -> None:
        import torch

        largest = _GRAPH_SIZES[-1]
        self._stream = torch.cuda.Stream()  # type: ignore[no-untyped-call]
        self._host_pixels = torch.zeros((largest, size_px, size_px, 3), dtype=torch.uint8, pin_memory=True)
        self._pixels = torch.zeros_like(self._host_pixels, device="cuda")
        self._host_logits = torch.zeros((largest, classes), pin_memory=True)
        pool = torch.cuda.graph_pool_handle()  # one graph runs at a time, so that they share their memory
        self._graphs = {size: self._captured(network, size, pool) for size in reversed(_GRAPH_SIZES)}
        self._count = 0

    def start(self, batch: Pixels) -> None:
        """Set a batch of up to the largest size going, and return at once."""
        import torch

        self._count = len(batch)
        size = next(size for size in _GRAPH_SIZES if size >= self._count)
        graph, logits = self._graphs[size]
        # Padding is what lay there before: in inference no row of a batch sees another.
        self._host_pixels[: self._count].copy_(_tensor(batch))
        with torch.cuda.stream(self._stream):
            self._pixels[:size].copy_(self._host_pixels[:size], non_blocking=True)
            graph.replay()
            self._host_logits[:size].copy_(logits, non_blocking=True)

    def finish(self) -> Logits:
        """Wait for the batch that was started: its (N, C) logits, good until the next start."""
        self._stream.synchronize()
        logits: Logits = self._host_logits[: self._count].numpy()
        return logits

    def _captured(
        self, network: "_Network", size: int, pool: Any
    ) -> "tuple[torch.cuda.CUDAGraph, torch.Tensor]":
        import torch

        graph, pixels = torch.cuda.CUDAGraph(), self._pixels[:size]
        self._stream.wait_stream(torch.cuda.current_stream())
        with torch.no_grad(), torch.cuda.stream(self._stream):
            for _ in range(3):  # libraries allocate and choose at first, which a graph can't hold
                network(pixels)
        # Another model may be at work in another thread: only what this one does must not disturb it.
        with (
            torch.no_grad(),
            torch.cuda.graph(graph, pool=pool, stream=self._stream, capture_error_mode="thread_local"),
        ):
            logits = network(pixels)  # (size, C)
        return graph, logits


class _Network:
    """The checkpoint's network, scaling and normalising included, in one floating-point type."""

    def __init__(self, checkpoint: Checkpoint, device: str, dtype: "torch.dtype") -> None:
        import torch
        from torchvision.models import resnet34

        self._dtype = dtype
        self._mean = torch.tensor(checkpoint.preprocessing.mean, device=device).view(1, 3, 1, 1)
        self._std = torch.tensor(checkpoint.preprocessing.std, device=device).view(1, 3, 1, 1)
        resnet = resnet34(weights=None, num_classes=len(checkpoint.classes))
        resnet.load_state_dict({name: torch.from_numpy(array) for name, array in checkpoint.weights.items()})
        # Channels last is the layout that decoded pixels already have; half precision needs it for
        # tensor cores, and oneDNN is no slower with it.
        self._resnet = resnet.eval().to(device, dtype, memory_format=torch.channels_last)

    def __call__(self, pixels: "torch.Tensor") -> "torch.Tensor":
        """From (N, H, W, 3) uint8 to (N, C) float32 logits, on the same device."""
        images = pixels.permute(0, 3, 1, 2)  # (N, 3, H, W), channels last in memory
        images = (images.float() / 255 - self._mean) / self._std  # (N, 3, H, W)
        logits: torch.Tensor = self._resnet(images.to(self._dtype)).float()  # (N, C)
        return logits


def _tensor(batch: Pixels) -> "torch.Tensor":
    import torch

    # torch wants memory that can be written to, and warns otherwise.
    return torch.from_numpy(np.require(batch, requirements=["C", "W"]))
