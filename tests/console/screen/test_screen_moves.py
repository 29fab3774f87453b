import pytest
from screen_parts import ROUTING, ToldDesk, case_id, incident_part, make_row, unsure_row
from sitting import only, run, sitting
from textual.widgets import OptionList

import console.screen.asked
import console.screen.follower
import console.screen.sender
from shared.broker import Broker
from shared.incidents import utc_now
from shared.moves import Action


@pytest.fixture(autouse=True)
def hasty(monkeypatch: pytest.MonkeyPatch) -> None:
    """Pauses of tens of milliseconds, not of seconds."""
    monkeypatch.setattr(console.screen.follower, "BLOCK_MS", 50)
    monkeypatch.setattr(console.screen.follower, "PULSE_S", 0.1)
    monkeypatch.setattr(console.screen.sender, "_LOOK_S", 0.05)
    monkeypatch.setattr(console.screen.asked, "WAIT_S", 0.2)


@pytest.fixture
def desk(broker: Broker) -> ToldDesk:
    """A desk that runs."""
    return ToldDesk(broker)


def test_one_key_acknowledges(broker: Broker, desk: ToldDesk) -> None:
    """The move says who, the state changes when the desk says so, and so do the keys."""

    async def story() -> None:
        desk.publish(make_row(1))
        async with sitting(broker, by="Ana") as sat:
            await sat.shows("a acknowledge")
            await sat.press("a")
            await sat.until(desk.asked, "a move")
            move = only(desk.asked())
            assert (move.action, move.by, move.department, move.case) == (
                Action.ACKNOWLEDGE,
                "Ana",
                "firefighters",
                case_id(1),
            )
            assert move.seen == desk.version, "the desk is told which row the person saw"
            assert "dispatched" in sat.lines()[1] or "acknowledge?" in sat.lines()[1]
            desk.apply(move)
            await sat.shows("0001 acknowledged")
            await sat.shows("e en route")
            assert "acknowledged Ana" in " ".join(sat.lines()[1].split())
            assert "a acknowledge" not in sat.part("keys")

    run(story())


def test_who_comes_second_is_told_who_has_it(broker: Broker, desk: ToldDesk) -> None:
    """A refusal is shown in the desk's words, and nothing else changes."""

    async def story() -> None:
        desk.publish(make_row(1))
        async with sitting(broker, by="Bob") as sat:
            await sat.shows("a acknowledge")
            await sat.press("a")
            await sat.until(desk.asked, "a move")
            desk.answer(
                only(desk.asked()), accepted=False, reason="taken", message="Ana has it since 12:03:10"
            )
            await sat.shows("0001 not acknowledged: Ana has it since 12:03:10")

    run(story())


def test_a_desk_that_is_silent_gets_the_move_once(broker: Broker, desk: ToldDesk) -> None:
    """The move shows as waiting, pressing again sends nothing, and the answer still counts."""

    async def story() -> None:
        desk.publish(make_row(1))
        async with sitting(broker) as sat:
            await sat.shows("a acknowledge")
            await sat.press("a")
            await sat.shows("0001 acknowledge waits for the desk")
            await sat.shows("acknowledge?")
            await sat.press("a", "a", "f")
            await sat.press_for_dialog("n")
            await sat.press_in_dialog("x", "enter")
            await sat.until(lambda: len(desk.asked()) == 2, "a note")
            # Moves go out in their order, so nothing else was sent before the note.
            acknowledged, note = desk.asked()
            assert (acknowledged.action, note.action) == (Action.ACKNOWLEDGE, Action.NOTE)
            desk.apply(acknowledged)
            desk.answer(note, accepted=True)
            await sat.shows("0001 noted")
            assert "waits" not in sat.text()
            assert "acknowledged Ana" in " ".join(sat.lines()[1].split())

    run(story())


def test_a_key_that_is_not_offered_says_why(broker: Broker, desk: ToldDesk) -> None:
    """Nothing is sent, and the reason stands below."""

    async def story() -> None:
        desk.publish(make_row(1))
        async with sitting(broker) as sat:
            await sat.shows("0001")
            await sat.press("s")
            await sat.shows("0001 is dispatched: on scene is not possible")
            assert desk.asked() == []

    run(story())


def test_what_is_closed_can_be_reopened(broker: Broker, desk: ToldDesk) -> None:
    """It stays at the end of the list, the next case is selected, and `o` brings it back."""

    async def story() -> None:
        desk.publish(make_row(1), make_row(2, states={"firefighters": "on_scene"}))
        async with sitting(broker) as sat:
            await sat.shows("0002")
            await sat.press("end")
            await sat.shows("c close")
            await sat.press("c")
            await sat.until(desk.asked, "a move")
            desk.apply(only(desk.asked()))
            await sat.shows("0002 closed")
            await sat.until(lambda: sat.table.selected == case_id(1), "the next case selected")
            assert sat.table.cases[-1] == case_id(2)
            assert "1 waiting, 1 open" in sat.part("header")
            await sat.press("end", "o")
            await sat.until(lambda: len(desk.asked()) == 2, "a second move")
            desk.apply(desk.asked()[1])
            await sat.shows("0002 reopened")
            await sat.shows("2 waiting, 2 open")

    run(story())


def test_a_case_that_goes_takes_no_key_with_it(broker: Broker, desk: ToldDesk) -> None:
    """Where somebody else ends the selected case it stays selected: no key falls on its neighbour."""

    async def story() -> None:
        desk.publish(make_row(1), make_row(2))
        async with sitting(broker) as sat:
            await sat.shows("0001")
            await sat.press("home")
            ended = make_row(2, states={"firefighters": "false_alarm"})
            desk.publish(ended)
            await sat.shows("false alarm by Ana")
            await sat.press("f")
            await sat.shows("0002 is false alarm by Ana: false alarm is not possible")
            assert desk.asked() == []

    run(story())


def test_a_note_is_one_clean_line(broker: Broker, desk: ToldDesk) -> None:
    """Keys go into the note while it is written; it is sent cleaned, and escape sends nothing."""

    async def story() -> None:
        desk.publish(make_row(1))
        async with sitting(broker) as sat:
            await sat.shows("n note")
            await sat.press_for_dialog("n")
            await sat.press_in_dialog(*"aq m", "escape")
            await sat.press_for_dialog("n")
            await sat.press_in_dialog(*"[b]hi", "space", "space", *"q[/b]", "enter")
            await sat.until(desk.asked, "a move")
            move = only(desk.asked())
            assert (move.action, move.note) == (Action.NOTE, "[b]hi q[/b]")
            await sat.press_for_dialog("n")
            await sat.press_in_dialog("space", "enter")
            await sat.press("m")
            await sat.shows("MUTED")
            assert len(desk.asked()) == 1

    run(story())


def test_a_situation_is_corrected_from_a_list(broker: Broker, desk: ToldDesk) -> None:
    """The move names the situation, the picture and the revision that was on the screen."""

    async def story() -> None:
        desk.publish(make_row(1))
        async with sitting(broker) as sat:
            await sat.shows("x correct")
            await sat.press_for_dialog("x")
            options = sat.app.screen.query_one(OptionList)
            assert options.option_count == len(ROUTING.situations) - 1
            await sat.press("down", "enter")
            await sat.until(desk.asked, "a move")
            move = only(desk.asked())
            assert (move.action, move.situation) == (Action.CORRECT, "flood_risk")
            assert (move.other, move.revision) == (case_id(1), 1)

    run(story())


def test_one_more_department_is_told(broker: Broker, desk: ToldDesk) -> None:
    """It is picked from those that were not told; escape picks nothing."""

    async def story() -> None:
        desk.publish(make_row(1))
        async with sitting(broker) as sat:
            await sat.shows("d add department")
            await sat.press_for_dialog("d")
            await sat.press_in_dialog("escape")
            await sat.press_for_dialog("d")
            await sat.press_in_dialog("enter")
            await sat.until(desk.asked, "a move")
            move = only(desk.asked())
            assert (move.action, move.to) == (Action.ADD_DEPARTMENT, "police-force")

    run(story())


def test_cases_are_merged_and_split(broker: Broker, desk: ToldDesk) -> None:
    """`g` picks another case, `p` one of the pictures."""

    async def story() -> None:
        two = [incident_part(3, utc_now()), incident_part(1, utc_now())]
        desk.publish(make_row(2), make_row(1, incidents=two))
        async with sitting(broker) as sat:
            await sat.shows("p split")
            await sat.press_for_dialog("g")
            await sat.press_in_dialog("enter")
            await sat.until(desk.asked, "a merge")
            assert (desk.asked()[0].action, desk.asked()[0].other) == (Action.MERGE, case_id(2))
            await sat.press_for_dialog("p")
            await sat.press_in_dialog("enter")
            await sat.until(lambda: len(desk.asked()) == 2, "a split")
            assert (desk.asked()[1].action, desk.asked()[1].other) == (Action.SPLIT, case_id(3))

    run(story())


def test_a_reviewer_decides_with_one_key(broker: Broker, desk: ToldDesk) -> None:
    """A digit decides the picture that is shown; 0 is no emergency; other moves have no key."""

    async def story() -> None:
        desk.publish(unsure_row(1, due_in_s=50), unsure_row(2, due_in_s=90))
        async with sitting(broker, "review", by="Eva") as sat:
            await sat.shows("Goes out UNVERIFIED in")
            await sat.press("a", "9")
            await sat.shows("9 decides nothing here")
            await sat.press("3")
            await sat.until(desk.asked, "a decision")
            first = only(desk.asked())
            assert (first.action, first.situation, first.other) == (Action.DECIDE, "fire", case_id(1))
            assert (first.department, first.by, first.revision) == ("review", "Eva", 1)
            decided = [incident_part(1, utc_now(), decided_by="Eva", revision=2)]
            closed = make_row(1, states={"review": "closed", "firefighters": "dispatched"}, incidents=decided)
            desk.publish(closed, outcomes=[desk.outcome(first, message="0001: Fire")])
            await sat.shows("0001: Fire")
            await sat.until(lambda: sat.table.selected == case_id(2), "the next picture")
            await sat.press("0")
            await sat.until(lambda: len(desk.asked()) == 2, "a second decision")
            assert (desk.asked()[1].situation, desk.asked()[1].case) == ("normal", case_id(2))

    run(story())


def test_a_decision_is_changed_only_when_confirmed(broker: Broker, desk: ToldDesk) -> None:
    """A digit on a decided picture asks first, and leaves it unless the person says so."""

    async def story() -> None:
        desk.publish(unsure_row(1))
        async with sitting(broker, "review") as sat:
            await sat.shows("Goes out")
            decided = [incident_part(1, utc_now(), decided_by="Bob", revision=2)]
            desk.publish(make_row(1, states={"review": "closed"}, incidents=decided))
            await sat.shows("Decided. By Bob.")
            await sat.press_for_dialog("1")
            await sat.press_in_dialog("enter")
            await sat.press_for_dialog("1")
            await sat.press_in_dialog("down", "enter")
            await sat.until(desk.asked, "a decision")
            assert (only(desk.asked()).situation, only(desk.asked()).revision) == ("protest", 2)

    run(story())


def test_on_all_a_department_is_chosen_first(broker: Broker, desk: ToldDesk) -> None:
    """Every board's cases are there, read-only until a department of the case is chosen by its digit."""

    async def story() -> None:
        desk.publish(make_row(1), make_row(2, states={"ambulance": "dispatched"}))
        async with sitting(broker, "all") as sat:
            await sat.shows("0002")
            await sat.press("end", "a")
            await sat.shows("first press the digit")
            await sat.press("2")
            await sat.shows("> 2 Transit Police")
            await sat.press("a")
            await sat.until(desk.asked, "a move")
            assert only(desk.asked()).department == "transit-police"
            await sat.press("home")
            await sat.shows("press its digit")
            assert "acknowledge" not in sat.part("keys")

    run(story())


def test_who_quits_with_moves_unsent_is_asked(desk: ToldDesk, broker: Broker) -> None:
    """Quitting is one key, and a question only where a move would be lost by it."""

    async def story() -> None:
        desk.publish(make_row(1))
        async with sitting(broker) as sat:
            await sat.shows("0001")
            row = sat.app.session.casebook.rows[case_id(1)]
            sat.app.sender.stop()
            assert sat.app.sender.join(60)
            sat.app.session.actor.ask(row, Action.ACKNOWLEDGE, utc_now())
            await sat.press_for_dialog("q")
            await sat.press_in_dialog("enter")
            assert sat.app.is_running and not sat.app._exit
            await sat.press_for_dialog("q")
            await sat.press("down", "enter")
            await sat.until(lambda: not sat.app.is_running or sat.app._exit, "the end")

    run(story())
