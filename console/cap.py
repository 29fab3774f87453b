"""A case as a message of the Common Alerting Protocol 1.2: Alert, then Updates, then perhaps a Cancel.

Which messages there are, console/capchain.py says. Each names those before it, and is written with the case
as it stands now, whenever that is: one that comes late must not send people to what is over.
Source: OASIS, Common Alerting Protocol Version 1.2, section 3.2.
"""

import xml.etree.ElementTree as ET
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Self
from urllib.parse import urlsplit

from sqlalchemy.orm import Session

from console.capchain import Told, chain_of
from console.capwords import CATEGORIES, LANGUAGES, OTHER, description_of, event_of, say, units_of
from console.records import row_of
from console.tables import Case
from shared.board import IncidentPart, Row
from shared.coordinates import Coordinates
from shared.errors import PermanentError
from shared.labels import escape_label
from shared.moves import OPEN_STATES, AssignmentState
from shared.routing import REVIEW, Routing
from shared.settings import Settings
from shared.verdict import Verdict

NAMESPACE = "urn:oasis:names:tc:emergency:cap:1.2"
REFERENCES = 50
"""Earlier messages that are named, the newest of them."""
_AROUND_KM = 0.05
"""What a phone's place may be off by, around the farthest photograph."""

_MEDIA_TYPES = {"jpeg": "image/jpeg", "png": "image/png", "webp": "image/webp", "bmp": "image/bmp"} | {
    "tiff": "image/tiff",
    "heic": "image/heic",
}


class NoAlertError(PermanentError):
    """Raised for a case that nobody was ever called to: the model saw no emergency."""

    default_reason = "no_alert"


@dataclass(frozen=True, kw_only=True, slots=True)
class CapSource:
    """Who messages come from.

    Attributes:
        sender: unique in the world, as a domain name; without spaces, commas, < and &.
        base_url: of the web console, or empty.
        status: CAP's word; Exercise and Test say that nobody is to go anywhere.
    """

    sender: str
    base_url: str = ""
    status: str = "Actual"

    @classmethod
    def of(cls, settings: Settings) -> Self:
        """As the settings have it: the same for the web console and for webhooks."""
        sender = settings.cap_sender or urlsplit(settings.web_url).hostname or "almenara"
        return cls(sender=sender, base_url=settings.web_url, status=settings.cap_status.capitalize())


def cap_of(
    session: Session, case: Case, routing: Routing, source: CapSource, *, at: datetime | None = None
) -> str:
    """The newest message of a case, or that of a moment, as XML.

    Raises:
        NoAlertError: there is none.
    """
    chain = chain_of(session, case.id)
    told = chain.message(at)
    if told is None:
        raise NoAlertError(f"nobody was called to case {case.id}, and there is no such message about it")
    row = row_of(session, case, whole=True)
    newest = told is chain.message()
    return cap_message(row, told, chain.before(told), routing, source, is_newest=newest)


def cap_message(
    row: Row,
    told: Told,
    earlier: Sequence[Told],
    routing: Routing,
    source: CapSource,
    *,
    is_newest: bool = True,
) -> str:
    """The same, of a whole row, one of its messages, and those before it, oldest first.

    Raises:
        NoAlertError: nobody was ever called.
    """
    if not row["assignments"]:
        raise NoAlertError("nobody was called to this case, and there is no alert about it")
    earlier = earlier[-REFERENCES:]
    alert = ET.Element("alert", xmlns=NAMESPACE)
    _add(alert, "identifier", told.identifier)
    _add(alert, "sender", source.sender)
    _add(alert, "sent", told.sent)
    _add(alert, "status", source.status)
    _add(alert, "msgType", _kind(row, earlier, is_newest))
    _add(alert, "source", "Almenara")
    _add(alert, "scope", "Restricted")
    _add(alert, "restriction", say("en", "restriction", units=units_of(row, routing, "en")))
    if row["merged_into"]:
        _add(alert, "note", f"The same emergency as case {row['merged_into']}")
    if earlier:
        _add(
            alert,
            "references",
            " ".join(f"{source.sender},{each.identifier},{each.sent}" for each in earlier),
        )
    _add(alert, "incidents", " ".join(each["number"] for each in row["incidents"]))
    for language in LANGUAGES:
        _add_info(alert, row, routing, source, language)
    return '<?xml version="1.0" encoding="UTF-8"?>\n' + ET.tostring(alert, encoding="unicode") + "\n"


def _is_cancelled(row: Row) -> bool:
    called = [part["state"] for part in row["assignments"] if part["department"] != REVIEW]
    for_nothing = bool(called) and set(called) == {AssignmentState.FALSE_ALARM.value}
    return row["verdict"] == Verdict.NO_EMERGENCY or for_nothing or bool(row["merged_into"])


def _is_over(row: Row) -> bool:
    return not any(AssignmentState(part["state"]) in OPEN_STATES for part in row["assignments"])


def _kind(row: Row, earlier: Sequence[Told], is_newest: bool) -> str:
    if not earlier:
        return "Alert"  # whatever became of it since: a Cancel must name what it cancels
    return "Cancel" if is_newest and _is_cancelled(row) else "Update"


def _certainty(row: Row) -> str:
    """CAP's words: Observed, Likely (p above about a half), Possible, Unlikely."""
    if _is_cancelled(row):
        return "Unlikely"
    if row["unverified"] or row["verdict"] == Verdict.UNSURE:
        return "Possible"
    newest = row["incidents"][0] if row["incidents"] else None
    if newest and newest["decided_by"]:
        return "Observed"  # a person has said what the photograph shows
    return "Likely" if newest and newest["confidence"] > 0.5 else "Possible"


def _response(row: Row) -> tuple[str, str]:
    """CAP's responseType and urgency."""
    if _is_cancelled(row) or _is_over(row):
        return "AllClear", "Past"
    undecided = row["verdict"] == Verdict.UNSURE and not row["unverified"]
    return ("Assess", "Unknown") if undecided else ("Execute", "Immediate")


def _headline(row: Row, event: str, language: str) -> str:
    if _is_cancelled(row):
        return say(language, "cancelled", event=event)
    if _is_over(row):
        return say(language, "over", event=event)
    if row["unverified"]:
        return say(language, "unverified", event=event)
    return say(language, "unsure", event=event) if row["verdict"] == Verdict.UNSURE else event


def _add_info(alert: ET.Element, row: Row, routing: Routing, source: CapSource, language: str) -> None:
    info = ET.SubElement(alert, "info")
    event = event_of(row, routing, language)
    response, urgency = _response(row)
    _add(info, "language", language)
    for category in CATEGORIES.get(row["situation"] or "", OTHER):
        _add(info, "category", category)
    _add(info, "event", event)
    _add(info, "responseType", response)
    _add(info, "urgency", urgency)
    # A photograph's class says what it is, and nothing of how bad it is.
    _add(info, "severity", "Minor" if _is_cancelled(row) else "Unknown")
    _add(info, "certainty", _certainty(row))
    _add(info, "senderName", "Almenara")
    _add(info, "headline", _headline(row, event, language))
    _add(info, "description", description_of(row, routing, language))
    if source.base_url:
        _add(info, "web", f"{source.base_url}/cases/{row['case']}")
    for name, value in _parameters(row):
        parameter = ET.SubElement(info, "parameter")
        _add(parameter, "valueName", name)
        _add(parameter, "value", value)
    for incident in row["incidents"]:
        _add_resource(info, incident, language)
    _add_area(info, row, language)


def _parameters(row: Row) -> list[tuple[str, str]]:
    departments = [part["department"] for part in row["assignments"]]
    confidence = row["incidents"][0]["confidence"] if row["incidents"] else 0.0
    return [
        ("almenara:case", row["case"]),
        ("almenara:situation", row["situation"] or "unknown"),
        ("almenara:verdict", row["verdict"]),
        ("almenara:unverified", "true" if row["unverified"] else "false"),
        ("almenara:confidence", f"{confidence:.4f}"),
        ("almenara:departments", " ".join(departments) or "none"),
    ]


def _add_resource(info: ET.Element, incident: IncidentPart, language: str) -> None:
    """That there is a photograph. Not where: who may see it logs in, and every view is logged."""
    resource = ET.SubElement(info, "resource")
    _add(resource, "resourceDesc", say(language, "picture", number=incident["number"]))
    extension = incident["image"].rpartition(".")[2]
    _add(resource, "mimeType", _MEDIA_TYPES.get(extension, "application/octet-stream"))


def _add_area(info: ET.Element, row: Row, language: str) -> None:
    place = Coordinates(latitude_deg=row["latitude_deg"], longitude_deg=row["longitude_deg"])
    distances_m = [
        place.distance_m(Coordinates(latitude_deg=each["latitude_deg"], longitude_deg=each["longitude_deg"]))
        for each in row["incidents"]
    ]
    radius_km = max(distances_m, default=0.0) / 1000 + _AROUND_KM
    area = ET.SubElement(info, "area")
    _add(area, "areaDesc", say(language, "around", place=str(place)))
    _add(area, "circle", f"{place.latitude_deg:.6f},{place.longitude_deg:.6f} {radius_km:.3f}")


def _add(parent: ET.Element, name: str, text: str) -> None:
    """A child with a text. XML has no control characters, not even escaped: they are spelled out."""
    ET.SubElement(parent, name).text = "\n".join(map(escape_label, text.split("\n")))
