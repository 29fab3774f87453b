"""Starting: every branch of its script, against a real broker."""

import pytest
from rq.job import Job
from rq.serializers import JSONSerializer
from rq.suspension import suspend
from worker_parts import (
    LEASE_S,
    admit_names,
    clock_ms,
    counts,
    decision,
    everything,
    ids,
    in_flight,
    job,
    record,
    take,
    terms,
    waiting,
)

from shared.broker import Broker
from shared.keys import LEASES, incident_key
from shared.verdict import Verdict
from worker.executions import Ending, fail, finish, new_ids, start


def test_start_takes_from_the_front_of_the_queue_in_order(broker: Broker) -> None:
    """A batch has the oldest jobs, oldest first, and no more than there are ids."""
    admitted = admit_names(broker, 5)
    assert ids(take(broker, 3)) == admitted[:3]
    assert waiting(broker) == admitted[3:]


def test_a_started_job_is_in_flight_everywhere(broker: Broker) -> None:
    """Incident, RQ job, lease and RQ's registry agree that the execution runs."""
    (execution,) = take(broker, 1) if admit_names(broker, 1) else []
    fields = record(broker, execution.job_id)
    assert (fields["state"], fields["execution"]) == ("in_flight", execution.execution_id)
    assert job(broker, execution.job_id).get_status() == "started"
    assert broker.zrange(LEASES, 0, -1) == [execution.member.encode()]
    assert in_flight(broker) == 1
    assert execution.incident is not None and execution.refusal is None


def test_a_lease_lasts_as_long_as_asked_by_the_brokers_clock(broker: Broker) -> None:
    """The lease ends `lease_s` from now, whatever the worker's own clock says."""
    admit_names(broker, 1)
    before_ms = clock_ms(broker)
    (execution,) = take(broker, 1)
    ends_ms = broker.zscore(LEASES, execution.member)
    assert ends_ms is not None
    assert before_ms - 1 <= ends_ms - LEASE_S * 1000 <= clock_ms(broker)


def test_an_empty_queue_starts_nothing(broker: Broker) -> None:
    """No job, no execution, no key left behind."""
    assert take(broker, 3) == []
    assert everything(broker) == {}


def test_a_suspect_runs_alone(broker: Broker) -> None:
    """A picture that was in a crashed batch waits until its worker holds nothing, and then has it alone."""
    first, suspect, last = admit_names(broker, 3)
    broker.hset(incident_key(suspect), "crashes", 1)
    for expected in (first, suspect, last):
        (execution,) = take(broker, 3)
        assert execution.job_id == expected
        assert take(broker, 3) == []
        finish(broker, [(execution, decision())], terms())


@pytest.mark.parametrize("suspect_is_held", [True, False])
def test_a_popped_job_that_must_wait_is_first_in_the_queue_again(
    broker: Broker, suspect_is_held: bool
) -> None:
    """Neither a job popped beside a suspect, nor a suspect popped beside a job, is lost or delayed."""
    held, popped, other = admit_names(broker, 3)
    take(broker, 1)
    broker.hset(incident_key(held if suspect_is_held else popped), "crashes", 1)
    broker.lmove("rq:queue:classify", "rq:queue:classify:intermediate", "LEFT", "RIGHT")
    assert take(broker, 2, first=popped) == []
    assert waiting(broker) == [popped, other]
    assert broker.llen("rq:queue:classify:intermediate") == 0
    assert ids(take(broker, 2, worker="w2")) == ([popped, other] if suspect_is_held else [popped])


def test_nothing_starts_while_workers_are_suspended(broker: Broker) -> None:
    """`rq suspend` holds at once, and a job popped before it goes back to its place."""
    admitted = admit_names(broker, 2)
    broker.lmove("rq:queue:classify", "rq:queue:classify:intermediate", "LEFT", "RIGHT")
    suspend(broker)
    assert take(broker, 2) == take(broker, 2, first=admitted[0]) == []
    assert waiting(broker) == admitted


def test_a_lease_that_ran_out_holds_nobody_up(broker: Broker) -> None:
    """What a worker lost while it was silent, a suspect even, does not keep it from working."""
    suspect, other = admit_names(broker, 2)
    broker.hset(incident_key(suspect), "crashes", 1)
    (lost,) = take(broker, 1)
    broker.zrem(LEASES, lost.member)
    assert ids(take(broker, 1)) == [other]


def test_being_alone_is_recorded(broker: Broker) -> None:
    """Only a picture that has a worker for itself is marked, so that only it is blamed for a crash."""
    one, two, three = admit_names(broker, 3)

    def alone() -> list[str | None]:
        return [record(broker, each).get("alone") for each in (one, two, three)]

    take(broker, 1, worker="w1")
    assert alone() == ["1", None, None]
    take(broker, 1, worker="w1")
    assert alone() == ["0", "0", None]
    take(broker, 1, worker="w2")
    assert alone() == ["0", "0", "1"]


def test_a_popped_job_comes_first(broker: Broker) -> None:
    """The job that a worker waited for heads its batch, and leaves the intermediate queue."""
    admitted = admit_names(broker, 3)
    broker.lmove("rq:queue:classify", "rq:queue:classify:intermediate", "LEFT", "RIGHT")
    assert ids(take(broker, 2, first=admitted[0])) == admitted[:2]
    assert broker.llen("rq:queue:classify:intermediate") == 0


def test_a_popped_job_that_a_sweep_took_back_is_not_started_twice(broker: Broker) -> None:
    """A worker that was slow between popping and starting leaves the job to whoever has it now."""
    (admitted,) = admit_names(broker, 1)
    assert ids(take(broker, 2, worker="w2")) == [admitted]
    assert take(broker, 2, worker="w1", first=admitted) == []
    assert counts(broker) == {"admitted": 1}


def test_a_vanished_job_is_counted_and_passed_over(broker: Broker) -> None:
    """A job deleted by hand while it waited does not stop those behind it."""
    admitted = admit_names(broker, 2)
    broker.delete(f"rq:job:{admitted[0]}")
    assert ids(take(broker, 2)) == admitted[1:]
    assert counts(broker)["vanished"] == 1


def test_a_repeated_start_gives_the_same_executions(broker: Broker) -> None:
    """A worker that lost the reply asks again and gets its batch; nothing more is started."""
    admitted = admit_names(broker, 4)
    asked = new_ids(2)
    first = start(broker, "w1", asked, LEASE_S)
    again = start(broker, "w1", asked, LEASE_S)
    assert sorted(each.member for each in first) == sorted(each.member for each in again)
    assert waiting(broker) == admitted[2:]
    assert in_flight(broker) == 2


def test_a_repeated_start_does_not_fill_up_its_batch(broker: Broker) -> None:
    """What came into the queue between the two calls waits for the next batch."""
    asked = new_ids(3)
    admitted = admit_names(broker, 1)
    start(broker, "w1", asked, LEASE_S)
    admitted += admit_names(broker, 2, begin=1)
    assert ids(start(broker, "w1", asked, LEASE_S)) == admitted[:1]
    assert waiting(broker) == admitted[1:]


def test_a_job_in_flight_does_not_expire(broker: Broker) -> None:
    """A job that was to be forgotten, and is put back by hand, lives as long as it runs."""
    (admitted,) = admit_names(broker, 1)
    broker.expire(f"rq:job:{admitted}", 100)
    take(broker, 1)
    assert broker.ttl(f"rq:job:{admitted}") == -1


def test_a_second_place_of_an_ended_job_is_dropped(broker: Broker) -> None:
    """An id left in the queue after its job ended starts nothing."""
    admitted = admit_names(broker, 1)
    finish(broker, [(take(broker, 1)[0], decision())], terms())
    broker.rpush("rq:queue:classify", *admitted)
    assert take(broker, 1) == []
    assert counts(broker)["double_popped"] == 1


def test_a_second_place_of_a_running_job_is_dropped(broker: Broker) -> None:
    """An id that stands in the queue twice runs once."""
    admitted = admit_names(broker, 1)
    broker.rpush("rq:queue:classify", *admitted)
    assert ids(take(broker, 2)) == admitted
    assert take(broker, 2, worker="w2") == []
    assert counts(broker)["double_popped"] == 1


def test_an_incident_left_in_flight_without_an_execution_is_started(broker: Broker) -> None:
    """A record that a hand or a restored file left behind heals, instead of stopping every worker."""
    admitted = admit_names(broker, 1)
    broker.hset(incident_key(admitted[0]), "state", "in_flight")
    (execution,) = take(broker, 1)
    assert finish(broker, [(execution, decision())], terms()) == [Ending.PUBLISHED]


@pytest.mark.parametrize("field", ["state", "seen_count", "latitude_deg"])
def test_a_damaged_record_is_refused_and_fails(broker: Broker, field: str) -> None:
    """A job whose incident can't be read ends as failed, and holds up nobody."""
    admitted = admit_names(broker, 2)
    broker.hset(incident_key(admitted[0]), field, "nonsense")
    damaged, whole = take(broker, 2)
    assert damaged.refusal is not None and damaged.refusal.reason == "bad_record"
    assert whole.refusal is None
    fail(broker, damaged, decision(Verdict.UNSURE, None), terms())
    assert job(broker, admitted[0]).get_status() == "failed"
    assert broker.zrange(LEASES, 0, -1) == [whole.member.encode()]


@pytest.mark.parametrize(
    ("function", "kwargs"),
    [("os.system", {"incident_id": "ID"}), ("worker.jobs.classify", {"incident_id": "another"})],
)
def test_a_job_that_wants_another_function_or_incident_is_refused(
    broker: Broker, function: str, kwargs: dict[str, str]
) -> None:
    """Whoever writes to the broker can't make a worker run more than the one function on its incident."""
    (admitted,) = admit_names(broker, 1)
    changed = Job.create(
        function,
        kwargs={name: value.replace("ID", admitted) for name, value in kwargs.items()},
        id=admitted,
        connection=broker,
        serializer=JSONSerializer,
    )
    broker.hset(f"rq:job:{admitted}", "data", changed.to_dict()["data"])
    (execution,) = take(broker, 1)
    assert execution.refusal is not None and execution.refusal.reason == "not_allowed"


def test_a_job_that_is_no_json_is_refused(broker: Broker) -> None:
    """A pickle in the place of JSON is never loaded."""
    (admitted,) = admit_names(broker, 1)
    broker.hset(f"rq:job:{admitted}", "data", b"\x80\x04\x95\x10\x00\x00\x00\x00\x00\x00\x00\x8c\x02os")
    (execution,) = take(broker, 1)
    assert execution.refusal is not None and execution.refusal.reason == "bad_job"
