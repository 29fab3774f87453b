"""Samples: pictures without an emergency that reviewers check."""

from collections.abc import Iterator
from typing import Any

import pytest
from database_parts import migrated
from desk_parts import Desk, open_desk

from console.desk.reviews import is_sampled
from shared.broker import Broker
from shared.moves import Action
from shared.settings import Settings
from shared.verdict import Verdict

UNSURE = Verdict.UNSURE


@pytest.fixture
def desk(settings: Settings, broker: Broker) -> Iterator[Desk]:
    """A desk on an empty record that samples nothing."""
    with migrated(settings.database) as engine:
        yield open_desk(settings, broker, engine, sample_rate=0.0)


@pytest.fixture
def checking(settings: Settings, broker: Broker) -> Iterator[Desk]:
    """A desk that has every picture without an emergency checked."""
    with migrated(settings.database) as engine:
        yield open_desk(settings, broker, engine, sample_rate=1.0)


def decide(desk: Desk, incident: str, situation: str, **more: object) -> str:
    """A reviewer decides an incident in its case; the answer's reason."""
    case = desk.case_of(incident)
    words: dict[str, Any] = {"other": incident, "situation": situation, "by": "Marta", **more}
    return desk.ask(Action.DECIDE, "review", case, **words).reason


def test_a_sampled_picture_waits_for_nobody(checking: Desk) -> None:
    """The model was sure that nothing is wrong: it is shown for checking, without a time."""
    case = checking.arrive(None, verdict=Verdict.NO_EMERGENCY, scores={"normal": 0.9, "fire": 0.1})
    assert checking.states(case) == {"review": "dispatched"}
    assert checking.due() is None
    checking.tick(86_400)
    assert checking.states(case) == {"review": "dispatched"}


def test_a_checked_sample_is_over(checking: Desk) -> None:
    """Confirmed: nobody is told, and the decision is a label."""
    case = checking.arrive(None, verdict=Verdict.NO_EMERGENCY, scores={"normal": 0.9, "fire": 0.1})
    assert decide(checking, case, "normal") == "applied"
    assert checking.states(case) == {"review": "closed"}
    assert checking.picture(case)["decided_by"] == "Marta"


def test_a_sample_that_shows_an_emergency_dispatches(checking: Desk) -> None:
    """The model had missed it."""
    case = checking.arrive(None, verdict=Verdict.NO_EMERGENCY, scores={"normal": 0.9, "fire": 0.1})
    assert decide(checking, case, "fire") == "applied"
    assert checking.states(case) == {
        "review": "closed",
        "firefighters": "dispatched",
        "transit-police": "dispatched",
    }


def test_a_sample_beside_what_was_decided_does_not_fail_open(checking: Desk) -> None:
    """The time was for the unsure picture, which was decided in time."""
    sample = checking.arrive(None, verdict=Verdict.NO_EMERGENCY, scores={"normal": 0.9, "fire": 0.1})
    case = checking.arrive("fire", verdict=UNSURE)
    assert checking.ask(Action.MERGE, "review", sample, other=case).accepted
    assert decide(checking, case, "normal") == "applied"
    checking.tick(120)
    assert checking.states(case) == {"review": "dispatched"}
    assert checking.lines(case, "failed_open") == []


def test_an_unsampled_picture_can_be_decided_from_the_history(desk: Desk) -> None:
    """What was on no board becomes an emergency, with a row."""
    case = desk.arrive(None, verdict=Verdict.NO_EMERGENCY, scores={"normal": 0.9, "fire": 0.1})
    assert desk.states(case) == {}
    assert decide(desk, case, "fire") == "applied"
    assert desk.states(case)["firefighters"] == "dispatched"


def test_the_sample_is_a_share_and_always_the_same() -> None:
    """About as many as the setting says, none at 0, all at 1."""
    ids = [f"{number:032x}" for number in range(10_000)]
    drawn = [each for each in ids if is_sampled(each, 0.02)]
    assert 150 < len(drawn) < 250
    assert drawn == [each for each in ids if is_sampled(each, 0.02)]
    assert set(drawn) <= {each for each in ids if is_sampled(each, 0.1)}
    assert not any(is_sampled(each, 0.0) for each in ids)
    assert all(is_sampled(each, 1.0) for each in ids)
