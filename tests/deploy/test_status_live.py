import json
from collections.abc import Callable
from io import StringIO

import pytest
from conftest import wait_until
from deployment import Deployment
from rich.console import Console

import deploy.watching
from deploy.status import gather
from deploy.watching import picture, stream, watch
from shared.broker import Broker, BrokerAwayError
from shared.errors import ConfigError
from shared.settings import Settings


@pytest.fixture(autouse=True)
def hasty(monkeypatch: pytest.MonkeyPatch) -> None:
    """It looks a hundred times a second."""
    monkeypatch.setattr(deploy.watching, "EVERY_S", 0.01)


def rounds(count: int) -> Callable[[], bool]:
    """A stop that is asked so many times before it is true."""
    asked = iter([False] * count)
    return lambda: next(asked, True)


def test_it_goes_on_while_the_broker_is_away(broker: Broker, settings: Settings) -> None:
    """The alarm stands first, what was known last below it; once it is back the alarm goes."""
    answers = iter([gather(broker, settings), None, gather(broker, settings)])

    def ask() -> dict[str, object]:
        found = next(answers)
        if found is None:
            raise BrokerAwayError("the broker does not answer")
        return found

    out = StringIO()
    watch(ask, Console(file=out, force_terminal=True, width=160, height=60), rounds(3))
    shown = out.getvalue()
    assert "does not answer" in shown and "since" in shown
    assert shown.count("Queue") >= 3  # the second time too


def test_alarms_come_first_and_in_red(broker: Broker, settings: Settings) -> None:
    """Right below the clock, before anything that only informs."""
    lines = picture(gather(broker, settings), "").renderables
    assert str(lines[1]).startswith("ALARM      no worker runs")
    assert "red" in str(getattr(lines[1], "style", ""))


def test_a_pipe_gets_a_line_each_time(capsys: pytest.CaptureFixture[str], settings: Settings) -> None:
    """JSON, also while the broker is away; without --json a pipe is refused."""

    def ask() -> dict[str, object]:
        raise BrokerAwayError("the broker does not answer")

    stream(ask, rounds(2))
    assert [json.loads(line)["reason"] for line in capsys.readouterr().out.splitlines()] == [
        "broker_away"
    ] * 2
    with pytest.raises(ConfigError, match="--live --json"):
        watch(ask, Console(file=StringIO()))


def test_the_command_ends_on_a_signal_and_outlives_the_broker(deployment: Deployment) -> None:
    """`almenara status --live --json` goes on across a broker that is killed and comes back."""
    deployment.log.close()
    out = deployment.folder / "status.log"
    deployment.log = out.open("ab")
    process = deployment.start("status", "status", "--live", "--json")

    def said(word: str) -> int:
        return sum(word in line for line in out.read_text().splitlines() if line.startswith("{"))

    wait_until(lambda: said('"queue"'), within_s=60, what="the first look")
    deployment.kill("broker")
    wait_until(lambda: said("broker_away"), within_s=60, what="it is said to be away")
    before = said('"queue"')
    deployment.start_broker()
    wait_until(lambda: said('"queue"') > before, within_s=60, what="it is back")
    process.send_signal(2)
    assert process.wait(timeout=30) == 0
