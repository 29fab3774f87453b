from pathlib import Path
from typing import Any

import pytest

from deploy.cli import main
from shared.broker import Broker
from shared.keys import (
    dead_letters_key,
    dispatch_key,
    webhook_again_key,
    webhook_disabled_key,
    webhook_later_key,
)
from shared.settings import Settings
from shared.vitals import read

FILE = """
[[webhook]]
name = "cad"
department = "firefighters"
url = "https://cad.example.org/"
secret_file = "cad.secret"
"""


def lag(broker: Broker, settings: Settings) -> int:
    """What the consumer of the webhook has to go, 0 where there is none."""
    groups = read(broker, settings, ("firefighters",))["groups"]
    return sum(group["lag"] for group in groups if group["group"] == "webhooks:cad")


@pytest.fixture
def left(broker: Broker, settings: Settings) -> None:
    """What a webhook leaves behind: a group that lags, keys, a dead letter, and one of another webhook."""
    stream = dispatch_key("firefighters")
    broker.xgroup_create(stream, "webhooks:cad", "0-0", mkstream=True)
    broker.xgroup_create(stream, "webhooks:near", "0-0", mkstream=True)
    for _ in range(3):
        broker.xadd(stream, {"event": "{}"})
    broker.zadd(webhook_later_key("cad"), {f"{stream} 1-0": 1})
    broker.xadd(webhook_again_key("cad"), {"department": "firefighters", "event": "{}"})
    broker.set(webhook_disabled_key("cad"), "{}")
    for name in ("cad", "near"):
        broker.xadd(dead_letters_key("firefighters"), {"webhook": name, "event": "{}", "at": "2026"})
    assert lag(broker, settings) == 3


def forget(settings: Settings, monkeypatch: pytest.MonkeyPatch, file: Path | str) -> int:
    """`almenara webhooks --forget cad`."""
    monkeypatch.setenv("ALMENARA_REDIS_URL", settings.redis_url)
    monkeypatch.setenv("ALMENARA_STATE_DIR", str(settings.state_dir))
    monkeypatch.setenv("ALMENARA_WEBHOOKS", str(file))
    return main(["webhooks", "--forget", "cad"])


@pytest.mark.usefixtures("left")
def test_a_webhook_that_is_gone_is_forgotten(
    broker: Broker, settings: Settings, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """Its group, keys and dead letters go, another's stay; twice is an error, and no file is needed."""
    assert forget(settings, monkeypatch, "") == 0
    assert "is forgotten" in capsys.readouterr().out
    assert lag(broker, settings) == 0
    assert [group["name"] for group in broker.xinfo_groups(dispatch_key("firefighters"))] == [
        b"webhooks:near"
    ]
    assert not list(broker.scan_iter("webhooks:*:cad"))
    letters: Any = broker.xrange(dead_letters_key("firefighters"))
    assert [fields[b"webhook"] for _, fields in letters] == [b"near"]
    assert forget(settings, monkeypatch, "") == 2
    assert "keeps nothing for a webhook 'cad'" in capsys.readouterr().err


def test_a_replay_for_a_webhook_needs_the_file(
    settings: Settings, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """Without one it says what to set, as `almenara webhooks` does."""
    monkeypatch.setenv("ALMENARA_STATE_DIR", str(settings.state_dir))
    monkeypatch.delenv("ALMENARA_WEBHOOKS", raising=False)
    assert main(["replay", "firefighters", "--since", "2026-11-24T10:00:00Z", "--webhook", "cad"]) == 2
    assert "set ALMENARA_WEBHOOKS" in capsys.readouterr().err.replace("Set", "set")


@pytest.mark.usefixtures("left")
def test_a_webhook_of_the_file_is_not_forgotten(
    broker: Broker,
    settings: Settings,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    tmp_path: Path,
) -> None:
    """While the file has it, nothing goes; once it is out, it does, though the file is empty then."""
    file = tmp_path / "webhooks.toml"
    file.write_text(FILE)
    assert forget(settings, monkeypatch, file) == 2
    assert "take it out of there" in capsys.readouterr().err.lower()
    assert lag(broker, settings) == 3
    file.write_text("")
    assert forget(settings, monkeypatch, file) == 0
    assert lag(broker, settings) == 0
