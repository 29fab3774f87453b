"""A batch through decoding and a forward pass, with an engine that knows colours and costs nothing."""

from collections.abc import Iterator, Sequence
from concurrent.futures import Executor, ThreadPoolExecutor
from pathlib import Path

import pytest
from worker_parts import ColourEngine, admit_pictures, checkpoint, classifier, picture, poison

from shared.broker import Broker
from shared.dispatches import Decision
from shared.errors import AlmenaraError, PermanentError, TransientError
from shared.images import ImageStore
from shared.preprocessing import Preprocessing, decode
from shared.verdict import Verdict
from worker.batches import Classifier, DeviceLostError, Outcome, Pixels
from worker.executions import Execution, new_ids, start

FIRE, PROTEST, NORMAL, UNCLEAR = (picture(word) for word in ("fire", "protest", "normal", "unclear"))


@pytest.fixture
def pool() -> Iterator[Executor]:
    """Threads to decode in."""
    with ThreadPoolExecutor(4) as threads:
        yield threads


def started(broker: Broker, store: ImageStore, pictures: Sequence[bytes]) -> list[Execution]:
    """A batch of these pictures, in order."""
    admit_pictures(broker, store, pictures)
    return start(broker, "w1", new_ids(len(pictures)), lease_s=8.0)


def classify(by: Classifier, batch: Sequence[Execution], pool: Executor) -> list[Outcome]:
    """Both stages of a batch."""
    return by.judge(by.fetch(batch, pool))


def said(outcomes: Sequence[Outcome]) -> list[str | None]:
    """Situation, or reason, of each outcome."""
    return [each.situation if isinstance(each, Decision) else each.reason for each in outcomes]


def test_outcomes_keep_the_order_of_the_batch(broker: Broker, store: ImageStore, pool: Executor) -> None:
    """Each photograph gets its own verdict, not its neighbour's."""
    words = ["protest", "fire", "fire", "protest", "fire"]
    batch = started(broker, store, [picture(word, seed) for seed, word in enumerate(words)])
    assert said(classify(classifier(store), batch, pool)) == words


def test_a_batch_is_one_forward_pass(broker: Broker, store: ImageStore, pool: Executor) -> None:
    """Nothing is judged one by one while all is well."""
    engine = ColourEngine()
    batch = started(broker, store, [picture("fire", seed) for seed in range(7)])
    classify(classifier(store, engine), batch, pool)
    assert engine.batches == [7]


def test_each_verdict_carries_what_decided(broker: Broker, store: ImageStore, pool: Executor) -> None:
    """Checkpoint and engine stand in the record, and an unsure one says why a person must look."""
    batch = started(broker, store, [FIRE, NORMAL, UNCLEAR])
    outcomes = classify(classifier(store), batch, pool)
    decided = [each for each in outcomes if isinstance(each, Decision)]
    assert [each.verdict for each in decided] == [Verdict.DISPATCHED, Verdict.NO_EMERGENCY, Verdict.UNSURE]
    assert [each.reason for each in decided] == ["", "", "low_confidence"]
    assert {each.model for each in decided} == {"unsaved@ colours"}


def test_a_bad_picture_leaves_its_batch(broker: Broker, store: ImageStore, pool: Executor) -> None:
    """What can't be decoded is set aside with its reason, and the others are judged in their places."""
    engine = ColourEngine()
    batch = started(broker, store, [FIRE, b"not a picture", PROTEST, FIRE[: len(FIRE) // 2], b"", NORMAL])
    outcomes = classify(classifier(store, engine), batch, pool)
    assert said(outcomes) == ["fire", "undecodable", "protest", "truncated", "truncated", None]
    assert [isinstance(each, PermanentError) for each in outcomes] == [False, True, False, True, True, False]
    assert engine.batches == [3]


def test_a_batch_of_bad_pictures_never_reaches_the_engine(
    broker: Broker, store: ImageStore, pool: Executor
) -> None:
    """There is no forward pass of nothing."""
    engine = ColourEngine()
    batch = started(broker, store, [b"bad", b"worse"])
    assert said(classify(classifier(store, engine), batch, pool)) == ["undecodable", "undecodable"]
    assert engine.batches == []


@pytest.mark.parametrize("place", range(5))
def test_a_failing_forward_pass_is_halved_down_to_the_one_at_fault(
    broker: Broker, store: ImageStore, pool: Executor, place: int
) -> None:
    """One picture that the engine rejects is to be tried again; its mates get their verdicts."""
    pictures = [picture("protest", seed) for seed in range(5)]
    pictures[place] = poison()
    outcomes = classify(classifier(store), started(broker, store, pictures), pool)
    assert said(outcomes) == ["engine" if index == place else "protest" for index in range(5)]
    assert type(outcomes[place]) is AlmenaraError


def test_a_device_that_fails_at_everything_is_lost(broker: Broker, store: ImageStore, pool: Executor) -> None:
    """Pictures are not blamed for an engine that can't judge a plain grey one either."""

    def broken() -> None:
        raise RuntimeError("an illegal memory access was encountered")

    batch = started(broker, store, [FIRE, PROTEST])
    with pytest.raises(DeviceLostError, match="illegal memory"):
        classify(classifier(store, ColourEngine(broken)), batch, pool)


@pytest.mark.parametrize("error", [MemoryError(), RuntimeError("CUDA out of memory"), IndexError("binding")])
def test_running_out_of_memory_halves_the_batch(
    broker: Broker, store: ImageStore, pool: Executor, error: Exception
) -> None:
    """A batch too large for the device is done in parts."""

    def too_many() -> None:
        if engine.batches[-1] > 2:
            raise error

    engine = ColourEngine(too_many)
    batch = started(broker, store, [picture("fire", seed) for seed in range(6)])
    assert said(classify(classifier(store, engine), batch, pool)) == ["fire"] * 6
    assert max(engine.batches[1:]) == 3


def test_an_engines_own_error_keeps_its_kind(broker: Broker, store: ImageStore, pool: Executor) -> None:
    """An engine may say that a fault is permanent, or passes."""
    engine = ColourEngine(error=TransientError("the device is being reset", reason="device_away"))
    (outcome,) = classify(classifier(store, engine), started(broker, store, [poison()]), pool)
    assert isinstance(outcome, TransientError) and outcome.reason == "device_away"


def test_a_missing_image_is_permanent(broker: Broker, store: ImageStore, pool: Executor) -> None:
    """A store that answers, and has no such picture, will not have it later."""
    batch = started(broker, store, [FIRE, PROTEST])
    assert batch[0].incident is not None
    store.remove(batch[0].incident.photograph.image)
    missing, other = classify(classifier(store), batch, pool)
    assert isinstance(missing, PermanentError) and missing.reason == "image_missing"
    assert said([other]) == ["protest"]


@pytest.mark.parametrize("mount_point", ["gone", "empty"])
def test_a_store_that_is_away_is_transient(
    broker: Broker, store: ImageStore, pool: Executor, mount_point: str
) -> None:
    """An unmounted folder says nothing about its pictures."""
    batch = started(broker, store, [FIRE])
    folder = Path(store.url)
    folder.rename(folder.with_name("unmounted"))
    if mount_point == "empty":
        folder.mkdir()
    (outcome,) = classify(classifier(store), batch, pool)
    assert isinstance(outcome, TransientError) and outcome.reason == "image_store_away"


def test_whatever_a_decoder_or_a_store_raises_hurts_one_picture(
    broker: Broker, store: ImageStore, pool: Executor, monkeypatch: pytest.MonkeyPatch
) -> None:
    """An error that nobody foresaw is tried again and then shown to a person; the batch goes on."""

    def brittle(data: bytes, preprocessing: Preprocessing, *, max_pixels: int) -> Pixels:
        if data == FIRE:
            raise KeyError("a driver's own error")
        return decode(data, preprocessing, max_pixels=max_pixels)

    monkeypatch.setattr("worker.batches.decode", brittle)
    fire, protest = classify(classifier(store), started(broker, store, [FIRE, PROTEST]), pool)
    assert type(fire) is AlmenaraError and "KeyError" in fire.detail
    assert said([protest]) == ["protest"]


def test_a_picture_too_large_to_decode_is_permanent(
    broker: Broker, store: ImageStore, pool: Executor
) -> None:
    """The limit on pixels holds in the worker too, for pictures that came before the limit did."""
    tiny = Classifier(checkpoint(), ColourEngine(), store, max_pixels=100)
    (outcome,) = classify(tiny, started(broker, store, [FIRE]), pool)
    assert isinstance(outcome, PermanentError) and outcome.reason == "too_many_pixels"


def test_review_says_why_no_model_judged(store: ImageStore) -> None:
    """What goes to review has the fault's reason and words, and no scores that nobody gave."""
    told = classifier(store).review(PermanentError("the file is empty", reason="truncated"))
    assert (told.verdict, told.situation, told.scores) == (Verdict.UNSURE, None, {})
    assert (told.reason, told.detail) == ("truncated", "the file is empty")


def test_each_picture_is_a_sign_of_life(broker: Broker, store: ImageStore, pool: Executor) -> None:
    """A batch from a slow image store takes its time; what can't be had counts as much as what can."""
    batch = started(broker, store, [FIRE, b"no picture", NORMAL])
    signs: list[None] = []
    classifier(store).fetch(batch, pool, lambda: signs.append(None))
    assert len(signs) == 3
