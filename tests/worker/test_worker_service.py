"""Workers as processes of their own: at work, killed and hung. Their model waits at a gate."""

import hashlib
import signal
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest
from conftest import wait_until
from rq import Queue
from rq.job import Job
from rq.serializers import JSONSerializer
from worker_parts import (
    admit_pictures,
    classifier,
    counts,
    deadly,
    in_flight,
    picture,
    record,
    routing,
    told,
    waiting,
)
from worker_processes import SHORT_LEASE_S, Workers, fires, registered, retries_left, states, wait_for_fires

from shared.broker import Broker, words
from shared.images import ImageStore
from shared.keys import LEASES
from shared.liveness import Liveness
from shared.settings import Settings
from worker.keeper import EXIT_HUNG
from worker.service import POP_TIMEOUT_S, SWEEP_EVERY_S, BatchWorker

pytestmark = pytest.mark.fault


@pytest.fixture
def workers(settings: Settings, tmp_path: Path) -> Iterator[Workers]:
    """Workers with batches of four."""
    found = Workers(settings, tmp_path)
    yield found
    found.end()


def test_photographs_become_dispatches(broker: Broker, store: ImageStore, workers: Workers) -> None:
    """Every photograph in the queue reaches whom its verdict concerns, in queue order within a batch."""
    fire, protest, _, unclear = admit_pictures(
        broker, store, [picture(word) for word in ("fire", "protest", "normal", "unclear")]
    )
    workers.start()
    # The last of its batch: those before it are told before it.
    wait_until(lambda: told(broker, "review"), within_s=60, what="the batch is published")
    assert told(broker, "firefighters") == [fire]
    assert told(broker, "transit-police") == [fire, protest]
    assert told(broker, "review") == [unclear]
    assert counts(broker)["no_emergency"] == 1
    assert in_flight(broker) == broker.zcard(LEASES) == 0


def test_a_worker_is_registered_once_it_is_warm(broker: Broker, workers: Workers) -> None:
    """Nobody counts on a worker whose first photograph would be slow."""
    worker = workers.start("--warm-up-gate=GATE")
    wait_until(worker.at_gate, within_s=60, what="the worker warms up")
    assert registered(broker) == []
    worker.gate.touch()
    wait_until(lambda: registered(broker), within_s=60, what="the worker is registered")


def test_a_killed_workers_jobs_run_elsewhere_within_20_s(
    broker: Broker, store: ImageStore, workers: Workers
) -> None:
    """With the default lease: each photograph is dispatched once, and no retry is spent.

    Seconds are added up, as those of a busy machine say nothing: a lease, half of one as grace, and two turns
    of who sweeps.
    """
    assert Settings().lease_s * 1.5 + 2 * (SWEEP_EVERY_S + POP_TIMEOUT_S) < 20
    incidents = admit_pictures(broker, store, fires(4))
    worker = workers.start_busy(4, broker)
    workers.start()
    wait_until(lambda: len(registered(broker)) == 2, within_s=60, what="the other worker is there")
    worker.signal(signal.SIGKILL)
    wait_for_fires(broker, incidents)
    assert retries_left(broker, incidents) == {3}
    assert counts(broker)["recovered"] == 4


def test_a_worker_that_was_asleep_publishes_nothing_twice(
    broker: Broker, store: ImageStore, workers: Workers
) -> None:
    """Stopped past its lease and woken: its batch is superseded and counted, its pictures are cleared."""
    workers.settings = replace(workers.settings, lease_s=SHORT_LEASE_S)
    incidents = admit_pictures(broker, store, fires(4))
    asleep = workers.start_busy(4, broker)
    asleep.signal(signal.SIGSTOP)
    workers.start()
    wait_for_fires(broker, incidents)
    assert {record(broker, each)["crashes"] for each in incidents} == {"1"}
    asleep.gate.touch()
    asleep.signal(signal.SIGCONT)
    wait_until(lambda: counts(broker).get("superseded") == 4, within_s=60, what="it is counted")
    assert {record(broker, each)["crashes"] for each in incidents} == {"0"}
    assert sorted(told(broker, "firefighters")) == sorted(incidents)
    assert counts(broker)["dispatched"] == 4
    assert not asleep.ended()


def test_a_job_for_another_function_fails_and_the_worker_goes_on(
    broker: Broker, store: ImageStore, workers: Workers
) -> None:
    """Whoever writes to the queue can't make a worker run, or fall over, what it does not know."""
    queue = Queue("classify", connection=broker, serializer=JSONSerializer)
    foreign = queue.enqueue("os.getcwd", job_id="foreign")
    pickled = Queue("classify", connection=broker).enqueue("os.getcwd", job_id="pickled")
    changed, good = admit_pictures(broker, store, fires(2))
    broker.hset(f"rq:job:{changed}", "data", broker.hget(f"rq:job:{foreign.id}", "data") or b"")
    workers.start()
    wait_for_fires(broker, [good])
    wait_until(lambda: counts(broker).get("failed") == 3, within_s=60, what="the others failed")
    assert told(broker, "review") == [changed]
    assert record(broker, changed)["reason"] == "not_allowed"
    assert {broker.hget(f"rq:job:{each.id}", "status") for each in (foreign, pickled)} == {b"failed"}


def test_a_picture_that_kills_is_quarantined_and_its_mates_are_dispatched(
    broker: Broker, store: ImageStore, workers: Workers
) -> None:
    """It takes three workers with it: one with its batch, two alone; then a person gets it."""
    workers.settings = replace(workers.settings, lease_s=SHORT_LEASE_S)
    first, killer, *others = admit_pictures(broker, store, [picture("fire"), deadly(), *fires(2, begin=1)])
    workers.keep(2)

    def quarantined() -> bool:
        workers.keep(2)
        return bool(told(broker, "review"))

    wait_until(quarantined, within_s=200, what="the picture is in review")
    assert told(broker, "review") == [killer]
    assert record(broker, killer)["reason"] == "quarantined"
    wait_for_fires(broker, [first, *others])
    assert sum(each.ended() for each in workers.started) == 3
    assert Job.fetch(killer, broker, JSONSerializer).get_status() == "failed"


def test_a_hung_batch_ends_its_process_and_runs_elsewhere(
    broker: Broker, store: ImageStore, workers: Workers
) -> None:
    """A model that never answers costs its batch timeout and a lease, not the photographs."""
    workers.settings = replace(workers.settings, lease_s=SHORT_LEASE_S)
    incidents = admit_pictures(broker, store, fires(3))
    hung = workers.start_busy(3, broker, replace(workers.settings, batch_timeout_s=1.0))
    workers.start()
    assert hung.exit_code() == EXIT_HUNG
    wait_for_fires(broker, incidents)
    assert retries_left(broker, incidents) == {3}


def test_a_lost_device_ends_its_worker_and_sends_nobody_to_review(
    broker: Broker, store: ImageStore, workers: Workers
) -> None:
    """When every forward pass fails, the fault is no picture's: others judge them, at no cost of retries."""
    workers.settings = replace(workers.settings, lease_s=SHORT_LEASE_S)
    incidents = admit_pictures(broker, store, fires(3))
    broken = workers.start("--device-lost")
    assert broken.exit_code() == EXIT_HUNG
    workers.start()
    wait_for_fires(broker, incidents)
    assert told(broker, "review") == []
    assert retries_left(broker, incidents) == {3}


def test_a_suspended_worker_takes_nothing(
    broker: Broker, settings: Settings, store: ImageStore, workers: Workers
) -> None:
    """`rq suspend` and `rq resume` hold for our workers."""

    def rq(command: str) -> None:
        arguments = [sys.executable, "-m", "rq.cli", command, "--url", settings.redis_url]
        subprocess.run(arguments, check=True, capture_output=True, timeout=120)

    workers.start()
    wait_until(lambda: states(broker) == {"idle"}, within_s=60, what="the worker is idle")
    rq("suspend")
    wait_until(lambda: states(broker) == {"suspended"}, within_s=60, what="the worker is suspended")
    incidents = admit_pictures(broker, store, fires(1))
    swept = words(broker.hgetall("almenara:swept"))
    wait_until(lambda: words(broker.hgetall("almenara:swept")) != swept, within_s=60, what="a turn passes")
    assert waiting(broker) == incidents
    rq("resume")
    wait_for_fires(broker, incidents)


def test_an_image_store_that_is_away_costs_no_retry(
    broker: Broker, store: ImageStore, workers: Workers
) -> None:
    """Photographs wait for their store, and are dispatched once it is mounted again."""
    incidents = admit_pictures(broker, store, fires(3))
    worker = workers.start("--warm-up-gate=GATE")
    wait_until(worker.at_gate, within_s=60, what="the worker has opened the store")
    folder = Path(store.url)
    folder.rename(folder.with_name("unmounted"))
    worker.gate.touch()
    wait_until(lambda: counts(broker).get("returned", 0) >= 3, within_s=60, what="they are given back")
    folder.with_name("unmounted").rename(folder)
    wait_for_fires(broker, incidents)
    assert retries_left(broker, incidents) == {3}
    assert len(worker.said("photographs can't be fetched, trying again")) == 1


@pytest.mark.parametrize("others", [0, 15])
def test_one_unreadable_file_goes_to_review_and_slows_nobody(
    broker: Broker, store: ImageStore, workers: Workers, others: int
) -> None:
    """The fault is the picture's, though it be alone in a quiet night: it spends its retries."""
    bad = picture("fire", 99)
    incidents = admit_pictures(broker, store, [bad, *fires(others)])
    place = Path(store.url) / "pictures" / hashlib.sha256(bad).hexdigest()[:2]
    (file,) = place.glob(f"{hashlib.sha256(bad).hexdigest()}*")
    file.unlink()
    file.mkdir()  # reading it is an error of the system, as with a bad sector
    workers.start()
    wait_for_fires(broker, incidents[1:])
    wait_until(lambda: told(broker, "review") == incidents[:1], within_s=60, what="it is in review")
    assert "returned" not in counts(broker)


def test_whoever_waits_for_the_broker_lives(broker: Broker, store: ImageStore, settings: Settings) -> None:
    """Main loop and publisher ask at each try whether to stop: that counts as a turn."""
    now_s = [0.0]
    liveness = Liveness(clock=lambda: now_s[0])
    worker = BatchWorker(settings, broker, classifier(store), routing(), liveness=liveness)
    now_s[0] = 1000.0
    assert liveness.silent_s() == 1000
    worker._told_to_stop()
    assert liveness.silent_s() == 0
