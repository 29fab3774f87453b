"""Taking back: every branch of the script; time passes by writing scores."""

import pytest
from rq.queue import Queue
from rq.serializers import JSONSerializer
from worker_parts import (
    LEASE_S,
    admit_names,
    clock_ms,
    counts,
    decision,
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
from shared.keys import LEASES, incident_key
from shared.verdict import Verdict
from worker.executions import Ending, Execution, fail, finish, release, renew, sweep

SWEPT = "almenara:swept"

POPPED = "almenara:popped"


def test_an_expired_lease_is_back_at_the_front_at_no_cost(broker: Broker) -> None:
    """A dead worker's job goes before all others, and keeps its retries."""
    admitted = admit_names(broker, 3)
    (dead,) = take(broker, 1)
    expire(broker, dead)
    assert sweep(broker, LEASE_S) == (1, [])
    assert waiting(broker) == admitted
    assert (job(broker, admitted[0]).get_status(), job(broker, admitted[0]).retries_left) == ("queued", 3)
    assert record(broker, admitted[0])["state"] == "queued"
    assert in_flight(broker) == broker.zcard(LEASES) == 0
    assert not broker.exists(f"rq:execution:{dead.member}")
    assert counts(broker)["recovered"] == 1


def test_a_running_lease_is_left_alone(broker: Broker) -> None:
    """A sweep takes nothing from a worker that is in time."""
    admit_names(broker, 2)
    take(broker, 2)
    assert sweep(broker, LEASE_S) == (0, [])
    assert in_flight(broker) == 2


def test_sweeps_in_time_earn_no_grace(broker: Broker) -> None:
    """Each sweep notes when it was, so that only a real gap puts taking back off."""
    broker.hset(SWEPT, "last", clock_ms(broker) - LEASE_S * 2000)
    sweep(broker, LEASE_S)
    broker.hset(SWEPT, "grace", 1)
    admit_names(broker, 1)
    expire(broker, *take(broker, 1))
    assert sweep(broker, LEASE_S) == (1, [])


def test_a_popped_job_is_given_time_to_be_started(broker: Broker) -> None:
    """A worker between popping and starting is not robbed at once."""
    (admitted,) = admit_names(broker, 1)
    broker.lmove("rq:queue:classify", "rq:queue:classify:intermediate", "LEFT", "RIGHT")
    assert sweep(broker, LEASE_S) == (0, [])
    seen_ms = broker.zscore(POPPED, admitted)
    assert seen_ms is not None and seen_ms <= clock_ms(broker)
    seen_ms += 600_000  # however long this test takes
    broker.zadd(POPPED, {admitted: seen_ms})
    assert sweep(broker, LEASE_S) == (0, [])
    assert broker.zscore(POPPED, admitted) == seen_ms
    assert waiting(broker) == []


def test_a_popped_job_that_went_away_is_forgotten(broker: Broker) -> None:
    """What a hand took out of the intermediate queue leaves no sighting behind."""
    admit_names(broker, 1)
    broker.lmove("rq:queue:classify", "rq:queue:classify:intermediate", "LEFT", "RIGHT")
    sweep(broker, LEASE_S)
    broker.delete("rq:queue:classify:intermediate")
    sweep(broker, LEASE_S)
    assert broker.zcard(POPPED) == 0


def test_a_job_popped_and_not_started_comes_back(broker: Broker) -> None:
    """A worker that died between popping and starting costs five seconds."""
    admitted = admit_names(broker, 2)
    broker.lmove("rq:queue:classify", "rq:queue:classify:intermediate", "LEFT", "RIGHT")
    sweep(broker, LEASE_S)
    broker.zadd(POPPED, {admitted[0]: clock_ms(broker) - 5_100})
    assert sweep(broker, LEASE_S) == (1, [])
    assert waiting(broker) == admitted
    assert broker.llen("rq:queue:classify:intermediate") == broker.zcard(POPPED) == 0


def test_the_wait_of_a_popped_job_begins_anew_each_time(broker: Broker) -> None:
    """An old sighting of a job that was started since says nothing about the next time it is popped."""
    (admitted,) = admit_names(broker, 1)
    broker.lmove("rq:queue:classify", "rq:queue:classify:intermediate", "LEFT", "RIGHT")
    sweep(broker, LEASE_S)
    broker.zadd(POPPED, {admitted: 1})
    release(broker, take(broker, 1, first=admitted), spend=False)
    broker.lmove("rq:queue:classify", "rq:queue:classify:intermediate", "LEFT", "RIGHT")
    assert sweep(broker, LEASE_S) == (0, [])


@pytest.mark.parametrize("gap", [0.8, 2])
def test_after_a_gap_in_sweeping_live_workers_may_renew_first(broker: Broker, gap: float) -> None:
    """The broker was away for long enough to end a lease: nobody could renew, so nobody is robbed at once."""
    admit_names(broker, 1)
    (alive,) = take(broker, 1)
    sweep(broker, LEASE_S)
    expire(broker, alive)
    broker.hset(SWEPT, "last", clock_ms(broker) - LEASE_S * gap * 1000)
    assert sweep(broker, LEASE_S) == (0, [])
    assert renew(broker, "w1", [alive.member], LEASE_S, {"state": "busy"}) == set()
    broker.hset(SWEPT, "grace", clock_ms(broker) - 1)
    assert sweep(broker, LEASE_S) == (0, [])


def test_a_dead_worker_loses_its_jobs_once_the_grace_is_over(broker: Broker) -> None:
    """Grace is put off, not cancelled."""
    admit_names(broker, 1)
    expire(broker, *take(broker, 1))
    broker.hset(SWEPT, "last", clock_ms(broker) - LEASE_S * 2000)
    assert sweep(broker, LEASE_S) == (0, [])
    broker.hset(SWEPT, "grace", clock_ms(broker) - 1)
    assert sweep(broker, LEASE_S) == (1, [])


def test_the_only_worker_sweeping_rarely_still_takes_back(broker: Broker) -> None:
    """Batches longer than the gap that earns grace must not earn it again and again, forever."""
    admit_names(broker, 1)
    expire(broker, *take(broker, 1))
    recovered = []
    for _ in range(3):
        gone_ms = LEASE_S * 2000  # the clock moves on by one long batch
        broker.hset(SWEPT, "last", clock_ms(broker) - gone_ms)
        broker.hset(SWEPT, "grace", float(broker.hget(SWEPT, "grace") or 0) - gone_ms)
        recovered.append(sweep(broker, LEASE_S)[0])
    assert sum(recovered) == 1


def test_members_of_a_crashed_batch_run_alone(broker: Broker) -> None:
    """Which of them killed the worker is unknown, so each gets a worker for itself."""
    admitted = admit_names(broker, 3)
    expire(broker, *take(broker, 3))
    assert sweep(broker, LEASE_S) == (3, [])
    batches = [ids(take(broker, 3, worker=worker)) for worker in ("w2", "w3", "w4")]
    assert sorted(batches) == sorted([each] for each in admitted)


def killed_two_alone(broker: Broker) -> Execution:
    """The second execution of a picture that a worker died with, alone, before; its lease has ended too."""
    (admitted,) = admit_names(broker, 1)
    expire(broker, *take(broker, 1, worker="w1"))
    assert sweep(broker, LEASE_S) == (1, [])
    (second,) = take(broker, 1, worker="w2")
    expire(broker, second)
    assert second.job_id == admitted
    return second


def test_a_picture_that_killed_two_workers_alone_is_handed_over(broker: Broker) -> None:
    """The sweeper gets it to quarantine; it is not queued, and stays leased meanwhile."""
    second = killed_two_alone(broker)
    recovered, killers = sweep(broker, LEASE_S)
    assert (recovered, [each.member for each in killers]) == (0, [second.member])
    assert killers[0].worker == "w2"
    assert waiting(broker) == []
    assert (broker.zscore(LEASES, second.member) or 0) > clock_ms(broker)
    assert sweep(broker, LEASE_S) == (0, [])


def test_a_quarantined_picture_goes_to_review(broker: Broker) -> None:
    """Failing what the sweep handed over publishes it, and nothing is left in flight."""
    second = killed_two_alone(broker)
    (killer,) = sweep(broker, LEASE_S)[1]
    assert fail(broker, killer, decision(Verdict.UNSURE, None), terms()) is Ending.PUBLISHED
    assert told(broker, "review") == [second.job_id]
    assert in_flight(broker) == broker.zcard(LEASES) == 0


def test_a_sleeper_whose_picture_was_quarantined_is_superseded(broker: Broker) -> None:
    """A worker that only slept learns that a person was told in its stead; both know who published."""
    second = killed_two_alone(broker)
    (killer,) = sweep(broker, LEASE_S)[1]
    assert fail(broker, killer, decision(Verdict.UNSURE, None), terms()) is Ending.PUBLISHED
    assert finish(broker, [(second, decision())], terms()) == [Ending.SUPERSEDED]
    assert told(broker, "firefighters") == []
    assert counts(broker)["superseded"] == 1


def test_a_sleeper_that_wakes_in_time_is_not_quarantined(broker: Broker) -> None:
    """The picture was judged before the sweeper got to it: its verdict stands, and review is not told."""
    second = killed_two_alone(broker)
    (killer,) = sweep(broker, LEASE_S)[1]
    assert finish(broker, [(second, decision())], terms()) == [Ending.PUBLISHED]
    assert fail(broker, killer, decision(Verdict.UNSURE, None), terms()) is Ending.SUPERSEDED
    assert told(broker, "review") == []


def test_a_sweeper_that_dies_before_quarantining_leaves_it_to_the_next(broker: Broker) -> None:
    """The lease runs out once more, and the next sweep hands the picture over again."""
    second = killed_two_alone(broker)
    sweep(broker, LEASE_S)
    expire(broker, second)
    assert [each.member for each in sweep(broker, LEASE_S)[1]] == [second.member]


def test_two_crashes_in_batches_are_no_quarantine(broker: Broker) -> None:
    """Only crashes alone count: a picture next to a killer twice is not blamed."""
    admitted = admit_names(broker, 2)
    for _ in range(2):
        broker.hdel(incident_key(admitted[0]), "crashes")  # it ran in a batch again
        broker.hdel(incident_key(admitted[1]), "crashes")
        expire(broker, *take(broker, 2))
        assert sweep(broker, LEASE_S) == (2, [])


def test_a_killer_whose_record_is_damaged_does_not_stop_the_sweep(broker: Broker) -> None:
    """The sweeper goes on, and fails the job without telling anybody where."""
    second = killed_two_alone(broker)
    broker.hset(incident_key(second.job_id), "latitude_deg", "nonsense")
    (killer,) = sweep(broker, LEASE_S)[1]
    assert killer.incident is None
    fail(broker, killer, decision(Verdict.UNSURE, None), terms())
    assert job(broker, second.job_id).get_status() == "failed"


def test_an_old_lease_of_a_job_that_runs_elsewhere_takes_nothing_from_it(broker: Broker) -> None:
    """Only the old execution is closed; the one that runs still publishes."""
    (admitted,) = admit_names(broker, 1)
    (current,) = take(broker, 1)
    broker.zadd(LEASES, {f"{admitted}:old": 1})
    sweep(broker, LEASE_S)
    assert finish(broker, [(current, decision())], terms()) == [Ending.PUBLISHED]
    assert take(broker, 1, worker="w2") == []


def test_a_deleted_job_is_not_swept_into_the_queue(broker: Broker) -> None:
    """A lease without a job is closed; nothing is queued that would only vanish."""
    (admitted,) = admit_names(broker, 1)
    expire(broker, *take(broker, 1))
    broker.delete(f"rq:job:{admitted}")
    assert sweep(broker, LEASE_S) == (0, [])
    assert waiting(broker) == []
    assert broker.zcard(LEASES) == in_flight(broker) == 0


@pytest.mark.parametrize("retries_left", [3, 0])
def test_a_job_that_rq_cleaned_first_is_not_lost(broker: Broker, retries_left: int) -> None:
    """With no worker for an hour, `rq info` declares a job abandoned; our sweep still brings it back."""
    (admitted,) = admit_names(broker, 1)
    broker.hset(f"rq:job:{admitted}", "retries_left", retries_left)
    (dead,) = take(broker, 1)
    broker.zadd("rq:wip:classify", {dead.member: 1})
    Queue("classify", connection=broker, serializer=JSONSerializer).started_job_registry.cleanup()
    expire(broker, dead)
    sweep(broker, LEASE_S)
    assert broker.zcard("rq:failed:classify") == 0
    (again,) = take(broker, 5, worker="w2")
    assert finish(broker, [(again, decision())], terms()) == [Ending.PUBLISHED]
    assert take(broker, 5, worker="w2") == []
