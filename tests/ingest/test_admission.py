import operator
import threading
from collections import Counter
from datetime import UTC, datetime
from functools import partial

import pytest
from conftest import make_photograph, wait_until
from rq.job import Job, JobStatus
from rq.queue import Queue
from rq.serializers import JSONSerializer

import ingest.admission
from ingest.admission import admit
from shared.broker import Broker, connect, words
from shared.incidents import Incident, IncidentState, all_ids
from shared.keys import COUNTS, INCIDENTS, QUEUE
from shared.settings import Settings


@pytest.fixture
def queue(broker: Broker) -> Queue:
    """The queue as RQ sees it."""
    return Queue(QUEUE, connection=broker, serializer=JSONSerializer)


def incident_of(broker: Broker, seed: int) -> Incident:
    """The admitted incident of a seed."""
    found = Incident.fetch(broker, make_photograph(seed).incident_id)
    assert found is not None
    return found


def test_a_photograph_becomes_an_incident(broker: Broker) -> None:
    """The first time, it is admitted: queued, numbered and known by all that the ingester knew."""
    photograph = make_photograph(1)
    assert admit(broker, [("claim-1", photograph)]) == ["admitted"]
    incident = incident_of(broker, 1)
    assert incident.photograph == photograph
    assert (incident.number, incident.state, incident.seen_count) == ("0001", IncidentState.QUEUED, 1)
    assert all_ids(broker) == [photograph.incident_id]


def test_a_job_is_rqs_own(broker: Broker, queue: Queue) -> None:
    """RQ reads the job back as if it had enqueued it, and finds it in its queue."""
    photograph = make_photograph(1)
    admit(broker, [("claim-1", photograph)])
    job = Job.fetch(photograph.incident_id, connection=broker, serializer=JSONSerializer)
    assert job.func_name == "worker.jobs.classify"
    assert (list(job.args), job.kwargs) == ([], {"incident_id": photograph.incident_id})
    assert (job.get_status(), job.origin, job.retries_left) == (JobStatus.QUEUED, QUEUE, 3)
    assert job.enqueued_at is not None
    assert queue.job_ids == [photograph.incident_id]
    assert [each.id for each in queue.jobs] == [photograph.incident_id]
    assert Queue.all(connection=broker, serializer=JSONSerializer) == [queue]


def test_a_resend_is_the_same_incident(broker: Broker, queue: Queue, monkeypatch: pytest.MonkeyPatch) -> None:
    """The same photograph in another file is seen again: counted and dated, not enqueued or renumbered."""
    monkeypatch.setattr(ingest.admission, "utc_now", lambda: datetime(2026, 11, 24, 10, 2, 3, tzinfo=UTC))
    admit(broker, [("claim-1", make_photograph(1))])
    before = incident_of(broker, 1)
    monkeypatch.setattr(ingest.admission, "utc_now", lambda: datetime(2026, 11, 24, 10, 2, 4, tzinfo=UTC))
    assert admit(broker, [("claim-2", make_photograph(1))]) == ["seen"]
    after = incident_of(broker, 1)
    assert (after.seen_count, after.number, after.state) == (2, "0001", IncidentState.QUEUED)
    assert before.last_seen_at == "2026-11-24T10:02:03.000000Z"
    assert after.last_seen_at == "2026-11-24T10:02:04.000000Z"
    assert len(queue) == 1


def test_a_claim_counts_once(broker: Broker, queue: Queue) -> None:
    """An ingester that repeats itself, unanswered or after a crash, does not make a resend of it."""
    calls = [(f"claim-{seed}", make_photograph(seed)) for seed in (1, 2)]
    assert admit(broker, calls) == ["admitted", "admitted"]
    assert admit(broker, calls) == ["already", "already"]
    assert [incident_of(broker, seed).seen_count for seed in (1, 2)] == [1, 1]
    assert len(queue) == 2


def test_what_happened_is_counted(broker: Broker) -> None:
    """The counters tell the admitted from the resent; a repeated claim is neither."""
    admit(broker, [("a", make_photograph(1)), ("b", make_photograph(2)), ("c", make_photograph(1))])
    admit(broker, [("b", make_photograph(2))])
    assert words(broker.hgetall(COUNTS)) == {"admitted": "2", "seen": "1"}


def test_twins_in_one_batch_are_one_incident(broker: Broker, queue: Queue) -> None:
    """Two copies that were claimed together do not both get a job, nor count anew when repeated."""
    twins = [("claim-1", make_photograph(1)), ("claim-2", make_photograph(1))]
    assert admit(broker, twins) == ["admitted", "seen"]
    assert admit(broker, twins) == ["already", "already"]
    assert incident_of(broker, 1).seen_count == 2
    assert len(queue) == 1


def test_many_resends_make_no_endless_record(broker: Broker) -> None:
    """A camera that sends one picture all day makes its record no longer than a batch would."""
    for begin in range(0, 1000, 100):
        admit(broker, [(f"{number:032x}", make_photograph(1)) for number in range(begin, begin + 100)])
    incident = incident_of(broker, 1)
    assert incident.seen_count == 1000
    assert len(incident.fields["claim"]) < 9000


def test_a_resend_of_a_decided_incident_gets_no_job(broker: Broker, queue: Queue) -> None:
    """What has its verdict is not looked at again."""
    admit(broker, [("claim-1", make_photograph(1))])
    key = f"almenara:incident:{make_photograph(1).incident_id}"
    broker.hset(key, "state", "decided")
    broker.delete(queue.key)
    assert admit(broker, [("claim-2", make_photograph(1))]) == ["seen"]
    assert len(queue) == 0
    assert incident_of(broker, 1).state is IncidentState.DECIDED


def test_numbers_are_never_used_again(broker: Broker) -> None:
    """Numbers follow arrival, go on where incidents were removed, and outgrow four digits."""
    admit(broker, [("1", make_photograph(1)), ("2", make_photograph(2))])
    broker.delete(f"almenara:incident:{make_photograph(2).incident_id}")
    broker.set("almenara:number", 9998)
    admit(broker, [("3", make_photograph(3)), ("4", make_photograph(4))])
    assert [incident_of(broker, seed).number for seed in (1, 3, 4)] == ["0001", "9999", "10000"]


def test_the_queue_keeps_the_order_of_arrival(broker: Broker, queue: Queue) -> None:
    """First come, first served."""
    photographs = [make_photograph(seed) for seed in range(5)]
    admit(broker, [(each.incident_id, each) for each in photographs])
    assert queue.job_ids == [each.incident_id for each in photographs]


def test_ingesters_that_race_admit_once(broker: Broker, settings: Settings, queue: Queue) -> None:
    """Four ingesters with the same pictures at one moment: each picture is admitted by exactly one."""
    photographs = [make_photograph(seed) for seed in range(25)]
    together = threading.Barrier(4)
    outcomes: list[str] = []

    def run(name: str) -> None:
        with connect(settings) as own:
            together.wait(timeout=60)
            outcomes.extend(admit(own, [(f"{name}-{each.incident_id}", each) for each in photographs]))

    threads = [threading.Thread(target=run, args=(name,)) for name in "abcd"]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert Counter(outcomes) == {"admitted": 25, "seen": 75}
    assert len(queue) == broker.zcard(INCIDENTS) == 25


def test_nobody_sees_half_an_admission(broker: Broker, settings: Settings, queue: Queue) -> None:
    """At every moment there are as many jobs as incidents: both are made in one step."""
    done = threading.Event()
    seen = []

    def watch() -> None:
        with connect(settings) as own:
            while not done.is_set():
                with own.pipeline(transaction=True) as pipeline:
                    pipeline.zcard(INCIDENTS)
                    pipeline.llen(queue.key)
                    seen.append(tuple(pipeline.execute()))

    watcher = threading.Thread(target=watch)
    watcher.start()
    try:
        for seed in range(100):
            admit(broker, [(str(seed), make_photograph(seed))])
            if seed % 10 == 0:  # on a machine with other work it may see nothing in between otherwise
                so_far = (seed + 1, seed + 1)
                wait_until(partial(operator.contains, seen, so_far), within_s=30, what="it looks")
    finally:
        done.set()
        watcher.join()
    assert len(set(seen)) > 2  # it looked in between
    assert [pair for pair in seen if pair[0] != pair[1]] == []
