from collections.abc import Iterator

import numpy as np
import pytest
from training_parts import single_threaded

from shared.verdict import softmax
from training import logistic

CLASSES = ("fire", "protest", "normal")


@pytest.fixture(scope="module", autouse=True)
def one_thread() -> Iterator[None]:
    with single_threaded():
        yield


def clouds(count: int = 300, spread: float = 0.6) -> tuple[np.ndarray, np.ndarray]:
    """(N, 1, 4) features around three corners, and their (N,) classes."""
    random = np.random.default_rng(0)
    targets = random.integers(0, 3, count)
    corners = np.eye(3, 4)
    return (corners[targets] + spread * random.normal(size=(count, 4)))[:, None].astype(np.float32), targets


def test_scale_and_offset_of_features_do_not_matter() -> None:
    """Standardising is folded into the layer, so that it takes plain features and says the same."""
    features, targets = clouds()
    [plain] = logistic.fit(features, targets, 3, [0.01])
    moved = features * np.array([1, 10, 100, 0.1], np.float32) + np.array([0, 5, -300, 1], np.float32)
    [other] = logistic.fit(moved, targets, 3, [0.01])
    assert (plain.logits(features[:, 0]).argmax(axis=1) == targets).mean() > 0.75
    np.testing.assert_allclose(other.logits(moved[:, 0]), plain.logits(features[:, 0]), atol=0.02)


def test_a_stronger_penalty_gives_a_smaller_layer() -> None:
    """Heads come back in the order of their penalties."""
    features, targets = clouds()
    sizes = [np.abs(head.weight).sum() for head in logistic.fit(features, targets, 3, [1.0, 0.1, 0.001])]
    assert sizes == sorted(sizes) and sizes[0] < sizes[2] / 3


def test_a_constant_feature_does_no_harm() -> None:
    """A dead channel of the backbone divides nothing by zero."""
    features, targets = clouds()
    features[..., 3] = 7
    [head] = logistic.fit(features, targets, 3, [0.01])
    assert np.isfinite(head.weight).all() and np.isfinite(head.bias).all()


def test_balancing_makes_a_rare_class_count() -> None:
    """Between overlapping clouds, the rare one is found more often when classes weigh the same."""
    features, targets = clouds(3000, spread=1.5)
    keep = (targets != 2) | (np.arange(3000) % 20 == 0)
    rare = targets[keep] == 2

    def recall(balance: float) -> float:
        [head] = logistic.fit(features[keep], targets[keep], 3, [0.01], balance=balance)
        return float((head.logits(features[keep][:, 0])[rare].argmax(axis=1) == 2).mean())

    assert recall(1.0) > recall(0.0) + 0.3


def test_weights_of_photographs_add_up() -> None:
    """Each class that occurs adds up to the same, all together to one."""
    weights = logistic.photograph_weights(np.array([0, 0, 0, 2]), 3, 1.0)
    assert weights.tolist() == pytest.approx([1 / 6, 1 / 6, 1 / 6, 1 / 2])


def test_held_out_scores_come_from_strangers() -> None:
    """Labels drawn by lot can be learnt by heart but not guessed: held-out accuracy stays at chance."""
    random = np.random.default_rng(0)
    features = random.normal(size=(200, 1, 150)).astype(np.float32)
    targets = random.integers(0, 2, 200)
    [seen] = logistic.fit(features, targets, 2, [0.001])
    held_out = logistic.out_of_fold(features, targets, [n % 5 for n in range(200)], 2, [0.001])
    assert (seen.logits(features[:, 0]).argmax(axis=1) == targets).mean() > 0.95
    assert 0.35 < (held_out[0, :, 0].argmax(axis=1) == targets).mean() < 0.65


def test_the_temperature_undoes_overconfidence() -> None:
    """Honest scores multiplied by three get a temperature of three."""
    random = np.random.default_rng(0)
    honest = random.normal(size=(4000, 3)) * 2
    targets = np.array([random.choice(3, p=row) for row in softmax(honest, 1.0)])
    assert logistic.choose_temperature(honest * 3, targets) == pytest.approx(3, rel=0.1)
    assert logistic.choose_temperature(honest, targets) == pytest.approx(1, rel=0.1)


@pytest.mark.parametrize(("false_alarms", "missed"), [(0.08, 0.03), (0.02, 0.03), (0.08, 0.0), (0.0, 0.0)])
def test_thresholds_keep_both_promises(false_alarms: float, missed: float) -> None:
    """Neither share is exceeded on the photographs that the thresholds were chosen on."""
    features, targets = clouds(1000)
    [head] = logistic.fit(features, targets, 3, [0.01])
    p = softmax(head.logits(features[:, 0]), 1.0)
    t = logistic.choose_thresholds(p, targets, CLASSES, max_false_alarms=false_alarms, max_missed=missed)
    closed = p[:, 2] >= t.no_emergency
    sent = ~closed & (p[:, :2].max(axis=1) >= t.dispatch)
    assert closed[targets != 2].mean() <= missed
    assert sent[targets == 2].mean() <= false_alarms


def test_thresholds_ask_people_as_little_as_they_can() -> None:
    """Looser promises leave fewer photographs unsure."""
    features, targets = clouds(1000)
    [head] = logistic.fit(features, targets, 3, [0.01])
    p = softmax(head.logits(features[:, 0]), 1.0)

    def unsure(promise: float) -> float:
        t = logistic.choose_thresholds(p, targets, CLASSES, max_false_alarms=promise, max_missed=promise)
        return float(((p[:, 2] < t.no_emergency) & (p[:, :2].max(axis=1) < t.dispatch)).mean())

    assert unsure(0.0) > unsure(0.03) > unsure(0.2)


def test_a_model_without_normal_gets_thresholds_too() -> None:
    """With nothing to weigh against, half sure is sure enough."""
    p = np.array([[0.9, 0.1], [0.2, 0.8]])
    t = logistic.choose_thresholds(p, np.array([0, 1]), CLASSES[:2], max_false_alarms=0.1, max_missed=0.1)
    assert t.dispatch == 0.5
