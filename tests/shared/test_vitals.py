import json
import socket
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import pytest
from conftest import make_photograph
from prometheus_client import CollectorRegistry, generate_latest
from scraping import Scrape

from ingest.admission import admit
from shared import heartbeats, vital_metrics, vitals
from shared.announcements import Model, announce
from shared.broker import Broker, connect
from shared.incidents import iso, utc_now
from shared.keys import INGESTER_PREFIX, LABEL_SEEN, WATCHED, dead_letters_key, dispatch_key
from shared.settings import Settings
from worker.executions import new_ids, renew, start

DEPARTMENTS = ("firefighters", "ambulance")


@pytest.fixture(autouse=True)
def patient(monkeypatch: pytest.MonkeyPatch) -> None:
    """A scrape waits for its broker as long as a busy machine takes; who looks at that says less."""
    monkeypatch.setattr(vital_metrics, "SCRAPE_S", 600.0)


def alarms(broker: Broker, settings: Settings) -> str:
    """Every alarm."""
    return "\n".join(vitals.alarms(vitals.read(broker, settings, DEPARTMENTS)))


def scrape(broker: Broker, settings: Settings) -> Scrape:
    """What a desk's or web console's metrics say of everything."""
    registry = CollectorRegistry()
    registry.register(vital_metrics.VitalsCollector(broker, settings, DEPARTMENTS))
    return Scrape(generate_latest(registry).decode())


def test_status_and_metrics_have_the_same_numbers(broker: Broker, settings: Settings) -> None:
    """Three photographs, of which one is in flight and the next in line waits since it was received."""
    admit(broker, [(str(seed), make_photograph(seed)) for seed in range(3)])
    start(broker, "w", new_ids(1), 60.0)
    told, known = scrape(broker, settings), vitals.read(broker, settings, DEPARTMENTS)
    for state in ("waiting", "in_flight", "failed"):
        assert told.total("almenara_queue_jobs", state=state) == known["queue"][state]
    assert (known["queue"]["waiting"], known["queue"]["in_flight"]) == (2, 1)
    assert told.total("almenara_incidents_known") == known["incidents"]["known"] == 3
    assert told.total("almenara_incidents_undecided") == 3


def test_the_next_in_line_has_an_age(broker: Broker, settings: Settings) -> None:
    """Against the broker's clock; nothing in line has none."""
    assert vitals.read(broker, settings, ())["oldest_s"] == 0
    admit(broker, [("a", make_photograph(1, received_at="2020-01-01T00:00:00.000000Z"))])
    admit(broker, [("b", make_photograph(2, received_at=iso(utc_now())))])
    assert scrape(broker, settings).total("almenara_queue_oldest_seconds") > 86400


def test_who_is_silent_is_missed(broker: Broker, settings: Settings) -> None:
    """Workers, desks and ingesters that live are no alarm; those that fell silent are."""
    assert alarms(broker, settings).count("no ") >= 4
    about = {"queues": "classify", "state": "idle"}
    renew(broker, "w1", [], 60.0, about)
    heartbeats.beat(broker, heartbeats.DESK, "d")
    heartbeats.beat(broker, heartbeats.INGEST, "i")
    broker.set("almenara:ingester:i", '{"instance": "i"}')
    said = alarms(broker, settings)
    assert "no worker" not in said
    assert "no desk" not in said
    assert "no ingester" not in said
    broker.expire("rq:worker:w1", 45)  # as if its last heartbeat were 15 s old
    assert scrape(broker, settings).total("almenara_services_alive", part="worker") == 0
    assert "no worker runs" in alarms(broker, settings)


def test_departments_that_nobody_listens_for_are_named(broker: Broker, settings: Settings) -> None:
    """A console listens for as long as it says so."""
    heartbeats.listen(broker, "screen-1", ["firefighters"])
    assert "no console listens for ambulance, review" in alarms(broker, settings)
    told = scrape(broker, settings)
    assert told.total("almenara_listening_consoles", department="firefighters") == 1
    assert told.total("almenara_listening_consoles", department="ambulance") == 0
    broker.zadd("almenara:listening:firefighters", {"screen-1": 1.0})
    assert "for firefighters, ambulance, review" in alarms(broker, settings)


def test_listening_is_bounded(broker: Broker) -> None:
    """Whoever may say that a console listens can't fill the broker; what is not renewed runs out."""
    broker.zadd(
        "almenara:listening:review", {f"made-up-{each}": heartbeats.now(broker) for each in range(1500)}
    )
    heartbeats.listen(broker, "real", ["review"])
    assert broker.zcard("almenara:listening:review") == 1000
    assert broker.zscore("almenara:listening:review", "real") is not None
    assert 0 < broker.ttl("almenara:listening:review") <= 60


def test_a_camera_is_silent_after_its_own_time(broker: Broker, settings: Settings) -> None:
    """Each against its own limit; one that no ingester watches is said to be so."""
    watching = settings.override(cameras="plaza=10, north bridge=30, new=5")
    now_s = heartbeats.now(broker)
    broker.hset(LABEL_SEEN, mapping={"plaza": now_s - 660, "north bridge": now_s - 660, "another": 1})
    said = alarms(broker, watching)
    assert "camera plaza: no picture for 11 minutes" in said
    assert "camera new: no ingester watches for it yet" in said
    assert "north bridge" not in said
    broker.hset(LABEL_SEEN, "plaza", f"{now_s - 660} {WATCHED}")
    assert "camera plaza: no picture since it was first watched, 11 minutes ago" in alarms(broker, watching)
    told = scrape(broker, watching)
    assert told.total("almenara_camera_silent_seconds", label="plaza") == pytest.approx(660, abs=30)
    assert told.total("almenara_camera_limit_seconds", label="plaza") == 600
    assert not told.has("almenara_camera_silent_seconds", label="new")
    assert not told.has("almenara_camera_silent_seconds", label="another")


def test_a_store_that_fails_and_a_refused_model_are_alarms(broker: Broker, settings: Settings) -> None:
    """An ingester says that it can't store; a worker, why it does not decide with the announced model."""
    about = {"instance": "tower-1", "inboxes": [], "held": 3, "store_away": True}
    broker.set(INGESTER_PREFIX + "tower-1", json.dumps(about))
    heartbeats.beat(broker, heartbeats.INGEST, "tower-1")
    announce(broker, Model("a" * 64, "street7"), "ana")
    fields = {"hostname": "north", "model": "m@0 torch-cpu", "model_generation": "1"}
    renew(broker, "w", [], 60.0, fields | {"model_refused": "street7: out of memory"})
    said = alarms(broker, settings)
    assert "the image store fails: files wait at tower-1" in said
    assert "worker w on north refuses the announced model: street7: out of memory" in said
    broker.set(INGESTER_PREFIX + "tower-1", json.dumps(about | {"store_away": False}))
    renew(broker, "w", [], 60.0, fields | {"model": f"street7@{'a' * 12} torch-cpu", "model_refused": ""})
    assert "store fails" not in alarms(broker, settings) and "refuses" not in alarms(broker, settings)


def test_integrations_that_lag_are_told(broker: Broker, settings: Settings) -> None:
    """What a consumer group has not acknowledged, and what receivers did not take."""
    for _ in range(3):
        broker.xadd(dispatch_key("firefighters"), {"event": "{}"})
    broker.xgroup_create(dispatch_key("firefighters"), "webhooks:city", id="0")
    broker.xreadgroup("webhooks:city", "c", {dispatch_key("firefighters"): ">"}, count=1)
    broker.xadd(dead_letters_key("ambulance"), {"event": "{}"})
    told = scrape(broker, settings)
    lag = {"department": "firefighters", "group": "webhooks:city"}
    assert told.total("almenara_consumer_lag_entries", **lag) == 3
    assert told.total("almenara_stream_entries", stream="webhooks:dead:ambulance") == 1
    assert "1 dispatches in webhooks:dead:ambulance" in alarms(broker, settings)


@contextmanager
def limit(broker: Broker, maximum_bytes: int) -> Iterator[None]:
    """A broker with so much memory."""
    broker.config_set("maxmemory", maximum_bytes)
    try:
        yield
    finally:
        broker.config_set("maxmemory", 0)


def test_a_broker_that_is_nearly_full_is_an_alarm(broker: Broker, settings: Settings) -> None:
    """Nine tenths of its limit; one without a limit never is."""
    assert "memory" not in alarms(broker, settings)
    about: Any = broker.info("memory")
    # What it uses now is all of it: a tenth may go, or any more come, before we look.
    with limit(broker, int(about["used_memory"])):
        assert "the broker's memory is" in alarms(broker, settings)
        assert scrape(broker, settings).total("almenara_broker_memory_limit_bytes") > 0


def test_what_is_refused_is_left_out(broker: Broker, settings: Settings) -> None:
    """A console's user that may read little still tells what it may, and that the broker is there."""
    rights = ["+ping", "+time", "+llen", "+zrange", "+hello", "+client", "+select"]
    broker.acl_setuser("little", enabled=True, nopass=True, keys=["rq:queue:*"], commands=rights)
    try:
        with connect(settings) as client:
            client.connection_pool.connection_kwargs |= {"username": "little", "password": "any"}
            told = scrape(client, settings)
    finally:
        broker.acl_deluser("little")
    assert told.total("almenara_broker_up") == 1
    assert told.total("almenara_queue_jobs", state="waiting") == 0
    assert not told.has("almenara_broker_memory_used_bytes")


def test_a_scrape_without_a_broker_is_short_and_says_so(settings: Settings) -> None:
    """`almenara_broker_up 0`, and nothing that could be taken for the truth."""
    with connect(settings.override(redis_url="redis://127.0.0.1:1/0")) as away:
        told = scrape(away, settings)
    assert told.total("almenara_broker_up") == 0
    assert told.names() == {"almenara_broker_up"}


def test_a_broker_that_hangs_holds_up_no_scrape(settings: Settings, monkeypatch: pytest.MonkeyPatch) -> None:
    """One that takes connections and says nothing counts as away."""
    monkeypatch.setattr(vital_metrics, "SCRAPE_S", 0.2)
    with socket.create_server(("127.0.0.1", 0)) as deaf:
        url = f"redis://127.0.0.1:{deaf.getsockname()[1]}/0"
        with connect(settings.override(redis_url=url)) as client:
            assert scrape(client, settings).total("almenara_broker_up") == 0
