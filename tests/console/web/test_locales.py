"""The texts of the web console: the same ones in every language, each one used, and none missing."""

import json
import re
from collections.abc import Iterator
from pathlib import Path

import pytest

from console.userfile import Role
from shared.moves import Action, AssignmentState
from shared.routing import Routing
from shared.settings import Settings
from shared.verdict import Verdict

WEB = Path(__file__).parents[3] / "console" / "web"
LANGUAGES = ("en", "es")
MODULES = sorted((WEB / "static" / "js").glob("*.js"))
TEMPLATES = sorted((WEB / "templates").glob("*.html"))

# `t("a.b")`, `counted("a.b", …)`, `has("a.b")` and keys kept in tables; `t(`a.${word}`)` names a family.
_CALL = re.compile(r"\b(?P<how>t|counted|has|mentions)\(\s*(?P<quote>[\"`])(?P<key>[^\"`]+)(?P=quote)")
_CHOICE = re.compile(r"[\"](?P<key>[a-z]+\.[a-z0-9_]+)[\"]")
_PAGE = re.compile(r"words\[[\"'](?P<key>[^\"']+)[\"']\]")
_FACT = re.compile(r"\{\w+\}")
DESK_WORDS = (
    "opened",
    "joined",
    "seen_again",
    "repeated",
    "fell_back",
    "expired",
    "failed_open",
    "merged",
    "told",
)
"""What the desk itself writes in a timeline (shared/board.py)."""
SCRIPT_ENDS = ("js", "css", "svg", "geojson")


def words(language: str) -> dict[str, str]:
    """Key -> text of one language."""
    texts: dict[str, str] = json.loads((WEB / "locales" / f"{language}.json").read_text(encoding="utf-8"))
    return texts


def used() -> Iterator[tuple[str, str]]:
    """(file, key) of every text that is asked for by its whole key."""
    for path in MODULES:
        source = path.read_text(encoding="utf-8")
        for found in _CALL.finditer(source):
            if "${" in found["key"]:
                continue
            forms = (".one", ".other") if found["how"] == "counted" else ("",)
            yield from ((path.name, found["key"] + form) for form in forms)
        called = {found["key"] for found in _CALL.finditer(source) if found["how"] == "counted"}
        for found in _CHOICE.finditer(source):
            if found["key"].rpartition(".")[2] not in SCRIPT_ENDS and found["key"] not in called:
                yield path.name, found["key"]
    for path in TEMPLATES:
        for found in _PAGE.finditer(path.read_text(encoding="utf-8")):
            yield path.name, found["key"]


def families() -> set[str]:
    """What stands before the hole in keys such as `state.${word}`."""
    found = {
        match["key"].partition("${")[0]
        for path in MODULES
        for match in _CALL.finditer(path.read_text(encoding="utf-8"))
        if "${" in match["key"]
    }
    return (found | {"reason.", "outcome.", "error.", "timeline.", "standing.", "name."}) - {""}


@pytest.mark.parametrize("language", LANGUAGES)
def test_every_language_has_the_same_texts(language: str) -> None:
    """No text lacks in a language, and none is blank."""
    assert set(words(language)) == set(words("en"))
    assert [key for key, text in words(language).items() if not text.strip()] == []


@pytest.mark.parametrize("language", LANGUAGES)
def test_texts_have_the_same_facts_in_every_language(language: str) -> None:
    """A text's {holes} are the same ones in every language, so that no fact is lost in translation."""
    english = words("en")
    assert {
        key: text
        for key, text in words(language).items()
        if sorted(_FACT.findall(text)) != sorted(_FACT.findall(english[key]))
    } == {}


def test_every_text_that_is_asked_for_exists() -> None:
    """No page shows a key instead of a text."""
    asked = set(used())
    assert len(asked) > 150
    assert {(file, key) for file, key in asked if key not in words("en")} == set()


def test_every_text_is_asked_for() -> None:
    """No text is kept that no page shows."""
    asked = {key for _, key in used()}
    prefixes = tuple(families())
    assert [key for key in words("en") if key not in asked and not key.startswith(prefixes)] == []


def test_words_of_the_wire_have_texts() -> None:
    """Every state, move, role, verdict and line of a timeline can be told to a person."""
    wanted = {
        *(f"state.{state}" for state in AssignmentState),
        *(f"standing.{state}{ending}" for state in AssignmentState for ending in ("", "_nobody")),
        *(f"action.{action}" for action in Action),
        *(f"timeline.{word}" for word in (*Action, *DESK_WORDS)),
        *(f"role.{role}" for role in Role),
        *(f"verdict.{verdict}" for verdict in Verdict),
    }
    assert wanted - set(words("en")) == set()


def test_names_of_the_default_routing_have_translations() -> None:
    """What our own routing file names is translated, and has the same name in English."""
    routing = Routing.load(Settings().routing)
    names = {*routing.departments.values(), *(each.name for each in routing.situations.values())}
    assert {name: words("en").get(f"name.{name}") for name in names} == {name: name for name in names}
