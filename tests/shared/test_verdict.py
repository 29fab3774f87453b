import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from shared.verdict import Judgement, Thresholds, Verdict, judge

CLASSES = ("fire", "protest", "normal")
THRESHOLDS = Thresholds(dispatch=0.6, no_emergency=0.7)


def judged(*probabilities: float, temperature: float = 1.0, classes: tuple[str, ...] = CLASSES) -> Judgement:
    """The judgement on scores whose softmax is ``probabilities``."""
    return judge([math.log(p) for p in probabilities], classes, temperature, THRESHOLDS)


def test_a_sure_situation_is_dispatched() -> None:
    """Above the threshold, the best situation goes out with its probability."""
    judgement = judged(0.1, 0.65, 0.25)
    assert (judgement.verdict, judgement.situation) == (Verdict.DISPATCHED, "protest")
    assert judgement.confidence == pytest.approx(0.65)


def test_a_sure_normal_is_no_emergency() -> None:
    """Nobody is told, and the confidence is that of normal."""
    judgement = judged(0.1, 0.1, 0.8)
    assert (judgement.verdict, judgement.situation) == (Verdict.NO_EMERGENCY, None)
    assert judgement.confidence == pytest.approx(0.8)


def test_neither_sure_is_unsure_of_the_best_situation() -> None:
    """A person sees the most likely situation even where normal is likelier still."""
    judgement = judged(0.3, 0.1, 0.6)
    assert (judgement.verdict, judgement.situation) == (Verdict.UNSURE, "fire")
    assert judgement.confidence == pytest.approx(0.3)


def test_a_threshold_counts_as_reached_when_it_is_met() -> None:
    """Equal is enough, for both decisions."""
    even = Thresholds(dispatch=0.5, no_emergency=0.5)
    assert judge([0.0, 0.0], ("fire", "protest"), 1.0, even).verdict == Verdict.DISPATCHED
    assert judge([0.0, 0.0], ("fire", "normal"), 1.0, even).verdict == Verdict.NO_EMERGENCY


def test_no_emergency_is_asked_before_dispatch() -> None:
    """Where both thresholds are passed, normal wins."""
    low = Thresholds(dispatch=0.3, no_emergency=0.5)
    assert judge([0.9, -9.0, 1.0], CLASSES, 1.0, low).verdict == Verdict.NO_EMERGENCY


def test_normal_never_counts_as_the_best_situation() -> None:
    """A normal that is likeliest but not sure enough does not lend its probability to a dispatch."""
    judgement = judge([0.0, 0.1, 3.0], CLASSES, 1.0, Thresholds(dispatch=0.5, no_emergency=0.99))
    assert (judgement.verdict, judgement.situation) == (Verdict.UNSURE, "protest")


def test_a_higher_temperature_is_less_sure() -> None:
    """Calibration turns the same scores from a dispatch into a question."""
    assert judged(0.9, 0.05, 0.05).verdict == Verdict.DISPATCHED
    assert judged(0.9, 0.05, 0.05, temperature=4.0).verdict == Verdict.UNSURE


@given(st.lists(st.floats(-30, 30), min_size=2, max_size=2), st.floats(0, 1), st.floats(0, 1))
def test_a_model_without_normal_never_says_no_emergency(
    logits: list[float], dispatch: float, no_emergency: float
) -> None:
    """Whatever the scores and thresholds, six-class models only dispatch or ask."""
    judgement = judge(
        logits, ("fire", "protest"), 1.0, Thresholds(dispatch=dispatch, no_emergency=no_emergency)
    )
    assert judgement.verdict != Verdict.NO_EMERGENCY
    assert judgement.situation == max(judgement.scores, key=judgement.scores.__getitem__)


@given(st.lists(st.floats(-1e4, 1e4), min_size=3, max_size=3), st.floats(0.05, 20))
def test_scores_are_probabilities_of_every_class(logits: list[float], temperature: float) -> None:
    """Large scores do not overflow; the probabilities keep class order and add up to one."""
    judgement = judge(np.array(logits, np.float32), CLASSES, temperature, THRESHOLDS)
    assert tuple(judgement.scores) == CLASSES
    assert sum(judgement.scores.values()) == pytest.approx(1)
    assert all(0 <= p <= 1 for p in judgement.scores.values())


@pytest.mark.parametrize("logits", [[1.0, 2.0], [1.0, 2.0, 3.0, 4.0], [[1.0, 2.0, 3.0]]])
def test_scores_that_do_not_match_the_classes_are_refused(logits: list[float]) -> None:
    """A row too short, too long or nested is our own mistake and never becomes a verdict."""
    with pytest.raises(ValueError, match="classes"):
        judge(logits, CLASSES, 1.0, THRESHOLDS)


@pytest.mark.filterwarnings("ignore:invalid value")
@pytest.mark.parametrize("score", [math.nan, math.inf])
def test_scores_that_are_not_finite_are_refused(score: float) -> None:
    """NaN compares false with every threshold, so it would otherwise pass for unsure."""
    with pytest.raises(ValueError, match="not finite"):
        judge([1.0, score, 0.0], CLASSES, 1.0, THRESHOLDS)


@pytest.mark.parametrize("probability", [-0.1, 1.1, math.nan, math.inf])
def test_thresholds_are_probabilities(probability: float) -> None:
    """Neither threshold takes what is not between 0 and 1."""
    with pytest.raises(ValueError, match="dispatch"):
        Thresholds(dispatch=probability, no_emergency=0.5)
    with pytest.raises(ValueError, match="no_emergency"):
        Thresholds(dispatch=0.5, no_emergency=probability)
