import asyncio
import time

import pytest
from screen_parts import ROUTING, ToldDesk, assignment_part, case_id, incident_part, make_row
from sitting import Sitting, only, run, sitting
from textual.events import Key
from textual.widgets import Input

import console.screen.asked
import console.screen.follower
import console.screen.sender
from console.screen.app import DispatchConsole, run_screen
from console.screen.detail import View
from shared.broker import Broker
from shared.errors import ConfigError
from shared.heartbeats import DESK
from shared.incidents import utc_now
from shared.keys import alive_key


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


def test_it_opens_with_everything_open(broker: Broker, desk: ToldDesk) -> None:
    """What is open is listed at once, without a sound, and the first case is selected."""

    async def story() -> None:
        desk.publish(make_row(1), make_row(2, situation="accident", states={"firefighters": "on_scene"}))
        async with sitting(broker) as sat:
            await sat.shows("0002")
            assert [line[4:8] for line in sat.lines()[1:]] == ["0001", "0002"]
            assert "1 waiting, 2 open" in sat.part("header")
            assert "Fire => Firefighters and Transit Police" in sat.part("text")
            assert sat.table.selected == case_id(1)
            assert sat.rings == []

    run(story())


def test_what_comes_appears_and_rings(broker: Broker, desk: ToldDesk) -> None:
    """A new case stands at the top and rings; the selected one stays selected, and the sound can be muted."""

    async def story() -> None:
        desk.publish(make_row(1))
        async with sitting(broker) as sat:
            await sat.shows("0001")
            desk.publish(make_row(2))
            await sat.shows("0002")
            assert sat.table.cases[0] == case_id(2)
            assert sat.table.selected == case_id(1)
            assert len(sat.rings) == 1
            await sat.press("m")
            await sat.shows("MUTED")
            again = assignment_part("firefighters", "dispatched", utc_now(), repeats=1)
            desk.publish(make_row(1, assignments=[again]))
            await sat.shows("!!")
            assert len(sat.rings) == 1

    run(story())


def test_a_desk_that_is_down_is_said(broker: Broker) -> None:
    """Without a heartbeat the header says that moves wait; with one it is connected again."""

    async def story() -> None:
        desk = ToldDesk(broker)
        desk.publish(make_row(1))
        async with sitting(broker) as sat:
            broker.delete(alive_key(DESK))
            await sat.shows("desk is down: moves wait")
            desk.beat()
            await sat.shows(" connected ")

    run(story())


def test_the_filter_narrows_the_list(broker: Broker, desk: ToldDesk) -> None:
    """It follows each letter, keeps when entered, says what it hides, and goes with escape."""

    async def story() -> None:
        desk.publish(make_row(1, incidents=[incident_part(1, utc_now(), label="bridge")]), make_row(2))
        async with sitting(broker) as sat:
            await sat.shows("0002")
            await sat.press("slash", *"brid")
            await sat.until(lambda: list(sat.table.cases) == [case_id(1)], "one case")
            await sat.shows("hides 1 waiting")
            await sat.press("enter", "m")
            await sat.shows("MUTED")
            assert list(sat.table.cases) == [case_id(1)]
            await sat.press("escape")
            await sat.until(lambda: len(sat.table.cases) == 2, "both cases")

    run(story())


def test_keys_that_come_together_mean_what_they_say(broker: Broker, desk: ToldDesk) -> None:
    """Over a slow line several arrive at once: letters behind the slash are the filter's and move nothing."""

    async def story() -> None:
        desk.publish(make_row(1))
        async with sitting(broker) as sat:
            await sat.shows("a acknowledge")
            assert sat.app._driver is not None
            for key, letter in (("slash", "/"), ("a", "a"), ("slash", "/"), ("f", "f")):
                pressed = Key(key, letter)
                pressed.set_sender(sat.app)
                sat.app._driver.send_message(pressed)
            await sat.until(lambda: sat.app.session.wanted == "a/f", "what is looked for")
            await sat.press("enter", "m")
            await sat.shows("MUTED")
            assert sat.app.session.actor.asked.all() == [] == desk.asked()

    run(story())


def test_a_filter_that_hides_the_selected_case_selects_none(broker: Broker, desk: ToldDesk) -> None:
    """No key falls on another case than the one that was looked at; entering the filter chooses the first."""

    async def story() -> None:
        desk.publish(make_row(1), make_row(2))
        async with sitting(broker) as sat:
            await sat.shows("0002")
            await sat.press("home", "slash", *"0001")
            await sat.until(lambda: sat.table.selected == "", "nothing selected")
            await sat.press("tab", "a")
            await sat.shows("choose a case first")
            assert desk.asked() == []
            await sat.press("slash", "enter")
            await sat.until(lambda: sat.table.selected == case_id(1), "the first case")

    run(story())


def test_the_detail_takes_the_whole_screen(broker: Broker, desk: ToldDesk) -> None:
    """Enter shows it, keys still move the case, enter or escape go back."""

    async def story() -> None:
        desk.publish(make_row(1))
        async with sitting(broker) as sat:
            await sat.shows("0001")
            await sat.press("enter")
            await sat.until(lambda: not sat.table.display or sat.table.size.height == 0, "no list")
            await sat.press("a")
            await sat.until(desk.asked, "a move")
            await sat.press("escape")
            await sat.until(lambda: sat.table.size.height > 0, "the list")
            assert sat.table.has_focus

    run(story())


def test_help_lists_the_keys(broker: Broker, desk: ToldDesk) -> None:
    """It comes and goes, and no key behind it does anything."""

    async def story() -> None:
        desk.publish(make_row(1))
        async with sitting(broker) as sat:
            await sat.shows("0001")
            await sat.press_for_dialog("question_mark")
            await sat.press_in_dialog("a", "escape")
            await sat.press("m")
            await sat.shows("MUTED")
            assert desk.asked() == []

    run(story())


@pytest.mark.parametrize("size", [(80, 24), (60, 20), (200, 50)])
def test_it_fits_the_terminal(broker: Broker, desk: ToldDesk, size: tuple[int, int]) -> None:
    """Header, list, detail and keys are all in sight; on a wide terminal list and detail are side by side."""

    async def story() -> None:
        desk.publish(*(make_row(number) for number in range(1, 40)))
        async with sitting(broker, size=size) as sat:
            await sat.shows("0039")
            await sat.press("end")
            await sat.until(lambda: any(line.startswith(">") for line in in_sight(sat)), "the last case")
            screen = sat.app.screen
            for name in ("header", "cases", "detail", "said", "keys"):
                region = screen.query_one(f"#{name}").region
                assert region.height > 0 and region.bottom <= size[1] and region.right <= size[0], name
            wide = screen.query_one("#detail").region.x > 0
            assert wide == (size[0] >= 150)
            assert in_sight(sat)[0].split()[0] == "no."

    run(story())


def in_sight(sat: Sitting) -> list[str]:
    """The list's lines that are on the screen."""
    return [sat.table.render_line(y).text for y in range(sat.table.size.height)]


def test_the_selected_case_stays_in_sight(broker: Broker, desk: ToldDesk) -> None:
    """However many come above it, it is on the screen, and it is the same one."""

    async def story() -> None:
        desk.publish(*(make_row(number) for number in range(1, 22)))
        async with sitting(broker) as sat:
            await sat.shows("0021")
            await sat.press("end")
            desk.publish(*(make_row(number) for number in range(22, 43)))
            await sat.until(lambda: len(sat.table.cases) == 42, "42 cases")
            await sat.until(
                lambda: any(line.startswith(">") and "0001" in line for line in in_sight(sat)), "it in sight"
            )
            assert sat.table.selected == case_id(1)

    run(story())


def test_hostile_text_draws_nothing(broker: Broker, desk: ToldDesk) -> None:
    """A label, note and name full of markup and escape codes stand on the screen as they are written."""
    evil = "[red]x[/red]\x1b[2J\x07\u202e[/]"

    async def story() -> None:
        picture = incident_part(1, utc_now(), label=evil, note=evil)
        held = assignment_part("firefighters", "acknowledged", utc_now(), holder=evil)
        desk.publish(make_row(1, incidents=[picture], assignments=[held]))
        async with sitting(broker, size=(200, 50)) as sat:
            await sat.shows(r"[red]x[/red]\u001B[2J\u0007\u202E[/]")
            await sat.press("f", "p", "g")
            await sat.until(desk.asked, "a move")
            desk.answer(only(desk.asked()), accepted=False, message=evil)
            await sat.until(lambda: "not marked as false alarm: [red]x" in sat.part("said"), "the answer")
            assert {"\x1b", "\x07", "\u202e"} & set(sat.text()) == set()

    run(story())


def test_it_ends_when_told(broker: Broker, desk: ToldDesk) -> None:
    """A signal to the process ends it as `q` does."""
    told: list[int] = []

    async def story() -> None:
        app = DispatchConsole(
            broker, ROUTING, View("firefighters", ROUTING), by="Ana", stop=lambda: bool(told)
        )
        async with app.run_test():
            told.append(1)
            deadline_s = time.monotonic() + 60
            while not app._exit and time.monotonic() < deadline_s:
                await asyncio.sleep(0.02)
            assert app._exit
        assert app.follower.join(60) and app.sender.join(60)

    run(story())


@pytest.mark.parametrize(("department", "by"), [("navy", "Ana"), ("firefighters", "\x1b[31m")])
def test_nonsense_is_refused_before_anything_is_drawn(broker: Broker, department: str, by: str) -> None:
    """An unknown department, or a name that is none."""
    with pytest.raises(ConfigError):
        run_screen(broker, ROUTING, department, by=by)


def test_the_filter_is_not_the_note(broker: Broker, desk: ToldDesk) -> None:
    """What is written into a dialog filters nothing."""

    async def story() -> None:
        desk.publish(make_row(1))
        async with sitting(broker) as sat:
            await sat.shows("0001")
            await sat.press_for_dialog("n")
            note = sat.app.screen.query_one(Input)
            await sat.press(*"zzz")
            await sat.until(lambda: note.value == "zzz", "the letters in the note")
            await sat.press_in_dialog("escape")
            assert sat.app.session.wanted == ""

    run(story())
