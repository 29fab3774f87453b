"""What a network is asked to answer to every view: from labels, and, under a teacher, from what that sees."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from rich.console import Console

from shared.verdict import softmax
from training import logistic
from training.dataset import Photograph, folds

_PENALTIES = (3.0, 1.0, 0.3)
_FOLDS = 5
_TEACHER_VIEWS = 4
"""The teacher's classifier learns from so many of them; more changed nothing."""

_SMOOTHING = 0.1
_TRUST = 0.5
"""Weight of the teacher's answer beside a label: about a tenth of the labels are doubtful."""

_UNLABELLED = 0.7
"""Weight of a photograph without a label beside one with."""

_BALANCE = 0.3
_CLIP = 5.0


@dataclass(frozen=True, kw_only=True, slots=True)
class Targets:
    """What the network is to answer, photograph by photograph and view by view.

    Attributes:
        probabilities: (N, V, C) float32 of the classes.
        weights: (N,) float32, how much a photograph counts.
        features: (N, V, F) float16, the teacher's, of the whole photograph each with mean 0 and variance
            1; F is 0 without a teacher.
    """

    probabilities: NDArray[np.float32]
    weights: NDArray[np.float32]
    features: NDArray[np.float16]


def from_labels(photographs: Sequence[Photograph], classes: Sequence[str], views: int) -> Targets:
    """Labels alone, smoothed: every view of a photograph shows what the photograph shows.

    Source: Szegedy et al. 2015, "Rethinking the Inception Architecture", section 7.
    """
    targets = np.array([classes.index(each.label) for each in photographs], np.int64)  # (N,)
    one_hot = np.eye(len(classes), dtype=np.float32)[targets]  # (N, C)
    smoothed = (1 - _SMOOTHING) * one_hot + _SMOOTHING / len(classes)  # (N, C)
    return Targets(
        probabilities=np.repeat(smoothed[:, None], views, axis=1),  # (N, V, C)
        weights=_balanced(targets, len(classes)),
        features=np.zeros((len(photographs), views, 0), np.float16),
    )


def from_teacher(
    seen: NDArray[np.float16],
    photographs: Sequence[Photograph],
    classes: Sequence[str],
    *,
    seed: int,
    console: Console,
) -> Targets:
    """Labels and a teacher's opinion, half and half; of photographs without a label, its opinion alone.

    About labelled photographs the teacher is asked out of fold: what it says has not been told to it.

    Args:
        seen: (N, V, F) what the teacher sees, ``training.teacher.look``; it becomes the targets' features,
            because a copy would be gigabytes.
        photographs: N, those with a label first; the others' label is empty.
        classes: C names.
        seed: of the folds.
        console: is told how well the teacher does.
    """
    labelled = sum(bool(each.label) for each in photographs)
    targets = np.array([classes.index(each.label) for each in photographs[:labelled]], np.int64)
    plain = seen[:, 0].astype(np.float32)  # (N, F)
    mean, spread = plain.mean(axis=0), plain.std(axis=0) + 1e-3  # (F,), (F,)
    for view in range(seen.shape[1]):
        seen[:, view] = np.clip((seen[:, view].astype(np.float32) - mean) / spread, -_CLIP, _CLIP)
    opinions = _opinions(seen, targets, photographs[:labelled], len(classes), seed=seed, console=console)
    one_hot = np.eye(len(classes), dtype=np.float32)[targets]  # (labelled, C)
    trust = np.full((labelled, 1, 1), _TRUST, np.float32)
    trust[np.isin(targets, _unforeseen(photographs[:labelled], classes, seed))] = 0
    opinions[:labelled] = trust * opinions[:labelled] + (1 - trust) * one_hot[:, None]  # (labelled, V, C)
    unlabelled = np.full(len(photographs) - labelled, _UNLABELLED, np.float32)
    return Targets(
        probabilities=opinions,
        weights=np.concatenate([_balanced(targets, len(classes)), unlabelled]),
        features=seen,
    )


def _opinions(
    features: NDArray[np.float16],
    targets: NDArray[np.int64],
    labelled: Sequence[Photograph],
    class_count: int,
    *,
    seed: int,
    console: Console,
) -> NDArray[np.float32]:
    """(N, V, C) calibrated probabilities of a linear layer on the teacher's features."""
    count, views, _ = features.shape
    fold_of = np.array(folds(labelled, _FOLDS, seed))
    taught = features[: len(targets), :_TEACHER_VIEWS].astype(np.float32)  # (labelled, 4, F)
    logits = np.zeros((len(_PENALTIES), len(targets), views, class_count))  # (P, labelled, V, C)
    for fold in range(_FOLDS):
        held = np.flatnonzero(fold_of == fold)
        heads = logistic.fit(taught[fold_of != fold], targets[fold_of != fold], class_count, _PENALTIES)
        for row, head in enumerate(heads):
            logits[row, held] = head.logits(features[held].astype(np.float32))
    even = np.full(len(targets), 1 / len(targets))
    temperatures = [logistic.choose_temperature(each[:, 0], targets) for each in logits]
    losses = [
        logistic.log_loss(each[:, 0], targets, temperature, even)
        for each, temperature in zip(logits, temperatures, strict=True)
    ]
    best = int(np.argmin(losses))
    right = (logits[best, :, 0].argmax(axis=1) == targets).mean()
    console.print(f"teacher, out of fold: accuracy {right:.3f}, loss {losses[best]:.3f}", highlight=False)
    opinions = np.empty((count, views, class_count), np.float32)  # (N, V, C)
    opinions[: len(targets)] = softmax(logits[best], temperatures[best])
    head = logistic.fit(taught, targets, class_count, _PENALTIES[: best + 1])[-1]
    for begin in range(len(targets), count, 512):
        part = slice(begin, begin + 512)
        opinions[part] = softmax(head.logits(features[part].astype(np.float32)), temperatures[best])
    return opinions


def _unforeseen(labelled: Sequence[Photograph], classes: Sequence[str], seed: int) -> list[int]:
    """Classes that are all in one fold: whoever is asked about them out of fold has never seen one."""
    found: dict[int, set[int]] = {}
    for photograph, fold in zip(labelled, folds(labelled, _FOLDS, seed), strict=True):
        found.setdefault(classes.index(photograph.label), set()).add(fold)
    return [target for target, seen_in in found.items() if len(seen_in) == 1]


def _balanced(targets: NDArray[np.int64], class_count: int) -> NDArray[np.float32]:
    """(N,) with mean 1; a photograph of a rare class counts somewhat more."""
    shares = logistic.photograph_weights(targets, class_count, _BALANCE)
    return (shares * len(targets)).astype(np.float32)
