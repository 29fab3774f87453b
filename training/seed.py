"""The original study's recipe: a frozen ResNet-34, a new linear classifier, 15 epochs of Adam.

The study's description leaves open what batch normalisation did while the classifier was trained. Here all
frozen layers stay in evaluation mode, in both loops: frozen means that nothing about them changes, running
statistics included. Then the features of a photograph never change either, and computing them once gives
what the study's loop, which looks at every photograph in every epoch, gives.

Cost and accuracy of an epoch are over the training photographs as their batches pass, each before its own
step, and the best epoch is the one with the best training accuracy: the study's way, and its flaw.
"""

from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass, replace
from importlib.metadata import version
from typing import Protocol

import numpy as np
import torch
from numpy.typing import NDArray
from rich.console import Console
from rich.progress import track

from shared.checkpoint import Checkpoint
from shared.errors import ConfigError
from shared.preprocessing import ImageError, Preprocessing, decode
from shared.routing import NORMAL
from shared.verdict import Thresholds
from training.backbone import PREPROCESSING, WIDTH, Backbone, Weights
from training.dataset import Photograph, fingerprint, labels
from training.evaluation import evaluate
from training.features import extract, list_unreadable
from training.head import class_order
from training.outcome import Outcome, Scored
from training.splits import draw_test, parted, split_check

EPOCHS = 15
BATCH = 32
LEARNING_RATE = 5e-4
BETAS = (0.9, 0.999)
TEST_SHARE = 0.3

_STUDY = {
    "recipe": "seed",
    "batch": BATCH,
    "learning_rate": LEARNING_RATE,
    "betas": list(BETAS),
    "test_share": TEST_SHARE,
}


@dataclass(frozen=True, slots=True)
class Epoch:
    """One pass over the training photographs.

    Attributes:
        epoch: counted from 0.
        cost: mean cross-entropy.
        accuracy: share that was right, in [0, 1].
    """

    epoch: int
    cost: float
    accuracy: float

    def __str__(self) -> str:
        return f"{self.epoch:>5}  {self.cost:.4f}  {self.accuracy:.4f}"


class _Seen(Protocol):
    """What the frozen network makes of photographs."""

    photographs: list[Photograph]
    unreadable: list[tuple[str, str]]

    def features(self, positions: Sequence[int]) -> torch.Tensor:
        """(B, 512) float32 of the photographs at these positions."""
        ...


def train_seed(
    photographs: Sequence[Photograph],
    backbone: Weights,
    *,
    seed: int = 0,
    epochs: int = EPOCHS,
    grouped: bool = True,
    plain_loop: bool = False,
    preprocessing: Preprocessing = PREPROCESSING,
    console: Console,
    say: Callable[[str], None],
) -> Outcome:
    """Follow the study's recipe on its own 70/30 split; the same seed gives the same checkpoint.

    Args:
        photographs: their splits are not looked at: the recipe draws its own.
        backbone: ResNet-34 weights by name, without a classifier.
        seed: of split, first classifier and batches.
        epochs: at least 1.
        grouped: part whole groups; False is the study's own draw, photograph by photograph, which leaks.
        plain_loop: the study's loop: decode and look at every photograph in every epoch.
        preprocessing: what the backbone takes.
        console: for progress and unreadable photographs.
        say: takes each line of the result as it comes.

    Raises:
        ConfigError: a class has too few photographs that can be read.
    """
    classes = class_order(labels(photographs))
    see = _EveryTime if plain_loop else _Once
    seen: _Seen = see(backbone, photographs, preprocessing, console)
    list_unreadable(seen.unreadable, console)
    check_counts(seen.photographs, classes)
    test = draw_test(seen.photographs, TEST_SHARE, seed, grouped=grouped)
    train = sorted(set(range(len(seen.photographs))) - set(test))
    split = _check_split(seen.photographs, test, console)
    for sentence in split:
        say(sentence)
    targets = torch.tensor([classes.index(photograph.label) for photograph in seen.photographs])  # (N,)
    layer, passed = _fit(seen, train, targets, len(classes), seed=seed, epochs=epochs, say=say)
    best = max(passed, key=lambda each: each.accuracy)  # the first of equals
    checkpoint = Checkpoint(
        weights=backbone | {"fc.weight": _halved(layer.weight), "fc.bias": _halved(layer.bias)},
        classes=classes,
        preprocessing=preprocessing,
        temperature=1.0,
        thresholds=always_dispatch(classes),
        data_fingerprint=fingerprint(_as_split(seen.photographs, test)),
        config={
            **_STUDY,
            **{"seed": seed, "epochs": epochs, "grouped": grouped, "plain_loop": plain_loop},
        },
        code_version=version("almenara"),
    )
    logits = _test_logits(checkpoint, seen, test)
    accuracy = float((logits.argmax(axis=1) == targets[test].numpy()).mean())
    names = [seen.photographs[position].label for position in test]
    say(f"best training accuracy {best.accuracy:.5f} (epoch {best.epoch})")
    say(f"test accuracy {accuracy:.5f} with the saved model, {len(test)} photographs")
    metrics = {
        "training_photographs": len(train),
        "unreadable": len(seen.unreadable),
        "groups_on_both_sides": len(parted(seen.photographs, test)),
        "best_epoch": best.epoch,
        "best_training_accuracy": round(best.accuracy, 5),
        "test_accuracy": round(accuracy, 5),
        "test": evaluate(logits, names, classes, checkpoint.temperature, checkpoint.thresholds),
    }
    return Outcome(
        checkpoint=replace(checkpoint, metrics=metrics),
        scored=Scored(photographs=[seen.photographs[position] for position in test], logits=logits),
        epochs=[asdict(epoch) for epoch in passed],
        split=split,
        unreadable=seen.unreadable,
    )


def always_dispatch(classes: Sequence[str]) -> Thresholds:
    """Thresholds that dispatch the best situation always, as the study did.

    Only where ``normal`` is a class, and likelier than everything else together, is nobody told.
    """
    return Thresholds(dispatch=0.0, no_emergency=0.5 if NORMAL in classes else 1.0)


def check_counts(photographs: Sequence[Photograph], classes: Sequence[str]) -> None:
    """Every class has two photographs or more: one to learn from, one to be tested on.

    Raises:
        ConfigError: naming the class that has not.
    """
    counts = Counter(photograph.label for photograph in photographs)
    for name in classes:
        if counts[name] < 2:
            raise ConfigError(
                f"of the class {name}, {counts[name]} photographs can be read, and it takes one to learn "
                "from and one to be tested on",
                remedy=f"add photographs of it, or leave it out with --without {name}",
            )


class _Once:
    """Looks at every photograph once and remembers what it saw."""

    def __init__(
        self,
        backbone: Weights,
        photographs: Sequence[Photograph],
        preprocessing: Preprocessing,
        console: Console,
    ) -> None:
        found = extract(backbone, photographs, ("plain",), preprocessing, seed=0, console=console)
        self.photographs, self.unreadable = found.photographs, found.unreadable
        self._features = torch.from_numpy(found.of_view("plain"))  # (N, 512)

    def features(self, positions: Sequence[int]) -> torch.Tensor:
        """See ``_Seen.features``."""
        return self._features[list(positions)]  # (B, 512)


class _EveryTime:
    """Decodes and looks at a photograph whenever it is asked for."""

    def __init__(
        self,
        backbone: Weights,
        photographs: Sequence[Photograph],
        preprocessing: Preprocessing,
        console: Console,
    ) -> None:
        self.photographs: list[Photograph] = []
        self.unreadable: list[tuple[str, str]] = []
        self._backbone, self._preprocessing = Backbone(backbone, preprocessing), preprocessing
        # What can't be read has to be known before the split is drawn; with decoding alone that is cheap.
        for photograph in track(photographs, "checking", console=console):
            try:
                self._pixels(photograph)
            except (ImageError, OSError) as error:
                self.unreadable.append((photograph.name, str(error)))
            else:
                self.photographs.append(photograph)

    def features(self, positions: Sequence[int]) -> torch.Tensor:
        """See ``_Seen.features``."""
        try:
            pixels = [self._pixels(self.photographs[position]) for position in positions]
        except (ImageError, OSError) as error:
            raise ConfigError(f"a photograph has changed while it was in use: {error}") from error
        return torch.from_numpy(self._backbone(np.stack(pixels)))  # (B, H, W, 3) in, (B, 512) out

    def _pixels(self, photograph: Photograph) -> NDArray[np.uint8]:
        return decode(photograph.path.read_bytes(), self._preprocessing)


@dataclass(frozen=True, slots=True)
class _Layer:
    weight: torch.Tensor  # (C, 512)
    bias: torch.Tensor  # (C,)


def _fit(
    seen: _Seen,
    train: Sequence[int],
    targets: torch.Tensor,
    class_count: int,
    *,
    seed: int,
    epochs: int,
    say: Callable[[str], None],
) -> tuple[_Layer, list[Epoch]]:
    """Train the classifier; the layer as it was after its best epoch, and all epochs."""
    chance = torch.Generator().manual_seed(seed)
    bound = WIDTH**-0.5  # what torch.nn.Linear starts with, drawn from a generator of our own
    weight = torch.empty(class_count, WIDTH).uniform_(-bound, bound, generator=chance).requires_grad_()
    bias = torch.empty(class_count).uniform_(-bound, bound, generator=chance).requires_grad_()
    optimiser = torch.optim.Adam([weight, bias], lr=LEARNING_RATE, betas=BETAS)
    positions = torch.tensor(train)
    best, passed = _Layer(weight.detach().clone(), bias.detach().clone()), list[Epoch]()
    say("epoch    cost  accuracy")
    for epoch in range(epochs):
        cost = right = 0.0
        for batch in torch.split(positions[torch.randperm(len(positions), generator=chance)], BATCH):
            logits = seen.features(batch.tolist()) @ weight.T + bias  # (B, C)
            loss = torch.nn.functional.cross_entropy(logits, targets[batch])
            optimiser.zero_grad()
            loss.backward()  # type: ignore[no-untyped-call]
            optimiser.step()
            cost += loss.item() * len(batch)
            right += int((logits.argmax(dim=1) == targets[batch]).sum())
        now = Epoch(epoch, cost / len(train), right / len(train))
        say(str(now))
        if not passed or now.accuracy > max(each.accuracy for each in passed):
            best = _Layer(weight.detach().clone(), bias.detach().clone())
        passed.append(now)
    return best, passed


def _check_split(photographs: Sequence[Photograph], test: Sequence[int], console: Console) -> list[str]:
    if not test:
        raise ConfigError(
            "every class is all one group, so nothing is left to be tested on",
            remedy="--ungrouped parts groups, and leaks",
        )
    counted = f"{len(photographs) - len(test)} photographs to learn from, {len(test)} to be tested on."
    return [counted, *split_check(_as_split(photographs, test), console, held_out="the test photographs")]


def _test_logits(checkpoint: Checkpoint, seen: _Seen, test: Sequence[int]) -> NDArray[np.float64]:
    """(tested, C) scores of the model as it will be saved."""
    weight = torch.from_numpy(checkpoint.weights["fc.weight"]).float()  # (C, 512)
    bias = torch.from_numpy(checkpoint.weights["fc.bias"]).float()  # (C,)
    begins = range(0, len(test), BATCH)
    rows = [seen.features(test[begin : begin + BATCH]) @ weight.T + bias for begin in begins]  # (B, C) each
    logits: NDArray[np.float64] = torch.cat(rows).double().numpy()  # (tested, C)
    return logits


def _as_split(photographs: Sequence[Photograph], test: Sequence[int]) -> list[Photograph]:
    inside = set(test)
    return [
        replace(photograph, split="val" if position in inside else "train")
        for position, photograph in enumerate(photographs)
    ]


def _halved(parameter: torch.Tensor) -> NDArray[np.float16]:
    """The values that the checkpoint, in half precision, will hold: what is measured is what is saved."""
    halves: NDArray[np.float16] = parameter.numpy().astype(np.float16)
    return halves
