"""Failing open: what nobody decides goes to whom it most likely concerns, UNVERIFIED."""

from collections.abc import Iterator
from typing import Any

import pytest
from database_parts import migrated
from desk_parts import Desk, open_desk

from console.desk import clock
from shared.broker import Broker
from shared.keys import incident_key
from shared.moves import Action
from shared.routing import Routing
from shared.settings import Settings
from shared.verdict import Verdict

UNSURE = Verdict.UNSURE


@pytest.fixture
def desk(settings: Settings, broker: Broker) -> Iterator[Desk]:
    """A desk on an empty record that samples nothing."""
    with migrated(settings.database) as engine:
        yield open_desk(settings, broker, engine, sample_rate=0.0)


def decide(desk: Desk, incident: str, situation: str, **more: object) -> str:
    """A reviewer decides an incident in its case; the answer's reason."""
    case = desk.case_of(incident)
    words: dict[str, Any] = {"other": incident, "situation": situation, "by": "Marta", **more}
    return desk.ask(Action.DECIDE, "review", case, **words).reason


def test_what_nobody_decides_goes_out_unverified(desk: Desk) -> None:
    """After 120 s it goes to its most likely departments, marked; the review goes on."""
    case = desk.arrive("fire", verdict=UNSURE, scores={"fire": 0.5, "accident": 0.24, "normal": 0.26})
    assert desk.due() == 120
    desk.tick(119)
    assert desk.states(case) == {"review": "dispatched"}
    desk.tick(1)
    assert desk.states(case) == {
        "review": "dispatched",
        "firefighters": "dispatched",
        "transit-police": "dispatched",
    }
    row = desk.row(case)
    assert (row["verdict"], row["situation"], row["unverified"]) == ("unsure", "fire", True)
    [line] = desk.lines(case, "failed_open")
    assert line["text"] == "0001 UNVERIFIED to Firefighters and Transit Police"
    told = desk.told("firefighters")[-1].data
    assert (told["unverified"], told["decided_by"], told["verdict"]) == (True, "desk", "unsure")
    assert told["units_of_assistance"] == ["UNVERIFIED Fire => Firefighters and Transit Police"]
    assert told["message"] == "Nobody decided within 2 min"
    assert desk.part(case, "review")["due_at"] == ""


def test_a_second_guess_half_as_likely_counts(desk: Desk) -> None:
    """Departments of both are called, each once."""
    case = desk.arrive("fire", verdict=UNSURE, scores={"fire": 0.4, "accident": 0.2, "normal": 0.4})
    desk.tick(120)
    assert set(desk.states(case)) - {"review"} == {
        "firefighters",
        "transit-police",
        "towing-unit",
        "ambulance",
    }
    assert len(desk.told("transit-police")) == 1


@pytest.mark.parametrize("scores", [{}, {"normal": 1.0}, {"fire": 0.0}, {"unheard_of": 0.9}])
def test_without_a_guess_the_reviews_fallback_is_called(desk: Desk, scores: dict[str, float]) -> None:
    """A quarantined picture shows nobody anything; somebody must look all the same."""
    case = desk.arrive(None, verdict=UNSURE, scores=scores)
    desk.tick(120)
    assert desk.states(case) == {"review": "dispatched", "police-department": "dispatched"}
    assert desk.told("police-department")[0].data["situation"] is None


def test_without_a_guess_and_a_fallback_everybody_is_called(desk: Desk) -> None:
    """Uncertainty fails open, whatever the routing file leaves out."""
    desk.routing.fallback.clear()
    case = desk.arrive(None, verdict=UNSURE)
    desk.tick(120)
    assert set(desk.states(case)) == {"review", *desk.routing.departments}


def test_it_fails_open_once(desk: Desk) -> None:
    """Ticking on, and a desk that died before it could note it, send nothing twice."""
    case = desk.arrive("fire", verdict=UNSURE)
    desk.wait(120)
    with pytest.raises(ZeroDivisionError), desk.book() as book:
        clock.tick(book)
        raise ZeroDivisionError
    for _ in range(3):
        desk.tick(1)
    assert desk.revisions_told("firefighters", case) == [2]
    assert len(desk.lines(case, "failed_open")) == 1


def test_it_fails_open_though_the_broker_has_the_incident_no_longer(desk: Desk) -> None:
    """The boards call whoever must go."""
    case = desk.arrive("fire", verdict=UNSURE)
    desk.broker.delete(incident_key(case))
    desk.tick(120)
    assert desk.states(case)["firefighters"] == "dispatched"
    assert desk.row(case)["unverified"]


def test_it_fails_open_after_hours_without_a_desk(desk: Desk) -> None:
    """At once, and its departments have their own time from then on."""
    case = desk.arrive("fire", verdict=UNSURE)
    desk.tick(7200)
    assert desk.states(case)["firefighters"] == "dispatched"
    assert desk.due() == 60


def test_a_late_decision_verifies(desk: Desk) -> None:
    """Whoever went out unverified hears that it is true, and whoever else must go is called."""
    case = desk.arrive("fire", verdict=UNSURE)
    desk.tick(120)
    desk.ask(Action.ACKNOWLEDGE, "firefighters", case)
    assert decide(desk, case, "accident", revision=1) == "applied"
    row = desk.row(case)
    assert (row["verdict"], row["situation"], row["unverified"]) == ("dispatched", "accident", False)
    assert desk.states(case) == {
        "review": "closed",
        "firefighters": "acknowledged",
        "transit-police": "dispatched",
        "towing-unit": "dispatched",
        "ambulance": "dispatched",
    }
    assert desk.revisions_told("firefighters", case) == [2, 3]
    assert desk.revisions_told("ambulance", case) == [3]
    assert desk.told("firefighters")[-1].data["unverified"] is False


def test_a_late_no_emergency_sends_home(desk: Desk) -> None:
    """Who has not acknowledged stays at home, who has reads it in the timeline, and all are told."""
    case = desk.arrive("fire", verdict=UNSURE)
    desk.tick(120)
    desk.ask(Action.ACKNOWLEDGE, "firefighters", case)
    assert decide(desk, case, "normal", revision=2) == "applied"
    assert desk.states(case) == {
        "review": "closed",
        "firefighters": "acknowledged",
        "transit-police": "false_alarm",
    }
    assert not desk.row(case)["unverified"]
    for department in ("firefighters", "transit-police"):
        assert desk.told(department)[-1].data["units_of_assistance"] == ["No emergency"]


def test_what_a_department_had_dismissed_is_called_again_when_it_fails_open(desk: Desk) -> None:
    """New evidence merged into what they had ended is in front of them again."""
    fire = desk.arrive("fire")
    unsure = desk.arrive("fire", verdict=UNSURE)
    desk.ask(Action.MERGE, "firefighters", unsure, other=fire)
    desk.ask(Action.FALSE_ALARM, "firefighters", fire)
    desk.tick(120)
    assert desk.states(fire)["firefighters"] == "dispatched"
    assert desk.row(fire)["verdict"] == "dispatched"


def test_of_two_equal_guesses_the_models_own_is_shown(desk: Desk) -> None:
    """Both are called; the row says what the model said."""
    case = desk.arrive("fire", verdict=UNSURE, scores={"accident": 0.4, "fire": 0.4, "normal": 0.2})
    desk.tick(120)
    assert desk.row(case)["situation"] == "fire"
    assert desk.states(case)["ambulance"] == "dispatched"


def test_the_routing_file_names_who_looks_where_there_is_no_guess(settings: Settings) -> None:
    """The default one does."""
    assert Routing.load(settings.routing).fallback["review"] == "police-department"
