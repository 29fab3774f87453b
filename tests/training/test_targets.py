from collections.abc import Iterator
from io import StringIO
from pathlib import Path

import numpy as np
import pytest
from rich.console import Console
from training_parts import single_threaded

from training.dataset import Photograph
from training.targets import from_labels, from_teacher

CLASSES = ("fire", "protest", "normal")
QUIET = Console(file=StringIO())


@pytest.fixture(scope="module", autouse=True)
def one_thread() -> Iterator[None]:
    with single_threaded():
        yield


def photographs(labels: list[str]) -> list[Photograph]:
    return [
        Photograph(path=Path(str(n)), name=str(n), split="train", label=label, group=str(n))
        for n, label in enumerate(labels)
    ]


def seen_of(labels: list[str], views: int = 3, seed: int = 0) -> np.ndarray:
    """(N, V, 6) float16: what a teacher that tells the classes apart sees, on a scale of its own."""
    chance = np.random.default_rng(seed)
    centre = np.array([[3.0, 0, 0], [0, 3, 0], [0, 0, 3]])[[CLASSES.index(label) for label in labels]]
    noisy = centre[:, None] + chance.normal(0, 1, (len(labels), views, 3))
    return np.concatenate([noisy * 10 + 100, chance.normal(0, 1, noisy.shape)], axis=2).astype(np.float16)


def test_labels_alone_ask_the_same_of_every_view() -> None:
    """The label's class is asked for, with a little left for the others, whatever part is shown."""
    targets = from_labels(photographs(["fire", "normal"]), CLASSES, views=4)
    assert targets.probabilities.shape == (2, 4, 3)
    assert targets.probabilities.sum(axis=2) == pytest.approx(1)
    assert (targets.probabilities[0].argmax(axis=1) == 0).all()
    assert 0.9 <= targets.probabilities[1, 0, 2] < 1
    assert targets.features.shape == (2, 4, 0)


def test_a_photograph_of_a_rare_class_counts_more() -> None:
    """Weights average to one, and the only fire among nine streets weighs more than each of them."""
    weights = from_labels(photographs(["fire"] + ["normal"] * 9), CLASSES, views=1).weights
    assert weights.mean() == pytest.approx(1)
    assert weights[0] > 1.5 * weights[1]


def test_features_are_asked_for_on_one_scale() -> None:
    """Whatever scale the teacher uses, its features come with mean 0 and variance 1, none of them huge."""
    labels = list(CLASSES) * 20
    features = from_teacher(seen_of(labels), photographs(labels), CLASSES, seed=0, console=QUIET).features
    plain = features[:, 0].astype(float)
    assert plain.mean(axis=0) == pytest.approx(0, abs=0.02)
    assert plain.std(axis=0) == pytest.approx(1, abs=0.05)
    assert np.abs(features).max() <= 5


def test_a_teacher_explains_photographs_without_a_label() -> None:
    """Of those, its own opinion is asked, and it is right about most; a label stays the larger half."""
    labels, hidden = list(CLASSES) * 20, ["fire", "protest", "normal"] * 5
    rows = [*photographs(labels), *photographs([""] * len(hidden))]
    targets = from_teacher(seen_of(labels + hidden), rows, CLASSES, seed=0, console=QUIET)
    answers = targets.probabilities[60:, 0].argmax(axis=1)
    assert (answers == [CLASSES.index(label) for label in hidden]).mean() > 0.85
    assert targets.probabilities.sum(axis=2) == pytest.approx(1, abs=1e-4)
    right = targets.probabilities[np.arange(60), 0, [CLASSES.index(label) for label in labels]]
    assert (right >= 0.5).all()
    assert (targets.weights[60:] < 1).all()


def test_a_wrong_label_is_doubted() -> None:
    """The teacher is asked about a photograph without having been told its label, so it can object."""
    labels = list(CLASSES) * 20
    seen = seen_of(labels)
    wrong = ["protest" if n == 0 else label for n, label in enumerate(labels)]
    targets = from_teacher(seen, photographs(wrong), CLASSES, seed=0, console=QUIET)
    assert targets.probabilities[0, 0, CLASSES.index("fire")] > 0.3
    assert targets.probabilities[3, 0, CLASSES.index("fire")] > 0.8
