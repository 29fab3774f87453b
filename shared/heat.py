"""Heat: how high a map is, in colours that keep their order in grey print and for whatever eyes see them."""

import numpy as np
from numpy.typing import NDArray
from PIL import Image

# Dark violet to pale yellow, brighter all the way.
_RAMP = np.array(
    [(16, 8, 48), (86, 16, 110), (187, 55, 84), (249, 142, 9), (252, 255, 164)], np.float64
)  # (5, 3)


def shares(activation: NDArray[np.float32]) -> NDArray[np.float32]:
    """A map of any numbers as shares of its range: 0 where it is lowest, 1 where highest; all 0 if flat."""
    low, high = float(activation.min()), float(activation.max())
    if not high > low:
        return np.zeros_like(activation, dtype=np.float32)
    return ((activation - low) / (high - low)).astype(np.float32)


def spread(share: NDArray[np.float32], size_px: tuple[int, int]) -> NDArray[np.float32]:
    """A small map (h, w) of shares as a large, smooth one: (height, width) of ``size_px``, in [0, 1]."""
    large = Image.fromarray(share).resize(size_px, Image.Resampling.BICUBIC)
    return np.asarray(large, np.float32).clip(0, 1)


def heat(share: NDArray[np.float32]) -> NDArray[np.float64]:
    """The colours of shares in [0, 1]: of any shape (...), as (..., 3) RGB in [0, 255]."""
    steps = np.linspace(0, 1, len(_RAMP))
    return np.stack([np.interp(share, steps, _RAMP[:, channel]) for channel in range(3)], axis=-1)
