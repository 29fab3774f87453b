"""Workers as processes of their own: cut off from their broker. Their model waits at a gate."""

import shutil
import signal
import tempfile
import time
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest
from conftest import wait_until
from rq.command import send_shutdown_command
from worker_parts import (
    admit_pictures,
    counts,
    record,
)
from worker_processes import SHORT_LEASE_S, OwnBroker, Workers, fires, registered, states, wait_for_fires

from shared.broker import Broker, connect
from shared.images import ImageStore
from shared.settings import Settings

pytestmark = pytest.mark.fault


@pytest.fixture
def workers(settings: Settings, tmp_path: Path) -> Iterator[Workers]:
    """Workers with batches of four."""
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


def test_a_broker_killed_mid_batch_costs_nothing(
    own_broker: OwnBroker, own_client: Broker, store: ImageStore, workers: Workers
) -> None:
    """The worker waits, publishes its batch to the broker that came back on the same files, and goes on."""
    incidents = admit_pictures(own_client, store, fires(6))
    worker = workers.start_busy(6, own_client)
    own_broker.kill()
    worker.gate.touch()
    wait_until(lambda: worker.said("broker away, waiting"), within_s=60, what="the fault is noticed")
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
    wait_until(lambda: own_client.pubsub_channels("rq:pubsub:*"), within_s=60, what="the worker listens")
    own_broker.kill()
    own_broker.start()
    wait_until(lambda: own_client.pubsub_channels("rq:pubsub:*"), within_s=60, what="it listens again")
    wait_until(lambda: registered(own_client), within_s=60, what="it is registered again")
    send_shutdown_command(own_client, registered(own_client)[0])
    assert worker.exit_code() == 0


def test_a_broker_away_longer_than_a_batch_may_take_ends_no_worker(
    own_broker: OwnBroker, own_client: Broker, store: ImageStore, workers: Workers
) -> None:
    """A batch that waits to be published does not hang."""
    timeout_s = (
        8.0  # from the gate's being reached to its being opened below, a busy machine may take a while
    )
    workers.settings = replace(workers.settings, batch_timeout_s=timeout_s)
    incidents = admit_pictures(own_client, store, fires(3))
    worker = workers.start_busy(3, own_client)
    own_broker.kill()
    worker.gate.touch()
    killed_s = time.monotonic()
    wait_until(
        lambda: time.monotonic() - killed_s > timeout_s + 1, within_s=60, what="the broker was away for long"
    )
    assert not worker.ended()
    own_broker.start()
    wait_for_fires(own_client, incidents)


def test_a_worker_can_be_stopped_while_the_broker_is_away(
    own_broker: OwnBroker, own_client: Broker, store: ImageStore, workers: Workers
) -> None:
    """It does not wait for a broker that may never come back; another worker takes its batch over."""
    workers.settings = replace(workers.settings, lease_s=SHORT_LEASE_S)
    incidents = admit_pictures(own_client, store, fires(3))
    worker = workers.start_busy(3, own_client)
    own_broker.kill()
    worker.gate.touch()
    wait_until(lambda: worker.said("broker away, waiting"), within_s=60, what="the fault is noticed")
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
    wait_until(lambda: states(own_client) == {"idle"}, within_s=60, what="the worker waits for a job")
    own_client.replicaof("127.0.0.1", "1")
    wait_until(lambda: worker.said("broker away, waiting"), within_s=60, what="the fault is noticed")
    own_client.replicaof("NO", "ONE")
    wait_for_fires(own_client, admit_pictures(own_client, store, fires(1)))
    assert not worker.ended()


def test_a_full_broker_is_waited_out(own_client: Broker, store: ImageStore, workers: Workers) -> None:
    """A broker without memory refuses to publish; once it has some, the batch is published whole."""
    incidents = admit_pictures(own_client, store, fires(3))
    worker = workers.start_busy(3, own_client)
    own_client.config_set("maxmemory", "1")
    worker.gate.touch()
    wait_until(lambda: worker.said("broker away, waiting"), within_s=60, what="the fault is noticed")
    own_client.config_set("maxmemory", "0")
    wait_for_fires(own_client, incidents)
    assert {record(own_client, each)["state"] for each in incidents} == {"decided"}


def test_a_worker_that_the_broker_forgot_registers_again(
    broker: Broker, store: ImageStore, workers: Workers
) -> None:
    """An emptied broker knows the worker again within a lease, and gets its next photographs judged."""
    workers.start()
    wait_until(lambda: registered(broker), within_s=60, what="the worker is registered")
    (name,) = registered(broker)
    broker.flushall()
    wait_until(lambda: registered(broker) == [name], within_s=60, what="it is registered again")
    wait_for_fires(broker, admit_pictures(broker, store, fires(2)))
