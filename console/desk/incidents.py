"""From the broker's record of an incident to the desk's: checked, and of a form that every database takes."""

import math
from collections.abc import Mapping
from datetime import UTC, datetime
from typing import Any

from console.tables import IncidentRecord
from shared.amendments import revision_of
from shared.dispatches import decision_of
from shared.incidents import Incident, RecordError
from shared.routing import REVIEW
from shared.verdict import Verdict

_MOST = 2**31 - 1
_LONGEST = {"label": 64, "number": 16, "situation": 64, "reason": 64, "decided_by": 64}
_LONGEST_TEXT = 4000


def told(incident: Incident) -> tuple[str, ...]:
    """Departments that have a dispatch about it, in the order they were told; `review` is none."""
    words = incident.fields.get("departments", "").split(",")
    return tuple(dict.fromkeys(storable(word, 64) for word in words if word and word != REVIEW))


def is_unverified(incident: Incident) -> bool:
    """Whether it went out without anybody having decided."""
    return bool(incident.fields.get("unverified"))


def columns_of(incident: Incident) -> dict[str, Any]:
    """What the desk's record of a decided incident holds of the broker's, by column.

    Raises:
        RecordError: a field is missing or wrong.
    """
    photograph, fields = incident.photograph, incident.fields
    try:
        verdict = Verdict(incident.verdict)
        decision = decision_of(incident, verdict, fields.get("situation") or None)
        words = {
            "number": incident.number,
            "situation": decision.situation or "",
            "label": photograph.label,
            "note": photograph.note,
            "image": photograph.image,
            "model": decision.model,
            "reason": decision.reason,
            "detail": decision.detail,
            "decided_by": fields.get("decided_by", ""),
        }
        columns: dict[str, Any] = {
            column: storable(word, _LONGEST.get(column, _LONGEST_TEXT)) for column, word in words.items()
        }
        return columns | {
            "verdict": verdict.value,
            "situation": columns["situation"] or None,
            "confidence": _number(decision.confidence),
            "scores": {storable(word, 64): _number(score) for word, score in decision.scores.items()},
            "latitude_deg": photograph.coordinates.latitude_deg,
            "longitude_deg": photograph.coordinates.longitude_deg,
            "received_at": _moment(photograph.received_at),
            "decided_at": _moment(fields.get("amended_at") or fields["decided_at"]),
            "seen_count": max(1, min(incident.seen_count, _MOST)),
            "last_seen_at": _moment(incident.last_seen_at),
            "revision": max(1, min(revision_of(incident), _MOST)),
        }
    except (KeyError, TypeError, ValueError, OverflowError) as error:
        raise RecordError(f"the record of incident {photograph.incident_id} is damaged: {error!r}") from error


def is_news(record: IncidentRecord, columns: Mapping[str, Any]) -> bool:
    """Whether the broker knows more than the desk. One that lost its last seconds knows less."""
    return bool(columns["revision"] > record.revision or columns["seen_count"] > record.seen_count)


def is_undecided(record: IncidentRecord) -> bool:
    """Whether a reviewer has yet to decide it: what the model was unsure of, and what is without an emergency
    by the model's word alone."""
    by_model = record.verdict == Verdict.NO_EMERGENCY.value and not record.decided_by
    return record.verdict == Verdict.UNSURE.value or by_model


def storable(text: str, longest: int) -> str:
    """Without what PostgreSQL refuses in text, and no longer than its column."""
    return text.replace("\x00", "\ufffd").encode("utf-8", "replace").decode()[:longest]


def _number(number: float) -> float:
    return number if math.isfinite(number) else 0.0


def _moment(text: str) -> datetime:
    moment = datetime.fromisoformat(text)
    if moment.tzinfo is None:
        raise ValueError(f"{text!r} has no time zone")
    return moment.astimezone(UTC)
