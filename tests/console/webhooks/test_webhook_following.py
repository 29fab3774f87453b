import json
import threading
from collections.abc import Iterator
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
from database_parts import migrated, postgresql_cluster, postgresql_url
from desk_parts import Desk, open_desk
from sqlalchemy import Engine
from webhook_parts import webhook

from console.capchain import news_since
from console.records import open_database
from console.webhooks.following import Follower
from console.webhooks.hooks import Form, Webhook
from shared.broker import Broker
from shared.incidents import utc_now
from shared.keys import dispatch_key, webhook_again_key, webhook_group, webhook_position_key
from shared.moves import Action
from shared.settings import Settings

KEEP = timedelta(days=30)


@pytest.fixture(scope="module")
def postgresql() -> Iterator[Path]:
    """A PostgreSQL for the module."""
    with postgresql_cluster() as folder:
        yield folder


@pytest.fixture(params=["sqlite", "postgresql"])
def url(request: pytest.FixtureRequest, settings: Settings) -> str:
    """A record of either kind."""
    kind: str = request.param
    return settings.database if kind == "sqlite" else postgresql_url(request.getfixturevalue("postgresql"))


@pytest.fixture
def desk(url: str, settings: Settings, broker: Broker) -> Iterator[Desk]:
    """A desk on an empty record, an hour ago."""
    with migrated(url) as engine:
        made = open_desk(settings, broker, engine, sample_rate=0.0)
        made.now = utc_now() - timedelta(hours=1)
        yield made


@pytest.fixture
def record(url: str, desk: Desk) -> Iterator[Engine]:
    """The same, as the service opens it."""
    engine = open_database(url, read_only=True)
    yield engine
    engine.dispose()


@pytest.fixture
def hook(tmp_path: Path) -> Webhook:
    """One that is sent CAP about fires, from the beginning."""
    return webhook("http://127.0.0.1:9/", tmp_path, form=Form.CAP)


def letters(broker: Broker) -> list[str]:
    """Names of the messages that wait to be sent."""
    entries: Any = broker.xrange(webhook_again_key("cad"))
    return [json.loads(fields[b"event"])["id"] for _, fields in entries]


def test_several_who_follow_add_each_message_once(
    desk: Desk, broker: Broker, record: Engine, hook: Webhook
) -> None:
    """While a desk writes: no message is missed, none added twice, and all stand in their order."""
    done = threading.Event()
    faults: list[Exception] = []

    def follow() -> None:
        follower = Follower(broker, hook, record, KEEP)
        try:
            while not done.is_set():
                follower.follow()
            follower.follow()
        except Exception as error:
            faults.append(error)

    threads = [threading.Thread(target=follow) for _ in range(3)]
    for thread in threads:
        thread.start()
    try:
        for _ in range(8):
            desk.wait(5)
            case = desk.arrive("fire")
            desk.wait(5)
            desk.ask(Action.FALSE_ALARM, "firefighters", case)
        desk.wait(5)
        desk.ask(Action.MERGE, "transit-police", case, other=desk.arrived[0])
    finally:
        done.set()
        for thread in threads:
            thread.join(timeout=60)
    assert faults == []
    since = desk.now - timedelta(hours=1)
    assert letters(broker) == [each.told.identifier for each in news_since(record, ["firefighters"], since)]
    assert len(set(letters(broker))) == 18


def test_what_is_older_than_is_kept_is_not_sent(
    desk: Desk, broker: Broker, record: Engine, hook: Webhook
) -> None:
    """The beginning is as far back as dispatches are kept; an id of the future in their stream is now."""
    desk.arrive("fire")
    desk.wait(1800)
    late = desk.arrive("fire")
    Follower(broker, hook, record, timedelta(minutes=45)).follow()
    assert [name.split("-")[1] for name in letters(broker)] == [late]
    broker.delete(webhook_again_key("cad"), webhook_position_key("cad"))
    stream = dispatch_key("firefighters")
    broker.xadd(stream, {"event": "{}"}, id="99999999999999999-0")
    broker.xgroup_create(stream, webhook_group("cad"), "$")
    follower = Follower(broker, hook, record, KEEP)
    follower.leave()
    follower.follow()
    assert letters(broker) == []
    assert broker.xinfo_groups(stream) == []
