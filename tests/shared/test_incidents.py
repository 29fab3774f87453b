import hashlib
import json
from datetime import UTC, datetime, timedelta, timezone
from typing import Any

import pytest
from conftest import make_incident, make_photograph
from hypothesis import given
from hypothesis import strategies as st

from shared.broker import Broker
from shared.coordinates import Coordinates
from shared.incidents import (
    Incident,
    IncidentState,
    Photograph,
    RecordError,
    all_ids,
    encoded,
    incident_id,
    iso,
)
from shared.keys import INCIDENTS, incident_key

places = st.builds(
    Coordinates,
    latitude_deg=st.floats(-90, 90, allow_nan=False),
    longitude_deg=st.floats(-180, 180, allow_nan=False),
)
# Any text that UTF-8 can hold: labels and names are cleaned of surrogates before they come here.
texts = st.text(st.characters(exclude_categories=["Cs"]), max_size=80)
photographs = st.builds(
    Photograph,
    incident_id=st.text("0123456789abcdef", min_size=32, max_size=32),
    image=texts,
    coordinates=places,
    label=texts,
    received_at=st.datetimes(timezones=st.just(UTC)).map(iso),
    name=texts,
    place_from=st.sampled_from(["name", "exif"]),
    note=texts,
    taken_at=texts,
)
digests = st.binary(max_size=20).map(lambda data: hashlib.sha256(data).hexdigest())


@given(photographs)
def test_a_photograph_survives_its_fields(photograph: Photograph) -> None:
    """What is written to a sidecar or to the broker is read back as it was, to the last bit of the place."""
    assert Photograph.from_fields(json.loads(encoded(photograph.to_fields()))) == photograph


def test_an_incident_survives_the_broker(broker: Broker) -> None:
    """A record read back from the broker is the one that was written."""
    incident = make_incident(1, label="Straße 7", number="0042")
    broker.hset(incident_key(incident.photograph.incident_id), mapping=dict[Any, Any](incident.fields))
    found = Incident.fetch(broker, incident.photograph.incident_id)
    assert found == incident
    assert (incident.number, incident.state) == ("0042", IncidentState.IN_FLIGHT)


def test_an_unknown_incident_is_none(broker: Broker) -> None:
    """Asking for what is not there is answered, not a fault."""
    assert Incident.fetch(broker, "0" * 32) is None


@given(digests, places, texts)
def test_the_id_depends_on_bytes_and_place(sha256: str, place: Coordinates, other: str) -> None:
    """The same picture of the same place has the same id; other bytes have another, always 32 digits."""
    same = Coordinates(latitude_deg=place.latitude_deg, longitude_deg=place.longitude_deg)
    assert incident_id(sha256, place) == incident_id(sha256, same)
    assert incident_id(hashlib.sha256(other.encode()).hexdigest() + sha256, place) != incident_id(
        sha256, place
    )
    assert len(bytes.fromhex(incident_id(sha256, place))) == 16


@given(digests, places, places)
def test_two_places_are_two_incidents(sha256: str, one: Coordinates, other: Coordinates) -> None:
    """The same picture at two places is two incidents, from about a centimetre on."""
    apart_deg = max(abs(one.latitude_deg - other.latitude_deg), abs(one.longitude_deg - other.longitude_deg))
    if apart_deg > 2e-7:
        assert incident_id(sha256, one) != incident_id(sha256, other)


@pytest.mark.parametrize("zero_deg", [-0.0, -1e-9, 1e-9])
def test_minus_zero_is_zero(zero_deg: float) -> None:
    """On the equator and at Greenwich the sign of nothing makes no second incident."""
    plain, other = (
        incident_id("a", Coordinates(latitude_deg=degrees, longitude_deg=degrees))
        for degrees in (0.0, zero_deg)
    )
    assert plain == other


@pytest.mark.parametrize("field", ["id", "image", "latitude_deg", "label", "received_at", "name"])
def test_a_record_with_a_field_missing_is_damaged(field: str) -> None:
    """A half-written record is refused as a whole."""
    fields = make_photograph(1).to_fields()
    del fields[field]
    with pytest.raises(RecordError, match=field):
        Photograph.from_fields(fields)


@pytest.mark.parametrize(
    "fields", [{"latitude_deg": "north"}, {"longitude_deg": "181"}, {"latitude_deg": "nan"}]
)
def test_a_record_without_a_place_is_damaged(fields: dict[str, str]) -> None:
    """Coordinates are checked again when they are read back."""
    with pytest.raises(RecordError):
        Photograph.from_fields(make_photograph(1).to_fields() | fields)


@pytest.mark.parametrize("fields", [{"state": "lost"}, {"seen_count": "often"}])
def test_an_incident_of_unknown_state_is_damaged(fields: dict[str, str]) -> None:
    """A record that this version does not understand is refused and named by its id."""
    incident = make_incident(1)
    with pytest.raises(RecordError, match=incident.photograph.incident_id):
        Incident.from_fields({**incident.fields, **fields})


def test_an_older_record_may_lack_notes() -> None:
    """What was added later is optional when read."""
    fields = make_photograph(1).to_fields()
    del fields["note"], fields["taken_at"]
    assert Photograph.from_fields(fields) == make_photograph(1, received_at=fields["received_at"])


def test_ids_come_oldest_first(broker: Broker) -> None:
    """Whoever goes through every incident goes by time of arrival."""
    broker.zadd(INCIDENTS, {"second": 2.0, "first": 1.0, "third": 3.0})
    assert all_ids(broker) == ["first", "second", "third"]


@given(st.integers(0, 4 * 10**15), st.integers(-14, 14))
def test_times_are_written_in_utc(since_us: int, zone_h: int) -> None:
    """A time of any zone is the same instant in UTC, and texts sort as the instants do."""
    moment = datetime(1970, 1, 1, tzinfo=UTC) + timedelta(microseconds=since_us)
    zoned = moment.astimezone(timezone(timedelta(hours=zone_h)))
    assert iso(zoned) == iso(moment)
    assert datetime.fromisoformat(iso(zoned)) == moment
    assert iso(zoned) < iso(moment + timedelta(microseconds=1))


def test_encoding_is_stable() -> None:
    """The same record gives the same text whatever the order, and nothing that JSON does not know."""
    assert encoded({"b": 1, "a": "é"}) == encoded({"a": "é", "b": 1})
    with pytest.raises(ValueError, match="JSON"):
        encoded({"score": float("nan")})
