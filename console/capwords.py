"""What CAP messages say: categories of the standard, and texts in English and Spanish."""

from collections.abc import Mapping, Sequence

from shared.board import Row
from shared.labels import escape_label
from shared.routing import REVIEW, Routing, named

LANGUAGES = ("en", "es")

CATEGORIES: Mapping[str, tuple[str, ...]] = {
    "flood_risk": ("Met", "Safety"),
    "fire": ("Fire", "Safety"),
    "protest": ("Security",),
    "accident": ("Transport", "Rescue"),
    "altercation": ("Security",),
    "robbery": ("Security",),
}
"""CAP's for the situations that come with Almenara. A routing file's own have ``Other``."""

OTHER = ("Other",)

_SPANISH = {
    "flood_risk": "Riesgo de inundación",
    "fire": "Incendio",
    "protest": "Protesta",
    "accident": "Accidente",
    "altercation": "Altercado",
    "robbery": "Robo",
}
_TEXTS = {
    "en": {
        "unknown": "Unknown emergency",
        "cancelled": "{event}: called off",
        "over": "{event}: dealt with",
        "unverified": "{event} (UNVERIFIED: nobody has looked at it)",
        "unsure": "{event}? (a person has yet to decide)",
        "units": "Units of assistance: {units}",
        "numbers": "Photographs: {numbers}",
        "labels": "Cameras or names as sent: {labels}",
        "notes": "About the place: {notes}",
        "said": "{by}: {note}",
        "around": "Around {place}",
        "picture": "Photograph {number}, in Almenara",
        "restriction": "For {units} only",
        "nobody": "reviewers",
    },
    "es": {
        "unknown": "Emergencia desconocida",
        "cancelled": "{event}: anulado",
        "over": "{event}: atendido",
        "unverified": "{event} (SIN VERIFICAR: nadie lo ha mirado)",
        "unsure": "¿{event}? (una persona debe decidirlo)",
        "units": "Unidades de asistencia: {units}",
        "numbers": "Fotografías: {numbers}",
        "labels": "Cámaras o nombres, como llegaron: {labels}",
        "notes": "Sobre el lugar: {notes}",
        "said": "{by}: {note}",
        "around": "Alrededor de {place}",
        "picture": "Fotografía {number}, en Almenara",
        "restriction": "Solo para {units}",
        "nobody": "revisores",
    },
}


def say(language: str, text: str, **values: str) -> str:
    """One of the texts. What strangers wrote is in it as it is: it is neutralised where the XML is made."""
    return _TEXTS[language][text].format(**values)


def event_of(row: Row, routing: Routing, language: str) -> str:
    """What it is, for people."""
    word = row["situation"]
    if word is None:
        return say(language, "unknown")
    if language == "es" and word in _SPANISH:
        return _SPANISH[word]
    route = routing.situations.get(word)
    return route.name if route else named(word)


def units_of(row: Row, routing: Routing, language: str) -> str:
    """Who was called, for people."""
    words = [part["department"] for part in row["assignments"] if part["department"] != REVIEW]
    return ", ".join(routing.departments.get(word, named(word)) for word in words) or say(language, "nobody")


def description_of(row: Row, routing: Routing, language: str) -> str:
    """Lines about it: who goes, which photographs, and what people should know and have said."""
    incidents = row["incidents"]
    lines = [say(language, "units", units=units_of(row, routing, language))]
    for text, found in (
        ("numbers", [each["number"] for each in incidents]),
        ("labels", [each["label"] for each in incidents]),
        ("notes", [each["note"] for each in incidents]),
    ):
        if listed := _listed(found):
            lines.append(say(language, text, **{text: listed}))
    lines += [
        say(language, "said", by=escape_label(line["actor"]), note=escape_label(line["text"]))
        for line in row["timeline"]
        if line["action"] == "note"
    ]
    return "\n".join(lines)


def _listed(found: Sequence[str]) -> str:
    return "; ".join(dict.fromkeys(escape_label(text) for text in found if text))
