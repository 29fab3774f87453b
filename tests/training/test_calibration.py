from pathlib import Path
from typing import Any

import numpy as np
import pytest

from shared.verdict import judge, softmax
from training.calibration import MAX_FALSE_ALARMS, MAX_MISSED, calibrate, judge_out_of_fold
from training.dataset import Photograph
from training.evaluation import calibration_error, measure
from training.logistic import choose_temperature

CLASSES = ("fire", "protest", "normal")


def scores(count: int, seed: int, *, sharpness: float = 4.0) -> tuple[np.ndarray, np.ndarray]:
    """(N, C) logits that are right more often than not, times ``sharpness`` too sure; and (N,) classes."""
    chance = np.random.default_rng(seed)
    targets = chance.integers(0, 3, count)
    honest = chance.normal(0, 1, (count, 3)) + 2.0 * np.eye(3)[targets]
    return sharpness * honest, targets


def photographs(targets: np.ndarray, frames: int = 1) -> list[Photograph]:
    return [
        Photograph(
            path=Path(str(number)),
            name=str(number),
            split="val",
            label=CLASSES[target],
            group=str(number // frames),
        )
        for number, target in enumerate(targets)
    ]


def measured(logits: np.ndarray, rows: list[Photograph]) -> dict[str, Any]:
    """Figures of decisions taken out of fold."""
    judgements = judge_out_of_fold(logits, rows, CLASSES, seed=0)
    return measure(judgements, [row.label for row in rows], CLASSES)


def test_a_temperature_undoes_what_is_too_sure() -> None:
    """Scores four times as sure get about four times the temperature."""
    warm = calibrate(*scores(600, 0, sharpness=1.0), CLASSES).temperature
    hot = calibrate(*scores(600, 0, sharpness=4.0), CLASSES).temperature
    assert hot / warm == pytest.approx(4.0, rel=0.05)


def test_thresholds_leave_room_for_what_is_to_come() -> None:
    """On the photographs they were chosen on, errors stay a standard error below what is allowed."""
    logits, targets = scores(600, 3)
    chosen = calibrate(logits, targets, CLASSES)
    judgements = [judge(row, CLASSES, chosen.temperature, chosen.thresholds) for row in logits]
    found = measure(judgements, [CLASSES[target] for target in targets], CLASSES)
    assert 0 < found["false_alarms_per_1000_normal"] / 1000 <= MAX_FALSE_ALARMS - 0.015
    assert found["missed_emergencies"] <= MAX_MISSED - 0.007


def test_out_of_fold_figures_are_honest_about_strangers() -> None:
    """They agree with what the chosen calibration does on thousands of other photographs."""
    logits, targets = scores(600, 1)
    found = measured(logits, photographs(targets))
    assert found["n"] == 600
    assert found["ece"] < 0.06
    assert found["false_alarms_per_1000_normal"] / 1000 < MAX_FALSE_ALARMS + 0.04
    assert found["missed_emergencies"] < MAX_MISSED + 0.02
    assert found["accuracy"] == pytest.approx((logits.argmax(axis=1) == targets).mean(), abs=1e-4)


def test_no_photograph_has_a_say_in_its_own_confidence() -> None:
    """Frames of one event, all wrong and very sure, are measured by a temperature chosen without them."""
    logits, targets = scores(200, 2, sharpness=1.0)
    logits[:40] = 20 * np.eye(3)[(targets[:40] + 1) % 3]
    rows = photographs(targets, frames=40)
    found = measured(logits, rows)
    probabilities = np.zeros_like(logits)
    for group in {row.group for row in rows}:  # five groups, five folds
        held = np.array([row.group == group for row in rows])
        temperature = choose_temperature(logits[~held], targets[~held])
        probabilities[held] = softmax(logits[held], temperature)
    right = probabilities.argmax(axis=1) == targets
    assert found["ece"] == pytest.approx(calibration_error(probabilities.max(axis=1), right), abs=1e-4)
    together = softmax(logits, choose_temperature(logits, targets))
    assert found["ece"] != pytest.approx(calibration_error(together.max(axis=1), right), abs=0.003)
