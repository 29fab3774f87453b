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
DESK_SOURCE = "/almenara/desk"
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
    if not isinstance(data["departments"], list):
        raise TypeError("departments are no list")


@dataclass(frozen=True, kw_only=True, slots=True)
class Telling:
    """What a dispatch says beside the decision itself.

    Attributes:
        departments: departments that must go.
        revision: 1 for the worker's own decision, one more for each amendment.
        decided_by: name of the user, ``desk``, or an empty string for the model.
        unverified: nobody decided in time, and it goes to whom it most likely concerns.
        message: what a person adds.
    """

    departments: tuple[str, ...]
    revision: int = 1
    decided_by: str = ""
    unverified: bool = False
    message: str = ""


def entries(
    incident: Incident, decision: Decision, routing: Routing, decided_at: datetime
) -> list[tuple[str, str]]:
    """(department, CloudEvents JSON) for each department that a worker's decision goes to."""
    addressees = decision.addressees(routing)
    telling = Telling(departments=() if addressees == (REVIEW,) else addressees)
    return entries_to(addressees, incident, decision, routing, decided_at, telling=telling)


def entries_to(
    addressees: Sequence[str],
    incident: Incident,
    decision: Decision,
    routing: Routing,
    decided_at: datetime,
    *,
    telling: Telling,
) -> list[tuple[str, str]]:
    """(department, CloudEvents JSON) for each of the addressees."""
    data = _data(incident, decision, routing, iso(decided_at), telling)
    return [
        (
            department,
            encoded(
                {
                    "specversion": "1.0",
                    # The same for the same dispatch, so that a second delivery is recognised as one.
                    "id": f"{incident.photograph.incident_id}:{department}:{telling.revision}",
                    "source": SOURCE if telling.revision == 1 else DESK_SOURCE,
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
    incident: Incident, decision: Decision, routing: Routing, dispatched_at: str, telling: Telling
) -> dict[str, Any]:
    photograph = incident.photograph
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
        "departments": list(telling.departments),
        # In words, so that a console needs no routing file of its own.
        "units_of_assistance": _units(decision, routing, telling),
        "received_at": photograph.received_at,
        "dispatched_at": dispatched_at,
        "image": photograph.image,
        "model": decision.model,
        "reason": decision.reason,
        "detail": decision.detail,
        "note": photograph.note,
        "revision": telling.revision,
        "decided_by": telling.decided_by,
        "unverified": telling.unverified,
        "message": telling.message,
    }


def _units(decision: Decision, routing: Routing, telling: Telling) -> list[str]:
    if decision.verdict is Verdict.NO_EMERGENCY and telling.decided_by:
        return ["No emergency"]
    if not telling.departments:
        return []
    units = routing.units(decision.situation or "unknown", telling.departments)
    return [f"UNVERIFIED {units}" if telling.unverified else units]


def decision_of(incident: Incident, verdict: Verdict, situation: str | None) -> Decision:
    """The decision in an incident's record, with another verdict and situation."""
    fields = incident.fields
    try:
        scores = {str(word): float(score) for word, score in json.loads(fields.get("scores") or "{}").items()}
        confidence = float(fields.get("confidence") or 0)
    except (AttributeError, TypeError, ValueError, RecursionError):
        scores, confidence = {}, 0.0
    return Decision(
        verdict=verdict,
        situation=situation,
        confidence=scores.get(situation or "", confidence),
        scores=scores,
        model=fields.get("model", ""),
        reason=fields.get("reason", ""),
        detail=fields.get("detail", ""),
    )


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
