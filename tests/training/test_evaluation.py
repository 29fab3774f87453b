import numpy as np
import pytest

from shared.verdict import Thresholds
from training.evaluation import calibration_error, evaluate

CLASSES = ("fire", "protest", "normal")
THRESHOLDS = Thresholds(dispatch=0.6, no_emergency=0.7)
PROBABILITIES = (
    ("fire", (0.8, 0.1, 0.1)),  # dispatched, rightly
    ("fire", (0.1, 0.1, 0.8)),  # missed
    ("fire", (0.2, 0.7, 0.1)),  # dispatched as another situation
    ("protest", (0.3, 0.4, 0.3)),  # unsure, though the best class is right
    ("normal", (0.1, 0.0001, 0.8999)),  # no emergency, rightly
    ("normal", (0.9, 0.05, 0.05)),  # false alarm
)


@pytest.fixture
def metrics() -> dict[str, object]:
    labels = [label for label, _ in PROBABILITIES]
    logits = np.log([row for _, row in PROBABILITIES])
    return evaluate(logits, labels, CLASSES, 1.0, THRESHOLDS)


def test_classes_are_counted_as_by_hand(metrics: dict[str, object]) -> None:
    """Accuracy, precision, recall and F1 are those of six photographs counted on paper."""
    assert (metrics["n"], metrics["accuracy"]) == (6, 0.5)
    assert metrics["per_class"] == {
        "fire": {"n": 3, "precision": 0.5, "recall": 0.3333, "f1": 0.4},
        "protest": {"n": 1, "precision": 0.5, "recall": 1.0, "f1": 0.6667},
        "normal": {"n": 2, "precision": 0.5, "recall": 0.5, "f1": 0.5},
    }
    assert metrics["macro_f1"] == pytest.approx((0.4 + 0.6667 + 0.5) / 3, abs=1e-4)


def test_situations_alone_leave_normal_out(metrics: dict[str, object]) -> None:
    """The six are scored on their own photographs by the best of their own scores."""
    # The missed fire has fire and protest level; the first of them, fire, counts.
    assert metrics["six"] == {"accuracy": 0.75, "macro_f1": pytest.approx((0.8 + 0.6667) / 2, abs=1e-4)}


def test_verdicts_are_counted_as_by_hand(metrics: dict[str, object]) -> None:
    """Unsure, false alarm, missed and misdirected: one photograph of each."""
    assert metrics["unsure_rate"] == pytest.approx(1 / 6, abs=1e-4)
    assert metrics["false_alarms_per_1000_normal"] == 500
    assert metrics["missed_emergencies"] == 0.25
    assert metrics["misdirected_rate"] == 0.25


def test_rates_of_what_does_not_occur_are_none() -> None:
    """No normal photograph, no false alarm rate; zero would be a claim."""
    metrics = evaluate(np.array([[2.0, 0.0, 0.0]]), ["fire"], CLASSES, 1.0, THRESHOLDS)
    assert metrics["false_alarms_per_1000_normal"] is None
    assert metrics["missed_emergencies"] == 0
    only_normal = evaluate(np.array([[0.0, 0.0, 2.0]]), ["normal"], CLASSES, 1.0, THRESHOLDS)
    assert only_normal["six"] == {"accuracy": None, "macro_f1": None}


def test_honest_confidence_has_no_calibration_error() -> None:
    """Sure and right, or half sure and half right: no error. Sure and half right: half."""
    half_right = np.arange(100) % 2 == 0
    assert calibration_error(np.ones(100), np.ones(100, bool)) == 0
    assert calibration_error(np.full(100, 0.5), half_right) == pytest.approx(0)
    assert calibration_error(np.ones(100), half_right) == pytest.approx(0.5)
