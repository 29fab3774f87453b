"""The original study's recipe: the features of a photograph computed once, beside its own loop."""

import os
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path

from rich.console import Console

from benchmarks.rig import Row, picture
from shared.checkpoint import Checkpoint
from shared.settings import Settings
from training.backbone import Weights, backbone_of
from training.dataset import Photograph, read_folder
from training.seed import EPOCHS, train_seed

DRAWN = 48
PHOTOGRAPHS = 96
"""15 epochs of the plain loop look at each of them 16 times: about a minute on two cores."""


def measure(settings: Settings, _: int) -> list[Row]:
    """Seconds for all 15 epochs and the test, once each: the plain loop alone takes minutes.

    Both loops end with the same accuracies, or this fails. The plain loop's figure has one more decoding
    of every photograph in it than the study's, to know which can be read: less than one part in a hundred.
    """
    backbone = backbone_of(dict(Checkpoint.load(settings.checkpoint).weights), "the shipped model")
    rows = []
    with tempfile.TemporaryDirectory() as scratch:
        rows += _side_by_side(f"study's recipe, {DRAWN} drawn pictures", _drawn(Path(scratch)), backbone)
    if folder := os.environ.get("ALMENARA_PHOTOS"):
        some = _some(read_folder(Path(folder)))
        rows += _side_by_side(f"study's recipe, {len(some)} photographs", some, backbone)
    return rows


def _side_by_side(what: str, photographs: Sequence[Photograph], backbone: Weights) -> list[Row]:
    taken_s, results = [], []
    for plain_loop in (True, False):
        began_s = time.perf_counter()
        outcome = train_seed(
            photographs,
            backbone,
            plain_loop=plain_loop,
            console=Console(stderr=True, quiet=True),
            say=lambda _: None,
        )
        taken_s.append(time.perf_counter() - began_s)
        metrics = outcome.checkpoint.metrics
        results.append((metrics["best_training_accuracy"], metrics["test_accuracy"], len(outcome.epochs)))
    assert results[0] == results[1], f"the loops disagree: {results}"
    training, test, count = results[0]
    assert count == EPOCHS
    agreed = f"training accuracy {training:.4f}, test accuracy {test:.4f}"
    return [
        Row(what, f"the study's loop ({agreed})", "s", taken_s[:1], is_base=True),
        Row(what, f"features computed once ({agreed})", "s", taken_s[1:]),
    ]


def _drawn(folder: Path) -> list[Photograph]:
    drawn = []
    for seed in range(DRAWN):
        path = folder / f"{seed}.jpeg"
        path.write_bytes(picture(seed))
        label = ("fire", "protest", "robbery")[seed % 3]
        drawn.append(Photograph(path=path, name=path.name, split="train", label=label, group=path.name))
    return drawn


def _some(photographs: Sequence[Photograph]) -> list[Photograph]:
    """As many of each class, the first by name, and no more than the minutes allow."""
    names = sorted({photograph.label for photograph in photographs})
    of_each = PHOTOGRAPHS // len(names)
    return [
        photograph
        for name in names
        for photograph in [each for each in photographs if each.label == name][:of_each]
    ]
