import xml.etree.ElementTree as ET
from collections.abc import Iterator
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any, cast

import pytest
import xmlschema
from database_parts import migrated
from desk_parts import Desk, open_desk
from hypothesis import given
from hypothesis import settings as effort
from hypothesis import strategies as st
from sqlalchemy.orm import Session

from console import capchain
from console.cap import NAMESPACE, CapSource, NoAlertError, cap_message, cap_of
from console.capchain import Told
from console.tables import Case
from shared.board import Row
from shared.broker import Broker
from shared.moves import Action
from shared.routing import Routing
from shared.settings import Settings
from shared.verdict import Verdict

NOW = datetime(2026, 11, 24, 10, 2, 3, 4500, tzinfo=UTC)
SOURCE = CapSource(sender="desk.example.org", base_url="https://desk.example.org")
# Our own statement of OASIS's rules: no package ships their schema, and nothing of others is copied here.
SCHEMA = xmlschema.XMLSchema(str(Path(__file__).parents[1] / "cap_rules.xsd"))


@pytest.fixture
def desk(settings: Settings, broker: Broker) -> Iterator[Desk]:
    """A desk on an empty record that samples nothing."""
    with migrated(settings.database) as engine:
        yield open_desk(settings, broker, engine, sample_rate=0.0)


def message(desk: Desk, case: str, source: CapSource = SOURCE) -> dict[str, Any]:
    """The newest message of a case, valid, as name -> text; what is there several times as a list."""
    with Session(desk.engine) as session:
        text = cap_of(session, session.get_one(Case, case), desk.routing, source)
    SCHEMA.validate(text)
    return fields_of(ET.fromstring(text))  # noqa: S314 - our own


def fields_of(element: ET.Element) -> dict[str, Any]:
    """name -> text or fields of the children; a list where there are several."""
    found: dict[str, Any] = {}
    for child in element:
        name = child.tag.removeprefix(f"{{{NAMESPACE}}}")
        value = fields_of(child) if len(child) else child.text
        if name in found:
            found[name] = [*(found[name] if isinstance(found[name], list) else [found[name]]), value]
        else:
            found[name] = value
    return found


def test_a_new_case_is_an_alert(desk: Desk) -> None:
    """It says what, where, how sure and for whom, in two languages, and leads to no picture."""
    case = desk.arrive("fire")
    alert = message(desk, case)
    assert (alert["msgType"], alert["status"], alert["sender"]) == ("Alert", "Actual", "desk.example.org")
    assert alert["sent"] == "2026-11-24T12:00:00-00:00"
    assert alert["restriction"] == "For Firefighters, Transit Police only"
    assert "references" not in alert
    english, spanish = alert["info"]
    assert (english["language"], english["event"]) == ("en", "Fire")
    assert (spanish["language"], spanish["event"]) == ("es", "Incendio")
    assert english["category"] == ["Fire", "Safety"]
    assert (english["urgency"], english["severity"], english["certainty"]) == (
        "Immediate",
        "Unknown",
        "Likely",
    )
    assert english["area"]["circle"] == "32.856800,151.215300 0.050"
    assert english["web"] == f"https://desk.example.org/cases/{case}"
    assert english["resource"] == {"resourceDesc": "Photograph 0001, in Almenara", "mimeType": "image/jpeg"}


def test_what_is_decided_later_is_an_update_that_names_what_came_before(desk: Desk) -> None:
    """Identifiers and times of earlier messages never change, and each later message refers to them."""
    case = desk.arrive("fire", verdict=Verdict.UNSURE)
    first = message(desk, case)
    assert first["info"][0]["certainty"] == "Possible"
    assert first["info"][0]["responseType"] == "Assess"
    desk.wait(30)
    desk.ask(Action.DECIDE, "review", case, other=case, situation="accident")
    second = message(desk, case)
    assert second["msgType"] == "Update"
    assert second["references"] == f"desk.example.org,{first['identifier']},{first['sent']}"
    assert (second["info"][0]["event"], second["info"][0]["certainty"]) == ("Accident", "Observed")
    desk.wait(30)
    desk.ask(Action.ADD_DEPARTMENT, "ambulance", case, to="firefighters")
    third = message(desk, case)
    assert third["references"].split()[1] == f"desk.example.org,{second['identifier']},{second['sent']}"
    desk.wait(30)
    desk.ask(Action.NOTE, "ambulance", case, note="both lanes <closed> & wet")
    assert message(desk, case)["identifier"] == third["identifier"]
    assert "both lanes <closed> & wet" in message(desk, case)["info"][0]["description"]


def test_another_photograph_of_the_same_place_is_an_update(desk: Desk) -> None:
    """The area grows to hold both, and both numbers are in it."""
    case = desk.arrive("fire")
    desk.wait(10)
    place = replace(desk.in_broker(case).photograph.coordinates, latitude_deg=32.8570)
    desk.arrive("fire", place=place)
    update = message(desk, case)
    assert (update["msgType"], update["incidents"].split()) == ("Update", ["0002", "0001"])
    assert float(update["info"][0]["area"]["circle"].split()[1]) > 0.05
    assert len(update["info"][0]["resource"]) == 2


def test_what_nobody_verified_says_so(desk: Desk) -> None:
    """Sent out undecided, it is possible and no more, and its headline warns."""
    case = desk.arrive("fire", verdict=Verdict.UNSURE)
    desk.tick(after_s=121)
    [english, _] = message(desk, case)["info"]
    assert (english["certainty"], english["urgency"]) == ("Possible", "Immediate")
    assert "UNVERIFIED" in english["headline"]


@pytest.mark.parametrize("how", ["false alarm", "sent home"])
def test_a_false_alarm_is_a_cancel(desk: Desk, how: str) -> None:
    """Whether every department found nothing, or a reviewer sends all of them home."""
    case = desk.arrive("altercation", verdict=Verdict.UNSURE if how == "sent home" else Verdict.DISPATCHED)
    first = message(desk, case)
    desk.wait(5)
    if how == "sent home":
        desk.ask(Action.DECIDE, "review", case, other=case, situation="normal")
    else:
        desk.ask(Action.FALSE_ALARM, "police-department", case)
    cancel = message(desk, case)
    assert cancel["msgType"] == "Cancel"
    assert first["identifier"] in cancel["references"]
    assert (cancel["info"][0]["urgency"], cancel["info"][0]["responseType"]) == ("Past", "AllClear")


def test_a_merged_case_is_cancelled_and_its_messages_live_on(desk: Desk) -> None:
    """It names the case that it went into, and that one refers to the messages of both."""
    kept, merged = desk.arrive("fire"), desk.arrive("fire")
    about_merged = message(desk, merged)
    desk.wait(5)
    desk.ask(Action.MERGE, "firefighters", merged, other=kept)
    gone = message(desk, merged)
    assert kept in gone["note"]
    assert about_merged["identifier"] in message(desk, kept)["references"]


def test_no_two_messages_have_one_name(desk: Desk) -> None:
    """Of a merge, one case is told Cancel and the other Update; and earlier names stay what they were."""
    kept = desk.arrive("fire")
    desk.wait(5)
    merged = desk.arrive("fire")
    before = {each.told.identifier for each in everything_new(desk, ["firefighters"])}
    assert before == {message(desk, case)["identifier"] for case in (kept, merged)}
    desk.wait(5)
    desk.ask(Action.MERGE, "firefighters", merged, other=kept)
    cancel, update = message(desk, merged), message(desk, kept)
    assert (cancel["msgType"], update["msgType"]) == ("Cancel", "Update")
    assert update["incidents"].split() == ["0002", "0001"]
    told = [each.told.identifier for each in everything_new(desk, ["firefighters"])]
    assert sorted(told) == sorted([*before, cancel["identifier"], update["identifier"]])


def test_pages_of_the_record_lose_and_double_no_message(desk: Desk, monkeypatch: pytest.MonkeyPatch) -> None:
    """Read entry by entry or all at once, the messages are the same, also where one moment made several."""
    for verdict in (Verdict.DISPATCHED, Verdict.UNSURE, Verdict.NO_EMERGENCY):
        case = desk.arrive(None if verdict is Verdict.NO_EMERGENCY else "fire", verdict=verdict)
        desk.wait(5)
    desk.ask(Action.DECIDE, "review", desk.arrived[1], other=desk.arrived[1], situation="normal")
    desk.wait(5)
    desk.ask(Action.FALSE_ALARM, "firefighters", desk.arrived[0])
    departments = ["firefighters", "transit-police", "review"]
    at_once = everything_new(desk, departments)
    # What was sent home before anybody was told: its Cancel alone. It is a street without an emergency now.
    assert [each.case_id for each in at_once] == [desk.arrived[0], desk.arrived[1], desk.arrived[0]]
    monkeypatch.setattr(capchain, "PAGE", 1)
    assert everything_new(desk, departments) == at_once
    assert case not in [each.case_id for each in at_once]


def everything_new(desk: Desk, departments: list[str]) -> list[capchain.News]:
    """Every message, as somebody is told who begins at the beginning."""
    return list(capchain.news_since(desk.engine, departments, desk.now - timedelta(days=1)))


def test_a_message_that_was_overtaken_is_no_cancel(desk: Desk) -> None:
    """What was called off and then called again: written late, the one in the middle is just an Update."""
    case = desk.arrive("altercation")
    for action in (Action.FALSE_ALARM, Action.REOPEN):
        desk.wait(5)
        desk.ask(action, "police-department", case)
    desk.wait(5)
    desk.ask(Action.FALSE_ALARM, "police-department", case)
    kinds = []
    for each in everything_new(desk, ["police-department"]):
        with Session(desk.engine) as session:
            found = session.get_one(Case, case)
            text = cap_of(session, found, desk.routing, SOURCE, at=each.told.at)
        SCHEMA.validate(text)
        kinds.append(fields_of(ET.fromstring(text))["msgType"])  # noqa: S314 - our own
    assert kinds == ["Alert", "Update", "Update", "Cancel"]


@pytest.mark.parametrize("text", ["", "almenara-1", "almenara-" + "a" * 32 + "-20261399T000000000000", "x"])
def test_a_name_that_is_none_of_ours_names_nothing(text: str) -> None:
    """Only what we would have made is looked for."""
    assert capchain.named(text) is None
    made = capchain.identifier_of("a" * 32, NOW)
    assert capchain.named(made) == ("a" * 32, NOW)


def test_an_exercise_says_that_it_is_one(desk: Desk) -> None:
    """Nobody who reads it goes anywhere."""
    case = desk.arrive("fire")
    assert message(desk, case, replace(SOURCE, status="Exercise"))["status"] == "Exercise"


def test_who_messages_are_from_is_set_once() -> None:
    """By two settings, which the web console and webhooks share; else by the console's address."""
    chosen = Settings(cap_sender="city.example", cap_status="test", web_url="https://a.example")
    assert CapSource.of(chosen) == CapSource(
        sender="city.example", base_url="https://a.example", status="Test"
    )
    assert CapSource.of(Settings(web_url="https://a.example:8443")).sender == "a.example"
    assert CapSource.of(Settings()) == CapSource(sender="almenara", status="Actual")


def test_a_street_without_emergency_has_no_alert(desk: Desk) -> None:
    """Nobody was called, so nobody is told."""
    case = desk.arrive(None, verdict=Verdict.NO_EMERGENCY)
    with pytest.raises(NoAlertError):
        message(desk, case)


def test_a_situation_of_ones_own_is_told_by_its_name(desk: Desk, tmp_path: Path) -> None:
    """Categories that the standard does not have for it are Other."""
    own = tmp_path / "routing.toml"
    own.write_text(
        '[departments]\nguards = "Guards"\n[situations.loose_bear]\nname = "Loose Bear"\nto = ["guards"]\n'
    )
    desk.routing = Routing.load(own)
    [english, spanish] = message(desk, desk.arrive("loose_bear"))["info"]
    assert (english["event"], spanish["event"], english["category"]) == ("Loose Bear", "Loose Bear", "Other")


@pytest.fixture
def template(desk: Desk) -> Row:
    """A row as the desk makes it, for what strangers write to be put in."""
    case = desk.arrive("fire")
    desk.ask(Action.NOTE, "firefighters", case)
    return desk.row(case)


def test_whatever_strangers_write_the_message_is_valid(template: Row, desk: Desk) -> None:
    """Control characters, half characters, markup, bidirectional controls do no harm in labels and notes."""
    told, before = Told("almenara-2", desk.now), [Told("almenara-1", desk.now)]

    @effort(max_examples=150, deadline=None)
    @given(
        st.text(st.characters(), max_size=40) | st.sampled_from(["]]>", "<x/>&amp;", "\x00\x1b[2J", "\ud800"])
    )
    def check(text: str) -> None:
        incident = {**template["incidents"][0], "label": text, "note": text, "number": "0001"}
        line = {**template["timeline"][-1], "actor": text, "text": text, "action": "note"}
        row = cast(Row, {**template, "incidents": [incident], "timeline": [line]})
        made = cap_message(row, told, before, desk.routing, SOURCE)
        SCHEMA.validate(made.encode())
        info = fields_of(ET.fromstring(made))["info"]  # noqa: S314 - our own
        shown = info[0]["description"]
        assert all(character.isprintable() for character in shown.replace("\n", ""))

    check()


@pytest.mark.parametrize(
    ("find", "put"),
    [
        ("-00:00</sent>", "Z</sent>"),
        ("<status>Actual", "<status>Real"),
        ("<scope>Restricted</scope>", ""),
        ("<identifier>almenara", "<identifier>alme nara"),
        ("</circle>", "km</circle>"),
        ("<urgency>Immediate</urgency>", ""),
    ],
)
def test_the_schema_refuses_what_the_standard_does(desk: Desk, find: str, put: str) -> None:
    """Our statement of the rules is strict: these tests can fail."""
    case = desk.arrive("fire")
    with Session(desk.engine) as session:
        text = cap_of(session, session.get_one(Case, case), desk.routing, SOURCE)
    assert find in text
    assert not SCHEMA.is_valid(text.replace(find, put))
