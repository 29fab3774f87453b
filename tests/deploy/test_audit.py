"""`almenara audit`: what does not balance is found, and what is on its way is not."""

from dataclasses import replace
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
from audit_parts import Street, meanwhile
from conftest import make_photograph
from rq.queue import Queue
from rq.serializers import JSONSerializer

import deploy.audit
from deploy.audit import as_json, lines
from ingest.admission import admit
from shared.amendments import Amended, Amendment, amend
from shared.broker import Broker
from shared.images import ImageStore, sidecar_place
from shared.incidents import Incident, iso, utc_now
from shared.keys import QUEUE, incident_key
from shared.routing import Routing
from shared.settings import Settings
from shared.verdict import Verdict


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


def test_a_dead_workers_job_is_found(street: Street, broker: Broker) -> None:
    """An incident in flight that no lease knows of is stranded, and RQ's books differ from ours."""
    broker.delete("almenara:lease")
    found = street.audit().findings
    assert sorted(kind for kind, _, _ in found) == ["incident", "incident", "rq", "rq"]


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


def test_an_unreadable_sidecar_is_reported(street: Street, store: ImageStore, settings: Settings) -> None:
    """It is named by its place; its incident, which the broker still knows, is no second finding."""
    place = sidecar_place(street.id_of(0))
    (settings.state_dir / "images" / place).write_bytes(b"{")
    assert street.audit(repair=True).findings == [("store", place, "the sidecar can't be read")]


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
    coming = street.stored(100)
    waiting = meanwhile(monkeypatch, lambda: admit(broker, [("claim", coming)]))
    assert street.audit(repair=True).findings == []
    assert waiting == []
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
