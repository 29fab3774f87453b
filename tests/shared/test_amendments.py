from collections.abc import Iterator
from dataclasses import replace
from datetime import UTC, datetime
from typing import Any

import pytest
import structlog
from conftest import make_photograph

from ingest.admission import admit
from shared.amendments import Amended, Amendment, amend, revision_of, was_made
from shared.broker import Broker, words
from shared.dispatches import Decision, Dispatch
from shared.incidents import Incident, RecordError
from shared.keys import CHANGED, COUNTS, decisions_key, dispatch_key, incident_key
from shared.routing import Routing
from shared.settings import Settings
from shared.verdict import Verdict
from worker.executions import Terms, finish, new_ids, start

NOW = datetime(2026, 11, 24, 10, 2, 3, tzinfo=UTC)
SCORES = {"fire": 0.5, "robbery": 0.3, "normal": 0.2}


@pytest.fixture(scope="module")
def routing() -> Routing:
    """The default routing file."""
    return Routing.load(Settings().routing)


@pytest.fixture
def unsure(broker: Broker, routing: Routing) -> Iterator[Incident]:
    """An incident that a worker was unsure of."""
    photograph = make_photograph(1)
    admit(broker, [("claim", photograph)])
    decision = Decision(verdict=Verdict.UNSURE, situation="fire", confidence=0.5, scores=SCORES, model="m@0")
    finish(
        broker,
        [(execution, decision) for execution in start(broker, "w", new_ids(1), 60.0)],
        Terms(routing=routing, keep_s=3600),
    )
    yield now(broker, photograph.incident_id)


def now(broker: Broker, incident: str) -> Incident:
    """The incident as it stands in the broker."""
    found = Incident.fetch(broker, incident)
    assert found is not None
    return found


def decided(incident: Incident, **changes: Any) -> Amendment:
    """Ana decides that it is a robbery; or what the changes say."""
    fields: dict[str, Any] = {
        "incident": incident,
        "decision_id": "d" * 32,
        "verdict": Verdict.DISPATCHED,
        "situation": "robbery",
        "tell": ["police-department"],
        "departments": ["police-department"],
        "decided_by": "Ana",
    }
    return Amendment(**fields | changes)


def told(broker: Broker, department: str) -> list[Dispatch]:
    """What stands in a department's stream."""
    entries: Any = broker.xrange(dispatch_key(department))
    return [Dispatch.decode(fields[b"event"]) for _, fields in entries]


def counts(broker: Broker) -> dict[str, int]:
    """What happened so far, without what never did."""
    return {word: int(count) for word, count in words(broker.hgetall(COUNTS)).items() if int(count)}


def test_a_decision_stands_and_is_dispatched(broker: Broker, routing: Routing, unsure: Incident) -> None:
    """The record says what, who and when; its departments have an entry that says so too."""
    assert amend(broker, decided(unsure), routing, NOW) is Amended.AMENDED
    incident = now(broker, unsure.photograph.incident_id)
    fields = {word: incident.fields[word] for word in ("situation", "decided_by", "revision", "departments")}
    assert fields == {
        "situation": "robbery",
        "decided_by": "Ana",
        "revision": "2",
        "departments": "review,police-department",
    }
    assert (incident.verdict, revision_of(incident), revision_of(unsure)) == ("dispatched", 2, 1)
    assert incident.fields["amended_at"] == "2026-11-24T10:02:03.000000Z"
    (dispatch,) = told(broker, "police-department")
    assert dispatch.event_id.endswith(":police-department:2")
    assert dispatch.data["units_of_assistance"] == ["Robbery => Police Department"]
    assert (dispatch.data["confidence"], dispatch.data["scores"]) == (0.3, SCORES)
    assert (dispatch.data["decided_by"], dispatch.data["revision"]) == ("Ana", 2)


def test_the_same_decision_again_is_already_there(broker: Broker, routing: Routing, unsure: Incident) -> None:
    """A desk that died before it could note it repeats it, and nobody is told twice."""
    for expected in (Amended.AMENDED, Amended.ALREADY, Amended.ALREADY):
        standing = now(broker, unsure.photograph.incident_id)
        assert amend(broker, decided(standing), routing, NOW) is expected
    assert amend(broker, decided(unsure), routing, NOW) is Amended.ALREADY
    assert len(told(broker, "police-department")) == 1
    assert revision_of(now(broker, unsure.photograph.incident_id)) == 2


def test_a_decision_on_what_changed_since_is_stale(
    broker: Broker, routing: Routing, unsure: Incident
) -> None:
    """Of two that decide on the same state one stands; the other writes nothing."""
    assert amend(broker, decided(unsure), routing, NOW) is Amended.AMENDED
    before = broker.hgetall(incident_key(unsure.photograph.incident_id))
    late = decided(unsure, decision_id="e" * 32, situation="fire", tell=["firefighters"])
    assert amend(broker, late, routing, NOW) is Amended.STALE
    assert broker.hgetall(incident_key(unsure.photograph.incident_id)) == before
    assert told(broker, "firefighters") == []


def test_a_later_decision_may_follow(broker: Broker, routing: Routing, unsure: Incident) -> None:
    """Made on what stands, it is the next revision; who was told before is still listed."""
    amend(broker, decided(unsure), routing, NOW)
    standing = now(broker, unsure.photograph.incident_id)
    later = decided(
        standing, decision_id="e" * 32, situation="fire", tell=["firefighters", "police-department"]
    )
    assert amend(broker, later, routing, NOW) is Amended.AMENDED
    incident = now(broker, unsure.photograph.incident_id)
    assert incident.fields["departments"] == "review,police-department,firefighters"
    assert [dispatch.data["revision"] for dispatch in told(broker, "police-department")] == [2, 3]


def test_what_has_no_verdict_yet_is_not_amended(broker: Broker, routing: Routing, unsure: Incident) -> None:
    """A worker's first verdict comes first."""
    photograph = make_photograph(2)
    admit(broker, [("another", photograph)])
    waiting = now(broker, photograph.incident_id)
    assert amend(broker, decided(waiting), routing, NOW) is Amended.UNDECIDED
    assert told(broker, "police-department") == []


def test_what_is_gone_is_not_made_again(broker: Broker, routing: Routing, unsure: Incident) -> None:
    """An incident whose time is over stays away, and nobody is told of it."""
    broker.delete(incident_key(unsure.photograph.incident_id))
    assert amend(broker, decided(unsure), routing, NOW) is Amended.GONE
    assert not broker.exists(incident_key(unsure.photograph.incident_id))
    assert told(broker, "police-department") == []


def test_what_goes_out_undecided_says_so(broker: Broker, routing: Routing, unsure: Incident) -> None:
    """It is marked for people and for programs, and counts as unsure as before."""
    before = counts(broker)
    unverified = decided(
        unsure,
        verdict=Verdict.UNSURE,
        situation="fire",
        tell=["firefighters", "transit-police"],
        departments=["firefighters", "transit-police"],
        decided_by="desk",
        unverified=True,
        note="nobody decided",
    )
    assert amend(broker, unverified, routing, NOW) is Amended.AMENDED
    for department in ("firefighters", "transit-police"):
        (dispatch,) = told(broker, department)
        assert dispatch.data["unverified"] is True
        assert dispatch.data["message"] == "nobody decided"
        assert dispatch.data["units_of_assistance"] == ["UNVERIFIED Fire => Firefighters and Transit Police"]
    assert now(broker, unsure.photograph.incident_id).fields["unverified"] == "1"
    assert counts(broker) == before | {"amended": 1, "entries": before["entries"] + 2}


def test_a_decision_takes_the_mark_away(broker: Broker, routing: Routing, unsure: Incident) -> None:
    """Once somebody has decided, nothing is unverified any more."""
    amend(broker, decided(unsure, verdict=Verdict.UNSURE, unverified=True, decided_by="desk"), routing, NOW)
    standing = now(broker, unsure.photograph.incident_id)
    amend(broker, decided(standing, decision_id="e" * 32), routing, NOW)
    assert now(broker, unsure.photograph.incident_id).fields["unverified"] == ""
    assert [dispatch.data["unverified"] for dispatch in told(broker, "police-department")] == [True, False]


def test_no_emergency_is_told_to_who_went(broker: Broker, routing: Routing, unsure: Incident) -> None:
    """Those on their way read that a person saw nothing; the situation is none."""
    amend(broker, decided(unsure), routing, NOW)
    standing = now(broker, unsure.photograph.incident_id)
    nothing = decided(
        standing, decision_id="e" * 32, verdict=Verdict.NO_EMERGENCY, situation=None, departments=[]
    )
    assert amend(broker, nothing, routing, NOW) is Amended.AMENDED
    data = told(broker, "police-department")[-1].data
    assert (data["situation"], data["units_of_assistance"]) == (None, ["No emergency"])
    assert now(broker, unsure.photograph.incident_id).fields["situation"] == ""


def test_verdicts_are_counted_as_they_stand(broker: Broker, routing: Routing, unsure: Incident) -> None:
    """What was unsure and is dispatched counts once, and a repeat changes no count."""
    assert counts(broker)["unsure"] == 1
    amend(broker, decided(unsure), routing, NOW)
    after = counts(broker)
    assert (after["dispatched"], after["amended"]) == (1, 1)
    assert "unsure" not in after
    amend(broker, decided(unsure), routing, NOW)
    assert counts(broker) == after


def test_the_desk_hears_of_each_change_once(broker: Broker, routing: Routing, unsure: Incident) -> None:
    """Verdict and amendment each wake it; a repeat, and a resend of what waits, add what they must."""
    ids = [fields[b"id"].decode() for _, fields in changed(broker)]
    assert ids == [unsure.photograph.incident_id]
    for _ in range(2):
        amend(broker, decided(unsure), routing, NOW)
    assert len(changed(broker)) == 2
    admit(broker, [("again", unsure.photograph)])
    admit(broker, [("again", unsure.photograph)])
    assert len(changed(broker)) == 3


def changed(broker: Broker) -> list[tuple[bytes, dict[bytes, bytes]]]:
    """Wake-ups so far."""
    entries: Any = broker.xrange(CHANGED)
    return list(entries)


def test_a_stream_of_another_kind_keeps_no_decision_from_the_others(
    broker: Broker, routing: Routing, unsure: Incident
) -> None:
    """Everybody else is told, and the log names the key, the incident and what to do."""
    broker.set(dispatch_key("ambulance"), "something else")
    before = counts(broker)["entries"]
    amendment = replace(decided(unsure), tell=["ambulance", "police-department"])
    with structlog.testing.capture_logs() as logs:
        assert amend(broker, amendment, routing, NOW) is Amended.AMENDED
    assert len(told(broker, "police-department")) == 1
    assert broker.get(dispatch_key("ambulance")) == b"something else"
    assert counts(broker)["entries"] == before + 1
    assert revision_of(now(broker, unsure.photograph.incident_id)) == 2
    (line,) = [each for each in logs if each["log_level"] == "error" and "keys" in each]
    assert (line["keys"], line["incident"]) == (["dispatch:ambulance"], unsure.photograph.incident_id)
    assert line["remedy"]


def test_decisions_are_remembered_whatever_followed(
    broker: Broker, routing: Routing, unsure: Incident
) -> None:
    """Two that a desk could not note are repeated in turn: nobody is told again, and the last one stands."""
    incident = unsure.photograph.incident_id
    one = decided(unsure)
    amend(broker, one, routing, NOW)
    other = decided(now(broker, incident), decision_id="e" * 32, situation="fire")
    amend(broker, other, routing, NOW)
    before = broker.hgetall(incident_key(incident))
    for _ in range(3):
        for each in (one, other):
            standing = now(broker, incident)
            assert was_made(broker, standing, each.decision_id)
            assert amend(broker, replace(each, incident=standing), routing, NOW) is Amended.ALREADY
    assert broker.hgetall(incident_key(incident)) == before
    assert not was_made(broker, now(broker, incident), "f" * 32)
    assert [dispatch.data["revision"] for dispatch in told(broker, "police-department")] == [2, 3]


def test_decisions_are_forgotten_with_their_incident(
    broker: Broker, routing: Routing, unsure: Incident
) -> None:
    """What is remembered of them lives as long as the incident, and no longer."""
    incident = unsure.photograph.incident_id
    amend(broker, decided(unsure), routing, NOW)
    with broker.pipeline(transaction=True) as at_once:
        at_once.pttl(decisions_key(incident))
        at_once.pttl(incident_key(incident))
        left_ms, whole_ms = at_once.execute()
    assert 0 < left_ms <= whole_ms + 1000


def test_a_decision_of_an_earlier_version_is_remembered_too(
    broker: Broker, routing: Routing, unsure: Incident
) -> None:
    """One that stands in the incident alone, as before an upgrade, is not sent again after another one."""
    incident = unsure.photograph.incident_id
    amend(broker, decided(unsure), routing, NOW)
    broker.set(decisions_key(incident), "something else")
    assert not was_made(broker, now(broker, incident), "e" * 32)
    amend(broker, decided(now(broker, incident), decision_id="e" * 32), routing, NOW)
    assert amend(broker, decided(now(broker, incident)), routing, NOW) is Amended.ALREADY


def test_a_key_that_is_no_incident_is_gone(broker: Broker, routing: Routing, unsure: Incident) -> None:
    """What somebody else put there is left alone, and no decision is made on it."""
    incident = unsure.photograph.incident_id
    broker.delete(incident_key(incident))
    broker.set(incident_key(incident), "something else")
    assert amend(broker, decided(unsure), routing, NOW) is Amended.GONE
    with pytest.raises(RecordError, match="something else"):
        Incident.fetch(broker, incident)
