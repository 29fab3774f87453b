"""Photographs that can't be told to whom they are for: a person looks, and nobody else waits."""

from collections.abc import Iterator
from pathlib import Path

import pytest
from conftest import wait_until
from worker_parts import admit_pictures, picture, record, told
from worker_processes import Workers

from shared.broker import Broker
from shared.images import ImageStore
from shared.keys import dispatch_key
from shared.settings import Settings

pytestmark = pytest.mark.fault


@pytest.fixture
def workers(settings: Settings, tmp_path: Path) -> Iterator[Workers]:
    """Workers with batches of four."""
    found = Workers(settings, tmp_path)
    yield found
    found.end()


def test_a_stream_that_can_not_be_written_keeps_no_other_picture_waiting(
    broker: Broker, store: ImageStore, workers: Workers
) -> None:
    """What was for it goes to review with the reason, its batch goes on, and the worker stays."""
    broker.set(dispatch_key("firefighters"), "what somebody wrote by mistake")
    fire, protest = admit_pictures(broker, store, [picture("fire"), picture("protest")])
    worker = workers.start()
    wait_until(lambda: told(broker, "review") and told(broker, "police-force"), within_s=60, what="both told")
    assert told(broker, "review") == [fire]
    assert told(broker, "police-force") == [protest]
    assert record(broker, fire)["reason"] == "unpublishable"
    assert "dispatch:firefighters" in record(broker, fire)["detail"]
    assert not worker.ended()


def test_a_picture_that_nobody_can_be_told_of_waits_in_the_queue(
    broker: Broker, store: ImageStore, workers: Workers
) -> None:
    """The worker does not end for it: it decides others, and this one once its stream is put right."""
    broker.set(dispatch_key("firefighters"), "what somebody wrote by mistake")
    broker.set(dispatch_key("review"), "and here too")
    fire, protest = admit_pictures(broker, store, [picture("fire"), picture("protest")])
    worker = workers.start()
    wait_until(lambda: told(broker, "police-force") == [protest], within_s=60, what="the other is told")
    wait_until(
        lambda: worker.said("a photograph can't be given to anybody"), within_s=60, what="the worker says so"
    )
    broker.delete(dispatch_key("firefighters"))
    wait_until(lambda: record(broker, fire)["state"] == "decided", within_s=60, what="the fire is decided")
    assert told(broker, "firefighters") == [fire]
    assert not worker.ended()
