from typing import TYPE_CHECKING

import pytest
from conftest import make_photograph, wait_until
from screen_parts import ROUTING, ToldDesk, case_id, make_row
from sitting import run, sitting

import console.screen.follower
from ingest.admission import admit
from shared.broker import Broker
from shared.coordinates import Coordinates
from shared.dispatches import Decision
from shared.heartbeats import DESK, living
from shared.keys import moves_key
from shared.verdict import Verdict
from worker.executions import Terms, finish, new_ids, start

if TYPE_CHECKING:
    from deployment import Deployment

pytestmark = pytest.mark.fault

SCORES = {"fire": 0.9, "normal": 0.1}
SURE = Decision(verdict=Verdict.DISPATCHED, situation="fire", confidence=0.9, scores=SCORES, model="m@0")
UNSURE = Decision(
    verdict=Verdict.UNSURE, situation="robbery", confidence=0.4, scores={"robbery": 0.4}, model="m@0"
)


@pytest.fixture(autouse=True)
def hasty(monkeypatch: pytest.MonkeyPatch) -> None:
    """What the desk and the broker do shows sooner than in a few seconds."""
    monkeypatch.setattr(console.screen.follower, "PULSE_S", 0.2)


def decide(broker: Broker, seed: int, decision: Decision = SURE) -> None:
    """A photograph, far from any other, is admitted and decided as ingester and worker do it."""
    place = Coordinates(latitude_deg=float(seed), longitude_deg=10.0)
    admit(broker, [(f"claim-{seed}", make_photograph(seed, coordinates=place))])
    finish(
        broker,
        [(each, decision) for each in start(broker, "w", new_ids(1), 60.0)],
        Terms(routing=ROUTING, keep_s=3600),
    )


def start_desk(deployment: "Deployment") -> Broker:
    """A desk of its own process, and a client of its broker."""
    deployment.start("desk", "desk")
    client = deployment.client()
    wait_until(lambda: living(client, DESK), within_s=60, what="a desk")
    return client


def test_a_shift_with_a_real_desk(deployment: "Deployment") -> None:
    """A dispatch appears, one of two people gets it, the other is told who, and it goes to its end."""

    async def story() -> None:
        async with sitting(client, by="Ana") as ana, sitting(deployment.client(), by="Bob") as bob:
            decide(client, 1)
            await ana.shows("0001 Fire")
            await bob.shows("0001 Fire")
            assert ana.rings and bob.rings
            await ana.press("a")
            await ana.shows("0001 is yours")
            await bob.shows("acknowledged by Ana since")
            await ana.press("e")
            await ana.shows("0001 is en route")
            await bob.press("s")
            await bob.shows("0001 is on scene")
            await ana.shows("c close")
            await ana.press("c")
            await ana.shows("0001 is closed")
            await bob.shows("0 waiting, 0 open")
            await bob.press("o")
            await bob.shows("0001 is open again")
            await ana.shows("1 waiting, 1 open")

    client = start_desk(deployment)
    run(story())


def test_who_was_slower_is_told(deployment: "Deployment") -> None:
    """Both press at once, before either can see it: one has it, the other reads the name."""

    async def story() -> None:
        async with sitting(client, by="Ana") as ana, sitting(deployment.client(), by="Bob") as bob:
            decide(client, 1)
            await ana.shows("0001 Fire")
            await bob.shows("0001 Fire")
            deployment.stop("desk")
            await ana.shows("desk is down: moves wait")
            await ana.press("a")
            await ana.until(lambda: client.xlen(moves_key("firefighters")) == 1, "a move")
            await bob.press("a")
            await bob.shows("0001 acknowledge waits for the desk")
            deployment.start("desk", "desk")
            await ana.shows("0001 is yours")
            await bob.shows("0001 not acknowledged: Ana has it since")

    client = start_desk(deployment)
    run(story())


def test_a_reviewer_with_a_real_desk(deployment: "Deployment") -> None:
    """What the model is unsure of is decided with one digit, and the department has it at once."""

    async def story() -> None:
        async with sitting(client, "review", by="Eva") as eva, sitting(deployment.client(), by="Ana") as ana:
            decide(client, 1, UNSURE)
            await eva.shows("Goes out UNVERIFIED in")
            await eva.press("3")
            await eva.shows("0001: Fire; Firefighters and Transit Police must go")
            await ana.shows("0001 Fire")
            await ana.shows("Eva")
            await ana.press_for_dialog("x")
            await ana.press_in_dialog("enter")
            await ana.shows("0001 is Protest; ")
            await eva.shows("Decided. By Ana.")

    client = start_desk(deployment)
    run(story())


def test_a_broker_that_is_away_loses_no_move(deployment: "Deployment") -> None:
    """The screen says since when, a move asked meanwhile goes out once, and nothing shows twice."""

    async def story() -> None:
        desk.publish(make_row(1), make_row(2))
        async with sitting(client) as sat:
            await sat.shows("0002")
            deployment.kill("broker")
            await sat.shows("broker away for")
            assert "2 waiting, 2 open" in sat.part("header")
            await sat.press("a")
            await sat.shows("waits for the broker")
            deployment.start_broker()
            await sat.shows(" connected ")
            await sat.until(desk.asked, "the move")
            (move,) = desk.asked()
            desk.apply(move)
            await sat.shows("acknowledged")
            desk.publish(make_row(3))
            await sat.until(lambda: len(sat.table.cases) == 3, "three cases")
            assert sorted(sat.table.cases) == sorted(case_id(number) for number in (1, 2, 3))
            assert len(desk.asked()) == len(sat.rings) == 1

    client = deployment.client()
    desk = ToldDesk(client)
    run(story())
