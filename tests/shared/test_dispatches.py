import json
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from conftest import make_incident

from shared.dispatches import (
    Decision,
    Dispatch,
    DispatchError,
    Telling,
    decision_fields,
    decision_of,
    entries,
    entries_to,
)
from shared.routing import Routing
from shared.settings import Settings
from shared.verdict import Verdict

DECIDED_AT = datetime(2026, 11, 24, 10, 2, 3, tzinfo=UTC)
# DESIGN section 4.
PROMISED = [
    *("schema_version", "incident_id", "number", "verdict", "situation", "confidence", "scores"),
    *("latitude_deg", "longitude_deg", "label", "departments", "received_at", "dispatched_at"),
    *("image", "model"),
]


@pytest.fixture(scope="module")
def routing() -> Routing:
    return Routing.load(Settings().routing)


def decision(verdict: Verdict, situation: str | None = "accident", **changes: Any) -> Decision:
    """A decision with scores to match."""
    scores = {"accident": 0.81234, "normal": 0.18766}
    fields: dict[str, Any] = {"confidence": 0.81234, "scores": scores, "model": "m@0 torch-cpu"}
    return Decision(verdict=verdict, situation=situation, **fields | changes)


@pytest.fixture
def sent(routing: Routing) -> dict[str, Any]:
    """The record that a towing unit gets of an accident."""
    told = entries(make_incident(1, number="0042"), decision(Verdict.DISPATCHED), routing, DECIDED_AT)
    record: dict[str, Any] = json.loads(dict(told)["towing-unit"])
    return record


def test_an_entry_is_a_cloud_event(sent: dict[str, Any]) -> None:
    """The envelope has what CloudEvents 1.0 requires."""
    assert (sent["specversion"], sent["type"]) == ("1.0", "almenara.dispatch.v1")
    assert all(isinstance(sent[word], str) and sent[word] for word in ("id", "source"))
    assert datetime.fromisoformat(sent["time"]) == DECIDED_AT
    assert sent["datacontenttype"] == "application/json"


def test_an_entry_holds_what_is_promised(sent: dict[str, Any]) -> None:
    """Its data has every field of DESIGN section 4, with a schema version."""
    assert [word for word in PROMISED if word not in sent["data"]] == []
    assert sent["data"]["schema_version"] == 1


def test_an_entry_says_what_and_where(sent: dict[str, Any]) -> None:
    """Number, place, situation, departments and model are those of the incident and the decision."""
    data = sent["data"]
    assert (data["number"], data["verdict"], data["situation"]) == ("0042", "dispatched", "accident")
    assert (data["latitude_deg"], data["longitude_deg"]) == (33.8568, 151.2153)
    assert (data["confidence"], data["scores"]["normal"]) == (0.8123, 0.1877)
    assert data["departments"] == ["towing-unit", "ambulance", "transit-police"]
    assert data["units_of_assistance"] == ["Accident => Towing Unit, Ambulance and Transit Police"]
    assert data["dispatched_at"] == "2026-11-24T10:02:03.000000Z"


def test_each_department_is_told_once(routing: Routing) -> None:
    """One entry a department, in the order of the routing file, with the same data and ids of their own."""
    told = entries(make_incident(1), decision(Verdict.DISPATCHED), routing, DECIDED_AT)
    records = [json.loads(event) for _, event in told]
    assert [department for department, _ in told] == ["towing-unit", "ambulance", "transit-police"]
    assert [record["department"] for record in records] == [department for department, _ in told]
    assert len({json.dumps(record["data"]) for record in records}) == 1
    assert len({record["id"] for record in records}) == 3


def test_a_second_delivery_is_recognised(routing: Routing) -> None:
    """The same dispatch made again later has the same id."""
    once, again = (
        entries(make_incident(1), decision(Verdict.DISPATCHED), routing, moment)
        for moment in (DECIDED_AT, DECIDED_AT + timedelta(hours=1))
    )
    assert [json.loads(event)["id"] for _, event in once] == [json.loads(event)["id"] for _, event in again]


@pytest.mark.parametrize(
    ("verdict", "situation", "addressees"),
    [
        (Verdict.DISPATCHED, "robbery", ("police-department",)),
        (Verdict.DISPATCHED, None, ("review",)),
        (Verdict.UNSURE, "robbery", ("review",)),
        (Verdict.UNSURE, None, ("review",)),
        (Verdict.NO_EMERGENCY, None, ()),
    ],
)
def test_who_is_told(
    routing: Routing, verdict: Verdict, situation: str | None, addressees: tuple[str, ...]
) -> None:
    """Sure: its departments. Unsure, or sure of nothing known: review. No emergency: nobody."""
    made = decision(verdict, situation)
    assert made.addressees(routing) == addressees
    told = entries(make_incident(1), made, routing, DECIDED_AT)
    assert tuple(department for department, _ in told) == addressees


def test_review_calls_nobody(routing: Routing) -> None:
    """What a person must decide names no department and no unit yet, and says why."""
    made = decision(Verdict.UNSURE, reason="truncated", detail="the JPEG ends early")
    ((department, event),) = entries(make_incident(1), made, routing, DECIDED_AT)
    data = json.loads(event)["data"]
    assert department == "review"
    assert (data["departments"], data["units_of_assistance"]) == ([], [])
    assert (data["reason"], data["detail"]) == ("truncated", "the JPEG ends early")


def amended(routing: Routing, telling: Telling, *addressees: str, **changes: Any) -> list[dict[str, Any]]:
    """Records of a later decision."""
    made = decision(Verdict.DISPATCHED, **changes)
    told = entries_to(addressees, make_incident(1), made, routing, DECIDED_AT, telling=telling)
    assert [department for department, _ in told] == list(addressees)
    return [json.loads(event) for _, event in told]


def test_a_first_dispatch_is_the_models_own(sent: dict[str, Any]) -> None:
    """It is the worker's, of revision 1, and nobody's decision."""
    assert (sent["source"], sent["id"].rpartition(":")[2]) == ("/almenara/worker", "1")
    data = sent["data"]
    assert (data["revision"], data["decided_by"], data["unverified"], data["message"]) == (1, "", False, "")


def test_a_later_decision_says_whose_it_is(routing: Routing) -> None:
    """It is the desk's, with an id of its own, who must go, and what a person adds."""
    telling = Telling(departments=("ambulance",), revision=2, decided_by="Ana", message="two hurt")
    (record,) = amended(routing, telling, "ambulance")
    assert record["source"] == "/almenara/desk"
    assert record["id"].endswith(":ambulance:2")
    data = record["data"]
    assert (data["departments"], data["decided_by"]) == (["ambulance"], "Ana")
    assert (data["message"], data["units_of_assistance"]) == ("two hurt", ["Accident => Ambulance"])
    assert Dispatch.decode(json.dumps(record)).data == data


def test_what_nobody_decided_is_marked(routing: Routing) -> None:
    """People read UNVERIFIED before what it may be."""
    telling = Telling(departments=("ambulance",), revision=2, decided_by="desk", unverified=True)
    (record,) = amended(routing, telling, "ambulance")
    assert record["data"]["unverified"] is True
    assert record["data"]["units_of_assistance"] == ["UNVERIFIED Accident => Ambulance"]


def test_what_shows_nobody_knows_what_names_who_goes(routing: Routing) -> None:
    """A picture that the model had no guess for goes out all the same, and says to whom."""
    made = decision(Verdict.UNSURE, None)
    telling = Telling(departments=("police-department",), revision=2, decided_by="desk", unverified=True)
    told = entries_to(["police-department"], make_incident(1), made, routing, DECIDED_AT, telling=telling)
    units = json.loads(told[0][1])["data"]["units_of_assistance"]
    assert units == ["UNVERIFIED Unknown => Police Department"]


def test_no_emergency_is_said_where_a_person_saw_none(routing: Routing) -> None:
    """Whoever was called reads it; the model alone tells nobody."""
    made = decision(Verdict.NO_EMERGENCY, None)
    for by, units in (("Ana", ["No emergency"]), ("", [])):
        telling = Telling(departments=(), revision=2, decided_by=by)
        told = entries_to(["ambulance"], make_incident(1), made, routing, DECIDED_AT, telling=telling)
        assert json.loads(told[0][1])["data"]["units_of_assistance"] == units


def test_a_situation_that_left_the_routing_file_can_be_told(routing: Routing) -> None:
    """A decision of last week is shown by its words."""
    telling = Telling(departments=("ambulance",), revision=2, decided_by="Ana")
    (record,) = amended(routing, telling, "ambulance", situation="volcano")
    assert record["data"]["units_of_assistance"] == ["Volcano => Ambulance"]


def test_the_decision_of_a_record_is_made_again() -> None:
    """With another situation it has that one's score; damaged scores are none."""
    made = decision(Verdict.DISPATCHED, "accident")
    incident = make_incident(1)
    kept = replace(incident, fields={**incident.fields, **decision_fields(made, (), DECIDED_AT)})
    again = decision_of(kept, Verdict.UNSURE, "accident")
    assert (again.confidence, again.model, again.verdict) == (0.8123, "m@0 torch-cpu", Verdict.UNSURE)
    assert decision_of(kept, Verdict.DISPATCHED, "normal").confidence == 0.1877
    assert decision_of(kept, Verdict.DISPATCHED, "fire").confidence == 0.8123
    for text in ("[]", "{", '{"fire": "hot"}', ""):
        damaged = replace(kept, fields={**kept.fields, "scores": text})
        assert decision_of(damaged, Verdict.DISPATCHED, "fire").scores == {}


def test_an_entry_is_read_back(sent: dict[str, Any]) -> None:
    """Text or bytes, a console sees what was sent."""
    dispatch = Dispatch.decode(json.dumps(sent))
    assert dispatch == Dispatch.decode(json.dumps(sent).encode())
    assert (dispatch.event_id, dispatch.department) == (sent["id"], "towing-unit")
    assert dispatch.data == sent["data"]


REFUSED = {
    "nothing": b"",
    "no JSON": b"{",
    "no UTF-8": b"\xff",
    "a list": b"[]",
    "a word": b'"dispatch"',
    "a deep nest": b"[" * 100_000,
}


@pytest.mark.parametrize("event", REFUSED.values(), ids=REFUSED.keys())
def test_what_is_no_record_is_refused(event: bytes) -> None:
    """Whatever bytes stand in a stream, reading them ends in a dispatch or in this one error."""
    with pytest.raises(DispatchError):
        Dispatch.decode(event)


@pytest.mark.parametrize(
    "changes",
    [{"specversion": "2.0"}, {"type": "almenara.move.v1"}, {"data": None}, {"data": "text"}, {"data": []}],
)
def test_another_event_is_refused(sent: dict[str, Any], changes: dict[str, Any]) -> None:
    """Only a CloudEvent of our type with an object as its data is a dispatch."""
    with pytest.raises(DispatchError):
        Dispatch.decode(json.dumps(sent | changes))


def test_a_newer_schema_is_refused(sent: dict[str, Any]) -> None:
    """A console that is too old says so instead of guessing."""
    with pytest.raises(DispatchError, match="Upgrade the console"):
        Dispatch.decode(json.dumps(sent | {"data": sent["data"] | {"schema_version": 2}}))


@pytest.mark.parametrize("word", PROMISED)
def test_a_record_that_lacks_a_field_is_refused(sent: dict[str, Any], word: str) -> None:
    """What a console shows is there once a record is accepted, so that showing it can't fail."""
    del sent["data"][word]
    with pytest.raises(DispatchError, match=word):
        Dispatch.decode(json.dumps(sent))


@pytest.mark.parametrize(
    "changes",
    [
        {"latitude_deg": "north"},
        {"longitude_deg": 181},
        {"confidence": "high"},
        {"scores": [0.5]},
        {"scores": {"fire": "hot"}},
        {"confidence": 10**400},
        {"units_of_assistance": None},
        {"dispatched_at": "noon"},
        {"departments": None},
        {"departments": "ambulance"},
    ],
)
def test_a_record_that_makes_no_sense_is_refused(sent: dict[str, Any], changes: dict[str, Any]) -> None:
    """A place off the globe, or a time that is none, would fail whoever shows it."""
    with pytest.raises(DispatchError):
        Dispatch.decode(json.dumps(sent | {"data": sent["data"] | changes}))


def test_the_incident_keeps_its_decision(routing: Routing) -> None:
    """The incident's record has the verdict, all scores, who was told and when."""
    made = decision(Verdict.DISPATCHED)
    fields = decision_fields(made, made.addressees(routing), DECIDED_AT)
    assert (fields["verdict"], fields["situation"]) == ("dispatched", "accident")
    assert fields["departments"] == "towing-unit,ambulance,transit-police"
    assert json.loads(fields["scores"]) == {"accident": 0.8123, "normal": 0.1877}
    assert fields["decided_at"] == "2026-11-24T10:02:03.000000Z"
