from collections.abc import Callable, Iterator

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


@pytest.fixture
def as_role(settings: Settings, users: None) -> Iterator[Callable[[str], Broker]]:
    """Makes clients that log in as a role's user; closed in the end."""
    made = []

    def client(role: str) -> Broker:
        made.append(connect(settings))
        made[-1].connection_pool.connection_kwargs |= {"username": role, "password": "secret"}
        return made[-1]

    yield client
    for each in made:
        each.close()


@pytest.mark.parametrize("role", ["desk", "web"])
def test_desk_and_web_may_see_all_that_metrics_show(
    broker: Broker,
    settings: Settings,
    as_role: Callable[[str], Broker],
    role: str,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Their users' rights are enough: no number is left out that an operator sees."""
    monkeypatch.setattr(heartbeats, "SILENT_AFTER_S", 1000.0)  # between one look and the other
    admit(broker, [("a", make_photograph(1))])
    watching = settings.override(cameras="plaza=5")
    Cameras(as_role("ingester"), ["plaza"]).begin()
    heartbeats.beat(as_role("ingester"), heartbeats.INGEST, "i")
    heartbeats.beat(as_role("desk"), heartbeats.DESK, "d")
    broker.xgroup_create("dispatch:firefighters", "webhooks:city", mkstream=True)

    def told(client: Broker) -> Scrape:
        registry = CollectorRegistry()
        registry.register(VitalsCollector(client, watching, DEPARTMENTS))
        return Scrape(generate_latest(registry).decode())

    mine, all_of_it = told(as_role(role)), told(broker)
    assert mine.names() == all_of_it.names()
    for name in ("almenara_queue_jobs", "almenara_services_alive", "almenara_stream_entries"):
        assert mine.total(name) == all_of_it.total(name)
    assert mine.total("almenara_queue_jobs", state="waiting") == 1


def test_consoles_may_say_that_they_listen(broker: Broker, as_role: Callable[[str], Broker]) -> None:
    """A department's console for its own; the web console for all that its pages show."""
    heartbeats.listen(as_role("console-firefighters"), "screen", ["firefighters"])
    presence = Presence(as_role("web"), DEPARTMENTS)
    presence.tell({"all", "review"})
    for word, consoles in (("firefighters", 2), ("ambulance", 1), ("review", 1)):
        assert broker.zcard(f"almenara:listening:{word}") == consoles
    presence.end()
    assert broker.zcard("almenara:listening:firefighters") == 1
