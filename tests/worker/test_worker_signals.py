"""Workers as processes of their own: told to stop. Their model waits at a gate."""

import signal
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from conftest import wait_until
from rq.command import send_shutdown_command
from rq.job import Job
from rq.serializers import JSONSerializer
from worker_parts import (
    admit_pictures,
    classifier,
    in_flight,
    record,
    routing,
    told,
    waiting,
)
from worker_processes import Workers, fires, registered, retries_left, states

from shared.broker import Broker
from shared.images import ImageStore
from shared.keys import LEASES
from shared.settings import Settings
from worker.service import BatchWorker

pytestmark = pytest.mark.fault

STOPPING = "stopping after what is in hand; a second signal gives its jobs back to the queue"


@pytest.fixture
def workers(settings: Settings, tmp_path: Path) -> Iterator[Workers]:
    """Workers with batches of four."""
    found = Workers(settings, tmp_path)
    yield found
    found.end()


def test_sigterm_finishes_what_is_in_hand(broker: Broker, store: ImageStore, workers: Workers) -> None:
    """A batch in the model and one behind it are published, the rest stays queued, and RQ sees it gone."""
    incidents = admit_pictures(broker, store, fires(10))
    worker = workers.start_busy(8, broker)
    worker.signal(signal.SIGTERM)
    wait_until(lambda: worker.said(STOPPING), within_s=60, what="the signal is noted")
    worker.gate.touch()
    assert worker.exit_code() == 0
    assert told(broker, "firefighters") == incidents[:8]
    assert waiting(broker) == incidents[8:]
    assert registered(broker) == []


def test_a_second_sigterm_gives_the_jobs_back(broker: Broker, store: ImageStore, workers: Workers) -> None:
    """Leaving at once costs no retry, no place in the queue and no suspicion."""
    incidents = admit_pictures(broker, store, fires(9))
    worker = workers.start_busy(8, broker)
    worker.signal(signal.SIGTERM)
    wait_until(lambda: worker.said(STOPPING), within_s=60, what="the signal is noted")
    signalled_s = time.monotonic()
    wait_until(lambda: time.monotonic() - signalled_s > 1.2, within_s=60, what="no slip of the finger")
    worker.signal(signal.SIGTERM)
    assert worker.exit_code() == 1
    assert waiting(broker) == incidents
    assert {each.get_status() for each in Job.fetch_many(incidents, broker, JSONSerializer) if each} == {
        "queued"
    }
    assert retries_left(broker, incidents) == {3}
    assert {record(broker, each).get("crashes") for each in incidents} == {None}
    assert registered(broker) == []
    assert in_flight(broker) == broker.zcard(LEASES) == 0


def test_a_job_that_comes_with_the_signal_is_not_stranded(
    broker: Broker, store: ImageStore, workers: Workers
) -> None:
    """A waiting worker that is told to stop and then pops a job does it, or leaves it in the queue."""
    worker = workers.start()
    wait_until(lambda: states(broker) == {"idle"}, within_s=60, what="the worker waits for a job")
    worker.signal(signal.SIGTERM)
    wait_until(lambda: worker.said(STOPPING), within_s=60, what="the signal is noted")
    incidents = admit_pictures(broker, store, fires(1))
    assert worker.exit_code() == 0
    assert broker.llen("rq:queue:classify:intermediate") == 0
    assert told(broker, "firefighters") + waiting(broker) == incidents


def test_a_signal_delivered_twice_is_one(broker: Broker, store: ImageStore, workers: Workers) -> None:
    """Ctrl-C reaches a worker from the terminal and from its supervisor at once; the batch is finished."""
    incidents = admit_pictures(broker, store, fires(2))
    worker = workers.start_busy(2, broker)
    worker.signal(signal.SIGSTOP)  # both are there when it goes on, however late we are with the second
    worker.signal(signal.SIGINT)
    worker.signal(signal.SIGTERM)
    worker.signal(signal.SIGCONT)
    wait_until(lambda: worker.said(STOPPING), within_s=60, what="the signals are noted")
    worker.gate.touch()
    assert worker.exit_code() == 0
    assert told(broker, "firefighters") == incidents


def test_a_signal_in_the_middle_of_a_log_line_stops_the_worker(
    broker: Broker, store: ImageStore, workers: Workers
) -> None:
    """Whatever the worker was writing when the signal came, it ends, and does not wait for itself."""
    incidents = admit_pictures(broker, store, fires(2))
    worker = workers.start("--signal-after=batch done")
    assert worker.exit_code() == 0
    assert told(broker, "firefighters") == incidents
    assert worker.said(STOPPING)


def test_rq_can_shut_a_worker_down(broker: Broker, workers: Workers) -> None:
    """RQ's shutdown command, by name, stops our worker as it stops RQ's."""
    worker = workers.start()
    wait_until(lambda: registered(broker), within_s=60, what="the worker is registered")
    wait_until(lambda: broker.pubsub_channels("rq:pubsub:*"), within_s=60, what="the worker listens")
    send_shutdown_command(broker, registered(broker)[0])
    assert worker.exit_code() == 0


def test_a_worker_that_stops_leaves_no_thread_that_listens(
    broker: Broker, store: ImageStore, settings: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The thread that hears RQ's commands ends with its worker, though it has read the last answer before."""
    worker = BatchWorker(settings, broker, classifier(store), routing())
    worker._register()
    pubsub: Any = worker.pubsub
    listener: Any = worker.pubsub_thread
    unsubscribe = pubsub.unsubscribe

    def unhurried() -> None:
        unsubscribe()
        wait_until(lambda: not pubsub.subscribed, within_s=60, what="its thread has read the answer")

    monkeypatch.setattr(pubsub, "unsubscribe", unhurried)
    worker._leave()
    # Left to RQ it would wait for another message, for a minute.
    wait_until(lambda: not listener.is_alive(), within_s=40, what="the thread has ended")
