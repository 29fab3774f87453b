import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest
from conftest import make_photograph

from deploy.status import gather, lines, rejected_lines
from ingest.admission import admit
from ingest.rejects import Rejects
from shared.broker import Broker, BrokerAwayError, connect
from shared.dispatches import Decision
from shared.errors import PermanentError
from shared.heartbeats import INGEST, beat
from shared.keys import INGESTER_PREFIX
from shared.routing import Routing
from shared.settings import Settings
from shared.verdict import Verdict
from worker.executions import Execution, Terms, fail, finish, new_ids, renew, start

WORKER = "0123456789abcdef"


def terms() -> Terms:
    """What a batch's ends have in common."""
    return Terms(routing=Routing.load(Settings().routing), keep_s=3600)


def put(broker: Broker, count: int) -> None:
    """Photographs in the queue."""
    admit(broker, [(str(seed), make_photograph(seed)) for seed in range(count)])


def register(broker: Broker, **more: str) -> None:
    """A worker says that it lives."""
    about = {
        "queues": "classify",
        "hostname": "tower",
        "pid": "42",
        "state": "busy",
        "model": "m@0 torch-cpu",
    }
    renew(broker, WORKER, [], 60.0, about | more)


def decide(executions: list[Execution], *verdicts: Verdict) -> list[tuple[Execution, Decision]]:
    """A decision for each execution."""
    made = [
        Decision(verdict=verdict, situation="fire", confidence=0.9, scores={"fire": 0.9}, model="m@0")
        for verdict in verdicts
    ]
    return list(zip(executions, made, strict=True))


def test_an_idle_system_is_all_zeros(broker: Broker, settings: Settings) -> None:
    """Before anything happened every number is there and 0."""
    status = gather(broker, settings)
    assert status["queue"] == {"waiting": 0, "in_flight": 0, "failed": 0}
    assert status["incidents"] == {"dispatched": 0, "unsure": 0, "no_emergency": 0, "known": 0}
    assert (status["rejected"], status["workers"], status["ingesters"]) == (0, [], [])
    assert status["broker"]["version"]
    json.dumps(status)


def test_what_waits_and_what_is_worked_on_is_told_apart(broker: Broker, settings: Settings) -> None:
    """Of five photographs two are started and one is on its way to a worker: three wait."""
    put(broker, 5)
    start(broker, WORKER, new_ids(2), 60.0)
    broker.lmove("rq:queue:classify", "rq:queue:classify:intermediate")
    assert gather(broker, settings)["queue"] == {"waiting": 3, "in_flight": 2, "failed": 0}


def test_every_verdict_is_counted(broker: Broker, settings: Settings) -> None:
    """Each outcome has its number; a failed job is one for review, too."""
    put(broker, 5)
    executions = start(broker, WORKER, new_ids(5), 60.0)
    verdicts = (Verdict.DISPATCHED, Verdict.DISPATCHED, Verdict.UNSURE, Verdict.NO_EMERGENCY)
    finish(broker, decide(executions[:4], *verdicts), terms())
    (failed,) = decide(executions[4:], Verdict.UNSURE)
    fail(broker, *failed, terms())
    status = gather(broker, settings)
    assert status["incidents"] == {"dispatched": 2, "unsure": 2, "no_emergency": 1, "known": 5}
    assert status["queue"] == {"waiting": 0, "in_flight": 0, "failed": 1}


def test_resends_are_counted_apart(broker: Broker, settings: Settings) -> None:
    """A photograph that came twice is one incident known, and one seen again."""
    put(broker, 2)
    admit(broker, [("again", make_photograph(1))])
    status = gather(broker, settings)
    assert (status["incidents"]["known"], status["seen_again"]) == (2, 1)


def test_workers_are_listed(broker: Broker, settings: Settings) -> None:
    """Each living worker with its machine, model, and what it holds and has done."""
    put(broker, 3)
    register(broker)
    finish(broker, decide(start(broker, WORKER, new_ids(1), 60.0), Verdict.DISPATCHED), terms())
    start(broker, WORKER, new_ids(2), 60.0)
    (worker,) = gather(broker, settings)["workers"]
    assert (worker["name"], worker["host"], worker["pid"], worker["state"]) == (WORKER, "tower", 42, "busy")
    assert (worker["model"], worker["in_flight"], worker["finished"]) == ("m@0 torch-cpu", 2, 1)


def test_dead_workers_are_not_listed(broker: Broker, settings: Settings) -> None:
    """One that has said goodbye, and one whose record has run out, are none."""
    register(broker, death="2026-11-24T10:02:03Z")
    broker.sadd("rq:workers:classify", "rq:worker:forgotten")
    assert gather(broker, settings)["workers"] == []


def test_ingesters_are_listed(broker: Broker, settings: Settings) -> None:
    """Each ingester that says it lives, with its inboxes."""
    about = {"instance": "tower-1", "inboxes": ["/srv/cameras"], "held": 3}
    broker.set(INGESTER_PREFIX + "tower-1", json.dumps(about))
    beat(broker, INGEST, "tower-1")
    status = gather(broker, settings)
    assert status["ingesters"] == [about]
    assert "Ingester   tower-1: /srv/cameras, holds 3" in lines(status)


def test_a_broker_that_is_away_is_said(settings: Settings) -> None:
    """No half status: the broker's absence is the answer."""
    away = settings.override(redis_url="redis://127.0.0.1:1/0")
    with connect(away) as client, pytest.raises(BrokerAwayError):
        gather(client, away)


def test_people_are_told_what_is_missing(broker: Broker, settings: Settings) -> None:
    """Without worker or ingester one line says what that means and how to start one; none repeats it."""
    text = "\n".join(lines(gather(broker, settings)))
    assert "`almenara worker`" in text
    assert "`almenara ingest`" in text
    assert "`almenara desk`" in text
    assert text.count("photographs wait") == text.count("files stay") == text.count("moves wait") == 1
    assert "0 waiting, 0 in flight, 0 failed" in text


def test_people_are_told_of_rejected_files(broker: Broker, settings: Settings, tmp_path: Path) -> None:
    """Their number is shown with the command that lists them."""
    (tmp_path / "street.jpg").write_bytes(b"")
    error = PermanentError("the file is empty", reason="empty", remedy="send it again")
    reject = Rejects(settings.rejected_dir).add(tmp_path / "street.jpg", tmp_path, error)
    assert any("1 files (almenara status --rejected)" in line for line in lines(gather(broker, settings)))
    (line,) = rejected_lines([reject])
    assert "empty: the file is empty. Send it again.\n" in line
    assert line.endswith(reject.path)


def test_a_strange_name_cannot_colour_the_listing(settings: Settings, tmp_path: Path) -> None:
    """Escape codes and text direction in the name of a rejected file are shown, and do nothing."""
    name = "\x1b[31m\u202egpj.jpg"
    (tmp_path / name).write_bytes(b"")
    reject = Rejects(settings.rejected_dir).add(tmp_path / name, tmp_path, PermanentError(f"{name} is empty"))
    (line,) = rejected_lines([reject])
    assert "".join(line.splitlines()).isprintable()


def test_nothing_rejected_is_said() -> None:
    """An empty listing is one line, not nothing."""
    assert rejected_lines([]) == ["Nothing was rejected."]


def test_a_worker_is_one_line(broker: Broker, settings: Settings) -> None:
    """People see who works, where, and how much it has done."""
    register(broker)
    status: Mapping[str, Any] = gather(broker, settings)
    assert any(
        line.startswith("Worker     0123456789ab on tower, pid 42: busy, 0 in flight")
        for line in lines(dict(status))
    )


def test_undecided_incidents_that_nobody_works_on_are_said(broker: Broker, settings: Settings) -> None:
    """An emptied queue is not a finished one: what was in it is counted, with the remedy."""
    admit(broker, [("claim", make_photograph(1))])
    broker.delete("rq:queue:classify")
    found = gather(broker, settings)
    assert (found["undecided"], found["queue"]["waiting"]) == (1, 0)
    assert any("audit --repair" in line for line in lines(found))


def test_alarms_come_first(broker: Broker, settings: Settings) -> None:
    """Before any number, and no label of a camera can do anything to the terminal."""
    text = lines(gather(broker, settings.override(cameras="\x1b[31mplaza=5")))
    alarms = [line for line in text if line.startswith("ALARM ")]
    assert text[: len(alarms)] == alarms
    assert any("no worker runs" in alarm for alarm in alarms)
    assert all(line.isprintable() for line in text)
    assert any("plaza: not watched yet, alarm after 300 s" in line for line in text)
