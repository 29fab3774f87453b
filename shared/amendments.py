"""Amendments: later decisions on a decided incident, dispatched through the same fenced step as the first."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from enum import StrEnum
from typing import Any

import structlog
from redis.exceptions import ResponseError

from shared.broker import Broker, Script
from shared.dispatches import Telling, decision_of, entries_to
from shared.incidents import Incident, iso
from shared.keys import decisions_key
from shared.routing import Routing
from shared.verdict import Verdict

log = structlog.get_logger()

_amend = Script("amend")


class Amended(StrEnum):
    """What became of an amendment."""

    AMENDED = "amended"
    """It stands, and its dispatches are in their streams."""
    ALREADY = "already"
    """It was made before, whatever followed it: the reply was lost, or the desk could not note it."""
    STALE = "stale"
    """Another one came first."""
    UNDECIDED = "undecided"
    """The incident has no first verdict yet."""
    GONE = "gone"
    """The broker has no such incident: its time is over."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Amendment:
    """One later decision.

    Attributes:
        incident: as it stands in the broker.
        decision_id: the same for the same decision; a move's id, or one the desk makes of what it does.
        verdict: `DISPATCHED`, `NO_EMERGENCY`, or `UNSURE` where it is sent without anybody having decided.
        situation: what it shows, or None.
        tell: departments that get an entry now.
        departments: departments that must go, for people to read.
        decided_by: name of the user, or ``desk``.
        unverified: nobody decided, and the time was over.
        note: what to tell them, at most 500 characters.
    """

    incident: Incident
    decision_id: str
    verdict: Verdict
    situation: str | None
    tell: Sequence[str]
    departments: Sequence[str]
    decided_by: str
    unverified: bool = False
    note: str = ""


def revision_of(incident: Incident) -> int:
    """How many decisions an incident has had; 1 with its first verdict."""
    return int(incident.fields.get("revision") or 1)


def was_made(broker: Broker, incident: Incident, decision_id: str) -> bool:
    """Whether a later decision on an incident was made before, whatever followed it.

    Raises:
        RedisError: the broker is away.
    """
    if incident.fields.get("decision") == decision_id:
        return True
    key = decisions_key(incident.photograph.incident_id)
    try:
        return bool(broker.sismember(key, decision_id))
    except ResponseError as error:
        if not str(error).startswith("WRONGTYPE"):
            raise
        return False  # somebody else's doing; the next amendment makes it anew


def amend(broker: Broker, amendment: Amendment, routing: Routing, now: datetime) -> Amended:
    """Write the decision and its dispatches, unless the incident was amended since it was read.

    Safe to repeat. A department whose stream can't be written is passed over, and the log says so.

    Raises:
        RedisError: the broker is away, or refuses.
    """
    incident = amendment.incident
    revision = revision_of(incident)
    telling = Telling(
        departments=tuple(amendment.departments),
        revision=revision + 1,
        decided_by=amendment.decided_by,
        unverified=amendment.unverified,
        message=amendment.note,
    )
    decision = decision_of(incident, amendment.verdict, amendment.situation)
    told = [word for word in incident.fields.get("departments", "").split(",") if word]
    fields: dict[str, Any] = {
        "verdict": amendment.verdict.value,
        "situation": amendment.situation or "",
        "departments": ",".join([*told, *(word for word in amendment.tell if word not in told)]),
        "decided_by": amendment.decided_by,
        "unverified": "1" if amendment.unverified else "",
        "amended_at": iso(now),
    }
    reply = _amend(
        broker,
        {
            "id": incident.photograph.incident_id,
            "revision": revision,
            "decision": amendment.decision_id,
            "incident": fields,
            "entries": entries_to(amendment.tell, incident, decision, routing, now, telling=telling),
        },
    )
    outcome, *skipped = (word.decode() for word in reply)
    if skipped:
        log.error(
            "dispatches not written: the key is no stream; the departments have the incident on their boards",
            keys=skipped,
            incident=incident.photograph.incident_id,
            remedy="find out who wrote the key, rename or delete it, and tell the department",
        )
    return Amended(outcome)
