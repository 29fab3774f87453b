from collections.abc import Iterator
from dataclasses import replace

import pytest
from database_parts import migrated
from desk_parts import HERE, Desk, open_desk

from console.desk import clock
from shared.broker import Broker
from shared.moves import Action
from shared.settings import Settings
from shared.verdict import Verdict


@pytest.fixture
def desk(settings: Settings, broker: Broker) -> Iterator[Desk]:
    """A desk on an empty record, with the default times: 60 s, 180 s, 30 min, 120 s."""
    with migrated(settings.database) as engine:
        yield open_desk(settings, broker, engine)


def tick_each(desk: Desk, seconds: int, step_s: int = 1) -> None:
    """Let time pass while the clock strikes."""
    for _ in range(0, seconds, step_s):
        desk.tick(step_s)


def repeats(desk: Desk, case: str) -> dict[str, int]:
    """department -> how often it was called again."""
    return {part["department"]: part["repeats"] for part in desk.row(case)["assignments"]}


# Repeats and the fallback


def test_what_nobody_acknowledged_is_called_again_and_again(desk: Desk) -> None:
    """Every 60 s, once each, with a line and a fresh version, so that consoles sound again."""
    case = desk.arrive("robbery")
    assert desk.due() == 60
    tick_each(desk, 59)
    assert desk.lines(case, "repeated") == []
    version = desk.row(case)["version"]
    desk.tick(1)
    assert repeats(desk, case) == {"police-department": 1}
    assert desk.row(case)["version"] > version
    tick_each(desk, 100, 5)
    assert repeats(desk, case) == {"police-department": 2}
    assert [line["department"] for line in desk.lines(case, "repeated")] == ["police-department"] * 2


def test_a_night_of_repeats_leaves_the_timeline_readable(desk: Desk) -> None:
    """Each repeat is counted and has a fresh version; the first five have a line each, then every tenth."""
    desk.routing.fallback.clear()
    case = desk.arrive("robbery")
    versions = []
    for _ in range(30):
        desk.tick(60)
        versions.append(desk.row(case)["version"])
    assert repeats(desk, case) == {"police-department": 30}
    assert len(set(versions)) == 30
    assert [line["text"] for line in desk.lines(case, "repeated")] == [*"12345", "10", "20", "30"]


def test_what_somebody_acknowledged_is_quiet(desk: Desk) -> None:
    """Nothing sounds, and no fallback is called, while somebody has it."""
    case = desk.arrive("robbery")
    desk.wait(59)
    desk.ask(Action.ACKNOWLEDGE, "police-department", case)
    tick_each(desk, 1700, 50)
    assert repeats(desk, case) == {"police-department": 0}


def test_whom_a_correction_sends_home_is_called_no_more(desk: Desk) -> None:
    """Who is not needed for what it really is keeps the case, and is not called again, nor their fallback."""
    case = desk.arrive("fire")
    desk.ask(Action.CORRECT, "transit-police", case, situation="protest")
    tick_each(desk, 600, 20)
    assert desk.states(case)["firefighters"] == "dispatched"
    assert repeats(desk, case)["firefighters"] == 0
    assert repeats(desk, case)["police-force"] > 0
    assert not [part for part in desk.row(case)["assignments"] if part["fallback_of"] == "firefighters"]


def test_who_is_needed_after_all_is_called_again(desk: Desk) -> None:
    """A correction of the correction starts the clock of whom the first one sent home."""
    case = desk.arrive("fire")
    desk.ask(Action.CORRECT, "transit-police", case, situation="accident")
    desk.ask(Action.CORRECT, "transit-police", case, situation="fire")
    tick_each(desk, 120, 20)
    assert repeats(desk, case)["firefighters"] > 0


def test_ticking_twice_does_nothing_twice(desk: Desk) -> None:
    """At one moment, what is due is done once."""
    case = desk.arrive("robbery")
    desk.tick(180)
    before = desk.everything()
    desk.tick()
    assert desk.everything() == before
    assert repeats(desk, case)["police-department"] == 1


def test_the_fallback_is_called_when_its_time_has_come(desk: Desk) -> None:
    """After 180 s the named department gets the case and its dispatch, and the timeline says for whom."""
    case = desk.arrive("robbery")
    tick_each(desk, 179)
    assert desk.states(case) == {"police-department": "dispatched"}
    desk.tick(1)
    assert desk.states(case) == {"police-department": "dispatched", "police-force": "dispatched"}
    assert desk.part(case, "police-force")["fallback_of"] == "police-department"
    [line] = desk.lines(case, "fell_back")
    assert (line["actor"], line["department"]) == ("desk", "police-department")
    assert line["text"] == "Police Department did not answer within 3 min; Police Force is called"
    [told] = desk.told("police-force")
    assert (told.data["incident_id"], told.data["revision"]) == (case, 2)
    assert told.data["message"] == "Police Department did not answer within 3 min"
    assert told.data["units_of_assistance"] == ["Robbery => Police Department and Police Force"]


def test_the_fallback_gets_every_picture_of_the_case(desk: Desk) -> None:
    """New evidence goes to whoever stands in, too."""
    case = desk.arrive("robbery", place=HERE)
    other = desk.arrive("robbery", place=HERE)
    desk.tick(180)
    assert desk.revisions_told("police-force", case) == [2]
    assert desk.revisions_told("police-force", other) == [2]


def test_who_was_called_first_goes_on_being_called(desk: Desk) -> None:
    """The fallback is called too, not instead; each has its own clock."""
    case = desk.arrive("robbery")
    desk.tick(180)
    tick_each(desk, 120, 10)
    assert repeats(desk, case) == {"police-department": 3, "police-force": 2}
    assert desk.ask(Action.ACKNOWLEDGE, "police-department", case).accepted


def test_two_that_stand_in_for_each_other_come_to_an_end(desk: Desk) -> None:
    """Police department and police force are each other's fallback: each is called in once."""
    case, other = desk.arrive("robbery"), desk.arrive("robbery")
    tick_each(desk, 200, 20)
    desk.ask(Action.FALSE_ALARM, "police-department", other)
    tick_each(desk, 1200, 20)
    for each in (case, other):
        assert len(desk.lines(each, "fell_back")) == 1
        assert desk.revisions_told("police-force", each) == [2]
    assert desk.states(other) == {"police-department": "false_alarm", "police-force": "dispatched"}


def test_a_fallback_that_has_the_case_is_not_called_again(desk: Desk) -> None:
    """Towing unit's is transit police, which was sent the accident itself."""
    case = desk.arrive("accident")
    desk.ask(Action.ACKNOWLEDGE, "transit-police", case)
    desk.ask(Action.ACKNOWLEDGE, "ambulance", case)
    tick_each(desk, 400, 20)
    assert set(desk.states(case)) == {"towing-unit", "ambulance", "transit-police"}
    assert desk.revisions_told("transit-police", case) == [1]


def test_a_fallback_that_had_finished_is_called_again(desk: Desk) -> None:
    """Somebody must know that the towing unit does not answer."""
    case = desk.arrive("accident")
    desk.ask(Action.FALSE_ALARM, "transit-police", case)
    desk.ask(Action.ACKNOWLEDGE, "ambulance", case)
    desk.tick(180)
    assert desk.states(case)["transit-police"] == "dispatched"
    assert desk.part(case, "transit-police")["fallback_of"] == "towing-unit"
    assert desk.revisions_told("transit-police", case) == [1, 2]


@pytest.mark.parametrize("known", [True, False], ids=["a situation that is known", "one that went too"])
def test_for_a_department_that_left_the_routing_file_others_are_called(desk: Desk, known: bool) -> None:
    """Nobody may look at its board any more: who goes to this today is called, or else who decides."""
    case = desk.arrive("fire")
    routing = desk.routing
    departments = {word: name for word, name in routing.departments.items() if word != "firefighters"}
    fire = replace(routing.situations["fire"], departments=("ambulance", "transit-police"))
    situations = {word: each for word, each in routing.situations.items() if word != "fire"}
    fallback = {"review": "police-department"}
    desk.routing = replace(
        routing,
        departments=departments | {"firefighters-2": "Fire Brigade"},
        situations=situations | ({"fire": fire} if known else {}),
        fallback=fallback,
    )
    desk.tick(180)
    called = "ambulance" if known else "police-department"
    assert desk.part(case, called)["fallback_of"] == "firefighters"
    [line] = desk.lines(case, "fell_back")
    name = routing.departments[called]
    gone = "Firefighters did not answer, and is not in the routing file any more"
    assert line["text"] == f"{gone}; {name} is called"
    assert desk.told(called)[-1].data["message"] == gone
    desk.tick(180)
    assert len(desk.lines(case, "fell_back")) == 1


def test_a_department_without_a_fallback_is_called_on(desk: Desk) -> None:
    """The routing file need not name one."""
    desk.routing.fallback.clear()
    case = desk.arrive("robbery")
    tick_each(desk, 600, 20)
    assert repeats(desk, case) == {"police-department": 10}


def test_the_fallback_is_told_once_though_the_desk_dies_before_it_can_note_it(desk: Desk) -> None:
    """The dispatch stands in the broker, the record does not have it: the next tick repeats it harmlessly."""
    case = desk.arrive("robbery")
    desk.wait(180)
    with pytest.raises(ZeroDivisionError), desk.book() as book:
        clock.tick(book)
        raise ZeroDivisionError
    assert desk.revisions_told("police-force", case) == [2]
    assert "police-force" not in desk.states(case)
    desk.tick(1)
    assert desk.revisions_told("police-force", case) == [2]
    assert desk.states(case)["police-force"] == "dispatched"


def test_two_fallbacks_are_told_once_though_the_desk_dies(desk: Desk) -> None:
    """What a second one was told since does not hide that the first one was."""
    case = desk.arrive("flood_risk")
    desk.wait(180)
    with pytest.raises(ZeroDivisionError), desk.book() as book:
        clock.tick(book)
        raise ZeroDivisionError
    desk.tick(1)
    for department in ("firefighters", "police-department"):
        assert len(desk.revisions_told(department, case)) == 1
        assert desk.states(case)[department] == "dispatched"


# Expiry


@pytest.mark.parametrize("further", [[], [Action.EN_ROUTE]])
def test_an_acknowledgement_without_units_on_scene_expires(desk: Desk, further: list[Action]) -> None:
    """After 30 min it comes back, unheld, and sounds again; en route is not on scene."""
    case = desk.arrive("robbery")
    for action in (Action.ACKNOWLEDGE, *further):
        desk.wait(10)
        desk.ask(action, "police-department", case)
    desk.tick(1800 - 10 * len(further) - 1)
    assert desk.part(case, "police-department")["holder"] == "Ana"
    desk.tick(1)
    part = desk.part(case, "police-department")
    assert (part["state"], part["holder"], part["repeats"]) == ("dispatched", "", 0)
    assert part["acknowledged_at"] == "2026-11-24T12:00:10.000000Z"
    [line] = desk.lines(case, "expired")
    assert line["text"] == "Ana had it; no units on scene within 30 min"
    assert desk.due() == 60


def test_what_expired_goes_to_the_fallback_in_its_turn(desk: Desk) -> None:
    """The clock starts anew: 180 s after it came back."""
    case = desk.arrive("robbery")
    desk.ask(Action.ACKNOWLEDGE, "police-department", case)
    desk.tick(1800)
    desk.tick(179)
    assert "police-force" not in desk.states(case)
    desk.tick(1)
    assert desk.states(case)["police-force"] == "dispatched"


def test_a_second_silence_calls_the_fallback_a_second_time(desk: Desk) -> None:
    """It had finished, and whoever it stood in for acknowledged, and went quiet again."""
    case = desk.arrive("robbery")
    desk.tick(180)
    desk.ask(Action.FALSE_ALARM, "police-force", case)
    desk.ask(Action.ACKNOWLEDGE, "police-department", case)
    desk.tick(1800)
    assert desk.states(case)["police-force"] == "false_alarm"
    desk.tick(180)
    assert desk.states(case)["police-force"] == "dispatched"
    assert desk.revisions_told("police-force", case) == [2, 3]


def test_units_on_scene_do_not_expire(desk: Desk) -> None:
    """The clock has nothing more to say to them, nor to what has ended."""
    case = desk.arrive("robbery")
    desk.ask(Action.ACKNOWLEDGE, "police-department", case)
    desk.ask(Action.ON_SCENE, "police-department", case)
    assert desk.due() is None
    desk.tick(86_400)
    assert desk.states(case) == {"police-department": "on_scene"}


def test_a_merged_case_is_silent(desk: Desk) -> None:
    """The clock looks at the case that it went into."""
    case, into = desk.arrive("robbery"), desk.arrive("robbery")
    desk.ask(Action.MERGE, "police-department", case, other=into)
    desk.tick(60)
    assert repeats(desk, into) == {"police-department": 1}
    assert desk.row(case)["assignments"][0]["repeats"] == 0


# Stops and clocks


def test_hours_without_a_desk_are_made_up_for_without_a_storm(desk: Desk) -> None:
    """50 repeats missed are one, the fallback is called at once, and the next repeat is in its minute."""
    case = desk.arrive("robbery")
    held = desk.arrive("robbery")
    desk.ask(Action.ACKNOWLEDGE, "police-department", held)
    desk.tick(50 * 60 + 30)
    assert repeats(desk, case) == {"police-department": 1, "police-force": 0}
    assert desk.states(held) == {"police-department": "dispatched"}
    assert desk.due() == 30
    desk.tick(29)
    assert repeats(desk, case)["police-department"] == 1
    desk.tick(1)
    assert repeats(desk, case)["police-department"] == 2


def test_a_clock_that_jumped_back_does_not_repeat_wildly(desk: Desk) -> None:
    """An hour lived twice: what is due in it is done at its pace, and nothing stays silent for the hour."""
    case = desk.arrive("robbery")
    tick_each(desk, 120, 10)
    assert repeats(desk, case) == {"police-department": 2}
    desk.tick(-3600)
    assert repeats(desk, case) == {"police-department": 2}
    assert desk.due() == 60
    tick_each(desk, 120, 10)
    assert repeats(desk, case) == {"police-department": 4}
    tick_each(desk, 60, 10)
    assert desk.states(case)["police-force"] == "dispatched"


def test_a_clock_that_was_ahead_for_a_while_silences_nothing(desk: Desk) -> None:
    """What was planned by a clock that was a day ahead is due when the right one says so."""
    case, held = desk.arrive("robbery"), desk.arrive("robbery")
    review = desk.arrive("fire", verdict=Verdict.UNSURE)
    desk.wait(86_400)
    desk.ask(Action.ACKNOWLEDGE, "police-department", held)
    late = desk.arrive("fire", verdict=Verdict.UNSURE)
    with desk.book() as book:
        known = book.case(case)
        assert known is not None
        assignment = book.assignment(known, "police-department")
        assert assignment is not None
        assignment.due_at = desk.now
    desk.tick(10 - 86_400)
    assert desk.part(case, "police-department")["due_at"] == "2026-11-24T12:01:00.000000Z"
    assert desk.part(held, "police-department")["due_at"] == "2026-11-24T12:30:10.000000Z"
    assert desk.part(review, "review")["due_at"] == "2026-11-24T12:02:00.000000Z"
    assert desk.part(late, "review")["due_at"] == "2026-11-24T12:02:10.000000Z"


def test_clocks_of_two_desks_may_differ_a_little(desk: Desk) -> None:
    """A desk whose clock is behind by seconds changes nothing that the other planned."""
    desk.arrive("robbery")
    before = desk.everything()
    desk.tick(-3)
    assert desk.everything() == before


def test_times_may_be_fractions_of_a_second(settings: Settings, broker: Broker) -> None:
    """Repeats fall on multiples of the setting, exactly, without drifting."""
    with migrated(settings.database) as engine:
        desk = open_desk(settings, broker, engine, acknowledge_within_s=0.1, fallback_after_s=0.25)
        case = desk.arrive("robbery")
        for _ in range(100):
            desk.tick(0.05)
        assert repeats(desk, case)["police-department"] == 50
        assert len(desk.lines(case, "fell_back")) == 1


def test_more_than_a_page_is_due(desk: Desk, monkeypatch: pytest.MonkeyPatch) -> None:
    """The longest due first; the next tick goes on with the rest."""
    monkeypatch.setattr("console.desk.clock.PAGE", 2)
    cases = []
    for _ in range(3):
        cases.append(desk.arrive("robbery"))
        desk.wait(1)
    desk.tick(100)
    assert [sum(repeats(desk, case).values()) for case in cases] == [1, 1, 0]
    assert (desk.due() or 0) < 0
    desk.tick()
    assert [sum(repeats(desk, case).values()) for case in cases] == [1, 1, 1]
