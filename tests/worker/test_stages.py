"""The stages of a worker: order, overlap, and what goes wrong in one of them."""

import threading
from collections.abc import Iterator

import pytest

from worker.stages import Stages

PATIENCE_S = 60.0


@pytest.fixture
def stages() -> Iterator[Stages]:
    """Stages that are closed in the end."""
    made = Stages()
    yield made
    made.close()


def test_batches_are_published_in_the_order_they_were_sent(stages: Stages) -> None:
    """The oldest photographs are told first, whatever each batch takes."""
    published: list[int] = []
    for number in range(20):
        stages.send(lambda number=number: number, published.append)  # type: ignore[misc]
    stages.settle(leave=0)
    assert published == list(range(20))
    assert not stages.busy


def test_the_model_goes_on_while_a_batch_is_published(stages: Stages) -> None:
    """The second batch is judged before the first one is out."""
    judged = threading.Event()
    stages.send(lambda: None, lambda _: assert_set(judged))
    stages.send(judged.set, lambda _: None)
    stages.settle(leave=0)


def assert_set(event: threading.Event) -> None:
    """Wait for what another stage does meanwhile."""
    assert event.wait(PATIENCE_S), "the stages take turns instead of overlapping"


def test_no_more_is_on_the_way_than_is_left(stages: Stages) -> None:
    """With one batch left on its way, the one before it is through."""
    gate = threading.Event()
    published: list[str] = []
    stages.send(lambda: "first", published.append)
    stages.send(lambda: (gate.wait(PATIENCE_S), "second")[1], published.append)
    stages.settle(leave=1)
    assert published == ["first"]
    assert stages.busy
    gate.set()
    stages.settle(leave=0)
    assert published == ["first", "second"]


@pytest.mark.parametrize("stage", ["judge", "publish"])
def test_what_goes_wrong_in_a_stage_reaches_the_caller(stages: Stages, stage: str) -> None:
    """A fault of ours ends the worker, as it would in the caller's own thread."""

    def fail(*_: object) -> None:
        raise ZeroDivisionError

    def succeed(*_: object) -> None:
        pass

    stages.send(*((fail, succeed) if stage == "judge" else (succeed, fail)))
    with pytest.raises(ZeroDivisionError):
        stages.settle(leave=0)


def test_the_model_is_warmed_in_the_thread_that_will_run_it(stages: Stages) -> None:
    """What is warm for one thread alone is warm for the first photograph."""
    threads: list[int] = [stages.warm(threading.get_ident)]
    stages.send(threading.get_ident, threads.append)
    stages.settle(leave=0)
    assert threads[0] == threads[1] != threading.get_ident()
