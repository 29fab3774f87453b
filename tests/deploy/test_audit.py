import threading
from collections.abc import Callable
from dataclasses import replace
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
from conftest import make_photograph, picture_bytes
from rq.job import Job
from rq.queue import Queue
from rq.serializers import JSONSerializer

import deploy.audit
from console.desk.book import writing
from console.desk.feed import apply, fetch
from console.outages import RecordAwayError
from console.records import migrate, open_database
from deploy.audit import Audit, as_json, audit, lines
from ingest.admission import admit
from shared.amendments import Amended, Amendment, amend
from shared.broker import Broker
from shared.dispatches import Decision
from shared.images import ImageStore, sidecar_place
from shared.incidents import Incident, IncidentState, Photograph, iso, utc_now
from shared.keys import QUEUE, incident_key
from shared.routing import Routing
from shared.settings import Settings
from shared.verdict import Verdict
from worker.executions import Terms, finish, new_ids, start

WAITING, DECIDED, IN_FLIGHT = range(0, 3), range(3, 6), range(6, 8)


class Street:
    """A system in the middle of its work: some incidents wait, some are decided, some are being worked on."""

    def __init__(self, broker: Broker, store: ImageStore, settings: Settings) -> None:
        self.broker, self.store, self.settings = broker, store, settings
        settings.inbox[0].mkdir()
        self.photographs = [self.stored(seed) for seed in range(8)]
        self.admit(DECIDED)
        routing = Routing.load(settings.routing)
        made = Decision(verdict=Verdict.DISPATCHED, situation="fire", confidence=1.0, scores={}, model="m@0")
        decided = [(execution, made) for execution in start(broker, "w", new_ids(3), 60.0)]
        finish(broker, decided, Terms(routing=routing, keep_s=3600))
        self.admit(IN_FLIGHT)
        start(broker, "w", new_ids(2), 60.0)
        self.admit(WAITING)

    def stored(self, seed: int) -> Photograph:
        """A photograph in the image store."""
        photograph = make_photograph(seed)
        sha256 = photograph.image.rpartition("/")[2].partition(".")[0]
        self.store.put_picture(picture_bytes(seed), sha256, "jpeg")
        self.store.put_sidecar(photograph)
        return photograph

    def admit(self, seeds: range) -> None:
        """Incidents of stored photographs."""
        admit(self.broker, [(f"claim-{seed}", self.photographs[seed]) for seed in seeds])

    def id_of(self, seed: int) -> str:
        """Id of an incident."""
        return self.photographs[seed].incident_id

    def audit(self, *, repair: bool = False) -> Audit:
        """Compare everything now."""
        return audit(self.broker, self.store, self.settings, repair=repair)

    def repaired(self) -> Audit:
        """Repair once, and see that nothing is left; what the repair found."""
        found = self.audit(repair=True)
        assert self.audit().findings == []
        return found


@pytest.fixture
def street(broker: Broker, store: ImageStore, settings: Settings, monkeypatch: pytest.MonkeyPatch) -> Street:
    monkeypatch.setattr(deploy.audit, "ON_ITS_WAY_S", 0.05)
    return Street(broker, store, settings)


@pytest.fixture
def queue(broker: Broker) -> Queue:
    """The queue as RQ sees it."""
    return Queue(QUEUE, connection=broker, serializer=JSONSerializer)


def empty(queue: Queue) -> None:
    """What `rq empty` does."""
    queue.empty()  # type: ignore[no-untyped-call]


def test_a_sound_system_balances(street: Street) -> None:
    """Whatever state its incidents are in, there is no finding, and everything is counted."""
    result = street.audit()
    assert result.findings == []
    assert result.balanced
    assert {
        what: result.counts[what] for what in ("incidents", "incidents undecided", "incidents dispatched")
    } == {
        "incidents": 8,
        "incidents undecided": 5,
        "incidents dispatched": 3,
    }
    assert (result.counts["pictures stored"], result.counts["sidecars stored"]) == (8, 8)
    assert (result.counts["jobs waiting"], result.counts["jobs in flight"]) == (3, 2)
    assert result.counts["stream entries"] == 6


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


def test_a_dead_workers_job_is_found(street: Street, broker: Broker) -> None:
    """An incident in flight that no lease knows of is stranded, and RQ's books differ from ours."""
    broker.delete("almenara:lease")
    found = street.audit().findings
    assert sorted(kind for kind, _, _ in found) == ["incident", "incident", "rq", "rq"]


def test_a_job_that_rq_gave_up_is_queued_again(street: Street, broker: Broker, queue: Queue) -> None:
    """A job that a stock worker failed, its incident undecided, gets another chance."""
    broker.lrem("rq:queue:classify", 0, street.id_of(0))
    broker.hset(f"rq:job:{street.id_of(0)}", "status", "failed")
    broker.zadd("rq:failed:classify", {street.id_of(0): 2e9})
    assert street.repaired().repaired == 1
    assert street.id_of(0) in queue.job_ids
    assert broker.zcard("rq:failed:classify") == 0


def test_a_missing_dispatch_is_reported(street: Street, broker: Broker) -> None:
    """A decided incident that one of its departments was not told of is a finding that nothing can repair."""
    entries = broker.xrange("dispatch:firefighters")
    assert entries
    broker.xdel("dispatch:firefighters", entries[0][0])  # type: ignore[arg-type] # an id is never None
    result = street.audit(repair=True)
    ((kind, department, said),) = result.findings
    assert (kind, department, "not in its stream" in said) == ("stream", "firefighters", True)
    assert not result.balanced


def test_a_dispatch_sent_twice_is_reported(street: Street, broker: Broker) -> None:
    """The same incident twice in one stream is a finding; an entry that is no dispatch is not."""
    entries = broker.xrange("dispatch:transit-police")
    assert entries
    broker.xadd("dispatch:transit-police", entries[0][1])  # type: ignore[arg-type] # fields are never None
    broker.xadd("dispatch:transit-police", {"event": "{"})
    ((kind, department, said),) = street.audit().findings
    assert (kind, department, "2 times" in said) == ("stream", "transit-police", True)


def test_a_later_decision_is_no_second_dispatch(street: Street, broker: Broker) -> None:
    """Who was told of an incident, and of what a person decided about it, was told once of each."""
    incident = Incident.fetch(broker, street.id_of(3))
    assert incident is not None
    routing = Routing.load(street.settings.routing)
    amendment = Amendment(
        incident=incident,
        decision_id="d" * 32,
        verdict=Verdict.DISPATCHED,
        situation="robbery",
        tell=("police-department", "firefighters"),
        departments=("police-department",),
        decided_by="Ana",
    )
    assert amend(broker, amendment, routing, utc_now()) is Amended.AMENDED
    result = street.audit()
    assert result.findings == []
    assert result.counts["stream entries"] == 8
    entries: Any = broker.xrevrange("dispatch:firefighters", count=1)
    broker.xadd("dispatch:firefighters", entries[0][1])
    ((kind, department, said),) = street.audit().findings
    assert (kind, department, "revision 2, was dispatched 2 times" in said) == (
        "stream",
        "firefighters",
        True,
    )


def desk_takes_in(street: Street, *seeds: int) -> None:
    """There is a desk's record, with cases of these photographs."""
    engine = open_database(street.settings.database)
    migrate(engine)
    routing = Routing.load(street.settings.routing)
    with writing(engine, street.broker, routing, street.settings) as book:
        apply(book, fetch(street.broker, [street.id_of(seed) for seed in seeds]))
    engine.dispose()


def test_a_desk_that_has_every_case_balances(street: Street) -> None:
    """The desk's record is compared where there is one; what no worker has decided it need not have."""
    assert "incidents in the desk's record" not in street.audit().counts
    desk_takes_in(street, *DECIDED)
    result = street.audit()
    assert result.findings == []
    assert result.counts["incidents in the desk's record"] == 3


def test_an_incident_that_the_desk_does_not_have_is_reported(street: Street) -> None:
    """It is named by its number, and what helps is a desk that runs."""
    desk_takes_in(street, 3, 5)
    ((kind, number, said),) = street.audit(repair=True).findings
    incident = Incident.fetch(street.broker, street.id_of(4))
    assert incident is not None
    assert (kind, number, "almenara desk" in said) == ("desk", incident.number, True)


def test_what_the_desk_is_taking_in_is_no_finding(street: Street, monkeypatch: pytest.MonkeyPatch) -> None:
    """A decided incident that comes into the record a moment later is not reported."""
    monkeypatch.setattr(deploy.audit, "ON_ITS_WAY_S", 1.0)
    desk_takes_in(street, 3, 4)
    desk = threading.Timer(0.3, desk_takes_in, args=(street, 5))
    desk.start()
    assert street.audit().findings == []
    desk.join()


def test_a_record_that_no_desk_has_made_is_no_fault(street: Street) -> None:
    """An empty database says that no desk has run, not that everything is missing."""
    (street.settings.state_dir / "desk.db").touch()
    assert street.audit().findings == []


def test_a_record_that_can_not_be_asked_ends_the_audit(street: Street, tmp_path: Path) -> None:
    """An audit does not say that the books balance when it could not look into one."""
    street.settings = street.settings.override(database_url=f"sqlite:///{tmp_path}/away/desk.db")
    with pytest.raises(RecordAwayError, match="does not answer"):
        street.audit()


def test_an_unreadable_sidecar_is_reported(street: Street, store: ImageStore, settings: Settings) -> None:
    """It is named by its place; its incident, which the broker still knows, is no second finding."""
    place = sidecar_place(street.id_of(0))
    (settings.state_dir / "images" / place).write_bytes(b"{")
    assert street.audit(repair=True).findings == [("store", place, "the sidecar can't be read")]


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


def test_an_incident_without_any_picture_is_reported(street: Street, store: ImageStore) -> None:
    """An incident whose picture and sidecar are both gone is named by its number."""
    store.remove(street.photographs[3].image)
    store.remove(sidecar_place(street.id_of(3)))
    assert street.audit().findings == [("incident", "0001", "its picture is not in the image store")]


def test_a_damaged_record_is_reported(street: Street, broker: Broker) -> None:
    """A record that lacks a field ends no audit."""
    broker.hdel(incident_key(street.id_of(3)), "label")
    ((kind, thing, said),) = street.audit().findings
    assert (kind, thing, "damaged" in said) == ("incident", street.id_of(3), True)


def test_what_is_on_its_way_is_no_finding(
    street: Street, broker: Broker, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A picture that the ingester has stored and admits a moment later is not queued by us as well."""
    monkeypatch.setattr(deploy.audit, "ON_ITS_WAY_S", 1.0)
    coming = street.stored(100)
    ingester = threading.Timer(0.2, admit, args=(broker, [("claim", coming)]))
    ingester.start()
    assert street.audit(repair=True).findings == []
    ingester.join()
    assert broker.hget(incident_key(coming.incident_id), "seen_count") == b"1"


def test_what_is_past_its_time_is_no_finding(street: Street, store: ImageStore, settings: Settings) -> None:
    """A stored photograph older than the retention waits to be removed, not to be queued."""
    received = iso(utc_now() - timedelta(days=settings.retention_days + 1))
    store.put_sidecar(replace(make_photograph(200), received_at=received, image=street.photographs[0].image))
    assert street.audit().findings == []


def test_a_missing_inbox_is_a_finding(street: Street, settings: Settings) -> None:
    """A folder that photographs should land in and that is not there is said."""
    settings.inbox[0].rmdir()
    ((kind, thing, _),) = street.audit().findings
    assert (kind, thing) == ("inbox", str(settings.inbox[0]))


def test_files_on_this_machine_are_counted(street: Street, settings: Settings, tmp_path: Path) -> None:
    """What lies in the inbox and what is claimed is told, and is no fault."""
    (settings.inbox[0] / "a.jpeg").write_bytes(b"")
    claim = settings.inbox[0] / ".almenara" / "tower-1" / "0123" / "b.jpeg"
    claim.parent.mkdir(parents=True)
    claim.write_bytes(b"")
    result = street.audit()
    assert result.balanced
    assert (result.counts["files in inbox"], result.counts["files claimed"]) == (1, 1)


def test_the_audit_is_told_to_people(street: Street, queue: Queue) -> None:
    """Counts, findings and what to do; after a repair how much is put right; and when all is well, that."""
    assert lines(street.audit(), repair=False)[-1] == "The books balance."
    empty(queue)
    assert "almenara audit --repair" in lines(street.audit(), repair=False)[-1]
    assert lines(street.audit(repair=True), repair=True)[-1] == "3 findings, 3 repaired."


def test_the_audit_is_told_to_scripts(street: Street, queue: Queue) -> None:
    """One object with what was counted and found."""
    empty(queue)
    record = as_json(street.audit())
    assert (record["balanced"], record["repaired"], len(record["findings"])) == (False, 0, 3)
    assert record["findings"][0]["kind"] == "incident"
    assert record["counts"]["incidents"] == 8


def test_a_long_list_is_gone_through_in_pages(street: Street, monkeypatch: pytest.MonkeyPatch) -> None:
    """More incidents and entries than one page holds are all compared."""
    monkeypatch.setattr(deploy.audit, "PAGE", 2)
    result = street.audit()
    assert result.findings == []
    assert (result.counts["incidents"], result.counts["stream entries"]) == (8, 6)
