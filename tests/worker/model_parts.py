"""Checkpoints that always say the same, so that a dispatch betrays which of them judged it."""

from dataclasses import replace
from functools import cache
from pathlib import Path

import numpy as np
from engine_parts import random_checkpoint

from shared.checkpoint import Checkpoint

CLASSES = ("fire", "protest", "normal")


@cache
def _random() -> Checkpoint:
    return random_checkpoint(32)


def save_always(path: Path, situation: str, *, classes: tuple[str, ...] = CLASSES) -> Checkpoint:
    """Save a small checkpoint that is sure of one situation whatever it is shown."""
    random = _random()
    weights = dict(random.weights)
    weights["fc.weight"] = np.zeros_like(weights["fc.weight"])
    weights["fc.bias"] = np.array([9.0 * (word == situation) for word in classes], np.float16)
    return replace(random, weights=weights, classes=classes).save(path)


def save_endless(path: Path) -> Checkpoint:
    """Save a checkpoint whose weights are finite, and whose scores are not."""
    random = _random()
    weights = dict(random.weights)
    # Seven blocks of 6e4 are still numbers, which the last layer's 6e4 takes beyond float32: an overflow any
    # earlier would be lost again, as OpenVINO's ReLU makes 0 of what is no number.
    for block in (*(f"layer3.{number}" for number in range(6)), "layer4.0"):
        weights[f"{block}.bn2.weight"] = np.full_like(weights[f"{block}.bn2.weight"], 6e4)
    weights["fc.weight"] = np.full_like(weights["fc.weight"], 6e4)
    return replace(random, weights=weights).save(path)
