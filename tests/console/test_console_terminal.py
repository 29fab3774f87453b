import json
from typing import Any

import pytest
from conftest import make_entries

import console.stream
from console.terminal import Form, show
from shared.broker import Broker
from shared.errors import ConfigError
from shared.keys import dispatch_key
from shared.routing import Routing
from shared.settings import Settings
from shared.verdict import Verdict

Output = pytest.CaptureFixture[str]


@pytest.fixture(scope="module")
def routing() -> Routing:
    return Routing.load(Settings().routing)


@pytest.fixture
def sent(broker: Broker) -> list[str]:
    """Three incidents in the streams, one of them for review; the entry ids of the transit police."""
    for number, situation, verdict in (
        (1, "protest", Verdict.DISPATCHED),
        (2, "robbery", Verdict.UNSURE),
        (3, "accident", Verdict.DISPATCHED),
    ):
        for department, event in make_entries(
            number, number=f"{number:04}", situation=situation, verdict=verdict
        ):
            broker.xadd(dispatch_key(department), {"event": event})
    entries: Any = broker.xrange("dispatch:transit-police")
    return [entry_id.decode() for entry_id, _ in entries]


@pytest.fixture(autouse=True)
def hasty(monkeypatch: pytest.MonkeyPatch) -> None:
    """A read of a quiet stream waits a twentieth of a second, not a whole one."""
    monkeypatch.setattr(console.stream, "BLOCK_MS", 50)


def shown(
    broker: Broker,
    routing: Routing,
    department: str,
    output: Output,
    *,
    form: Form = Form.PLAIN,
    since: str = "0",
) -> list[str]:
    """The lines that are printed of what is there."""
    count = show(broker, routing, department, form=form, since=since, follow=False)
    lines = output.readouterr().out.splitlines()
    assert count == len(lines)
    return lines


@pytest.mark.usefixtures("sent")
def test_a_department_sees_its_own(broker: Broker, routing: Routing, capsys: Output) -> None:
    """The plain form prints a line for each dispatch of that department, oldest first."""
    assert shown(broker, routing, "transit-police", capsys) == [
        "ID: 0001     Coordinates: 33.8568, 151.2153     "
        "Units of Assistance: ['Protest => Police Force and Transit Police']",
        "ID: 0003     Coordinates: 33.8568, 151.2153     "
        "Units of Assistance: ['Accident => Towing Unit, Ambulance and Transit Police']",
    ]


@pytest.mark.usefixtures("sent")
def test_json_is_one_record_a_line(broker: Broker, routing: Routing, capsys: Output) -> None:
    """The JSON form prints the CloudEvents as they stand in the stream."""
    records = [json.loads(line) for line in shown(broker, routing, "towing-unit", capsys, form=Form.JSON)]
    assert [(record["specversion"], record["data"]["number"]) for record in records] == [("1.0", "0003")]


@pytest.mark.usefixtures("sent")
def test_the_pretty_form_is_one_line_each(broker: Broker, routing: Routing, capsys: Output) -> None:
    """In a pipe it has no colours and no line is folded, however narrow."""
    lines = shown(broker, routing, "transit-police", capsys, form=Form.PRETTY)
    assert ["0001" in lines[0], "0003" in lines[1]] == [True, True]
    assert "\x1b" not in "".join(lines)


@pytest.mark.usefixtures("sent")
def test_all_shows_each_incident_once(broker: Broker, routing: Routing, capsys: Output) -> None:
    """Six entries of three incidents are three lines, those for review among them."""
    numbers = [line[4:8] for line in shown(broker, routing, "all", capsys)]
    assert numbers == ["0001", "0002", "0003"]


@pytest.mark.usefixtures("sent")
def test_review_sees_what_is_unsure(broker: Broker, routing: Routing, capsys: Output) -> None:
    """What nobody is sent to yet is shown to whoever decides."""
    (line,) = shown(broker, routing, "review", capsys)
    assert line.startswith("ID: 0002     ")
    assert "Unsure: Protest 0.62" in line


def test_since_leaves_out_what_was_seen(
    broker: Broker, routing: Routing, capsys: Output, sent: list[str]
) -> None:
    """A script that kept the last entry id goes on behind it; the milliseconds alone will do."""
    after = [line[4:8] for line in shown(broker, routing, "transit-police", capsys, since=sent[0])]
    assert after == ["0003"]
    assert shown(broker, routing, "transit-police", capsys, since=sent[-1]) == []
    later = str(int(sent[-1].partition("-")[0]) + 1)
    assert shown(broker, routing, "transit-police", capsys, since=later) == []


@pytest.mark.parametrize("since", ["", "now", "-1", "1-", "1-2-3", "$", "٣", "99999999999999999999", "1 "])
def test_since_must_be_an_entry_id(broker: Broker, routing: Routing, since: str) -> None:
    """Anything else is refused before the broker is asked."""
    with pytest.raises(ConfigError, match="--since"):
        show(broker, routing, "review", form=Form.PLAIN, since=since, follow=False)


@pytest.mark.parametrize("department", ["navy", "", "Ambulance", "*", "ambulance "])
def test_an_unknown_department_is_refused(broker: Broker, routing: Routing, department: str) -> None:
    """The message names those that there are, with review and all."""
    with pytest.raises(ConfigError, match="towing-unit, ambulance, review, all"):
        show(broker, routing, department, form=Form.PLAIN, follow=False)


@pytest.mark.usefixtures("sent")
def test_following_goes_on_with_what_comes(broker: Broker, routing: Routing, capsys: Output) -> None:
    """What was there is shown, then what comes while it runs, each once, until it is told to stop."""
    looks = []

    def stop() -> bool:
        looks.append(1)
        if len(looks) == 2:
            for department, event in make_entries(4, number="0004", situation="fire"):
                broker.xadd(dispatch_key(department), {"event": event})
        return len(looks) > 2

    assert show(broker, routing, "transit-police", form=Form.PLAIN, stop=stop) == 3
    assert [line[4:8] for line in capsys.readouterr().out.splitlines()] == ["0001", "0003", "0004"]


def test_nothing_sent_is_nothing_shown(broker: Broker, routing: Routing, capsys: Output) -> None:
    """An empty stream, or none, is no fault."""
    assert shown(broker, routing, "all", capsys) == []
