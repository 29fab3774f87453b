"""A worker that is stopped in the middle of a batch, as when its machine sleeps."""

import signal
import time
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest
from conftest import wait_until
from worker_parts import admit_pictures, picture, record
from worker_processes import Workers

from shared.broker import Broker
from shared.images import ImageStore
from shared.settings import Settings

pytestmark = pytest.mark.fault

TIMEOUT_S = 15.0
"""Of it a busy machine may take some before the worker is stopped, and some after."""


@pytest.fixture
def workers(settings: Settings, tmp_path: Path) -> Iterator[Workers]:
    """Workers that end when a batch takes longer than `TIMEOUT_S`."""
    found = Workers(settings, tmp_path)
    found.settings = replace(found.settings, lease_s=2.0, batch_timeout_s=TIMEOUT_S)
    yield found
    found.end()


def test_a_worker_that_was_stopped_is_not_taken_for_one_that_hangs(
    broker: Broker, store: ImageStore, workers: Workers
) -> None:
    """The time that it was stopped is not its batch's: it goes on, and its pictures stay above suspicion."""
    incidents = admit_pictures(broker, store, [picture("fire", seed) for seed in range(3)])
    worker = workers.start_busy(3, broker)
    worker.signal(signal.SIGSTOP)
    woken_at_s = time.monotonic() + TIMEOUT_S + 1
    wait_until(lambda: time.monotonic() > woken_at_s, within_s=60, what="its time is over")
    worker.signal(signal.SIGCONT)
    woken_at_s = time.monotonic() + 1.5  # of its lease of 2 s, renewed every quarter, it must have looked
    wait_until(lambda: time.monotonic() > woken_at_s, within_s=60, what="it has looked at its time")
    assert not worker.ended()
    worker.gate.touch()
    wait_until(
        lambda: {record(broker, each)["state"] for each in incidents} == {"decided"},
        within_s=90,
        what="decided",
    )
    assert not worker.ended()
