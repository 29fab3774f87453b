"""Reviews: what a person decides a picture shows, and where it belongs then."""

from collections.abc import Iterator
from typing import Any

import pytest
from database_parts import migrated
from desk_parts import HERE, Desk, move, open_desk

from console.desk import moves
from shared.broker import Broker
from shared.coordinates import Coordinates
from shared.keys import INCIDENTS, incident_key
from shared.moves import Action
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


def test_a_decision_dispatches(desk: Desk) -> None:
    """Whoever must go is called and told by whom it was decided; the review is over."""
    case = desk.arrive("fire", verdict=UNSURE)
    assert desk.states(case) == {"review": "dispatched"}
    asked = move(Action.DECIDE, "review", case, by="Marta", other=case, situation="accident", revision=1)
    answer = desk.give(asked)
    assert answer.message == "0001: Accident; Towing Unit, Ambulance and Transit Police must go"
    assert desk.states(case) == {
        "review": "closed",
        "towing-unit": "dispatched",
        "ambulance": "dispatched",
        "transit-police": "dispatched",
    }
    row = desk.row(case)
    assert (row["verdict"], row["situation"], row["unverified"]) == ("dispatched", "accident", False)
    assert desk.part(case, "review")["holder"] == "Marta"
    [line] = desk.lines(case, "decide")
    assert (line["actor"], line["department"], line["text"]) == ("Marta", "review", "0001: Accident")
    [told] = desk.told("ambulance")
    assert (told.data["verdict"], told.data["decided_by"]) == ("dispatched", "Marta")
    assert told.data["departments"] == ["towing-unit", "ambulance", "transit-police"]
    fields = desk.in_broker(case).fields
    assert (fields["decided_by"], fields["decision"]) == ("Marta", asked.move_id)
    assert desk.due() == 60


def test_no_emergency_ends_a_review(desk: Desk) -> None:
    """Nobody is sent, and nothing is open any more."""
    case = desk.arrive("fire", verdict=UNSURE)
    assert decide(desk, case, "normal", note="a barbecue") == "applied"
    assert desk.states(case) == {"review": "closed"}
    row = desk.row(case)
    assert (row["verdict"], row["situation"]) == ("no_emergency", None)
    assert desk.picture(case)["decided_by"] == "Marta"
    assert [line["text"] for line in desk.lines(case, "decide")] == ["0001: no emergency. a barbecue"]
    assert desk.due() is None


def test_only_reviewers_decide(desk: Desk) -> None:
    """A department that was sent the incident corrects it instead."""
    case = desk.arrive("fire")
    answer = desk.ask(Action.DECIDE, "firefighters", case, other=case, situation="accident")
    assert (answer.accepted, answer.reason) == (False, "not_allowed")
    assert desk.row(case)["situation"] == "fire"


def test_a_decision_about_no_picture_is_refused(desk: Desk) -> None:
    """A forged id leads nowhere."""
    case = desk.arrive("fire", verdict=UNSURE)
    answer = desk.ask(Action.DECIDE, "review", case, other="f" * 32, situation="fire")
    assert (answer.accepted, answer.reason) == (False, "unknown_case")


def test_a_decision_for_a_situation_without_a_route_is_refused(desk: Desk) -> None:
    """It could be sent to nobody."""
    case = desk.arrive("fire", verdict=UNSURE)
    assert decide(desk, case, "earthquake") == "unknown_word"
    assert desk.states(case) == {"review": "dispatched"}


def test_of_two_reviewers_the_second_is_told_who_decided(desk: Desk) -> None:
    """Both saw the first revision: one decision stands, and the other person hears whose."""
    case = desk.arrive("fire", verdict=UNSURE)
    desk.wait(10)
    assert decide(desk, case, "normal", revision=1) == "applied"
    answer = desk.ask(Action.DECIDE, "review", case, by="Luis", other=case, situation="fire", revision=1)
    assert answer.reason == "stale"
    assert answer.message == "Marta decided no emergency for 0001 at 12:00:10 UTC; look at it again"
    assert desk.told("firefighters") == []


def test_who_saw_the_decision_may_decide_otherwise(desk: Desk) -> None:
    """A later decision counts; and one's own slip can be put right at once."""
    case = desk.arrive("fire", verdict=UNSURE)
    assert decide(desk, case, "normal", revision=1) == "applied"
    assert decide(desk, case, "accident", revision=1) == "applied"
    assert decide(desk, case, "fire", revision=3, by="Luis") == "applied"
    assert desk.states(case)["firefighters"] == "dispatched"
    assert desk.row(case)["situation"] == "fire"


def test_a_dispatched_incident_can_be_decided_too(desk: Desk) -> None:
    """Whoever has a dispatch gets the new one; whoever must go now is called."""
    case = desk.arrive("fire")
    desk.ask(Action.ACKNOWLEDGE, "firefighters", case)
    assert decide(desk, case, "robbery") == "applied"
    assert desk.states(case) == {
        "firefighters": "acknowledged",
        "transit-police": "dispatched",
        "police-department": "dispatched",
    }
    assert desk.revisions_told("firefighters", case) == [1, 2]
    assert desk.revisions_told("police-department", case) == [2]


def test_no_emergency_after_the_dispatch_spares_who_has_not_set_out(desk: Desk) -> None:
    """Untouched assignments become false alarms, in the reviewer's name; who acknowledged it reads it."""
    case = desk.arrive("fire")
    desk.ask(Action.ACKNOWLEDGE, "firefighters", case)
    assert decide(desk, case, "normal") == "applied"
    assert desk.states(case) == {"firefighters": "acknowledged", "transit-police": "false_alarm"}
    assert desk.part(case, "transit-police")["holder"] == "Marta"
    assert [line["department"] for line in desk.lines(case, "false_alarm")] == ["transit-police"]
    for department in ("firefighters", "transit-police"):
        told = desk.told(department)[-1].data
        assert (told["verdict"], told["units_of_assistance"]) == ("no_emergency", ["No emergency"])
    assert desk.ask(Action.CLOSE, "firefighters", case).accepted


def test_an_emergency_after_all_calls_again(desk: Desk) -> None:
    """Who was sent home by a decision is called by the next one."""
    case = desk.arrive("fire")
    decide(desk, case, "normal")
    desk.wait(5)
    assert decide(desk, case, "fire", revision=2) == "applied"
    assert desk.states(case) == {"firefighters": "dispatched", "transit-police": "dispatched"}
    assert desk.row(case)["situation"] == "fire"


def test_a_decision_is_repeated_harmlessly_after_a_crash(desk: Desk) -> None:
    """The broker has it, the record does not: the same move tells nobody twice, and is applied."""
    case = desk.arrive("fire", verdict=UNSURE)
    asked = move(Action.DECIDE, "review", case, other=case, situation="fire", revision=1)
    with pytest.raises(ZeroDivisionError), desk.book() as book:
        moves.apply(book, asked)
        raise ZeroDivisionError
    assert desk.states(case) == {"review": "dispatched"}
    assert desk.revisions_told("firefighters", case) == [2]
    assert desk.give(asked).reason == "applied"
    assert desk.revisions_told("firefighters", case) == [2]
    assert desk.states(case)["firefighters"] == "dispatched"


def test_the_clock_does_not_open_what_a_crashed_desk_had_decided(desk: Desk) -> None:
    """The decision that stands in the broker counts, though the time runs out before its move comes again."""
    case = desk.arrive("fire", verdict=UNSURE)
    asked = move(Action.DECIDE, "review", case, by="Marta", other=case, situation="accident", revision=1)
    with pytest.raises(ZeroDivisionError), desk.book() as book:
        moves.apply(book, asked)
        raise ZeroDivisionError
    desk.tick(120)
    row = desk.row(case)
    assert (row["situation"], row["unverified"], desk.states(case)["review"]) == ("accident", False, "closed")
    assert desk.told("firefighters") == []
    assert desk.give(asked).reason == "applied"
    assert desk.states(case)["ambulance"] == "dispatched"
    assert desk.revisions_told("ambulance", case) == [2]


def test_what_was_decided_may_merge_a_case_while_the_clock_strikes(desk: Desk) -> None:
    """What the clock was to look at next went into another case: it is passed over."""
    fire = desk.arrive("fire", place=HERE)
    case = desk.arrive("accident", verdict=UNSURE, place=HERE)
    desk.wait(65)
    desk.ask(Action.ADD_DEPARTMENT, "review", case, to="ambulance")
    with pytest.raises(ZeroDivisionError), desk.book() as book:
        moves.apply(book, move(Action.DECIDE, "review", case, other=case, situation="fire"))
        raise ZeroDivisionError
    desk.tick(65)
    assert desk.row(case)["merged_into"] == fire
    assert desk.states(fire)["ambulance"] == "dispatched"
    desk.tick(10)
    assert desk.part(fire, "ambulance")["repeats"] == 1


def test_who_was_told_by_a_desk_that_died_hears_what_is_decided(desk: Desk) -> None:
    """The ambulance has a dispatch that the record knows nothing of: no emergency reaches it all the same."""
    case = desk.arrive("fire")
    with pytest.raises(ZeroDivisionError), desk.book() as book:
        moves.apply(book, move(Action.ADD_DEPARTMENT, "firefighters", case, to="ambulance"))
        raise ZeroDivisionError
    assert decide(desk, case, "normal") == "applied"
    assert desk.revisions_told("ambulance", case) == [2, 3]


def test_a_decision_is_kept_though_the_broker_has_the_incident_no_longer(desk: Desk) -> None:
    """After 30 days: the label stands in the record, and the boards tell."""
    case = desk.arrive("fire", verdict=Verdict.NO_EMERGENCY)
    desk.broker.delete(incident_key(case))
    desk.broker.zrem(INCIDENTS, case)
    assert decide(desk, case, "fire", revision=1) == "applied"
    picture = desk.picture(case)
    assert (picture["verdict"], picture["situation"]) == ("dispatched", "fire")
    assert (picture["decided_by"], picture["revision"]) == ("Marta", 2)
    assert desk.states(case) == {"firefighters": "dispatched", "transit-police": "dispatched"}
    assert desk.row(case)["version"] > 0
    assert decide(desk, case, "accident", revision=1, by="Luis") == "stale"


def test_a_picture_that_a_worker_looks_at_anew_can_be_decided(desk: Desk) -> None:
    """The broker lost its data and got the picture from the store again: a person's word stands meanwhile."""
    case = desk.arrive("fire", verdict=UNSURE)
    desk.broker.hset(incident_key(case), mapping={"state": "queued", "verdict": ""})
    assert decide(desk, case, "fire") == "applied"
    assert desk.picture(case)["decided_by"] == "Marta"
    assert desk.states(case)["firefighters"] == "dispatched"


def test_a_damaged_record_in_the_broker_stops_nobody(desk: Desk) -> None:
    """Somebody wrote into it by hand: the decision stands in the desk's record."""
    case = desk.arrive("fire", verdict=UNSURE)
    desk.broker.hset(incident_key(case), "latitude_deg", "north")
    assert decide(desk, case, "fire") == "applied"
    assert desk.states(case)["firefighters"] == "dispatched"


def test_a_decided_picture_joins_the_case_nearby(desk: Desk) -> None:
    """An open case of that situation is in reach: one row, and nobody is alarmed anew."""
    fire = desk.arrive("fire", place=HERE)
    desk.ask(Action.ACKNOWLEDGE, "firefighters", fire)
    unsure = desk.arrive("accident", verdict=UNSURE, place=HERE)
    assert decide(desk, unsure, "fire") == "applied"
    assert desk.case_of(unsure) == fire
    assert desk.states(fire) == {
        "firefighters": "acknowledged",
        "transit-police": "dispatched",
        "review": "closed",
    }
    assert desk.row(unsure)["merged_into"] == fire
    assert desk.revisions_told("firefighters", unsure) == [2]


def test_a_decided_picture_far_away_stays_alone(desk: Desk) -> None:
    """151 m are too far."""
    desk.arrive("fire", place=HERE)
    away = Coordinates(latitude_deg=HERE.latitude_deg + 0.00136, longitude_deg=HERE.longitude_deg)
    unsure = desk.arrive("accident", verdict=UNSURE, place=away)
    decide(desk, unsure, "fire")
    assert desk.case_of(unsure) == unsure


def test_a_grouped_picture_of_something_else_leaves_its_case(desk: Desk) -> None:
    """It was put with the fires because it seemed to show one; the case of the others stays a fire."""
    fire = desk.arrive("fire", place=HERE)
    other = desk.arrive("fire", place=HERE)
    assert desk.case_of(other) == fire
    assert decide(desk, other, "protest") == "applied"
    made = desk.case_of(other)
    assert made != fire
    assert (desk.row(fire)["situation"], desk.row(made)["situation"]) == ("fire", "protest")
    assert desk.states(made)["police-force"] == "dispatched"
    assert "police-force" not in desk.states(fire)


def test_what_a_person_merged_stays_together(desk: Desk) -> None:
    """A crash and its fire are one emergency because somebody said so, whatever else burns nearby."""
    crash = desk.arrive("accident", place=HERE)
    smoke = desk.arrive("fire", verdict=UNSURE, place=HERE)
    desk.arrive("fire", place=HERE)
    assert desk.ask(Action.MERGE, "ambulance", smoke, other=crash).accepted
    assert decide(desk, smoke, "fire") == "applied"
    assert desk.case_of(smoke) == crash
    assert desk.row(crash)["situation"] == "accident"
    assert desk.states(crash)["firefighters"] == "dispatched"
    assert desk.revisions_told("ambulance", smoke) == [2]


def test_one_picture_less_leaves_the_case_to_the_others(desk: Desk) -> None:
    """No emergency in one of two pictures sends nobody home; in both it does."""
    fire = desk.arrive("fire", place=HERE)
    other = desk.arrive("fire", place=HERE)
    decide(desk, other, "normal")
    assert desk.states(fire) == {"firefighters": "dispatched", "transit-police": "dispatched"}
    assert desk.row(fire)["verdict"] == "dispatched"
    decide(desk, fire, "normal")
    assert desk.states(fire) == {"firefighters": "false_alarm", "transit-police": "false_alarm"}
    assert desk.row(fire)["verdict"] == "no_emergency"


def test_a_review_lasts_until_every_picture_is_decided(desk: Desk) -> None:
    """Two unsure pictures that were merged wait for two decisions."""
    first, second = desk.arrive("fire", verdict=UNSURE), desk.arrive("fire", verdict=UNSURE)
    desk.ask(Action.MERGE, "review", first, other=second)
    decide(desk, first, "normal")
    assert desk.states(second) == {"review": "dispatched"}
    assert desk.row(second)["verdict"] == "unsure"
    decide(desk, second, "normal")
    assert desk.states(second) == {"review": "closed"}


def test_confirming_what_was_split_does_not_merge_it_again(desk: Desk) -> None:
    """A person made two cases of it, and a reviewer's fire is a fire in either."""
    fire = desk.arrive("fire", place=HERE)
    other = desk.arrive("fire", place=HERE)
    desk.ask(Action.SPLIT, "firefighters", fire, other=other)
    made = desk.case_of(other)
    assert decide(desk, other, "fire") == "applied"
    assert desk.case_of(other) == made != fire
