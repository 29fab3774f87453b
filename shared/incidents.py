"""An incident: one photograph at one place, and what became of it."""

import hashlib
import json
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from enum import StrEnum
from typing import Any

from redis.exceptions import ResponseError

from shared.broker import Broker, words
from shared.coordinates import Coordinates
from shared.errors import PermanentError
from shared.keys import INCIDENTS, incident_key

_IDS_PAGE = 20_000


class RecordError(PermanentError):
    """Raised when a record read back is not what was written."""

    default_reason = "bad_record"


class IncidentState(StrEnum):
    """Where an incident is on its way to a verdict. shared/scripts/prelude.lua holds the table of moves."""

    QUEUED = "queued"
    """Stored, and waiting for a worker."""
    IN_FLIGHT = "in_flight"
    """A worker holds it."""
    DECIDED = "decided"
    """It has its verdict, and its dispatches are in their streams."""


def incident_id(image_sha256: str, coordinates: Coordinates) -> str:
    """A stable digest of image bytes and place: 32 hexadecimal digits, also the id of the RQ job.

    Args:
        image_sha256: hexadecimal SHA-256 of the image file.
        coordinates: taken at seven decimals, about a centimetre.
    """
    place = f"{coordinates.latitude_deg:.7f},{coordinates.longitude_deg:.7f}".replace(
        "-0.0000000", "0.0000000"
    )
    return hashlib.sha256(f"{image_sha256}:{place}".encode()).hexdigest()[:32]


def utc_now() -> datetime:
    """Now, aware, in UTC."""
    return datetime.now(UTC)


def iso(moment: datetime) -> str:
    """RFC 3339 in UTC with microseconds, as in every record of ours: ``2026-11-24T10:02:03.000000Z``."""
    return moment.astimezone(UTC).strftime("%Y-%m-%dT%H:%M:%S.%fZ")


@dataclass(frozen=True, kw_only=True, slots=True)
class Photograph:
    """What the ingester knows of a picture; the sidecar in the image store holds just this.

    Attributes:
        incident_id: see `incident_id`.
        image: where the picture is in the image store.
        coordinates: where it was taken.
        label: free text from the file name, at most 64 characters.
        received_at: when the ingester took it in, RFC 3339 UTC.
        name: the file's name as it came.
        place_from: ``name`` or ``exif``.
        note: what a person should know about the place, or an empty string.
        taken_at: the camera's own time as it stands in EXIF, or an empty string.
    """

    incident_id: str
    image: str
    coordinates: Coordinates
    label: str
    received_at: str
    name: str
    place_from: str
    note: str = ""
    taken_at: str = ""

    def to_fields(self) -> dict[str, str]:
        """Flat text fields, for the incident's hash and the sidecar."""
        return {
            "id": self.incident_id,
            "image": self.image,
            "latitude_deg": repr(self.coordinates.latitude_deg),
            "longitude_deg": repr(self.coordinates.longitude_deg),
            "label": self.label,
            "received_at": self.received_at,
            "name": self.name,
            "place_from": self.place_from,
            "note": self.note,
            "taken_at": self.taken_at,
        }

    @classmethod
    def from_fields(cls, fields: Mapping[str, str]) -> "Photograph":
        """The inverse of `to_fields`.

        Raises:
            RecordError: a field is missing or wrong.
        """
        try:
            if not all(isinstance(value, str) for value in fields.values()):
                raise TypeError("a field is no text")  # a sidecar is JSON, and anybody's to write
            return cls(
                incident_id=fields["id"],
                image=fields["image"],
                coordinates=Coordinates(
                    latitude_deg=float(fields["latitude_deg"]), longitude_deg=float(fields["longitude_deg"])
                ),
                label=fields["label"],
                received_at=fields["received_at"],
                name=fields["name"],
                place_from=fields["place_from"],
                note=fields.get("note", ""),
                taken_at=fields.get("taken_at", ""),
            )
        except (AttributeError, KeyError, ValueError, TypeError, PermanentError) as error:
            raise RecordError(f"the record of a photograph is damaged: {error!r}") from error


@dataclass(frozen=True, kw_only=True, slots=True)
class Incident:
    """The incident record as it stands in the broker.

    Attributes:
        number: the human one, such as ``"0001"``; given in order of arrival, never reused.
        seen_count: how many times this photograph came, the first included.
        verdict: ``dispatched``, ``unsure``, ``no_emergency``, or empty while undecided.
        fields: everything in the record, as text.
    """

    photograph: Photograph
    number: str
    state: IncidentState
    seen_count: int
    last_seen_at: str
    verdict: str
    fields: Mapping[str, str]

    @classmethod
    def from_fields(cls, fields: Mapping[str, str]) -> "Incident":
        """From the broker's hash.

        Raises:
            RecordError: a field is missing or wrong.
        """
        try:
            return cls(
                photograph=Photograph.from_fields(fields),
                number=fields["number"],
                state=IncidentState(fields["state"]),
                seen_count=int(fields["seen_count"]),
                last_seen_at=fields["last_seen_at"],
                verdict=fields.get("verdict", ""),
                fields=fields,
            )
        except (KeyError, ValueError) as error:
            raise RecordError(
                f"the record of incident {fields.get('id', '?')} is damaged: {error!r}"
            ) from error

    @classmethod
    def fetch(cls, broker: Broker, incident: str) -> "Incident | None":
        """The incident with this id, or None where there is none.

        Raises:
            RecordError: its record is damaged, or its key holds something else.
            RedisError: the broker is away.
        """
        try:
            fields = words(broker.hgetall(incident_key(incident)))
        except ResponseError as error:
            if not str(error).startswith("WRONGTYPE"):
                raise
            raise RecordError(f"the key of incident {incident} holds something else") from error
        return cls.from_fields(fields) if fields else None


def all_ids(broker: Broker) -> list[str]:
    """Ids of every incident in the broker, oldest first."""
    found: dict[bytes, None] = {}
    # In pages, since a broker cuts who asks for everything at once; from the newest on, since the oldest go
    # meanwhile.
    last = -1
    while page := _page_of_ids(broker, last):
        found |= dict.fromkeys(reversed(page))
        last -= len(page)
    return [incident.decode() for incident in reversed(found)]


def _page_of_ids(broker: Broker, last: int) -> list[bytes]:
    page: Any = broker.zrange(INCIDENTS, last - _IDS_PAGE + 1, last)
    return list(page)


def encoded(record: Mapping[str, Any]) -> str:
    """Compact JSON, the same for the same record."""
    return json.dumps(record, separators=(",", ":"), sort_keys=True, allow_nan=False)
