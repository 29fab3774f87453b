"""Dispatches: what departments are told, as CloudEvents 1.0 JSON in one stream a department."""

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from shared.coordinates import Coordinates, CoordinatesError
from shared.errors import PermanentError
from shared.incidents import Incident, encoded, iso
from shared.routing import REVIEW, Routing
from shared.verdict import Verdict

SCHEMA_VERSION = 1
EVENT_TYPE = "almenara.dispatch.v1"
SOURCE = "/almenara/worker"
_PROMISED = (
    "incident_id",
    "number",
    "verdict",
    "situation",
    "confidence",
    "scores",
    "latitude_deg",
    "longitude_deg",
    "label",
    "departments",
    "received_at",
    "dispatched_at",
    "image",
    "model",
)


class DispatchError(PermanentError):
    """Raised when a stream entry is not a dispatch that this version understands."""

    default_reason = "bad_dispatch"


@dataclass(frozen=True, kw_only=True, slots=True)
class Decision:
    """What a worker decided about one incident.

    Attributes:
        verdict: what happens next.
        situation: the most likely situation, or None where nothing was recognised.
        confidence: its calibrated probability, in [0, 1].
        scores: calibrated probability of every class of the checkpoint; empty where no model saw it.
        model: checkpoint and engine.
        reason: why a person must look, a stable word, or an empty string.
        detail: the same in words.
    """

    verdict: Verdict
    situation: str | None
    confidence: float
    scores: Mapping[str, float]
    model: str
    reason: str = ""
    detail: str = ""

    def addressees(self, routing: Routing) -> tuple[str, ...]:
        """Departments, or review, that this decision goes to; nobody where there is no emergency."""
        if self.verdict is Verdict.NO_EMERGENCY:
            return ()
        if self.verdict is Verdict.DISPATCHED and self.situation is not None:
            return routing.streams(self.situation)
        return (REVIEW,)


@dataclass(frozen=True, kw_only=True, slots=True)
class Dispatch:
    """One stream entry, read back. `data` has at least what DESIGN section 4 lists."""

    event_id: str
    department: str
    data: Mapping[str, Any]

    @classmethod
    def decode(cls, event: str | bytes) -> "Dispatch":
        """From the entry's field ``event``.

        Raises:
            DispatchError: it is no JSON, no CloudEvent of ours, of a newer schema, or can't be shown.
        """
        try:
            record = json.loads(event)
            data = record["data"]
            if record["specversion"] != "1.0" or record["type"] != EVENT_TYPE:
                raise DispatchError(f"entry of type {record['type']!r} is not a dispatch")
            if data["schema_version"] != SCHEMA_VERSION:
                raise DispatchError(
                    f"schema version {data['schema_version']} is not the {SCHEMA_VERSION} known here",
                    remedy="upgrade the console",
                )
            _check(data)
            return cls(event_id=record["id"], department=record["department"], data=data)
        except (
            AttributeError,
            ValueError,
            LookupError,
            TypeError,
            OverflowError,
            RecursionError,
            CoordinatesError,
        ) as error:
            raise DispatchError(f"an entry of the stream is not a dispatch: {error!r}") from error


def _check(data: Mapping[str, Any]) -> None:
    """Raise unless everything is there, and is of the kind that those who show it rely on."""
    if lacking := [word for word in _PROMISED if word not in data]:
        raise DispatchError(f"a dispatch lacks {', '.join(lacking)}")
    Coordinates(latitude_deg=float(data["latitude_deg"]), longitude_deg=float(data["longitude_deg"]))
    datetime.fromisoformat(data["dispatched_at"])
    for number in (data["confidence"], *data["scores"].values()):
        float(number)
    if not isinstance(data.get("units_of_assistance", []), list):
        raise TypeError("units of assistance are no list")


def entries(
    incident: Incident, decision: Decision, routing: Routing, decided_at: datetime
) -> list[tuple[str, str]]:
    """(department, CloudEvents JSON) for each department that a decision goes to."""
    addressees = decision.addressees(routing)
    data = _data(incident, decision, addressees, routing, iso(decided_at))
    return [
        (
            department,
            encoded(
                {
                    "specversion": "1.0",
                    # The same for the same dispatch, so that a second delivery is recognised as one.
                    "id": f"{incident.photograph.incident_id}:{department}:1",
                    "source": SOURCE,
                    "type": EVENT_TYPE,
                    "subject": incident.photograph.incident_id,
                    "time": iso(decided_at),
                    "datacontenttype": "application/json",
                    "department": department,
                    "data": data,
                }
            ),
        )
        for department in addressees
    ]


def _data(
    incident: Incident, decision: Decision, addressees: Sequence[str], routing: Routing, dispatched_at: str
) -> dict[str, Any]:
    photograph = incident.photograph
    dispatched = decision.verdict is Verdict.DISPATCHED and decision.situation is not None
    return {
        "schema_version": SCHEMA_VERSION,
        "incident_id": photograph.incident_id,
        "number": incident.number,
        "verdict": decision.verdict.value,
        "situation": decision.situation,
        "confidence": round(decision.confidence, 4),
        "scores": {word: round(score, 4) for word, score in decision.scores.items()},
        "latitude_deg": photograph.coordinates.latitude_deg,
        "longitude_deg": photograph.coordinates.longitude_deg,
        "label": photograph.label,
        "departments": [] if addressees == (REVIEW,) else list(addressees),
        # In words, so that a console needs no routing file of its own.
        "units_of_assistance": [routing.units(decision.situation)]
        if dispatched and decision.situation
        else [],
        "received_at": photograph.received_at,
        "dispatched_at": dispatched_at,
        "image": photograph.image,
        "model": decision.model,
        "reason": decision.reason,
        "detail": decision.detail,
        "note": photograph.note,
    }


def decision_fields(decision: Decision, addressees: Sequence[str], decided_at: datetime) -> dict[str, str]:
    """What the incident's hash keeps of a decision."""
    return {
        "verdict": decision.verdict.value,
        "situation": decision.situation or "",
        "confidence": f"{decision.confidence:.4f}",
        "scores": encoded({word: round(score, 4) for word, score in decision.scores.items()}),
        "departments": ",".join(addressees),
        "model": decision.model,
        "reason": decision.reason,
        "detail": decision.detail,
        "decided_at": iso(decided_at),
    }
