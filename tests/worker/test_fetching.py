"""Pictures that don't come: an image store that hangs costs time, and no picture its good name."""

import os
import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor, wait
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from conftest import wait_until
from worker_parts import admit_pictures, classifier, picture, record, take

from shared.broker import Broker
from shared.images import ImageStore, StoreAwayError

pytestmark = pytest.mark.fault


@pytest.fixture
def pool() -> Iterator[ThreadPoolExecutor]:
    """Two threads to fetch in."""
    with ThreadPoolExecutor(2) as threads:
        yield threads


def make_hang(broker: Broker, store: ImageStore, incident: str) -> Path:
    """A pipe in the place of a picture: whoever reads it waits for somebody who writes."""
    path = Path(store.url) / record(broker, incident)["image"]
    path.unlink()
    os.mkfifo(path)
    return path


def is_read(pipe: Path, held: list[int]) -> bool:
    """Whether somebody reads a pipe; if so it is added to `held`, open, and its reader waits on."""
    try:
        held.append(os.open(pipe, os.O_WRONLY | os.O_NONBLOCK))
    except OSError:  # nobody does
        return False
    return True


def test_a_store_that_hangs_counts_as_away(
    broker: Broker, store: ImageStore, pool: ThreadPoolExecutor, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What has come is judged; the rest is the store's fault, and given back."""
    admit_pictures(broker, store, [picture("fire", seed) for seed in range(5)])
    batch = take(broker, 5)
    pipes = [make_hang(broker, store, batch[number].job_id) for number in (1, 2)]
    held: list[int] = []
    come = threading.Event()

    def submit(*task: Any) -> Any:
        """Go on when the first picture has come, and when each of the next two hangs."""
        future = ThreadPoolExecutor.submit(pool, *task)
        if not come.is_set():
            wait([future])
            come.set()
        elif len(held) < len(pipes):
            wait_until(lambda: is_read(pipes[len(held)], held), within_s=60, what="the picture is asked for")
        return future

    monkeypatch.setattr(pool, "submit", submit)
    try:
        fetched = replace(classifier(store), patience_s=0.2).fetch(batch, pool)
    finally:
        for pipe in held:
            os.close(pipe)
    assert [isinstance(each, StoreAwayError) for each in fetched] == [False, True, True, True, True]


def test_what_comes_slowly_is_waited_for(broker: Broker, store: ImageStore, pool: ThreadPoolExecutor) -> None:
    """Patience begins anew with each picture, and nothing that came is thrown away."""
    admit_pictures(broker, store, [picture("fire", seed) for seed in range(3)])
    batch = take(broker, 3)
    pipe = make_hang(broker, store, batch[0].job_id)
    with ThreadPoolExecutor(1) as fetcher:
        fetching = pool.submit(replace(classifier(store), patience_s=60.0).fetch, batch, fetcher)
        with pipe.open("wb") as late:
            late.write(picture("fire", 0))
        assert not any(isinstance(each, Exception) for each in fetching.result(60))
