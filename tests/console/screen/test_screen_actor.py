import time

import pytest
from screen_parts import ROUTING, incident_part, make_row

from console.screen.actor import Actor, check_name
from console.screen.asked import GIVE_UP_S, WAIT_S
from console.screen.detail import View
from console.screen.follower import Away, Changed, Fault, Lost, Opened, Pulse
from console.screen.sender import NotSent, Sent
from console.screen.session import Session
from shared.board import Change, Opening, Outcome, Row
from shared.errors import ConfigError
from shared.incidents import utc_now
from shared.moves import Action, Move

NOW = utc_now()


class Desk:
    """Takes what is sent, and makes outcomes of it."""

    def __init__(self) -> None:
        self.moves: list[Move] = []

    def outcome(self, *, accepted: bool = True, message: str = "", move: Move | None = None) -> Outcome:
        """What became of the last move."""
        asked = move or self.moves[-1]
        return Outcome(
            move_id=asked.move_id,
            department=asked.department,
            case=asked.case,
            action=asked.action,
            by=asked.by,
            accepted=accepted,
            reason="applied" if accepted else "taken",
            message=message,
            version=9,
        )


@pytest.fixture
def desk() -> Desk:
    return Desk()


def session_of(desk: Desk, *rows: Row, department: str = "firefighters") -> Session:
    """A sitting at a board with these rows, and with a desk."""
    session = Session(View(department, ROUTING), "Ana", desk.moves.append, 0.0)
    session.hear(Opened(Opening(1, list(rows)), again=False), NOW, 0.0)
    session.hear(Pulse(1), NOW, 0.0)
    return session


def test_a_move_says_who_and_what(desk: Desk) -> None:
    """It stands in the department's stream, with the name of who acts and the time."""
    row = make_row()
    said = Actor("Ana", "firefighters", ROUTING, desk.moves.append).ask(row, Action.NOTE, NOW, note="hi")
    (move,) = desk.moves
    assert said == "0001 note: asked"
    assert (move.department, move.case, move.by, move.note) == ("firefighters", row["case"], "Ana", "hi")


def test_a_key_pressed_twice_is_one_move(desk: Desk) -> None:
    """While a move of the state has no answer no other is sent; a note goes all the same."""
    actor = Actor("Ana", "firefighters", ROUTING, desk.moves.append)
    row = make_row()
    for action in (Action.ACKNOWLEDGE, Action.ACKNOWLEDGE, Action.FALSE_ALARM):
        said = actor.ask(row, action, NOW)
    assert "waits for its answer" in said
    for note in ("one", "two", "two"):
        actor.ask(row, Action.NOTE, NOW, note=note)
    actor.ask(make_row(2), Action.ACKNOWLEDGE, NOW)
    assert [(move.action, move.note) for move in desk.moves] == [
        (Action.ACKNOWLEDGE, ""),
        (Action.NOTE, "one"),
        (Action.NOTE, "two"),
        (Action.ACKNOWLEDGE, ""),
    ]
    assert actor.answered(desk.outcome(move=desk.moves[0])) is not None
    actor.ask(row, Action.EN_ROUTE, NOW)
    assert desk.moves[-1].action is Action.EN_ROUTE


def test_an_outcome_is_told_once_and_to_who_asked(desk: Desk) -> None:
    """Refusals carry the desk's words; somebody else's outcomes say nothing here."""
    session = session_of(desk, make_row())
    session.actor.ask(make_row(), Action.ACKNOWLEDGE, NOW)
    other = Outcome(**{**desk.outcome(), "move_id": "f" * 32})
    session.say("before")
    session.hear(Changed([Change(2, None, "", [other])]), NOW, 1.0)
    assert session.said(1.0).plain == "before"
    refused = desk.outcome(accepted=False, message="Bob has it since 12:03:10")
    session.hear(Changed([Change(3, None, "", [refused])]), NOW, 1.0)
    assert session.said(1.0).plain == "0001 not acknowledged: Bob has it since 12:03:10"
    session.say("after")
    session.hear(Changed([Change(4, None, "", [refused])]), NOW, 1.0)
    assert session.said(1.0).plain == "after"


@pytest.mark.parametrize(
    ("message", "said"), [("", "0001 acknowledged."), ("0001 is yours", "0001 is yours")]
)
def test_good_news_is_told_too(desk: Desk, message: str, said: str) -> None:
    """The desk's own words where it has some."""
    session = session_of(desk, make_row())
    session.actor.ask(make_row(), Action.ACKNOWLEDGE, NOW)
    session.hear(Changed([Change(2, None, "", [desk.outcome(message=message)])]), NOW, 1.0)
    assert session.said(1.0).plain == said


def test_a_finished_case_lets_go(desk: Desk) -> None:
    """Only an own move that ended a case asks the screen to go on, not somebody else's."""
    session = session_of(desk, make_row())
    closed = make_row(version=2, states={"firefighters": "false_alarm"})
    assert session.hear(Changed([Change(2, closed, "", [])]), NOW, 1.0).done == ""
    session = session_of(desk, make_row())
    session.actor.ask(make_row(), Action.FALSE_ALARM, NOW)
    effect = session.hear(Changed([Change(2, closed, "", [desk.outcome()])]), NOW, 1.0)
    assert effect.done == closed["case"]


def test_a_move_without_an_answer_is_shown(desk: Desk) -> None:
    """After three seconds it stands where everybody looks, and says whether it is sent."""
    session = session_of(desk, make_row())
    session.actor.ask(make_row(), Action.ACKNOWLEDGE, NOW)
    late_s = time.monotonic() + WAIT_S + 2
    assert "waits for the broker" in session.said(late_s).plain
    session.hear(Sent(desk.moves[0].move_id), NOW, late_s)
    assert "0001 acknowledge waits for the desk, 5 s" in session.said(late_s).plain
    (shown,) = session.lines(session.rows(), NOW, late_s).values()
    assert "acknowledge?" in shown.cells
    (early,) = session.lines(session.rows(), NOW, time.monotonic()).values()
    assert "acknowledge?" not in early.cells


def test_a_note_that_waits_hides_no_state(desk: Desk) -> None:
    """The state stays in the list while something besides is asked for."""
    session = session_of(desk, make_row())
    session.actor.ask(make_row(), Action.NOTE, NOW, note="x")
    (shown,) = session.lines(session.rows(), NOW, time.monotonic() + WAIT_S).values()
    assert "dispatched" in shown.cells


def test_what_may_be_lost_is_sent_again_as_the_same(desk: Desk) -> None:
    """Where the board could not say what happened since, the same move goes once more, and is not new."""
    session = session_of(desk, make_row())
    session.actor.ask(make_row(), Action.ACKNOWLEDGE, NOW)
    session.hear(Opened(Opening(5, [make_row()]), again=True), NOW, 1.0)
    assert len(desk.moves) == 1  # it was not sent yet: the sender has it still
    session.hear(Sent(desk.moves[0].move_id), NOW, 1.0)
    session.hear(Opened(Opening(6, [make_row()]), again=True), NOW, 1.0)
    assert [move.move_id for move in desk.moves] == [desk.moves[0].move_id] * 2


def test_an_answer_that_never_comes_is_given_up(desk: Desk) -> None:
    """Where the answer itself may be lost, the person is told to look; otherwise the move waits on."""
    session = session_of(desk, make_row())
    session.actor.ask(make_row(), Action.ACKNOWLEDGE, NOW)
    session.hear(Sent(desk.moves[0].move_id), NOW, 1.0)
    late_s = time.monotonic() + GIVE_UP_S + 1
    assert "waits for the desk" in session.said(late_s).plain
    session.hear(Opened(Opening(6, [make_row()]), again=True), NOW, 1.0)
    session.hear(Sent(desk.moves[0].move_id), NOW, 1.0)
    assert "no answer came" in session.said(late_s).plain
    assert session.actor.asked.all() == []


def test_a_move_that_is_refused_by_the_broker_says_so(desk: Desk) -> None:
    """A console without the right to move hears why, and may try again."""
    session = session_of(desk, make_row())
    session.actor.ask(make_row(), Action.ACKNOWLEDGE, NOW)
    session.hear(NotSent(desk.moves[0], "NOPERM no right"), NOW, 1.0)
    assert session.said(1.0).plain == "0001 acknowledge can't be sent: NOPERM no right"
    session.actor.ask(make_row(), Action.ACKNOWLEDGE, NOW)
    assert len(desk.moves) == 2


def test_on_all_one_department_of_one_case_is_chosen(desk: Desk) -> None:
    """The choice ends with the case, and with its digit pressed once more."""
    actor = Actor("Eva", "all", ROUTING, desk.moves.append)
    row, other = make_row(1), make_row(2)
    assert actor.offers(row, others=True) == []
    assert actor.choose(row, 2) == ""
    assert actor.department(row) == "transit-police"
    assert actor.department(other) == ""
    assert Action.ACKNOWLEDGE in actor.offers(row, others=True)
    actor.ask(row, Action.ACKNOWLEDGE, NOW)
    assert desk.moves[0].department == "transit-police"
    actor.choose(row, 2)
    assert actor.department(row) == ""
    assert "no department 3" in actor.choose(row, 3)
    assert "no department 0" in actor.choose(row, 0)


def test_the_line_says_how_it_stands(desk: Desk) -> None:
    """Connected, without a desk, away and for how long, with the boards lost, or at fault."""
    session = session_of(desk)
    said = [session.line.words(0.0)]
    for at_s, news in ((1.0, Pulse(0)), (2.0, Away()), (5.0, Away()), (20.0, Lost()), (30.0, Fault("\x1bx"))):
        session.hear(news, NOW, at_s)
        said.append(session.line.words(14.0 if at_s <= 5 else at_s + 3))
    assert said == [
        "connected",
        "desk is down: moves wait",
        "broker away for 12 s",
        "broker away for 12 s",
        "boards lost 3 s ago: shown as they were",
        r"fault: \u001Bx",
    ]
    session.hear(Pulse(2), NOW, 40.0)
    assert session.line.words(41.0) == "connected"


def test_the_header_counts_what_a_filter_hides(desk: Desk) -> None:
    """Somebody who filters still sees that others wait."""
    waiting = make_row(1, incidents=[incident_part(1, NOW, label="bridge")])
    session = session_of(desk, waiting, make_row(2), make_row(3, states={"firefighters": "on_scene"}))
    session.wanted, session.muted = "bridge", True
    text = session.header(session.rows(), 0.0).plain
    for part in ("connected", "2 waiting, 3 open", "hides 1 waiting", "MUTED", "Firefighters", "as Ana"):
        assert part in text


@pytest.mark.parametrize("name", ["", " ", "x" * 65, "a\nb", "\x1b[31m", "desk", " Desk "])
def test_a_name_must_be_one(name: str) -> None:
    """Who acts has a printable name of at most 64 characters, and is not the desk."""
    with pytest.raises(ConfigError, match="--by"):
        check_name(name)


@pytest.mark.parametrize("name", ["Ana", "x" * 64, " Zoë Ruiz "])
def test_a_name_of_any_language_will_do(name: str) -> None:
    """Blanks around it go."""
    assert check_name(name) == name.strip()
