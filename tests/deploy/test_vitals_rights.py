from collections.abc import Iterator

import pytest
from conftest import make_photograph
from prometheus_client import CollectorRegistry, generate_latest
from scraping import Scrape

from console.web.presence import Presence
from deploy.rights import rules
from ingest.admission import admit
from ingest.cameras import Cameras
from shared import heartbeats
from shared.broker import Broker, connect
from shared.settings import Settings
from shared.vital_metrics import VitalsCollector

DEPARTMENTS = ("firefighters", "ambulance")


@pytest.fixture
def users(broker: Broker) -> Iterator[None]:
    """The roles' users as `almenara acl` makes them, with a password that the test knows."""
    roles = ("desk", "web", "ingester", "console-firefighters")
    for role in roles:
        broker.execute_command("ACL", "SETUSER", role, "on", ">secret", *_words(rules(role)))  # type: ignore[no-untyped-call]
    yield
    for role in roles:
        broker.acl_deluser(role)


def _words(text: str) -> list[str]:
    """A rule is one word, and so is a selector in brackets."""
    words, depth, word = list[str](), 0, ""
    for part in text.split():
        depth += part.count("(") - part.count(")")
        word = f"{word} {part}".strip()
        if not depth:
            words, word = [*words, word], ""
    return words


def as_role(settings: Settings, role: str) -> Broker:
    """A client that logs in as a role's user."""
    client = connect(settings)
    client.connection_pool.connection_kwargs |= {"username": role, "password": "secret"}
    return client


@pytest.mark.parametrize("role", ["desk", "web"])
def test_desk_and_web_may_see_all_that_metrics_show(
    broker: Broker, settings: Settings, users: None, role: str
) -> None:
    """Their users' rights are enough: no number is left out that an operator sees."""
    admit(broker, [("a", make_photograph(1))])
    watching = settings.override(cameras="plaza=5")
    Cameras(as_role(settings, "ingester"), ["plaza"]).begin()
    heartbeats.beat(as_role(settings, "ingester"), heartbeats.INGEST, "i")
    heartbeats.beat(as_role(settings, "desk"), heartbeats.DESK, "d")
    broker.xgroup_create("dispatch:firefighters", "webhooks:city", mkstream=True)

    def told(client: Broker) -> Scrape:
        registry = CollectorRegistry()
        registry.register(VitalsCollector(client, watching, DEPARTMENTS))
        return Scrape(generate_latest(registry).decode())

    mine, all_of_it = told(as_role(settings, role)), told(broker)
    assert mine.names() == all_of_it.names()
    for name in ("almenara_queue_jobs", "almenara_services_alive", "almenara_stream_entries"):
        assert mine.total(name) == all_of_it.total(name)
    assert mine.total("almenara_queue_jobs", state="waiting") == 1


def test_consoles_may_say_that_they_listen(broker: Broker, settings: Settings, users: None) -> None:
    """A department's console for its own; the web console for all that its pages show."""
    heartbeats.listen(as_role(settings, "console-firefighters"), "screen", ["firefighters"])
    presence = Presence(as_role(settings, "web"), DEPARTMENTS)
    presence.tell({"all", "review"})
    for word, consoles in (("firefighters", 2), ("ambulance", 1), ("review", 1)):
        assert broker.zcard(f"almenara:listening:{word}") == consoles
    presence.end()
    assert broker.zcard("almenara:listening:firefighters") == 1
