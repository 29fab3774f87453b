"""A linear classifier on frozen features, and the choices around it, made without the validation split."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial

import numpy as np
import torch
from numpy.typing import NDArray

from shared.routing import NORMAL
from shared.verdict import Thresholds, softmax

PENALTIES = (0.3, 0.1, 0.03, 0.01, 0.003, 0.001)
"""Candidates for the L2 penalty, strongest first, so that each fit starts from the one before."""

_TEMPERATURES = np.geomspace(0.2, 5.0, 161)
_PROBABILITIES = np.linspace(0.2, 1.0, 81)


@dataclass(frozen=True, kw_only=True, slots=True)
class Head:
    """A linear layer on plain features: ``features @ weight.T + bias``.

    Attributes:
        weight: (C, F) float64.
        bias: (C,) float64.
    """

    weight: NDArray[np.float64]
    bias: NDArray[np.float64]

    def logits(self, features: NDArray[np.floating]) -> NDArray[np.float64]:
        """(..., F) features in, (..., C) float64 logits out."""
        logits: NDArray[np.float64] = features.astype(np.float64) @ self.weight.T + self.bias  # (..., C)
        return logits


def fit(
    features: NDArray[np.float32],
    targets: NDArray[np.int64],
    class_count: int,
    penalties: Sequence[float],
    *,
    balance: float = 1.0,
    max_iterations: int = 200,
) -> list[Head]:
    """Multinomial logistic regression, once for each penalty.

    The features are standardised first, so that one penalty suits all of them; the scaling is folded
    back into the layer. Every step is deterministic.

    Args:
        features: (N, V, F): V views of each of N photographs; a photograph weighs the same however many.
        targets: (N,) class of each photograph, in [0, class_count).
        class_count: C.
        penalties: factor of half the squared weights, added to the mean loss; a sequence of falling
            penalties converges faster, each fit starting from the one before.
        balance: 0 lets every photograph weigh the same, 1 every class.
        max_iterations: of L-BFGS, for each penalty.
    """
    count, views, width = features.shape
    flat = torch.from_numpy(features.reshape(count * views, width))  # (N * V, F)
    mean, std = flat.mean(dim=0), flat.std(dim=0, correction=0) + 1e-6  # (F,), (F,)
    x = (flat - mean) / std  # (N * V, F)
    y = torch.from_numpy(targets).repeat_interleave(views)  # (N * V,)
    share = torch.from_numpy(photograph_weights(targets, class_count, balance)).float()  # (N,)
    share = share.repeat_interleave(views) / views  # (N * V,)
    weight = torch.zeros(class_count, width, requires_grad=True)
    bias = torch.zeros(class_count, requires_grad=True)

    def loss(penalty: float) -> torch.Tensor:
        each = torch.nn.functional.cross_entropy(x @ weight.T + bias, y, reduction="none")  # (N * V,)
        total: torch.Tensor = (share * each).sum() + penalty / 2 * weight.square().sum()
        return total

    heads = []
    for penalty in penalties:
        _minimise(partial(loss, penalty), [weight, bias], max_iterations)
        folded = weight.detach().double() / std.double()  # (C, F)
        shifted = bias.detach().double() - folded @ mean.double()  # (C,)
        heads.append(Head(weight=folded.numpy(), bias=shifted.numpy()))
    return heads


def _minimise(loss: Callable[[], torch.Tensor], parameters: list[torch.Tensor], max_iterations: int) -> None:
    optimiser = torch.optim.LBFGS(
        parameters, max_iter=max_iterations, tolerance_grad=1e-6, line_search_fn="strong_wolfe"
    )

    def step() -> torch.Tensor:
        optimiser.zero_grad()
        value = loss()
        value.backward()  # type: ignore[no-untyped-call]
        return value

    optimiser.step(step)  # type: ignore[no-untyped-call]


def photograph_weights(targets: NDArray[np.int64], class_count: int, balance: float) -> NDArray[np.float64]:
    """(N,) float64 that add up to 1; with ``balance`` 1 each class that occurs adds up to the same."""
    counts = np.bincount(targets, minlength=class_count)
    weights = counts[targets].astype(np.float64) ** -balance  # (N,)
    normalised: NDArray[np.float64] = weights / weights.sum()
    return normalised


def out_of_fold(
    features: NDArray[np.float32],
    targets: NDArray[np.int64],
    fold_of: Sequence[int],
    class_count: int,
    penalties: Sequence[float],
    *,
    balance: float = 1.0,
) -> NDArray[np.float64]:
    """Score every view of every photograph by a head that has seen nothing of its group.

    Args:
        features: (N, V, F): V views of each of N photographs.
        targets: (N,) classes.
        fold_of: (N,) fold of each photograph.
        class_count: C.
        penalties: P of them, as for ``fit``.
        balance: as for ``fit``.

    Returns:
        (P, N, V, C) float64 logits, one set for each penalty.
    """
    folds = np.asarray(fold_of)
    logits = np.zeros((len(penalties), *features.shape[:2], class_count))  # (P, N, V, C)
    for fold in np.unique(folds):
        held = folds == fold
        heads = fit(features[~held], targets[~held], class_count, penalties, balance=balance)
        for position, head in enumerate(heads):
            logits[position, held] = head.logits(features[held])  # (held, V, C)
    return logits


def log_loss(
    logits: NDArray[np.float64], targets: NDArray[np.int64], temperature: float, weights: NDArray[np.float64]
) -> float:
    """Weighted mean of minus the logarithm of the right class's probability."""
    right = softmax(logits, temperature)[np.arange(len(targets)), targets]  # (N,)
    return float(-(weights * np.log(np.maximum(right, 1e-12))).sum())


def choose_temperature(logits: NDArray[np.float64], targets: NDArray[np.int64]) -> float:
    """The temperature that makes held-out probabilities most honest.

    Source: Guo et al. 2017, "On Calibration of Modern Neural Networks", section 4.2.
    """
    even = np.full(len(targets), 1 / len(targets))
    return float(min(_TEMPERATURES, key=lambda t: log_loss(logits, targets, float(t), even)))


def choose_thresholds(
    probabilities: NDArray[np.float64],
    targets: NDArray[np.int64],
    classes: Sequence[str],
    *,
    max_false_alarms: float,
    max_missed: float,
) -> Thresholds:
    """The thresholds that leave fewest photographs to people while keeping both promises.

    Args:
        probabilities: (N, C) calibrated and held out.
        targets: (N,) classes.
        classes: C names.
        max_false_alarms: the largest share of normal photographs that may be dispatched.
        max_missed: the largest share of emergencies that may be called no emergency.
    """
    situations = [position for position, name in enumerate(classes) if name != NORMAL]
    best = probabilities[:, situations].max(axis=1)  # (N,)
    is_normal = targets == (list(classes).index(NORMAL) if NORMAL in classes else -1)
    if not is_normal.any():
        return Thresholds(dispatch=0.5, no_emergency=1.0)  # nothing to weigh against; a coin's worth
    normal = probabilities[:, list(classes).index(NORMAL)]  # (N,)
    choices = []
    for no_emergency in _PROBABILITIES:
        closed = normal >= no_emergency
        if _share(closed[~is_normal]) > max_missed:
            continue
        for dispatch in _PROBABILITIES:
            sent = ~closed & (best >= dispatch)
            if _share(sent[is_normal]) <= max_false_alarms:
                unsure = float((~closed & ~sent).mean())
                choices.append((unsure, -dispatch, -no_emergency))
    # Everything unsure keeps both promises, so there is always a choice; ties go to the stricter one.
    _, dispatch, no_emergency = min(choices, default=(1.0, -1.0, -1.0))
    return Thresholds(dispatch=round(-float(dispatch), 4), no_emergency=round(-float(no_emergency), 4))


def _share(chosen: NDArray[np.bool_]) -> float:
    return float(chosen.mean()) if chosen.size else 0.0
