"""`almenara audit --repair`: what can be put right is, once, and nothing else is touched."""

from collections.abc import Callable

import pytest
from audit_parts import IN_FLIGHT, WAITING, Street
from rq.job import Job
from rq.queue import Queue
from rq.serializers import JSONSerializer

import deploy.audit
from shared.broker import Broker
from shared.images import ImageStore
from shared.incidents import Incident, IncidentState
from shared.keys import QUEUE, incident_key
from shared.settings import Settings
from worker.executions import new_ids, start


@pytest.fixture
def street(broker: Broker, store: ImageStore, settings: Settings, monkeypatch: pytest.MonkeyPatch) -> Street:
    """It, and an audit that does not wait long for what is on its way."""
    monkeypatch.setattr(deploy.audit, "ON_ITS_WAY_S", 0.05)
    return Street(broker, store, settings)


@pytest.fixture
def queue(broker: Broker) -> Queue:
    """The queue as RQ sees it."""
    return Queue(QUEUE, connection=broker, serializer=JSONSerializer)


def empty(queue: Queue) -> None:
    """What `rq empty` does."""
    queue.empty()  # type: ignore[no-untyped-call]


def test_repairing_a_sound_system_changes_nothing(street: Street, broker: Broker) -> None:
    """A repair that has nothing to do leaves every key but the counters as it was."""

    before = everything(broker)
    assert len(before) > 20
    assert street.audit(repair=True).repaired == 0
    assert everything(broker) == before


def everything(broker: Broker) -> dict[bytes, object]:
    """Every key with its value."""
    reads: dict[object, Callable[[bytes], object]] = {
        b"string": broker.get,
        b"hash": broker.hgetall,
        b"list": lambda key: broker.lrange(key, 0, -1),
        b"set": broker.smembers,
        b"zset": lambda key: broker.zrange(key, 0, -1, withscores=True),
        b"stream": broker.xrange,
    }
    return {key: reads[broker.type(key)](key) for key in broker.scan_iter()}


Damage = Callable[[Street, Broker], object]
LOSSES: dict[str, tuple[Damage, str, str]] = {
    "a deleted incident": (
        lambda street, broker: broker.delete(incident_key(street.id_of(0))),
        "store",
        "no incident",
    ),
    "a deleted decided incident": (
        lambda street, broker: broker.delete(incident_key(street.id_of(3))),
        "store",
        "no incident",
    ),
    "a deleted job": (
        lambda street, broker: broker.delete(f"rq:job:{street.id_of(0)}"),
        "incident",
        "no queue or worker",
    ),
    "a job taken out of the queue": (
        lambda street, broker: broker.lrem("rq:queue:classify", 0, street.id_of(0)),
        "incident",
        "no queue or worker",
    ),
}


@pytest.mark.parametrize("loss", LOSSES)
def test_a_loss_is_found_and_put_right(street: Street, broker: Broker, loss: str) -> None:
    """What somebody deleted by hand is one finding; repaired, its photograph goes to a worker again, once."""
    damage, kind, wrong = LOSSES[loss]
    damage(street, broker)
    lost = street.id_of(3 if "decided" in loss else 0)
    ((found, _, said),) = street.audit().findings
    assert (found, wrong in said) == (kind, True)
    assert street.repaired().repaired == 1
    job = Job.fetch(lost, connection=broker, serializer=JSONSerializer)
    assert job.func_name == "worker.jobs.classify"
    assert [each.job_id for each in start(broker, "w", new_ids(10), 60.0)].count(lost) == 1


def test_a_repaired_job_waits_once(street: Street, broker: Broker, queue: Queue) -> None:
    """The place in the queue of a job that was deleted is not left beside that of the new one."""
    broker.delete(f"rq:job:{street.id_of(0)}")
    street.repaired()
    assert sorted(queue.job_ids) == sorted(street.id_of(seed) for seed in WAITING)


def test_an_emptied_queue_is_filled_again(street: Street, queue: Queue, broker: Broker) -> None:
    """`rq empty` loses no photograph: each gets its job again, and those being worked on are left alone."""
    empty(queue)
    assert len(street.audit().findings) == 3
    assert street.repaired().repaired == 3
    assert sorted(queue.job_ids) == sorted(street.id_of(seed) for seed in WAITING)
    states = [Incident.fetch(broker, street.id_of(seed)) for seed in IN_FLIGHT]
    assert {each.state for each in states if each} == {IncidentState.IN_FLIGHT}


def test_a_broker_that_lost_everything_is_rebuilt(street: Street, broker: Broker, queue: Queue) -> None:
    """From the image store alone every photograph is in the queue again with all that was known."""
    broker.flushall()
    assert street.repaired().repaired == 8
    assert sorted(queue.job_ids) == sorted(each.incident_id for each in street.photographs)
    for photograph in street.photographs:
        incident = Incident.fetch(broker, photograph.incident_id)
        assert incident is not None
        assert incident.photograph == photograph


def test_a_job_that_rq_gave_up_is_queued_again(street: Street, broker: Broker, queue: Queue) -> None:
    """A job that a stock worker failed, its incident undecided, gets another chance."""
    broker.lrem("rq:queue:classify", 0, street.id_of(0))
    broker.hset(f"rq:job:{street.id_of(0)}", "status", "failed")
    broker.zadd("rq:failed:classify", {street.id_of(0): 2e9})
    assert street.repaired().repaired == 1
    assert street.id_of(0) in queue.job_ids
    assert broker.zcard("rq:failed:classify") == 0


def test_a_missing_picture_is_reported_and_not_queued(
    street: Street, broker: Broker, store: ImageStore
) -> None:
    """A photograph without its picture can't be classified: said, but given no new job."""
    store.remove(street.photographs[0].image)
    broker.delete(incident_key(street.id_of(0)), f"rq:job:{street.id_of(0)}")
    broker.lrem("rq:queue:classify", 0, street.id_of(0))
    result = street.audit(repair=True)
    ((kind, _, said),) = result.findings
    assert (kind, "is gone" in said, result.repaired) == ("store", True, 0)
