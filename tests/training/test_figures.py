from pathlib import Path

import numpy as np
import pytest
from training_parts import random_checkpoint

from shared.verdict import Thresholds, judge
from training.dataset import Photograph
from training.evaluation import calibration_error, evaluate
from training.figures import Figures, Share, count_figures, right_ones
from training.intervals import Interval

CLASSES = ("fire", "protest", "normal")
SHOWN = (
    ("fire", (0.8, 0.1, 0.1)),  # dispatched, rightly
    ("fire", (0.1, 0.1, 0.8)),  # missed
    ("fire", (0.2, 0.7, 0.1)),  # dispatched as another situation
    ("protest", (0.3, 0.4, 0.3)),  # unsure, though the best class is right
    ("normal", (0.1, 0.0001, 0.8999)),  # no emergency, rightly
    ("normal", (0.9, 0.05, 0.05)),  # false alarm
)


def photograph(number: int, label: str) -> Photograph:
    return Photograph(
        path=Path("x"), name=str(number), split="val", label=label, group=f"{label}{number // 2}"
    )


PHOTOGRAPHS = [photograph(number, label) for number, (label, _) in enumerate(SHOWN)]


@pytest.fixture
def figures() -> Figures:
    logits = np.log([row for _, row in SHOWN])
    return count_figures(random_checkpoint(*CLASSES), PHOTOGRAPHS, logits)


def test_shares_agree_with_the_evaluation(figures: Figures) -> None:
    """What a desk is told is what the metrics say, and every photograph is somewhere."""
    measured, shares = figures.measured, {name: share.value for name, share in figures.shares.items()}
    assert shares["unsure"] == pytest.approx(measured["unsure_rate"], abs=1e-4)
    assert shares["false_alarms"] == measured["false_alarms_per_1000_normal"] / 1000 == 0.5
    assert shares["missed"] == measured["missed_emergencies"] == 0.25
    assert shares["misdirected"] == measured["misdirected_rate"] == 0.25
    emergencies = [shares[name] for name in ("right_at_once", "missed", "misdirected", "unsure_emergency")]
    assert emergencies == [0.25] * 4


def test_decisions_taken_elsewhere_count(figures: Figures) -> None:
    """Verdicts and probabilities of judgements that are given, not the checkpoint's, are what is told."""
    strict = Thresholds(dispatch=0.85, no_emergency=0.99)
    logits = np.log([row for _, row in SHOWN])
    judged = [judge(row, CLASSES, 2.0, strict) for row in logits]
    found = count_figures(random_checkpoint(*CLASSES), PHOTOGRAPHS, logits, judged)
    assert found.measured == evaluate(logits, [label for label, _ in SHOWN], CLASSES, 2.0, strict)
    assert found.shares["unsure"].value == 1
    assert found.confidence.max() < figures.confidence.max()
    assert found.wrong == figures.wrong


def test_mistakes_come_with_the_surest_first(figures: Figures) -> None:
    """The false alarm at 0.9, the miss at 0.8, the wrong department at 0.7."""
    assert figures.wrong == [5, 1, 2]
    assert [round(float(figures.confidence[position]), 3) for position in figures.wrong] == [0.9, 0.8, 0.7]


def test_a_row_is_what_was_shown(figures: Figures) -> None:
    """The confusion matrix of six photographs, counted on paper."""
    assert figures.confusion.tolist() == [[1, 1, 1], [0, 1, 0], [1, 0, 1]]
    assert figures.groups.tolist() == [2, 1, 1]


def test_the_situations_alone_leave_normal_out(figures: Figures) -> None:
    """Normal photographs are not among them, and normal is no choice."""
    assert figures.six is not None
    assert figures.six.recall[2] is None
    assert figures.six.accuracy.low <= figures.measured["six"]["accuracy"] <= figures.six.accuracy.high


def test_bins_make_up_the_calibration_error() -> None:
    """Their gaps, weighed by their size, are the figure that stands above them."""
    random = np.random.default_rng(0)
    logits = random.normal(0, 2, (83, 3))
    shown = [photograph(number, CLASSES[number % 3]) for number in range(83)]
    found = count_figures(random_checkpoint(*CLASSES), shown, logits)
    targets = np.arange(83) % 3
    expected = calibration_error(found.confidence, found.said == targets)
    assert sum(each.n * abs(each.confidence - each.right) for each in found.bins) / 83 == pytest.approx(
        expected
    )
    assert [each.n for each in found.bins] == [9, 9, 9, 8, 8, 8, 8, 8, 8, 8]
    assert all(each.low <= each.confidence <= each.high for each in found.bins)


def test_right_ones_are_the_surest_and_the_most_doubtful() -> None:
    """Two of a class with several, one of a class with one, none of a class without."""
    probabilities = [(0.6, 0.2, 0.2), (0.8, 0.1, 0.1), (0.7, 0.2, 0.1), (0.2, 0.7, 0.1), (0.8, 0.1, 0.1)]
    labels = ("fire", "fire", "fire", "protest", "normal")
    shown = [photograph(number, label) for number, label in enumerate(labels)]
    found = count_figures(random_checkpoint(*CLASSES), shown, np.log(probabilities))
    assert right_ones(found, shown, CLASSES) == [1, 0, 3]


def test_nothing_is_told_about_what_does_not_occur() -> None:
    """Without a normal photograph no rate of false alarms, without an emergency no other."""
    checkpoint = random_checkpoint(*CLASSES)
    only_fire = count_figures(checkpoint, [photograph(0, "fire")], np.array([[2.0, 0.0, 0.0]]))
    assert only_fire.shares["false_alarms"] == Share(value=None, interval=None)
    only_normal = count_figures(checkpoint, [photograph(0, "normal")], np.array([[0.0, 0.0, 2.0]]))
    assert only_normal.six is None
    assert only_normal.shares["missed"].value is None


def test_a_share_can_be_told_for_so_many() -> None:
    """Figure and ends of the interval alike; nothing stays nothing."""
    assert Share(value=0.5, interval=Interval(0.25, 1.0)).times(10) == Share(
        value=5, interval=Interval(2.5, 10)
    )
    assert Share(value=None, interval=None).times(10) == Share(value=None, interval=None)
