"""Train all layers of a ResNet-34: the loop."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Self

import numpy as np
import torch
from numpy.typing import NDArray
from rich.console import Console
from rich.progress import track
from torch.optim.swa_utils import AveragedModel, get_ema_multi_avg_fn

from shared.errors import ConfigError
from shared.preprocessing import Preprocessing
from training.backbone import Weights
from training.evaluation import macro_f1
from training.network import Hardware, Network, logits
from training.pictures import Pictures, Showing
from training.resume import Progress
from training.schedule import Schedule
from training.targets import Targets

_FEATURE_WEIGHT = 2.0
"""Of the teacher's features beside the classes; both costs are then of about the same size."""

_MAX_GRADIENT_NORM = 5.0


@dataclass(frozen=True, kw_only=True, slots=True)
class Validation:
    """Photographs that are looked at after every epoch and never learnt from.

    Attributes:
        pixels: (M, S, S, 3) uint8, as the worker will see them.
        targets: (M,) classes.
        classes: C names.
    """

    pixels: NDArray[np.uint8]
    targets: NDArray[np.int64]
    classes: Sequence[str]

    @classmethod
    def of(cls, pictures: Pictures, classes: Sequence[str]) -> Self:
        """Decoded photographs of validation and what they show."""
        targets = np.array([classes.index(each.label) for each in pictures.photographs], np.int64)
        return cls(pixels=pictures.pixels, targets=targets, classes=classes)


@dataclass(frozen=True, kw_only=True, slots=True)
class Start:
    """What a network begins with.

    Attributes:
        weights: ResNet-34 weights by name, without a classifier.
        preprocessing: what the model will take.
        hardware: what it runs on.
        seed: of everything drawn by chance.
    """

    weights: Weights
    preprocessing: Preprocessing
    hardware: Hardware
    seed: int


def finetune(
    pixels: NDArray[np.uint8],
    targets: Targets,
    validation: Validation,
    start: Start,
    schedule: Schedule,
    *,
    progress: Progress,
    console: Console,
    say: Callable[[str], None],
) -> tuple[Weights, list[dict[str, float]]]:
    """Train; the averaged weights that did best on validation, and the epoch table.

    On one machine the same arguments give the same weights, whether the run was cut and resumed or not.

    Args:
        pixels: (N, H, W, 3) uint8, larger than the schedule's sizes.
        targets: of the N photographs.
        validation: decides which epoch's weights are kept, and when to end.
        start: what it begins with.
        schedule: how long and how fast.
        progress: where the run is kept after every epoch, and found again.
        console: for progress bars.
        say: takes each line of the epoch table.
    """
    training = _Training(targets, start, schedule)
    training.resume(progress.load("epoch"))
    say(f"training on {training.hardware}: {len(pixels)} photographs an epoch")
    say(" ".join(f"{name:>10}" for name in _COLUMNS))
    for row in training.rows:
        say(_line(row))
    for epoch in range(len(training.rows), schedule.epochs):
        if training.is_over():
            say(f"no better for {schedule.patience} epochs: ended early")
            break
        size_px = schedule.size_px(epoch)
        shown = Showing(pixels, size_px=size_px, views=schedule.views, seed=start.seed, epoch=epoch)
        cost = training.pass_over(shown, epoch, console)
        training.judge(validation, {"epoch": epoch, "size_px": size_px, "cost": cost})
        progress.save("epoch", training.state())
        say(_line(training.rows[-1]))
    return training.best_weights(), training.rows


_COLUMNS = ("epoch", "size_px", "cost", "val_cost", "val_accuracy", "val_f1")


def _line(row: Mapping[str, float]) -> str:
    return " ".join(f"{row[name]:>10.4f}" if row[name] % 1 else f"{int(row[name]):>10}" for name in _COLUMNS)


class _Training:
    """Everything that changes while a network is trained."""

    def __init__(self, targets: Targets, start: Start, schedule: Schedule) -> None:
        self.hardware = start.hardware
        self.rows: list[dict[str, float]] = []
        self._targets, self._schedule, self._preprocessing = targets, schedule, start.preprocessing
        class_count, feature_count = targets.probabilities.shape[2], targets.features.shape[2]
        network = Network(start.weights, class_count, feature_count, start.seed)
        self._network = network.to(self.hardware.device).to(memory_format=torch.channels_last)
        # Source: Polyak and Juditsky 1992; the averaged network is the one that is judged and kept.
        self._averaged = AveragedModel(
            self._network,
            multi_avg_fn=get_ema_multi_avg_fn(schedule.average_of(len(targets.weights))),  # type: ignore[no-untyped-call]
            use_buffers=True,
        ).eval()
        self._optimiser = torch.optim.AdamW(
            self._network.parameter_groups(schedule.decay), lr=0.0, betas=(0.9, 0.99)
        )
        self._best = self._averaged_state()

    def pass_over(self, shown: Showing, epoch: int, console: Console) -> float:
        """One epoch; its mean cost."""
        batches = shown.batches(self._schedule.batch, self.hardware.device)
        self._network.train()
        total = torch.zeros((), device=self.hardware.device)
        for step, (pixels, positions, views) in enumerate(
            track(batches, f"epoch {epoch}", total=len(batches), console=console, transient=True)
        ):
            rate = self._schedule.rate_at(epoch + (step + 1) / len(batches))
            for group in self._optimiser.param_groups:
                group["lr"] = rate * group["share"]
            cost = self._cost(pixels, positions.numpy(), views.numpy())
            self._optimiser.zero_grad()
            cost.backward()  # type: ignore[no-untyped-call]
            torch.nn.utils.clip_grad_norm_(self._network.parameters(), _MAX_GRADIENT_NORM)
            self._optimiser.step()
            self._averaged.update_parameters(self._network)
            total += cost.detach()
        return float(total) / max(len(batches), 1)

    def _cost(
        self, pixels: torch.Tensor, positions: NDArray[np.int64], views: NDArray[np.int64]
    ) -> torch.Tensor:
        images = self.hardware.images(pixels, self._preprocessing)  # (B, 3, S, S)
        wanted = self._moved(self._targets.probabilities[positions, views])  # (B, C)
        weights = self._moved(self._targets.weights[positions])  # (B,)
        with self.hardware.multiplying():
            scores, guessed = self._network(images)  # (B, C), (B, F) or None
        entropy = -(wanted * scores.float().log_softmax(dim=1)).sum(dim=1)  # (B,)
        cost: torch.Tensor = (weights * entropy).mean()
        if guessed is None:
            return cost
        seen = self._moved(self._targets.features[positions, views]).float()  # (B, F)
        return cost + _FEATURE_WEIGHT * torch.nn.functional.mse_loss(guessed.float(), seen)

    def _moved(self, array: NDArray[Any]) -> torch.Tensor:
        return torch.from_numpy(array).to(self.hardware.device, non_blocking=True)

    def judge(self, validation: Validation, begun: dict[str, float]) -> None:
        """Complete the epoch's row, and remember the averaged weights where they are the best so far."""
        scores = logits(self._averaged, validation.pixels, self.hardware, self._preprocessing)  # (M, C)
        targets = torch.from_numpy(validation.targets)
        said = scores.argmax(axis=1)
        row = begun | {
            "val_cost": float(torch.nn.functional.cross_entropy(torch.from_numpy(scores), targets)),
            "val_accuracy": float((said == validation.targets).mean()),
            "val_f1": macro_f1(validation.targets, said, validation.classes),
        }
        if not np.isfinite(row["val_cost"]):
            raise ConfigError(
                f"in epoch {begun['epoch']} the network's answers are no longer numbers",
                remedy="check the weights of --init",
            )
        if row["val_cost"] < min((each["val_cost"] for each in self.rows), default=np.inf):
            self._best = self._averaged_state()
        self.rows.append(row)

    def is_over(self) -> bool:
        """Whether the patience is at its end."""
        if not self.rows:
            return False
        best = min(self.rows, key=lambda row: row["val_cost"])["epoch"]
        return self.rows[-1]["epoch"] - best >= self._schedule.patience

    def state(self) -> dict[str, Any]:
        """Everything that the next epoch needs, as ``resume`` takes it."""
        return {
            "network": self._network.state_dict(),
            "averaged": self._averaged.state_dict(),
            "optimiser": self._optimiser.state_dict(),
            "best": self._best,
            "rows": self.rows,
        }

    def resume(self, state: Mapping[str, Any] | None) -> None:
        """Go on from a state; None is the beginning."""
        if state is None:
            return
        self._network.load_state_dict(state["network"])
        self._averaged.load_state_dict(state["averaged"])
        self._optimiser.load_state_dict(state["optimiser"])
        self._best, self.rows = state["best"], state["rows"]

    def best_weights(self) -> Weights:
        """The best averaged weights, in the checkpoint's half precision."""
        network = self._averaged.module
        assert isinstance(network, Network), "what was averaged"
        network.load_state_dict(self._best)
        return network.weights()

    def _averaged_state(self) -> dict[str, torch.Tensor]:
        return {
            name: tensor.detach().clone().cpu() for name, tensor in self._averaged.module.state_dict().items()
        }
