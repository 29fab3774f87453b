"""Workers as processes of their own: stopped, killed, hung and cut off. Their model waits at a gate."""

import hashlib
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest
from conftest import wait_until
from rq import Queue, Worker
from rq.command import send_shutdown_command
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
from worker_processes import OwnBroker, Workers

from shared.broker import Broker, connect, words
from shared.images import ImageStore
from shared.keys import LEASES
from shared.liveness import Liveness
from shared.settings import Settings
from worker.keeper import EXIT_HUNG
from worker.service import BatchWorker

pytestmark = pytest.mark.fault

STOPPING = "stopping after what is in hand; a second signal gives its jobs back to the queue"


@pytest.fixture
def workers(settings: Settings, tmp_path: Path) -> Iterator[Workers]:
    """Workers with a lease of two seconds and batches of four."""
    found = Workers(settings, tmp_path)
    yield found
    found.end()


@pytest.fixture
def own_broker(workers: Workers) -> Iterator[OwnBroker]:
    """A broker for this test's workers alone."""
    folder = Path(tempfile.mkdtemp(prefix="almenara-test-"))  # short: a socket's path has a limit
    found = OwnBroker(folder)
    found.start()
    workers.settings = replace(workers.settings, redis_url=found.url)
    yield found
    workers.end()
    found.kill()
    shutil.rmtree(folder, ignore_errors=True)


@pytest.fixture
def own_client(own_broker: OwnBroker) -> Iterator[Broker]:
    """A client of the test's own broker."""
    client = connect(replace(own_broker.settings, redis_url=own_broker.url))
    yield client
    client.close()


def fires(count: int, begin: int = 0) -> list[bytes]:
    """So many pictures of fires."""
    return [picture("fire", seed) for seed in range(begin, begin + count)]


def registered(broker: Broker) -> list[str]:
    """Names of the workers that RQ knows."""
    return [each.name for each in Worker.all(connection=broker, serializer=JSONSerializer)]


def states(broker: Broker) -> set[str]:
    """What RQ says that its workers do."""
    return {each.get_state() for each in Worker.all(connection=broker, serializer=JSONSerializer)}


def wait_for_fires(broker: Broker, incidents: list[str], within_s: float = 20) -> None:
    """Wait until each of these was dispatched; and none was dispatched twice."""
    wait_until(
        lambda: len(told(broker, "firefighters")) >= len(incidents),
        within_s=within_s,
        what=f"{len(incidents)} dispatches",
    )
    assert sorted(told(broker, "firefighters")) == sorted(incidents)


def retries_left(broker: Broker, incidents: list[str]) -> set[int | None]:
    """What is left of RQ's retries."""
    return {Job.fetch(each, broker, JSONSerializer).retries_left for each in incidents}


def test_photographs_become_dispatches(broker: Broker, store: ImageStore, workers: Workers) -> None:
    """Every photograph in the queue reaches whom its verdict concerns, in queue order within a batch."""
    fire, protest, _, unclear = admit_pictures(
        broker, store, [picture(word) for word in ("fire", "protest", "normal", "unclear")]
    )
    workers.start()
    wait_until(lambda: counts(broker).get("no_emergency"), within_s=20, what="the batch is published")
    assert told(broker, "firefighters") == [fire]
    assert told(broker, "transit-police") == [fire, protest]
    assert told(broker, "review") == [unclear]
    assert in_flight(broker) == broker.zcard(LEASES) == 0


def test_a_worker_is_registered_once_it_is_warm(broker: Broker, workers: Workers) -> None:
    """Nobody counts on a worker whose first photograph would be slow."""
    worker = workers.start("--warm-up-gate=GATE")
    wait_until(worker.at_gate, within_s=20, what="the worker warms up")
    assert registered(broker) == []
    worker.gate.touch()
    wait_until(lambda: registered(broker), within_s=20, what="the worker is registered")


def test_sigterm_finishes_what_is_in_hand(broker: Broker, store: ImageStore, workers: Workers) -> None:
    """A batch in the model and one behind it are published, the rest stays queued, and RQ sees it gone."""
    incidents = admit_pictures(broker, store, fires(10))
    worker = workers.start_busy(8, broker)
    worker.signal(signal.SIGTERM)
    wait_until(lambda: worker.said(STOPPING), within_s=10, what="the signal is noted")
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
    signalled_s = time.monotonic()
    wait_until(lambda: time.monotonic() - signalled_s > 1.2, within_s=5, what="no slip of the finger")
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
    wait_until(lambda: states(broker) == {"idle"}, within_s=20, what="the worker waits for a job")
    worker.signal(signal.SIGTERM)
    wait_until(lambda: worker.said(STOPPING), within_s=10, what="the signal is noted")
    incidents = admit_pictures(broker, store, fires(1))
    assert worker.exit_code() == 0
    assert broker.llen("rq:queue:classify:intermediate") == 0
    assert told(broker, "firefighters") + waiting(broker) == incidents


def test_a_signal_delivered_twice_is_one(broker: Broker, store: ImageStore, workers: Workers) -> None:
    """Ctrl-C reaches a worker from the terminal and from its supervisor at once; the batch is finished."""
    incidents = admit_pictures(broker, store, fires(2))
    worker = workers.start_busy(2, broker)
    worker.signal(signal.SIGINT)
    worker.signal(signal.SIGTERM)
    wait_until(lambda: worker.said(STOPPING), within_s=10, what="the signals are noted")
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
    wait_until(lambda: registered(broker), within_s=20, what="the worker is registered")
    wait_until(lambda: broker.pubsub_channels("rq:pubsub:*"), within_s=5, what="the worker listens")
    send_shutdown_command(broker, registered(broker)[0])
    assert worker.exit_code() == 0


def test_a_killed_workers_jobs_run_elsewhere_within_20_s(
    broker: Broker, store: ImageStore, workers: Workers
) -> None:
    """With the default lease: each photograph is dispatched once, and no retry is spent."""
    workers.settings = replace(workers.settings, lease_s=Settings().lease_s)
    incidents = admit_pictures(broker, store, fires(4))
    worker = workers.start_busy(4, broker)
    workers.start()
    wait_until(lambda: len(registered(broker)) == 2, within_s=20, what="the other worker is there")
    worker.signal(signal.SIGKILL)
    wait_for_fires(broker, incidents, within_s=20)
    assert retries_left(broker, incidents) == {3}
    assert counts(broker)["recovered"] == 4


def test_a_worker_that_was_asleep_publishes_nothing_twice(
    broker: Broker, store: ImageStore, workers: Workers
) -> None:
    """Stopped past its lease and woken: its batch is superseded and counted, its pictures are cleared."""
    incidents = admit_pictures(broker, store, fires(4))
    asleep = workers.start_busy(4, broker)
    asleep.signal(signal.SIGSTOP)
    workers.start()
    wait_for_fires(broker, incidents)
    assert {record(broker, each)["crashes"] for each in incidents} == {"1"}
    asleep.gate.touch()
    asleep.signal(signal.SIGCONT)
    wait_until(lambda: counts(broker).get("superseded") == 4, within_s=10, what="it is counted")
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
    wait_until(lambda: counts(broker).get("failed") == 3, within_s=10, what="the others failed")
    assert told(broker, "review") == [changed]
    assert record(broker, changed)["reason"] == "not_allowed"
    assert {broker.hget(f"rq:job:{each.id}", "status") for each in (foreign, pickled)} == {b"failed"}


def test_a_picture_that_kills_is_quarantined_and_its_mates_are_dispatched(
    broker: Broker, store: ImageStore, workers: Workers
) -> None:
    """It takes three workers with it: one with its batch, two alone; then a person gets it."""
    first, killer, *others = admit_pictures(broker, store, [picture("fire"), deadly(), *fires(2, begin=1)])
    workers.keep(2)

    def quarantined() -> bool:
        workers.keep(2)
        return bool(told(broker, "review"))

    wait_until(quarantined, within_s=60, what="the picture is in review")
    assert told(broker, "review") == [killer]
    assert record(broker, killer)["reason"] == "quarantined"
    wait_for_fires(broker, [first, *others])
    assert sum(each.ended() for each in workers.started) == 3
    assert Job.fetch(killer, broker, JSONSerializer).get_status() == "failed"


def test_a_hung_batch_ends_its_process_and_runs_elsewhere(
    broker: Broker, store: ImageStore, workers: Workers
) -> None:
    """A model that never answers costs its batch timeout and a lease, not the photographs."""
    workers.settings = replace(workers.settings, batch_timeout_s=1.0)
    incidents = admit_pictures(broker, store, fires(3))
    hung = workers.start_busy(3, broker)
    workers.start()
    assert hung.exit_code() == EXIT_HUNG
    wait_for_fires(broker, incidents)
    assert retries_left(broker, incidents) == {3}


def test_a_lost_device_ends_its_worker_and_sends_nobody_to_review(
    broker: Broker, store: ImageStore, workers: Workers
) -> None:
    """When every forward pass fails, the fault is no picture's: others judge them, at no cost of retries."""
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
        subprocess.run(arguments, check=True, capture_output=True, timeout=30)

    workers.start()
    wait_until(lambda: states(broker) == {"idle"}, within_s=20, what="the worker is idle")
    rq("suspend")
    wait_until(lambda: states(broker) == {"suspended"}, within_s=10, what="the worker is suspended")
    incidents = admit_pictures(broker, store, fires(1))
    swept = words(broker.hgetall("almenara:swept"))
    wait_until(lambda: words(broker.hgetall("almenara:swept")) != swept, within_s=10, what="a turn passes")
    assert waiting(broker) == incidents
    rq("resume")
    wait_for_fires(broker, incidents)


def test_a_broker_killed_mid_batch_costs_nothing(
    own_broker: OwnBroker, own_client: Broker, store: ImageStore, workers: Workers
) -> None:
    """The worker waits, publishes its batch to the broker that came back on the same files, and goes on."""
    incidents = admit_pictures(own_client, store, fires(6))
    worker = workers.start_busy(6, own_client)
    own_broker.kill()
    worker.gate.touch()
    wait_until(lambda: worker.said("broker away, waiting"), within_s=10, what="the fault is noticed")
    own_broker.start()
    wait_for_fires(own_client, incidents)
    assert not worker.ended()
    assert len(worker.said("broker away, waiting")) == 1
    assert "superseded" not in counts(own_client)


def test_rqs_commands_are_heard_by_a_worker_whose_broker_came_back(
    own_broker: OwnBroker, own_client: Broker, workers: Workers
) -> None:
    """The worker listens again, without being restarted."""
    worker = workers.start()
    wait_until(lambda: own_client.pubsub_channels("rq:pubsub:*"), within_s=20, what="the worker listens")
    own_broker.kill()
    own_broker.start()
    wait_until(lambda: own_client.pubsub_channels("rq:pubsub:*"), within_s=10, what="it listens again")
    wait_until(lambda: registered(own_client), within_s=10, what="it is registered again")
    send_shutdown_command(own_client, registered(own_client)[0])
    assert worker.exit_code() == 0


def test_a_broker_away_longer_than_a_batch_may_take_ends_no_worker(
    own_broker: OwnBroker, own_client: Broker, store: ImageStore, workers: Workers
) -> None:
    """A batch that waits to be published does not hang."""
    workers.settings = replace(workers.settings, batch_timeout_s=1.0)
    incidents = admit_pictures(own_client, store, fires(3))
    worker = workers.start_busy(3, own_client)
    own_broker.kill()
    worker.gate.touch()
    killed_s = time.monotonic()
    wait_until(lambda: time.monotonic() - killed_s > 3, within_s=10, what="the broker was away for long")
    assert not worker.ended()
    own_broker.start()
    wait_for_fires(own_client, incidents)


def test_a_worker_can_be_stopped_while_the_broker_is_away(
    own_broker: OwnBroker, own_client: Broker, store: ImageStore, workers: Workers
) -> None:
    """It does not wait for a broker that may never come back; another worker takes its batch over."""
    incidents = admit_pictures(own_client, store, fires(3))
    worker = workers.start_busy(3, own_client)
    own_broker.kill()
    worker.gate.touch()
    wait_until(lambda: worker.said("broker away, waiting"), within_s=10, what="the fault is noticed")
    worker.signal(signal.SIGTERM)
    assert worker.exit_code() == 0
    own_broker.start()
    workers.start()
    wait_for_fires(own_client, incidents)


def test_a_broker_that_fails_over_ends_no_worker(
    own_client: Broker, store: ImageStore, workers: Workers
) -> None:
    """Turned into a replica under a waiting worker and back, as Sentinel does: the worker waits it out."""
    worker = workers.start()
    wait_until(lambda: states(own_client) == {"idle"}, within_s=20, what="the worker waits for a job")
    own_client.replicaof("127.0.0.1", "1")
    wait_until(lambda: worker.said("broker away, waiting"), within_s=10, what="the fault is noticed")
    own_client.replicaof("NO", "ONE")
    wait_for_fires(own_client, admit_pictures(own_client, store, fires(1)))
    assert not worker.ended()


def test_a_full_broker_is_waited_out(own_client: Broker, store: ImageStore, workers: Workers) -> None:
    """A broker without memory refuses to publish; once it has some, the batch is published whole."""
    incidents = admit_pictures(own_client, store, fires(3))
    worker = workers.start_busy(3, own_client)
    own_client.config_set("maxmemory", "1")
    worker.gate.touch()
    wait_until(lambda: worker.said("broker away, waiting"), within_s=10, what="the fault is noticed")
    own_client.config_set("maxmemory", "0")
    wait_for_fires(own_client, incidents)
    assert {record(own_client, each)["state"] for each in incidents} == {"decided"}


def test_a_worker_that_the_broker_forgot_registers_again(
    broker: Broker, store: ImageStore, workers: Workers
) -> None:
    """An emptied broker knows the worker again within a lease, and gets its next photographs judged."""
    workers.start()
    wait_until(lambda: registered(broker), within_s=20, what="the worker is registered")
    (name,) = registered(broker)
    broker.flushall()
    wait_until(lambda: registered(broker) == [name], within_s=5, what="it is registered again")
    wait_for_fires(broker, admit_pictures(broker, store, fires(2)))


def test_an_image_store_that_is_away_costs_no_retry(
    broker: Broker, store: ImageStore, workers: Workers
) -> None:
    """Photographs wait for their store, and are dispatched once it is mounted again."""
    incidents = admit_pictures(broker, store, fires(3))
    worker = workers.start("--warm-up-gate=GATE")
    wait_until(worker.at_gate, within_s=20, what="the worker has opened the store")
    folder = Path(store.url)
    folder.rename(folder.with_name("unmounted"))
    worker.gate.touch()
    wait_until(lambda: counts(broker).get("returned", 0) >= 3, within_s=20, what="they are given back")
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
    wait_until(lambda: told(broker, "review") == incidents[:1], within_s=10, what="it is in review")
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
