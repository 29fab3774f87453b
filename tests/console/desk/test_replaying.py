from collections.abc import Iterator
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
from database_parts import migrated
from desk_parts import BEGIN, Desk, open_desk
from webhook_parts import webhook

import console.replaying
from console.replaying import replayed
from deploy.cli import main
from shared.broker import Broker
from shared.dispatches import Dispatch
from shared.keys import dispatch_key, webhook_again_key
from shared.moves import Action
from shared.settings import Settings
from shared.verdict import Verdict


@pytest.fixture
def desk(settings: Settings, broker: Broker) -> Iterator[Desk]:
    """A desk on an empty record that samples nothing."""
    with migrated(settings.database) as engine:
        yield open_desk(settings, broker, engine, sample_rate=0.0)


def again(desk: Desk, department: str, after_s: float = -1) -> list[Dispatch]:
    """What is made again of a department's dispatches since so long after the beginning."""
    since = BEGIN + timedelta(seconds=after_s)
    return [Dispatch.decode(event) for event in replayed(desk.engine, desk.routing, department, since)]


def test_a_dispatch_made_again_is_the_one_that_was_sent(desk: Desk) -> None:
    """Id and record are the same as in the stream, for a first decision and for one that a person made."""
    desk.arrive("fire")
    unsure = desk.arrive("fire", verdict=Verdict.UNSURE)
    desk.wait(10)
    desk.ask(Action.DECIDE, "review", unsure, other=unsure, situation="fire")
    sent = desk.told("firefighters")
    assert len(sent) == 2
    made = again(desk, "firefighters")
    assert [each.event_id for each in made] == [each.event_id for each in sent]
    assert [dict(each.data) for each in made] == [dict(each.data) for each in sent]


def test_replaying_begins_where_it_is_told_and_goes_on_over_pages(
    desk: Desk, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What was decided before is left out; every later one comes once, oldest first."""
    monkeypatch.setattr(console.replaying, "PAGE", 2)
    for _ in range(6):
        desk.arrive("fire")
        desk.wait(10)
    assert [each.data["number"] for each in again(desk, "firefighters", 10)] == [
        f"{number:04d}" for number in range(2, 7)
    ]
    assert again(desk, "ambulance") == []


def test_a_department_is_replayed_by_command(
    desk: Desk, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    """One event a line; or handed to a webhook, which delivers them."""
    desk.arrive("fire")
    hook = webhook("https://cad.example.org/", tmp_path)
    file = tmp_path / "webhooks.toml"
    file.write_text(
        f'[[webhook]]\nname = "cad"\ndepartment = "firefighters"\nurl = "{hook.url}"\n'
        f'secret_file = "{hook.secret_file}"\n'
    )
    environ = {"DATABASE_URL": desk.settings.database, "REDIS_URL": desk.settings.redis_url, "WEBHOOKS": file}
    for name, value in environ.items():
        monkeypatch.setenv(f"ALMENARA_{name}", str(value))
    command = ["replay", "firefighters", "--since", "2026-11-24"]
    capsys.readouterr()  # the desk's log
    assert main(command) == 0
    [event] = capsys.readouterr().out.splitlines()
    assert Dispatch.decode(event).event_id == desk.told("firefighters")[0].event_id
    assert main([*command, "--webhook", "cad"]) == 0
    entries: Any = desk.broker.xrange(webhook_again_key("cad"))
    assert [fields[b"event"].decode() for _, fields in entries] == [event]
    assert main(["replay", "nobody", "--since", "2026-11-24"]) == 2
    assert main(["replay", "firefighters", "--since", "yesterday"]) == 2


def test_replaying_needs_nothing_of_the_broker(desk: Desk) -> None:
    """The stream may be trimmed, or gone: the desk's record has what it said."""
    desk.arrive("fire")
    desk.broker.delete(dispatch_key("firefighters"))
    assert len(again(desk, "firefighters")) == 1
