"""What looks at photographs: one small interface, and PyTorch behind it."""

import time
from typing import Protocol

import numpy as np
import torch
from numpy.typing import NDArray
from torchvision.models import resnet34

from shared.checkpoint import Checkpoint
from shared.errors import AlmenaraError, ConfigError

ENGINES = ("auto", "torch-cpu", "torch-cuda")
_WARM_UP_RUNS = 3


class EngineError(AlmenaraError):
    """Raised when the model itself, not a photograph, is at fault: its scores are not finite."""

    default_reason = "engine"


class Engine(Protocol):
    """Scores batches of photographs."""

    @property
    def name(self) -> str:
        """What it runs on, for logs and metrics, such as ``torch-cpu``."""
        ...

    def scores(self, batch: NDArray[np.uint8]) -> NDArray[np.float32]:
        """Score photographs, keeping their order.

        Args:
            batch: (N, size_px, size_px, 3) uint8 RGB, as ``shared.preprocessing.decode`` gives them.

        Returns:
            (N, C) float32 logits in the checkpoint's class order.

        Raises:
            EngineError: a score is not finite.
            ValueError: the batch has another shape or type.
        """
        ...

    def warm_up(self) -> float:
        """Run a few batches of noise, so that the first photograph is not slow, and time them.

        Returns:
            Seconds a photograph, the best of the runs; used to cap a batch.
        """
        ...


class TorchEngine:
    """Eager PyTorch: float32 on a CPU; half precision, channels last, on a CUDA device."""

    def __init__(self, checkpoint: Checkpoint, device: torch.device) -> None:
        self.name = f"torch-{device.type}"
        self._device = device
        self._size_px = checkpoint.preprocessing.size_px
        on_cuda = device.type == "cuda"
        self._dtype = torch.float16 if on_cuda else torch.float32
        # Channels last is the layout that decoded pixels already have; half precision needs it for
        # tensor cores, and oneDNN is no slower with it.
        self._layout = torch.channels_last
        self._warm_up_images = 32 if on_cuda else 4
        model = resnet34(weights=None, num_classes=len(checkpoint.classes))
        model.load_state_dict({name: torch.from_numpy(array) for name, array in checkpoint.weights.items()})
        self._model: torch.nn.Module = model.eval().to(device, self._dtype, memory_format=self._layout)
        self._mean = self._channels(checkpoint.preprocessing.mean)  # (1, 3, 1, 1)
        self._std = self._channels(checkpoint.preprocessing.std)  # (1, 3, 1, 1)

    @torch.inference_mode()
    def scores(self, batch: NDArray[np.uint8]) -> NDArray[np.float32]:
        """See ``Engine.scores``."""
        if batch.dtype != np.uint8 or batch.ndim != 4 or batch.shape[1:] != (self._size_px, self._size_px, 3):
            raise ValueError(
                f"a batch of {batch.dtype} {batch.shape}, not (N, {self._size_px}, ..., 3) uint8"
            )
        # uint8 crosses to the device: a quarter of the bytes of float32. torch wants writable memory.
        pixels = torch.from_numpy(np.require(batch, requirements=["C", "W"])).to(self._device)
        images = pixels.permute(0, 3, 1, 2)  # (N, 3, H, W), channels last in memory
        images = (images.float() / 255 - self._mean) / self._std  # (N, 3, H, W)
        logits: NDArray[np.float32] = self._model(images.to(self._dtype)).float().cpu().numpy()  # (N, C)
        if not np.isfinite(logits).all():
            raise EngineError(
                f"{self.name} gave scores that are not finite",
                remedy="check the checkpoint with 'almenara evaluate', or choose another ALMENARA_ENGINE",
            )
        return logits

    def warm_up(self) -> float:
        """See ``Engine.warm_up``."""
        shape = (self._warm_up_images, self._size_px, self._size_px, 3)
        noise = np.random.default_rng(0).integers(0, 256, shape, dtype=np.uint8)
        self.scores(noise)  # allocates memory and picks kernels; not timed
        seconds = []
        for _ in range(_WARM_UP_RUNS):
            started_s = time.perf_counter()
            self.scores(noise)  # copies its scores back, so the device has finished
            seconds.append(time.perf_counter() - started_s)
        return min(seconds) / self._warm_up_images

    def _channels(self, values: tuple[float, float, float]) -> torch.Tensor:
        return torch.tensor(values, device=self._device).view(1, 3, 1, 1)  # (1, 3, 1, 1)


def make_engine(name: str, checkpoint: Checkpoint, threads: int | None = None) -> Engine:
    """Make the engine called ``name``.

    Args:
        name: ``torch-cpu``, ``torch-cuda``, or ``auto`` for the fastest that this machine has.
        checkpoint: the model.
        threads: CPU threads for one forward pass, for the whole process; None leaves torch's choice.

    Raises:
        ConfigError: no engine has that name, or this machine can't run it.
    """
    if name not in ENGINES:
        raise ConfigError(f"there is no engine {name!r}", remedy=f"set ALMENARA_ENGINE to {_either(ENGINES)}")
    cuda = torch.cuda.is_available()
    if name == "torch-cuda" and not cuda:
        raise ConfigError(
            "the engine torch-cuda needs a CUDA device, and PyTorch sees none",
            remedy="install a driver and a CUDA build of PyTorch, or set ALMENARA_ENGINE to auto",
        )
    if threads is not None:
        torch.set_num_threads(threads)
    on_cuda = name == "torch-cuda" or (name == "auto" and cuda)
    return TorchEngine(checkpoint, torch.device("cuda" if on_cuda else "cpu"))


def _either(names: tuple[str, ...]) -> str:
    return f"{', '.join(names[:-1])} or {names[-1]}"
