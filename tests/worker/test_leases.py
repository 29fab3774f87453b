"""Giving back and renewing: every branch of their scripts; time passes by writing scores."""

import time

import pytest
from worker_parts import (
    LEASE_S,
    admit_names,
    clock_ms,
    counts,
    decision,
    everything,
    expire,
    in_flight,
    job,
    record,
    take,
    terms,
    waiting,
)

from shared.broker import Broker
from shared.keys import LEASES
from worker.executions import Ending, finish, release, renew, sweep


def test_released_jobs_are_at_the_front_in_order(broker: Broker) -> None:
    """Giving back what was in hand costs no retry and loses no place."""
    admitted = admit_names(broker, 4)
    batch = take(broker, 3)
    assert release(broker, batch, spend=False) == [Ending.RELEASED] * 3
    assert waiting(broker) == admitted
    assert {record(broker, each)["state"] for each in admitted} == {"queued"}
    assert {job(broker, each).get_status() for each in admitted} == {"queued"}
    assert {job(broker, each).retries_left for each in admitted} == {3}
    assert counts(broker)["returned"] == 3
    assert in_flight(broker) == broker.zcard(LEASES) == 0


def test_a_failed_try_spends_a_retry_until_none_is_left(broker: Broker) -> None:
    """After the last retry nothing is written: the job is still held, for its holder to fail."""
    (admitted,) = admit_names(broker, 1)
    for left in (2, 1, 0):
        assert release(broker, take(broker, 1), spend=True) == [Ending.RELEASED]
        assert job(broker, admitted).retries_left == left
        assert counts(broker)["retried"] == 3 - left
    (last,) = take(broker, 1)
    before = everything(broker)
    assert release(broker, [last], spend=True) == [Ending.EXHAUSTED]
    assert everything(broker) == before


def test_a_superseded_release_does_not_queue_the_job_again(broker: Broker) -> None:
    """What another worker runs is not put back under its feet."""
    admit_names(broker, 1)
    (slow,) = take(broker, 1)
    expire(broker, slow)
    sweep(broker, LEASE_S)
    (other,) = take(broker, 1, worker="w2")
    assert release(broker, [slow], spend=True) == [Ending.SUPERSEDED]
    assert waiting(broker) == []
    assert finish(broker, [(other, decision())], terms()) == [Ending.PUBLISHED]


def test_a_deleted_job_is_not_released_into_the_queue(broker: Broker) -> None:
    """An id without a job would only vanish; the incident waits for `almenara audit --repair`."""
    (admitted,) = admit_names(broker, 1)
    (execution,) = take(broker, 1)
    broker.delete(f"rq:job:{admitted}")
    assert release(broker, [execution], spend=False) == [Ending.RELEASED]
    assert waiting(broker) == []
    assert record(broker, admitted)["state"] == "queued"


def test_renewing_moves_the_end_of_a_lease(broker: Broker) -> None:
    """What a worker still holds is its own for another lease."""
    admit_names(broker, 1)
    (execution,) = take(broker, 1)
    expire(broker, execution)
    assert renew(broker, "w1", [execution.member], LEASE_S, {"state": "busy"}) == set()
    assert (broker.zscore(LEASES, execution.member) or 0) > clock_ms(broker) + LEASE_S * 900
    assert sweep(broker, LEASE_S) == (0, [])


def test_renewing_keeps_rqs_records_of_an_execution(broker: Broker) -> None:
    """A long batch does not fall out of RQ's registries, and RQ's own cleaning does not call it abandoned."""
    admit_names(broker, 1)
    (execution,) = take(broker, 1)
    record_key, registry = f"rq:execution:{execution.member}", f"rq:executions:{execution.job_id}"
    scores = {registry: execution.execution_id, "rq:wip:classify": execution.member}
    beats = {record_key: "last_heartbeat", f"rq:job:{execution.job_id}": "last_heartbeat"}
    for key, member in scores.items():
        broker.zadd(key, {member: 1})
    for key, field in beats.items():
        broker.hset(key, field, "old")
    for key in (record_key, registry, "rq:worker:w1:executions"):
        broker.expire(key, 30)
    renew(broker, "w1", [execution.member], LEASE_S, {"state": "busy"})
    assert min(broker.zscore(key, member) or 0 for key, member in scores.items()) > time.time() + 3000
    assert b"old" not in [broker.hget(key, field) for key, field in beats.items()]
    assert min(broker.ttl(record_key), broker.ttl(registry)) > 3000
    assert broker.ttl("rq:worker:w1:executions") > 30


def test_renewing_tells_what_was_taken_back_and_revives_nothing(broker: Broker) -> None:
    """A lease that was taken over stays with the other worker."""
    admitted = admit_names(broker, 2)
    lost, kept = take(broker, 2)
    expire(broker, lost)
    sweep(broker, LEASE_S)
    assert renew(broker, "w1", [lost.member, kept.member], LEASE_S, {"state": "busy"}) == {lost.member}
    assert broker.zrange(LEASES, 0, -1) == [kept.member.encode()]
    assert waiting(broker) == admitted[:1]


@pytest.mark.parametrize("forget", ["the worker", "everything"])
def test_renewing_registers_a_worker_that_the_broker_forgot(broker: Broker, forget: str) -> None:
    """After its hash expired or the broker lost its file, RQ's tools see the worker again."""
    renew(broker, "w1", [], LEASE_S, {"state": "idle", "pid": 7})
    if forget == "everything":
        broker.flushall()
    else:
        broker.delete("rq:worker:w1")
        broker.srem("rq:workers", "rq:worker:w1")
    renew(broker, "w1", [], LEASE_S, {"state": "idle", "pid": 7})
    assert broker.hgetall("rq:worker:w1") == {b"state": b"idle", b"pid": b"7"}
    assert 0 < broker.ttl("rq:worker:w1") <= 60
    assert broker.sismember("rq:workers", "rq:worker:w1")
    assert broker.sismember("rq:workers:classify", "rq:worker:w1")


def test_renewing_does_not_bring_a_deleted_job_back(broker: Broker) -> None:
    """A heartbeat must not leave a job hash with nothing but the heartbeat in it, without expiry."""
    (admitted,) = admit_names(broker, 1)
    (execution,) = take(broker, 1)
    broker.delete(f"rq:job:{admitted}")
    renew(broker, "w1", [execution.member], LEASE_S, {"state": "busy"})
    assert not broker.exists(f"rq:job:{admitted}")
