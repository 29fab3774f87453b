"""What a move still needs to be told, as a question with its choices. Pure functions."""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from dataclasses import field as with_default
from datetime import datetime

from console.screen.cases import (
    department_name,
    departments_of,
    label_of,
    newest,
    number_of,
    situation_name,
    situation_of,
    undecided,
)
from console.screen.moments import clock
from shared.board import IncidentPart, Row
from shared.coordinates import Coordinates
from shared.moves import Action
from shared.routing import NORMAL, Routing


@dataclass(frozen=True, slots=True)
class Question:
    """One question before a move.

    Attributes:
        title: what is asked.
        field: the field of a Move that the answer goes into.
        choices: (answer, words) each; empty where any line of text will do.
        more: further fields that come with the answer.
    """

    title: str
    field: str
    choices: tuple[tuple[str, str], ...] = ()
    more: Mapping[str, str | int] = with_default(default_factory=dict)


def question(
    row: Row, action: Action, routing: Routing, others: Iterable[Row], now: datetime
) -> Question | None:
    """What to ask before a move is sent, or None where its key says everything.

    Args:
        others: rows that it could be merged with.
    """
    number = number_of(row)
    if action is Action.NOTE:
        return Question(f"Note on {number}", "note")
    if action is Action.CORRECT:
        situations = _situations(routing, without=row["situation"] or "")
        return Question(f"What {number} shows instead", "situation", situations, _seen(newest(row)))
    if action is Action.DECIDE:
        every = (*_situations(routing), (NORMAL, situation_name(NORMAL, routing)))
        return Question(f"What {number} shows", "situation", every, _seen(undecided(row)))
    if action is Action.ADD_DEPARTMENT:
        told = departments_of(row)
        left = tuple(
            (word, department_name(word, routing)) for word in routing.departments if word not in told
        )
        return Question(f"Who must go to {number} too", "to", left)
    if action is Action.MERGE:
        return Question(f"Which emergency {number} is", "other", tuple(_cases(row, routing, others, now)))
    if action is Action.SPLIT:
        pictures = tuple((each["id"], _picture(each, now)) for each in row["incidents"])
        return Question(f"Which picture is not of {number}", "other", pictures)
    return None


def decision(row: Row, situation: str) -> dict[str, str | int]:
    """The fields of `DECIDE` for the picture that a reviewer has before them."""
    return {"situation": situation, **_seen(undecided(row))}


def _seen(incident: IncidentPart | None) -> dict[str, str | int]:
    """The picture, and the revision of it that the person saw: a later one by somebody else stands."""
    return {"other": incident["id"], "revision": incident["revision"]} if incident else {}


def _situations(routing: Routing, without: str = "") -> tuple[tuple[str, str], ...]:
    return tuple((word, situation_name(word, routing)) for word in routing.situations if word != without)


def _cases(row: Row, routing: Routing, others: Iterable[Row], now: datetime) -> Iterable[tuple[str, str]]:
    """Other cases, the closest first."""
    found = sorted(((_distance_m(row, each), each) for each in others), key=lambda pair: pair[0])
    for distance_m, each in found:
        away = f"{distance_m:.0f} m" if distance_m < 1000 else f"{distance_m / 1000:.1f} km"
        words = [number_of(each), situation_of(each, routing), f"{away} away", clock(each["opened_at"], now)]
        yield each["case"], "  ".join([*words, label_of(each)]).rstrip()


def _distance_m(one: Row, other: Row) -> float:
    places = [
        Coordinates(latitude_deg=each["latitude_deg"], longitude_deg=each["longitude_deg"])
        for each in (one, other)
    ]
    return places[0].distance_m(places[1])


def _picture(incident: IncidentPart, now: datetime) -> str:
    return f"{incident['number']}  {clock(incident['received_at'], now)}  {incident['label']}".rstrip()
