import json
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from conftest import make_incident

from shared.dispatches import Decision, Dispatch, DispatchError, decision_fields, entries
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
