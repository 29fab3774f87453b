"""A dispatch as lines of text. Pure functions: what comes in is a record, what goes out is safe to print."""

from datetime import datetime
from typing import Any

from rich.text import Text

from shared.coordinates import Coordinates
from shared.dispatches import Dispatch
from shared.labels import escape_label
from shared.routing import REVIEW, named

_LIKELY = 2
_GAP = " " * 5


def coordinates(dispatch: Dispatch) -> Coordinates:
    """Where it is."""
    return Coordinates(
        latitude_deg=float(dispatch.data["latitude_deg"]), longitude_deg=float(dispatch.data["longitude_deg"])
    )


def assistance(dispatch: Dispatch) -> list[str]:
    """Who is called, as people read it; where nobody is, for review, why and what the model guessed."""
    units = [escape_label(str(unit)) for unit in dispatch.data.get("units_of_assistance", [])]
    if units:
        return units
    called = [escape_label(named(str(word))) for word in dispatch.data["departments"] if word != REVIEW]
    return [f"Unknown => {', '.join(called)}"] if called else [f"Review => {guesses(dispatch)}"]


def guesses(dispatch: Dispatch) -> str:
    """The most likely classes with their probabilities, or why there are none."""
    scores: dict[str, float] = dict(dispatch.data.get("scores", {}))
    if not scores:
        return escape_label(str(dispatch.data.get("detail") or dispatch.data.get("reason") or "no scores"))
    likely = sorted(scores, key=lambda word: -scores[word])[:_LIKELY]
    return "Unsure: " + ", ".join(f"{_name(word)} {scores[word]:.2f}" for word in likely)


def plain(dispatch: Dispatch) -> str:
    """The line that scripts rely on (DESIGN section 2)."""
    return (
        f"ID: {escape_label(str(dispatch.data['number']))}{_GAP}"
        f"Coordinates: {coordinates(dispatch)}{_GAP}"
        f"Units of Assistance: {assistance(dispatch)}"
    )


def pretty(dispatch: Dispatch) -> Text:
    """One line for a person at a terminal: time, number, units, place, confidence, label."""
    data = dispatch.data
    unsure = data["verdict"] != "dispatched"
    text = Text()
    text.append(_local_time(str(data["dispatched_at"])), style="dim")
    text.append(f"  {escape_label(str(data['number'])):>4}  ", style="bold")
    text.append("; ".join(assistance(dispatch)), style="bold yellow" if unsure else "bold red")
    text.append(f"  at {coordinates(dispatch)}", style="cyan")
    if not unsure:
        text.append(f"  {float(data['confidence']):.0%} sure", style="dim")
    for word in ("label", "note"):
        if data.get(word):
            text.append(f"  {escape_label(str(data[word]))}", style="dim")
    return text


def _name(word: Any) -> str:
    return escape_label(str(word)).replace("_", " ").title()


def _local_time(moment: str) -> str:
    """The time of day, and the date where it is not today's."""
    local = datetime.fromisoformat(moment).astimezone()
    today = datetime.now(local.tzinfo).date()
    return f"{local:%H:%M:%S}" if local.date() == today else f"{local:%Y-%m-%d %H:%M:%S}"
