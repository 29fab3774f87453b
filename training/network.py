"""The ResNet-34 while it is trained: what it computes, at which rates it learns, and on what it runs."""

from contextlib import AbstractContextManager
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torchvision.models import resnet34

from shared.preprocessing import Preprocessing
from training.backbone import WIDTH, Weights

_RATES = {
    "backbone.conv1.": 0.3,
    "backbone.bn1.": 0.3,
    "backbone.layer1.": 0.3,
    "backbone.layer2.": 0.5,
    "backbone.layer3.": 0.7,
    "backbone.layer4.": 1.0,
    "fc.": 2.0,
    "projection.": 2.0,
}
"""Share of the learning rate: early layers see edges and colours, which streets share with everything."""


class Network(torch.nn.Module):
    """A ResNet-34 with a classifier, and, under a teacher, a layer that guesses the teacher's features."""

    def __init__(self, backbone: Weights, class_count: int, feature_count: int, seed: int) -> None:
        super().__init__()
        self.backbone: torch.nn.Module = resnet34(weights=None)
        self.backbone.fc = torch.nn.Identity()
        self.backbone.load_state_dict({name: torch.from_numpy(array) for name, array in backbone.items()})
        self.fc = _linear(class_count, seed)
        self.projection = _linear(feature_count, seed + 1) if feature_count else None

    def forward(self, images: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor | None]:
        """(B, 3, H, W) normalised in; (B, C) logits and (B, F) guessed features, or None, out."""
        pooled = self.backbone(images).float()  # (B, 512)
        return self.fc(pooled), None if self.projection is None else self.projection(pooled)

    def parameter_groups(self, decay: float) -> list[dict[str, Any]]:
        """Groups for an optimiser, each with its ``share`` of the rate; only what multiplies decays."""
        groups: dict[tuple[float, float], list[torch.nn.Parameter]] = {}
        for name, parameter in self.named_parameters():
            share = next(share for prefix, share in _RATES.items() if name.startswith(prefix))
            groups.setdefault((share, decay if parameter.ndim > 1 else 0.0), []).append(parameter)
        return [
            {"params": parameters, "share": share, "weight_decay": weight_decay}
            for (share, weight_decay), parameters in groups.items()
        ]

    def weights(self) -> Weights:
        """float16 arrays by torchvision's names, the classifier included, as a checkpoint holds them."""
        state = {name.removeprefix("backbone."): tensor for name, tensor in self.state_dict().items()}
        return {
            name: tensor.cpu().numpy().astype(np.float16)
            for name, tensor in state.items()
            if tensor.is_floating_point() and not name.startswith("projection.")
        }


@dataclass(frozen=True, slots=True)
class Hardware:
    """What the training runs on.

    Attributes:
        device: a GPU where there is one.
        dtype: of the multiplications; weights and their sums stay float32.
    """

    device: torch.device
    dtype: torch.dtype

    @classmethod
    def found(cls) -> "Hardware":
        """The GPU in half the precision; a processor too, where it has instructions for that."""
        if torch.cuda.is_available():
            torch.backends.cudnn.deterministic = True  # the same seed, the same model, a little slower
            native = torch.cuda.is_bf16_supported(including_emulation=False)
            return cls(torch.device("cuda"), torch.bfloat16 if native else torch.float32)
        able = torch.cpu.get_capabilities()
        quick = able.get("avx512_bf16") or able.get("amx_bf16")
        return cls(torch.device("cpu"), torch.bfloat16 if quick else torch.float32)

    def multiplying(self) -> AbstractContextManager[Any]:
        """Around a forward pass."""
        return torch.autocast(self.device.type, torch.bfloat16, enabled=self.dtype == torch.bfloat16)

    def images(self, pixels: torch.Tensor, preprocessing: Preprocessing) -> torch.Tensor:
        """(B, H, W, 3) uint8 in, (B, 3, H, W) float32 normalised, on the device, out."""
        mean = torch.tensor(preprocessing.mean, device=self.device).view(1, 3, 1, 1)
        std = torch.tensor(preprocessing.std, device=self.device).view(1, 3, 1, 1)
        moved = pixels.to(self.device, non_blocking=True).permute(0, 3, 1, 2).float()  # (B, 3, H, W)
        return ((moved / 255 - mean) / std).to(memory_format=torch.channels_last)

    def __str__(self) -> str:
        return f"{self.device.type} {str(self.dtype).removeprefix('torch.')}"


def logits(
    network: torch.nn.Module,
    pixels: NDArray[np.uint8],
    hardware: Hardware,
    preprocessing: Preprocessing,
    batch: int = 64,
) -> NDArray[np.float32]:
    """(N, S, S, 3) uint8 in, (N, C) float32 scores out; the network has to be in evaluation mode."""
    rows = []
    with torch.inference_mode(), hardware.multiplying():
        for begin in range(0, len(pixels), batch):
            part = torch.from_numpy(np.array(pixels[begin : begin + batch]))  # (B, S, S, 3)
            rows.append(network(hardware.images(part, preprocessing))[0].float().cpu())  # (B, C)
    scores: NDArray[np.float32] = torch.cat(rows).numpy()  # (N, C)
    return scores


def _linear(outputs: int, seed: int) -> torch.nn.Linear:
    """A layer drawn from a generator of its own, so that nothing else changes what it starts with."""
    layer = torch.nn.Linear(WIDTH, outputs)
    chance = torch.Generator().manual_seed(seed)
    with torch.no_grad():
        for parameter in layer.parameters():
            parameter.uniform_(-(WIDTH**-0.5), WIDTH**-0.5, generator=chance)
    return layer
