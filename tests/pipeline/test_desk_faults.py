"""Desks that are killed, and a broker that restarts, while incidents and moves flow."""

import random
import threading
from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import replace
from typing import Any

import pytest
from conftest import make_photograph, wait_until
from deployment import Deployment
from sqlalchemy import Engine, func, select
from sqlalchemy.orm import Session

from console.records import migrate, open_database, row_of
from console.tables import Case, IncidentRecord, MoveRecord
from ingest.admission import admit
from shared.board import changes, is_open, open_rows
from shared.broker import Broker, patiently
from shared.coordinates import Coordinates
from shared.dispatches import Decision, Dispatch
from shared.heartbeats import DESK
from shared.incidents import Incident, iso, utc_now
from shared.keys import DISPATCH_PREFIX, alive_key
from shared.moves import Action, Move, allowed, append, new_move_id
from shared.moves import AssignmentState as State
from shared.routing import ALL, REVIEW, Routing
from shared.verdict import Verdict
from worker.executions import Terms, finish, new_ids, start

pytestmark = [pytest.mark.fault, pytest.mark.timeout(1200)]

INCIDENTS, ENOUGH = 200, 5
HASTY = {
    "acknowledge_within_s": 0.5,
    "fallback_after_s": 1.5,
    "review_within_s": 2.0,
    "on_scene_within_s": 3.0,
}


@pytest.fixture
def deployment() -> Iterator[Deployment]:
    """A deployment in which nobody has much time, so that the clock strikes all along."""
    made = Deployment(**HASTY, sample_rate=0.2)
    made.start_broker()
    try:
        yield made
    finally:
        made.close()


class Street:
    """What happens outside: pictures are decided, and people at consoles ask for moves."""

    def __init__(self, deployment: Deployment, seed: int) -> None:
        self.deployment = deployment
        self.client: Broker = deployment.client()
        self.routing = Routing.load(deployment.settings.routing)
        self.engine: Engine = open_database(deployment.settings.database)
        migrate(self.engine)
        self.chance = random.Random(seed)
        self.decided: list[str] = []
        self.asked: list[Move] = []

    def decide(self, count: int) -> None:
        """Pictures of everything, at few places, some of them sent twice."""
        photographs = [
            replace(
                make_photograph(len(self.decided) + number),
                incident_id=f"{len(self.decided) + number:032x}",
                coordinates=Coordinates(latitude_deg=self.chance.randrange(8), longitude_deg=0.0),
            )
            for number in range(count)
        ]
        claims = [(f"claim-{each.incident_id}", each) for each in photographs]
        again = [(f"again-{each.incident_id}", each) for each in photographs[::5]]
        patiently(lambda: admit(self.client, claims))
        ids = new_ids(count)
        made = patiently(lambda: start(self.client, "w", ids, 600.0))
        verdicts = [(each, self._verdict()) for each in made]
        terms = Terms(routing=self.routing, keep_s=3600)
        patiently(lambda: finish(self.client, verdicts, terms))
        patiently(lambda: admit(self.client, again))
        self.decided += [each.incident_id for each in photographs]

    def ask(self) -> None:
        """Somebody does something to what stands on a board, sensible or not; now and then twice."""
        rows = patiently(lambda: open_rows(self.client, ALL)).rows
        for row in self.chance.sample(rows, min(3, len(rows))):
            part = self.chance.choice(row["assignments"])
            words = {"department": part["department"], "case": row["case"]}
            if part["department"] == REVIEW:
                situation = self.chance.choice([*self.routing.situations, "normal"])
                picture = self.chance.choice(row["incidents"])["id"]
                self._append(Action.DECIDE, **words, other=picture, situation=situation)
            elif self.chance.random() < 0.2:
                self._append(
                    Action.CORRECT, **words, situation=self.chance.choice([*self.routing.situations])
                )
            elif self.chance.random() < 0.2:
                self._append(Action.MERGE, **words, other=self.chance.choice(rows)["case"])
            else:
                self._append(self.chance.choice([*allowed(State(part["state"])), Action.CLOSE]), **words)

    def _append(self, action: Action, **words: Any) -> None:
        by = self.chance.choice(["Ana", "Bea"])
        move = Move(move_id=new_move_id(), action=action, by=by, at=iso(utc_now()), **words)
        for _ in range(self.chance.choice([1, 1, 2])):
            patiently(lambda: append(self.client, move))
        self.asked.append(move)

    def _verdict(self) -> Decision:
        scores = dict.fromkeys((*self.routing.situations, "normal"), 1 / 7)
        verdict = self.chance.choice(
            [Verdict.DISPATCHED, Verdict.DISPATCHED, Verdict.UNSURE, Verdict.NO_EMERGENCY]
        )
        situation = None if verdict is Verdict.NO_EMERGENCY else self.chance.choice(["fire", "accident"])
        return Decision(verdict=verdict, situation=situation, confidence=0.5, scores=scores, model="m@0")

    def count(self, table: type[Any]) -> int:
        """Records in a table."""
        with Session(self.engine) as session:
            return session.scalar(select(func.count()).select_from(table)) or 0

    def wait_going_on(self) -> None:
        """Wait until the desk is not far behind."""
        least = len(self.decided) - 30
        wait_until(lambda: self.count(IncidentRecord) >= least, within_s=120, what="the desk goes on")

    def wait_running(self, name: str) -> None:
        """Wait until a desk that was started says that it runs."""
        pid = self.deployment.processes[name].pid

        def running() -> bool:
            living: Any = self.client.zrange(alive_key(DESK), 0, -1)
            return any(f"-{pid}-" in name.decode() for name in living)

        wait_until(running, within_s=120, what=f"{name} runs")

    def wait_done(self) -> None:
        """Wait until the record has every incident, and every move an outcome there."""
        log = f"log: {self.deployment.folder}/services.log"
        wait_until(
            lambda: self.count(IncidentRecord) == len(self.decided), within_s=240, what=f"incidents; {log}"
        )
        wait_until(lambda: self.count(MoveRecord) == len(self.asked), within_s=240, what=f"moves; {log}")
        # What was sent again, or decided by the clock, comes after them.
        wait_until(lambda: not self.behind(), within_s=240, what=f"the latest of each incident; {log}")

    def behind(self) -> list[str]:
        """Incidents of which the record has not heard everything."""
        with Session(self.engine) as session:
            known = {
                each.id: (each.revision, each.seen_count) for each in session.scalars(select(IncidentRecord))
            }
        return [each for each, heard in known.items() if heard != self.latest(each)]

    def latest(self, incident_id: str) -> tuple[int, int]:
        """Revision of an incident, and how often it was seen, as the broker has them."""
        incident = Incident.fetch(self.client, incident_id)
        assert incident is not None
        return int(incident.fields.get("revision", 1)), incident.seen_count


def strike(street: Street, names: list[str], until: Callable[[], bool], struck: list[str]) -> None:
    """Kill one of the desks whenever the record has grown by a few entries, and start it again."""
    chance = random.Random(1)
    grown = 0
    while not until():
        target = grown + chance.randint(1, 40)
        reached = threading.Event()
        while not until() and not reached.wait(chance.uniform(0, 0.05)):
            grown = street.count(IncidentRecord) + street.count(MoveRecord)
            if grown >= target:
                reached.set()
        name = chance.choice(names)
        street.deployment.kill(name)
        street.deployment.start(name, "desk")
        struck.append(name)


@pytest.mark.parametrize("desks", [1, 2])
def test_killed_desks_apply_everything_once(deployment: Deployment, desks: int) -> None:
    """Each incident is in the record once, each move has one outcome, and boards and record agree."""
    street = Street(deployment, desks)
    names = [f"desk-{number}" for number in range(desks)]
    for name in names:
        deployment.start(name, "desk")
    finished, struck = threading.Event(), list[str]()
    killer = threading.Thread(target=strike, args=(street, names, finished.is_set, struck))
    killer.start()
    try:
        for turn in range(INCIDENTS // 10):
            street.decide(10)
            street.ask()
            if turn in (6, 13):
                deployment.kill("broker")
                deployment.start_broker()
            street.wait_going_on()
        while len(struck) < ENOUGH:  # on a busy machine the desk may outrun whoever kills it
            street.decide(10)
            street.wait_going_on()
    finally:
        finished.set()
        killer.join(240)
    assert not killer.is_alive()
    street.wait_done()
    for name in names:
        street.wait_running(name)
        assert deployment.stop(name) == 0
    assert_record_is_whole(street)
    assert_boards_are_the_record(street)
    assert_told_once(street)


def assert_record_is_whole(street: Street) -> None:
    """Every incident is in one case that stands for it, with what the broker says of it."""
    with Session(street.engine) as session:
        records = {record.id: record for record in session.scalars(select(IncidentRecord))}
        cases = {case.id: case for case in session.scalars(select(Case))}
    assert sorted(records) == sorted(street.decided)
    assert {record.case_id for record in records.values()} <= set(cases)
    assert all(cases[record.case_id].merged_into is None for record in records.values())
    for incident_id, record in records.items():
        incident = Incident.fetch(street.client, incident_id)
        assert incident is not None
        fields = incident.fields
        assert record.verdict == incident.verdict
        assert record.revision == int(fields.get("revision", 1))
        assert (record.situation or "") == fields["situation"]
        assert record.seen_count == incident.seen_count


def assert_boards_are_the_record(street: Street) -> None:
    """What is open in the record stands on its boards, and each outcome stood there once."""
    with Session(street.engine) as session:
        rows = [row_of(session, case) for case in session.scalars(select(Case))]
        outcomes = {record.move_id for record in session.scalars(select(MoveRecord))}
    for department in (*street.routing.departments, REVIEW, ALL):
        should = {row["case"]: row for row in rows if is_open(row, department)}
        assert {row["case"]: row for row in open_rows(street.client, department).rows} == should, department
    told: Counter[str] = Counter()
    after = 0
    while page := changes(street.client, ALL, after):
        told.update(outcome["move_id"] for change in page for outcome in change.outcomes)
        after = page[-1].version
    assert set(told) == outcomes == {move.move_id for move in street.asked}
    assert set(told.values()) == {1}


def assert_told_once(street: Street) -> None:
    """No dispatch stands in a stream twice, and whoever has a case before them was told of it."""
    told: Counter[tuple[str, str, int]] = Counter()
    for key in street.client.scan_iter(match=DISPATCH_PREFIX + "*", _type="stream"):
        entries: Any = street.client.xrange(key)
        for _, fields in entries:
            dispatch = Dispatch.decode(fields[b"event"])
            told[dispatch.department, dispatch.data["incident_id"], dispatch.data["revision"]] += 1
    assert set(told.values()) == {1}
    with Session(street.engine) as session:
        for case in session.scalars(select(Case).where(Case.merged_into.is_(None))):
            row = row_of(session, case, whole=True)
            if {part["action"] for part in row["timeline"]} & {"split", "merged"}:
                continue  # somebody may be there for a picture that went elsewhere
            incidents = {part["id"] for part in row["incidents"]}
            for department in {part["department"] for part in row["assignments"]} - {REVIEW}:
                about = {incident for told_of, incident, _ in told if told_of == department}
                assert about & incidents, (row["case"], department)
