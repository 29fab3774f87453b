from collections.abc import Iterator
from io import StringIO
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from rich.console import Console
from training_parts import TINY, drawing, random_weights, single_threaded

from shared.checkpoint import Checkpoint
from shared.errors import ConfigError
from shared.verdict import Verdict, judge
from training.backbone import Weights, read_backbone
from training.dataset import Photograph
from training.seed import Epoch, always_dispatch, check_counts, train_seed
from training.splits import draw_test

HARD_LABELS = ("fire", "normal", "protest")


@pytest.fixture(scope="module", autouse=True)
def one_thread() -> Iterator[None]:
    with single_threaded():
        yield


@pytest.fixture(scope="module")
def backbone(tmp_path_factory: pytest.TempPathFactory) -> Weights:
    return read_backbone(random_weights(tmp_path_factory.mktemp("weights") / "random.safetensors"))


@pytest.fixture(scope="module")
def photographs(tmp_path_factory: pytest.TempPathFactory) -> list[Photograph]:
    """20 drawings of each class; protests look like normal streets, so that no epoch is perfect."""
    folder, random = tmp_path_factory.mktemp("photographs"), np.random.default_rng(0)
    found = []
    for label in HARD_LABELS:
        for number in range(20):
            path = folder / f"{label}_{number}.png"
            drawing(label, random).save(path)
            found.append(
                Photograph(
                    path=path, name=path.name, split="train", label=label, group=f"{label}{number // 2}"
                )
            )
    return found


def followed(
    photographs: list[Photograph], backbone: Weights, epochs: int = 4, **options: Any
) -> tuple[Checkpoint, list[Epoch], list[str]]:
    """A run at 64 px, and what it said."""
    said: list[str] = []
    console = options.pop("console", Console(file=StringIO()))
    outcome = train_seed(
        photographs,
        backbone,
        preprocessing=TINY,
        console=console,
        say=said.append,
        epochs=epochs,
        **options,
    )
    return outcome.checkpoint, [Epoch(**row) for row in outcome.epochs], said  # type: ignore[arg-type]


def test_both_loops_end_in_the_same_place(photographs: list[Photograph], backbone: Weights) -> None:
    """Features computed once give what the study's loop gives: every epoch, test accuracy, classifier."""
    fast, fast_epochs, _ = followed(photographs, backbone, epochs=10)
    plain, plain_epochs, _ = followed(photographs, backbone, epochs=10, plain_loop=True)
    assert [each.accuracy for each in fast_epochs] == [each.accuracy for each in plain_epochs]
    assert [each.cost for each in fast_epochs] == pytest.approx(
        [each.cost for each in plain_epochs], rel=1e-4
    )
    assert fast.metrics == plain.metrics
    assert np.allclose(fast.weights["fc.weight"], plain.weights["fc.weight"], atol=1e-3)
    assert fast_epochs[0].cost > fast_epochs[-1].cost


def test_the_same_seed_gives_the_same_checkpoint(photographs: list[Photograph], backbone: Weights) -> None:
    """To the last bit, whatever chance was used for before; another seed is another run."""
    first, _, _ = followed(photographs, backbone, seed=1)
    torch.rand(7)
    second, _, _ = followed(photographs, backbone, seed=1)
    other, _, _ = followed(photographs, backbone, seed=2)
    assert np.array_equal(first.weights["fc.weight"], second.weights["fc.weight"])
    assert first.metrics == second.metrics
    assert not np.array_equal(first.weights["fc.weight"], other.weights["fc.weight"])


def test_the_best_epoch_is_kept(photographs: list[Photograph], backbone: Weights) -> None:
    """Stopping right after the best epoch gives the same classifier as going on."""
    whole, epochs, said = followed(photographs, backbone, epochs=12, seed=3)
    best = max(epochs, key=lambda each: each.accuracy)
    assert best.epoch < len(epochs) - 1, "the best epoch must not be the last, or this shows nothing"
    stopped, _, _ = followed(photographs, backbone, epochs=best.epoch + 1, seed=3)
    assert np.array_equal(whole.weights["fc.weight"], stopped.weights["fc.weight"])
    assert whole.metrics["best_training_accuracy"] == round(best.accuracy, 5)
    assert f"best training accuracy {best.accuracy:.5f} (epoch {best.epoch})" in said


def test_every_epoch_prints_its_cost_and_accuracy(photographs: list[Photograph], backbone: Weights) -> None:
    """One line an epoch, with the figures that are written to the table."""
    _, epochs, said = followed(photographs, backbone)
    at = said.index("epoch    cost  accuracy")
    assert [line.split() for line in said[at + 1 : at + 5]] == [
        [str(each.epoch), f"{each.cost:.4f}", f"{each.accuracy:.4f}"] for each in epochs
    ]
    assert said[-1].startswith("test accuracy ")


def test_the_test_accuracy_is_the_saved_models(
    photographs: list[Photograph], backbone: Weights, tmp_path: Path
) -> None:
    """Read back from its file, the model is as right on the test photographs as was said."""
    made, _, _ = followed(photographs, backbone)
    loaded = Checkpoint.load(made.save(tmp_path / "made.safetensors").path or tmp_path)
    test = [photographs[position] for position in draw_test(photographs, 0.3, 0)]
    again, _, _ = followed(photographs, {name: loaded.weights[name] for name in backbone})
    assert again.metrics["test_accuracy"] == loaded.metrics["test_accuracy"]
    assert loaded.metrics["test"]["n"] == len(test) == 18


def test_a_split_that_leaks_says_so(photographs: list[Photograph], backbone: Weights) -> None:
    """The study's own random split parts pairs of frames and is called out; the usual one does not."""
    _, _, fair = followed(photographs, backbone)
    leaky, _, warned = followed(photographs, backbone, grouped=False)
    assert not any("LEAKS" in line for line in fair)
    assert any("THIS SPLIT LEAKS" in line for line in warned)
    assert leaky.metrics["groups_on_both_sides"] > 0


def test_unreadable_photographs_are_left_out_of_both_loops(
    photographs: list[Photograph], backbone: Weights, tmp_path: Path
) -> None:
    """One broken file is listed, counted, and changes nothing else."""
    (tmp_path / "broken.jpg").write_bytes(b"no picture")
    broken = Photograph(
        path=tmp_path / "broken.jpg", name="a\x1b.jpg", split="train", label="fire", group="b"
    )
    expected, _, _ = followed(photographs, backbone, epochs=1)
    for plain_loop in (False, True):
        spoken = StringIO()
        made, _, _ = followed(
            [broken, *photographs],
            backbone,
            epochs=1,
            plain_loop=plain_loop,
            console=Console(file=spoken, width=200),
        )
        assert "left out a\\u001B.jpg: not a JPEG" in spoken.getvalue()
        assert "1 photographs left out" in spoken.getvalue()
        assert made.metrics == {**expected.metrics, "unreadable": 1}


@pytest.mark.parametrize("count", [0, 1])
def test_a_class_with_too_few_photographs_is_refused(count: int) -> None:
    """None or one is too few, and the remedy names the flag that leaves the class out."""
    lone = [
        Photograph(path=Path("x"), name=f"{label}{n}", split="train", label=label, group=f"{label}{n}")
        for label, photographs in (("fire", 5), ("robbery", count))
        for n in range(photographs)
    ]
    with pytest.raises(ConfigError, match=rf"of the class robbery, {count} .*--without robbery"):
        check_counts(lone, ["fire", "robbery"])


def test_one_event_alone_can_not_be_tested(photographs: list[Photograph], backbone: Weights) -> None:
    """Where every class is one group there is nothing honest to test on."""
    alone = [
        Photograph(path=p.path, name=p.name, split=p.split, label=p.label, group=p.label) for p in photographs
    ]
    with pytest.raises(ConfigError, match="--ungrouped"):
        followed(alone, backbone)


def test_the_best_situation_is_always_dispatched() -> None:
    """As in the study; only a clear majority for normal, where it is a class, tells nobody."""
    six = ("fire", "protest")
    assert judge([0.01, 0.0], six, 1.0, always_dispatch(six)).verdict is Verdict.DISPATCHED
    seven = ("fire", "protest", "normal")
    assert judge([1.0, 1.0, 1.2], seven, 1.0, always_dispatch(seven)).verdict is Verdict.DISPATCHED
    assert judge([0.0, 0.0, 1.2], seven, 1.0, always_dispatch(seven)).verdict is Verdict.NO_EMERGENCY
