"""Finishing and failing: every branch of their scripts, against a real broker."""

from dataclasses import replace
from typing import Any

import pytest
from redis.exceptions import ResponseError
from rq.queue import Queue
from rq.serializers import JSONSerializer
from worker_parts import (
    LEASE_S,
    admit_names,
    clock_ms,
    counts,
    decision,
    everything,
    expire,
    ids,
    in_flight,
    job,
    record,
    take,
    terms,
    told,
    waiting,
)

from shared.broker import Broker
from shared.dispatches import Dispatch
from shared.keys import LEASES, incident_key
from shared.verdict import Verdict
from worker.executions import Ending, fail, finish, release, renew, sweep


def test_a_finish_publishes_to_each_department_once(broker: Broker) -> None:
    """Verdict, dispatches and the end of the job come together, and nothing says any more that it runs."""
    (admitted,) = admit_names(broker, 1)
    (execution,) = take(broker, 1)
    assert finish(broker, [(execution, decision())], terms()) == [Ending.PUBLISHED]
    assert told(broker, "firefighters") == told(broker, "transit-police") == [admitted]
    fields = record(broker, admitted)
    assert (fields["state"], fields["verdict"], fields["departments"]) == (
        "decided",
        "dispatched",
        "firefighters,transit-police",
    )
    assert job(broker, admitted).get_status() == "finished"
    assert in_flight(broker) == broker.zcard(LEASES) == 0
    assert counts(broker) == {"admitted": 1, "dispatched": 1, "entries": 2}


@pytest.mark.parametrize(
    ("verdict", "streams"), [(Verdict.UNSURE, {b"dispatch:review"}), (Verdict.NO_EMERGENCY, set())]
)
def test_other_verdicts_tell_review_or_nobody(broker: Broker, verdict: Verdict, streams: set[bytes]) -> None:
    """What the model is not sure of goes to a person, and a normal street to nobody."""
    admit_names(broker, 1)
    finish(broker, [(take(broker, 1)[0], decision(verdict))], terms())
    assert set(broker.scan_iter("dispatch:*")) == streams


def test_a_decided_incident_is_kept_for_its_time(broker: Broker) -> None:
    """The record expires with its picture, and not before there is a verdict."""
    (admitted,) = admit_names(broker, 1)
    assert broker.ttl(incident_key(admitted)) == -1
    execution, keep_ms = take(broker, 1)[0], terms().keep_s * 1000
    before_ms = clock_ms(broker)
    finish(broker, [(execution, decision())], terms())
    assert before_ms - 1 <= broker.pexpiretime(incident_key(admitted)) - keep_ms <= clock_ms(broker)


def test_a_finish_repeated_after_a_lost_reply_says_the_same(broker: Broker) -> None:
    """The second call finds its own verdict: published, no second entry, no superseded counted."""
    admit_names(broker, 1)
    (execution,) = take(broker, 1)
    assert finish(broker, [(execution, decision())], terms()) == [Ending.PUBLISHED]
    before = everything(broker)
    assert finish(broker, [(execution, decision())], terms()) == [Ending.PUBLISHED]
    assert everything(broker) == before
    assert "superseded" not in counts(broker)


def test_a_superseded_finish_writes_nothing_but_the_count(broker: Broker) -> None:
    """A worker whose job was taken over changes nothing, neither while the other one runs nor after."""
    admit_names(broker, 2)
    slow = take(broker, 2)
    expire(broker, *slow)
    sweep(broker, LEASE_S)
    (other,) = take(broker, 1, worker="w2")
    mine = next(each for each in slow if each.job_id == other.job_id)
    broker.hdel(incident_key(mine.job_id), "crashed_execution")  # absolving is another test's
    before = everything(broker)
    assert finish(broker, [(mine, decision(Verdict.UNSURE))], terms()) == [Ending.SUPERSEDED]
    assert everything(broker) == before
    assert counts(broker)["superseded"] == 1
    assert finish(broker, [(other, decision())], terms()) == [Ending.PUBLISHED]
    assert finish(broker, [(mine, decision())], terms()) == [Ending.SUPERSEDED]
    assert told(broker, "firefighters") == [mine.job_id]


def test_a_superseded_worker_clears_its_pictures_of_suspicion(broker: Broker) -> None:
    """It was slow, not dead: the pictures taken from it run in batches again."""
    admitted = admit_names(broker, 2)
    slow = take(broker, 2)
    expire(broker, *slow)
    sweep(broker, LEASE_S)
    assert [record(broker, each)["crashes"] for each in admitted] == ["1", "1"]
    finish(broker, [(each, decision()) for each in slow], terms())
    finish(broker, [(each, decision()) for each in slow], terms())  # the first reply was lost
    assert [record(broker, each)["crashes"] for each in admitted] == ["0", "0"]
    assert sorted(ids(take(broker, 2, worker="w2"))) == sorted(admitted)


def test_suspicion_of_a_lone_picture_is_cleared_too(broker: Broker) -> None:
    """A worker that was slow with one picture has not shown that the picture kills."""
    (admitted,) = admit_names(broker, 1)
    for worker in ("w1", "w2", "w3"):
        (slow,) = take(broker, 1, worker=worker)
        expire(broker, slow)
        assert sweep(broker, LEASE_S) == (1, [])
        release(broker, [slow], spend=False)
    assert (record(broker, admitted)["crashes"], record(broker, admitted)["crashes_alone"]) == ("0", "0")


def test_a_job_put_back_after_its_verdict_only_ends(broker: Broker) -> None:
    """An operator's `rq requeue` of a decided incident dispatches nothing a second time."""
    (admitted,) = admit_names(broker, 1)
    (execution,) = take(broker, 1)
    fail(broker, execution, decision(Verdict.UNSURE, None), terms())
    Queue("classify", connection=broker, serializer=JSONSerializer).failed_job_registry.requeue(admitted)
    (again,) = take(broker, 1, worker="w2")
    assert finish(broker, [(again, decision())], terms()) == [Ending.SETTLED]
    assert told(broker, "firefighters") == []
    assert job(broker, admitted).get_status() == "finished"
    assert in_flight(broker) == 0


def test_a_move_not_in_the_table_raises_and_writes_nothing(broker: Broker) -> None:
    """No verdict for an incident that, as far as its record goes, nobody holds."""
    (admitted,) = admit_names(broker, 1)
    (execution,) = take(broker, 1)
    broker.hset(incident_key(admitted), "state", "queued")
    before = everything(broker)
    with pytest.raises(ResponseError, match="may not move from queued to decided"):
        finish(broker, [(execution, decision())], terms())
    assert everything(broker) == before


def test_a_dispatch_that_can_not_be_written_leaves_the_incident_undecided(broker: Broker) -> None:
    """A stream that refuses its entry must not end as an incident that counts as dispatched."""
    (admitted,) = admit_names(broker, 1)
    (execution,) = take(broker, 1)
    broker.set("dispatch:firefighters", "somebody wrote here")
    with pytest.raises(ResponseError, match="holds a string"):
        finish(broker, [(execution, decision())], terms())
    assert record(broker, admitted)["state"] == "in_flight"
    broker.delete("dispatch:firefighters")
    assert finish(broker, [(execution, decision())], terms()) == [Ending.PUBLISHED]
    assert told(broker, "firefighters") == [admitted]


def test_an_execution_without_a_lease_publishes_nothing(broker: Broker) -> None:
    """Being named in the record is not enough: the lease decides who holds an incident."""
    admit_names(broker, 1)
    (execution,) = take(broker, 1)
    broker.zrem(LEASES, execution.member)
    assert finish(broker, [(execution, decision())], terms()) == [Ending.SUPERSEDED]
    assert told(broker, "firefighters") == []


def test_a_worker_that_rq_forgot_is_not_brought_back_by_its_counters(broker: Broker) -> None:
    """Ending a job of a dead worker leaves no hash of counters that never expires."""
    admit_names(broker, 1)
    (execution,) = take(broker, 1)
    broker.delete("rq:worker:w1")
    finish(broker, [(execution, decision())], terms())
    assert not broker.exists("rq:worker:w1")


def test_words_with_half_a_character_in_them_are_published(broker: Broker) -> None:
    """Text that no UTF-8 can hold, as from a damaged file, does not stop its incident."""
    (admitted,) = admit_names(broker, 1)
    odd = replace(decision(Verdict.UNSURE), detail="undecodable \udcff name")
    assert finish(broker, [(take(broker, 1)[0], odd)], terms()) == [Ending.PUBLISHED]
    assert record(broker, admitted)["detail"] == "undecodable ? name"


def test_a_job_deleted_while_it_ran_still_publishes(broker: Broker) -> None:
    """A hand in RQ's keys does not cost a dispatch, and the job does not come back as a ghost."""
    (admitted,) = admit_names(broker, 1)
    (execution,) = take(broker, 1)
    broker.delete(f"rq:job:{admitted}")
    renew(broker, "w1", [execution.member], LEASE_S, {"state": "busy"})
    assert finish(broker, [(execution, decision())], terms()) == [Ending.PUBLISHED]
    assert told(broker, "firefighters") == [admitted]
    assert not broker.exists(f"rq:job:{admitted}")


def test_a_failed_job_goes_to_review_with_place_and_reason(broker: Broker) -> None:
    """RQ shows it failed, and a person gets the photograph, in one step."""
    (admitted,) = admit_names(broker, 1)
    (execution,) = take(broker, 1)
    ended = fail(broker, execution, decision(Verdict.UNSURE, None), terms())
    assert ended is Ending.PUBLISHED
    entries: Any = broker.xrange("dispatch:review")
    shown = Dispatch.decode(entries[0][1][b"event"]).data
    assert (shown["latitude_deg"], shown["longitude_deg"], shown["reason"]) == (10.0, 20.5, "why")
    failed = job(broker, admitted)
    assert failed.get_status() == "failed"
    latest = failed.latest_result()
    assert latest is not None and latest.exc_string == "why: how"
    assert counts(broker) == {"admitted": 1, "unsure": 1, "entries": 1, "failed": 1}


def test_a_superseded_failure_writes_nothing_but_the_count(broker: Broker) -> None:
    """A worker whose job was taken over does not send it to review."""
    admit_names(broker, 1)
    (slow,) = take(broker, 1)
    expire(broker, slow)
    sweep(broker, LEASE_S)
    take(broker, 1, worker="w2")
    broker.hdel(incident_key(slow.job_id), "crashed_execution")  # absolving is another test's
    before = everything(broker)
    assert fail(broker, slow, decision(Verdict.UNSURE, None), terms()) is Ending.SUPERSEDED
    assert everything(broker) == before
    assert counts(broker)["superseded"] == 1


def test_a_failure_repeated_after_a_lost_reply_says_the_same(broker: Broker) -> None:
    """Review gets one entry."""
    (admitted,) = admit_names(broker, 1)
    (execution,) = take(broker, 1)
    endings = [fail(broker, execution, decision(Verdict.UNSURE, None), terms()) for _ in range(2)]
    assert endings == [Ending.PUBLISHED, Ending.PUBLISHED]
    assert told(broker, "review") == [admitted]


def test_a_foreign_job_fails_for_who_holds_it(broker: Broker) -> None:
    """Without an incident, the lease alone tells whether a worker still has a say."""
    Queue("classify", connection=broker, serializer=JSONSerializer).enqueue("os.getcwd", job_id="foreign")
    (slow,) = take(broker, 1)
    expire(broker, slow)
    sweep(broker, LEASE_S)
    before = everything(broker)
    assert fail(broker, slow, decision(Verdict.UNSURE, None), terms()) is Ending.SUPERSEDED
    assert everything(broker) == before
    assert waiting(broker) == ["foreign"]


def test_a_job_that_is_no_incident_of_ours_only_fails(broker: Broker) -> None:
    """Somebody else's job in our queue ends as failed and tells nobody."""
    queue = Queue("classify", connection=broker, serializer=JSONSerializer)
    foreign = queue.enqueue("os.getcwd", job_id="foreign")
    (execution,) = take(broker, 1)
    assert execution.incident is None
    assert execution.refusal is not None and execution.refusal.reason == "no_incident"
    assert fail(broker, execution, decision(Verdict.UNSURE, None), terms()) is Ending.SETTLED
    assert foreign.get_status() == "failed"
    assert in_flight(broker) == broker.zcard(LEASES) == 0
    assert list(broker.scan_iter("dispatch:*")) == list(broker.scan_iter("almenara:incident:*")) == []
