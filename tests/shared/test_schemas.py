import json
import typing
from collections.abc import Iterator
from dataclasses import fields
from pathlib import Path
from typing import Any

import jsonschema
import pytest
import yaml
from conftest import make_entries, make_incident
from database_parts import migrated
from desk_parts import Desk, move, open_desk
from schema_parts import SCHEMAS, VALIDATORS

from shared import keys
from shared.broker import Broker
from shared.dispatches import Dispatch
from shared.moves import Action, Move, append
from shared.settings import Settings
from shared.verdict import Verdict

ROOT = Path(__file__).parents[2]
DISPATCH, MOVE = VALIDATORS["dispatch"], VALIDATORS["move"]


@pytest.fixture
def desk(settings: Settings, broker: Broker) -> Iterator[Desk]:
    """A desk on an empty record that samples nothing."""
    with migrated(settings.database) as engine:
        yield open_desk(settings, broker, engine, sample_rate=0.0)


def streamed(broker: Broker, prefix: str, field: bytes) -> list[Any]:
    """Every record of every stream of a kind, as it stands in the broker."""
    found = []
    for key in sorted(broker.scan_iter(match=f"{prefix}*")):
        entries: Any = broker.xrange(key)
        found += [json.loads(about[field]) for _, about in entries]
    return found


@pytest.mark.parametrize("name", sorted(SCHEMAS))
def test_a_schema_is_one(name: str) -> None:
    """It is valid JSON Schema 2020-12."""
    jsonschema.Draft202012Validator.check_schema(SCHEMAS[name])


def test_real_dispatches_are_as_described(desk: Desk) -> None:
    """What worker and desk send: first decisions and later ones, unsure, sent home, UNVERIFIED, unseen."""
    sure = desk.arrive("fire")
    unsure, sampled = (
        desk.arrive("accident", verdict=Verdict.UNSURE),
        desk.arrive(None, verdict=Verdict.UNSURE),
    )
    desk.wait(5)
    desk.ask(Action.DECIDE, "review", unsure, other=unsure, situation="flood_risk", note="look <here>")
    desk.ask(Action.CORRECT, "firefighters", sure, situation="accident")
    desk.ask(Action.DECIDE, "review", unsure, other=unsure, situation="normal")
    desk.tick(after_s=130)
    for department, event in make_entries(
        9,
        situation=None,
        verdict=Verdict.UNSURE,
        decision={"scores": {}, "reason": "crashed_twice", "model": ""},
    ):
        desk.broker.xadd(keys.dispatch_key(department), {"event": event})
    records = streamed(desk.broker, "dispatch:", b"event")
    for record in records:
        DISPATCH.validate(record)
    data = [record["data"] for record in records]
    assert {each["verdict"] for each in data} == {"dispatched", "unsure", "no_emergency"}
    assert {each["revision"] for each in data} >= {1, 2, 3}
    assert {each["unverified"] for each in data} == {True, False}
    assert {record["source"] for record in records} == {"/almenara/worker", "/almenara/desk"}
    assert any(each["incident_id"] == sampled and each["unverified"] for each in data)


def test_real_moves_are_as_described(broker: Broker) -> None:
    """Every action, as consoles append them."""
    case = "a" * 32
    more = {
        Action.CORRECT: {"situation": "fire"},
        Action.DECIDE: {"situation": "normal", "other": case, "revision": 2},
        Action.MERGE: {"other": case},
        Action.SPLIT: {"other": case},
        Action.ADD_DEPARTMENT: {"to": "ambulance", "seen": 4},
    }
    for action in Action:
        append(broker, move(action, "firefighters", case, **typing.cast(Any, more.get(action, {}))))
    records = streamed(broker, "moves:", b"move")
    assert len(records) == len(Action)
    for record in records:
        MOVE.validate(record)
    assert set(SCHEMAS["move"]["properties"]) == {"schema_version"} | {each.name for each in fields(Move)} - {
        "department"
    }
    assert SCHEMAS["move"]["properties"]["action"]["enum"] == [action.value for action in Action]


def test_the_schema_of_dispatches_has_every_field_and_no_other() -> None:
    """Neither can change without the other."""
    record = json.loads(make_entries(1)[0][1])
    for part, described in (
        (record, SCHEMAS["dispatch"]),
        (record["data"], SCHEMAS["dispatch"]["properties"]["data"]),
    ):
        assert set(part) == set(described["properties"]) == set(described["required"])
        assert described["additionalProperties"] is False


@pytest.mark.parametrize("where", ["envelope", "data"])
def test_the_schema_is_tight(where: str) -> None:
    """A field that is missing, unknown or of another kind fails."""
    good = json.loads(make_entries(1)[0][1])
    part = good if where == "envelope" else good["data"]
    DISPATCH.validate(good)
    for field in list(part):
        for wrong in ({"odd": "x"}, -1000.5, [7]):
            kept, part[field] = part[field], wrong
            assert not DISPATCH.is_valid(good), (field, wrong)
            part[field] = kept
        kept = part.pop(field)
        assert not DISPATCH.is_valid(good), field
        part[field] = kept
    part["more"] = ""
    assert not DISPATCH.is_valid(good)


def test_what_the_schema_takes_the_consoles_take(desk: Desk) -> None:
    """The schema and the reader agree on real records."""
    desk.arrive("fire")
    for record in streamed(desk.broker, "dispatch:", b"event"):
        assert Dispatch.decode(json.dumps(record)).event_id == record["id"]
    assert make_incident(1).photograph.image.startswith("pictures/")


def _refs(thing: Any) -> Iterator[str]:
    if isinstance(thing, dict):
        for name, value in thing.items():
            if name == "$ref":
                yield value
            else:
                yield from _refs(value)
    elif isinstance(thing, list):
        for value in thing:
            yield from _refs(value)


@pytest.fixture(scope="module")
def described() -> dict[str, Any]:
    """docs/asyncapi.yaml. No package that runs without Node ships AsyncAPI's own schema: its structure is
    looked at here."""
    found: dict[str, Any] = yaml.safe_load((ROOT / "docs/asyncapi.yaml").read_text())
    return found


def test_the_asyncapi_document_has_what_version_3_asks_for(described: dict[str, Any]) -> None:
    """Only objects of the specification, each with its required fields."""
    assert described["asyncapi"] == "3.0.0"
    known = {
        "asyncapi",
        "id",
        "info",
        "servers",
        "defaultContentType",
        "channels",
        "operations",
        "components",
    }
    assert set(described) <= known
    assert {"title", "version"} <= set(described["info"])
    for server in described["servers"].values():
        assert {"host", "protocol"} <= set(server)
    for channel in described["channels"].values():
        assert (
            {"address", "messages"}
            <= set(channel)
            <= {
                *(
                    "address",
                    "messages",
                    "title",
                    "summary",
                    "description",
                    "servers",
                    "parameters",
                    "tags",
                    "bindings",
                )
            }
        )
        named = {part.rstrip("}") for part in channel["address"].split("{")[1:]}
        assert named == set(channel.get("parameters", {}))
    for operation in described["operations"].values():
        assert operation["action"] in ("send", "receive")
        assert set(operation["channel"]) == {"$ref"}
    for message in described["components"]["messages"].values():
        assert set(message["payload"]) == {"schemaFormat", "schema"}


def test_every_reference_of_the_asyncapi_document_leads_somewhere(described: dict[str, Any]) -> None:
    """Into the document, or to a schema file that is there."""
    references = list(_refs(described))
    assert len(references) >= 10
    for reference in references:
        file, _, pointer = reference.partition("#/")
        if file:
            assert json.loads((ROOT / "docs" / file).read_text())["title"]
            continue
        found: Any = described
        for part in pointer.split("/"):
            found = found[part]
        assert found


def test_the_asyncapi_document_names_the_streams_that_there_are(described: dict[str, Any]) -> None:
    """As the code spells their keys."""
    addresses = {channel["address"] for channel in described["channels"].values()}
    assert addresses == {
        keys.dispatch_key("{department}"),
        keys.dispatch_key("review"),
        keys.moves_key("{department}"),
    }
