"""What the tests of the terminal console share: rows as the desk writes them, and a desk as told."""

import hashlib
import json
from collections.abc import Mapping, Sequence
from datetime import datetime, timedelta
from types import MappingProxyType
from typing import Any

from shared.board import SCHEMA_VERSION, AssignmentPart, IncidentPart, Outcome, Row, TimelinePart, is_open
from shared.broker import Broker, Script
from shared.heartbeats import DESK, now
from shared.incidents import encoded, iso, utc_now
from shared.keys import alive_key, moves_key
from shared.moves import ALLOWED, Action, AssignmentState, Move
from shared.routing import ALL, REVIEW, Routing
from shared.settings import Settings

_publish = Script("board")

SCORES: Mapping[str, float] = MappingProxyType({"fire": 0.91, "accident": 0.06, "normal": 0.03})
ROUTING = Routing.load(Settings().routing)


def case_id(number: int) -> str:
    """An id of 32 hexadecimal digits, another one for each number."""
    return hashlib.sha256(str(number).encode()).hexdigest()[:32]


def incident_part(number: int, at: datetime, /, **changes: Any) -> IncidentPart:
    """A picture; `changes` are fields by name."""
    part: dict[str, Any] = {
        "id": case_id(number),
        "number": f"{number:04}",
        "verdict": "dispatched",
        "situation": "fire",
        "confidence": 0.91,
        "scores": dict(SCORES),
        "latitude_deg": 33.8568,
        "longitude_deg": 151.2153,
        "label": f"cam {number}",
        "note": "",
        "image": f"pictures/ab/{case_id(number)}.jpeg",
        "model": "test@0 torch-cpu",
        "reason": "",
        "detail": "",
        "received_at": iso(at),
        "decided_at": iso(at),
        "seen_count": 1,
        "last_seen_at": iso(at),
        "revision": 1,
        "decided_by": "",
    }
    return IncidentPart(**{**part, **changes})  # type: ignore[typeddict-item]


def assignment_part(department: str, state: str, at: datetime, **changes: Any) -> AssignmentPart:
    """How far a department is; `changes` are fields by name."""
    waits = state == "dispatched" and department != REVIEW
    part: dict[str, Any] = {
        "department": department,
        "state": state,
        "dispatched_at": iso(at),
        "state_at": iso(at),
        "holder": "" if state == "dispatched" else "Ana",
        "acknowledged_at": "",
        # The clock runs for a department that is needed, and has not answered.
        "due_at": iso(at + timedelta(seconds=60)) if waits else "",
        "repeats": 0,
        "fallback_of": "",
    }
    return AssignmentPart(**{**part, **changes})  # type: ignore[typeddict-item]


def timeline_part(action: str, at: datetime, *, actor: str = "desk", text: str = "") -> TimelinePart:
    """One line of what happened."""
    return TimelinePart(at=iso(at), actor=actor, department="firefighters", action=action, text=text)


def make_row(
    number: int = 1,
    *,
    version: int = 1,
    situation: str | None = "fire",
    verdict: str = "dispatched",
    states: Mapping[str, str] = MappingProxyType(
        {"firefighters": "dispatched", "transit-police": "dispatched"}
    ),
    assignments: Sequence[AssignmentPart] | None = None,
    incidents: Sequence[IncidentPart] | None = None,
    opened_at: datetime | None = None,
    **changes: Any,
) -> Row:
    """A row of one picture, opened a moment ago; `changes` are fields by name."""
    at = opened_at or utc_now()
    pictures = list(
        incidents
        if incidents is not None
        else [incident_part(number, at, situation=situation, verdict=verdict)]
    )
    row: dict[str, Any] = {
        "schema_version": SCHEMA_VERSION,
        "case": case_id(number),
        "version": version,
        "verdict": verdict,
        "situation": situation,
        "unverified": False,
        "opened_at": iso(at),
        "last_incident_at": iso(at),
        "latitude_deg": 33.8568,
        "longitude_deg": 151.2153,
        "merged_into": "",
        "incident_count": len(pictures),
        "incidents": pictures,
        "assignments": list(
            assignments
            if assignments is not None
            else [assignment_part(word, state, at) for word, state in states.items()]
        ),
        "timeline": [timeline_part("opened", at)],
    }
    return Row(**{**row, **changes})  # type: ignore[typeddict-item]


def unsure_row(number: int = 1, *, due_in_s: float = 90.0, **changes: Any) -> Row:
    """A row that a reviewer must decide."""
    at = utc_now()
    scores = {"robbery": 0.45, "protest": 0.3, "normal": 0.25}
    picture = incident_part(number, at, verdict="unsure", situation="robbery", confidence=0.45, scores=scores)
    due = iso(at + timedelta(seconds=due_in_s))
    return make_row(
        number,
        **{
            "situation": None,
            "verdict": "unsure",
            "incidents": [picture],
            "assignments": [assignment_part(REVIEW, "dispatched", at, due_at=due)],
            **changes,
        },
    )


class ToldDesk:
    """Publishes what a test gives it as the desk does, and answers moves when it is told to."""

    def __init__(self, broker: Broker, *, running: bool = True) -> None:
        self.broker = broker
        self.rows: dict[str, Row] = {}
        self.version = 0
        if running:
            self.beat()

    def beat(self) -> None:
        """Say that a desk runs, for as long as the test may take: nobody says so again."""
        self.broker.zadd(alive_key(DESK), {"test": now(self.broker) + 3600.0})

    def publish(self, *rows: Row, outcomes: Sequence[Outcome] = ()) -> None:
        """Put rows on their boards, with fresh versions; the outcomes go with the first."""
        for index, row in enumerate(rows):
            self.version += 1
            known = Row(**{**row, "version": self.version})
            self.rows[row["case"]] = known
            told = [Outcome(**{**each, "version": self.version}) for each in outcomes]
            boards = [ALL, *(part["department"] for part in row["assignments"])]
            self._put(known, boards, told if index == 0 else [])

    def answer(self, move: Move, *, accepted: bool, reason: str = "applied", message: str = "") -> None:
        """An outcome without a row."""
        self.version += 1
        outcome = self.outcome(move, accepted=accepted, reason=reason, message=message)
        self._put(None, [move.department, ALL], [outcome])

    def outcome(
        self, move: Move, *, accepted: bool = True, reason: str = "applied", message: str = ""
    ) -> Outcome:
        """What became of a move."""
        return Outcome(
            move_id=move.move_id,
            department=move.department,
            case=move.case,
            action=move.action,
            by=move.by,
            accepted=accepted,
            reason=reason,
            message=message,
            version=self.version,
        )

    def asked(self) -> list[Move]:
        """Every move in the streams, in order of department and time."""
        found = []
        for department in (*ROUTING.departments, REVIEW, ALL):
            entries: Any = self.broker.xrange(moves_key(department))
            found += [Move.decode(department, fields[b"move"]) for _, fields in entries]
        return found

    def apply(self, move: Move) -> None:
        """Accept a move of an assignment, and say so."""
        row, at = self.rows[move.case], iso(utc_now())
        parts = [dict(part) for part in row["assignments"]]
        for part in parts:
            if part["department"] == move.department:
                state = ALLOWED[AssignmentState(str(part["state"])), Action(move.action)]
                holder = "" if state is AssignmentState.DISPATCHED else move.by
                due_at = at if state is AssignmentState.DISPATCHED else ""
                part.update(state=state.value, state_at=at, holder=holder, due_at=due_at)
        changed = Row(**{**row, "assignments": parts})  # type: ignore[typeddict-item]
        self.publish(changed, outcomes=[self.outcome(move, message="")])

    def _put(self, row: Row | None, boards: Sequence[str], outcomes: Sequence[Outcome]) -> None:
        changes = [
            {
                "version": self.version,
                "department": department,
                "case": row["case"] if row else "",
                "row": encoded(dict(row)) if row else "",
                "open": bool(row) and is_open(row, department) if row else False,
                "outcomes": json.dumps(list(outcomes)) if outcomes else "",
            }
            for department in boards
        ]
        _publish(self.broker, {"keep": 10_000, "changes": changes})
