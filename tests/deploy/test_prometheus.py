import json
import re
import shlex
import shutil
import subprocess
import sys
from itertools import pairwise
from pathlib import Path
from typing import Any

import pytest
import yaml
from scraping import Scrape, metric_names

from deploy.flags import make_parser

ROOT = Path(__file__).parents[2]
RULES = ROOT / "deploy" / "prometheus"
DASHBOARD = json.loads((ROOT / "deploy" / "grafana" / "almenara.json").read_text(encoding="utf-8"))
RUNBOOK = (ROOT / "docs" / "runbook.md").read_text(encoding="utf-8")
ALERTS: list[dict[str, Any]] = [
    rule
    for group in yaml.safe_load((RULES / "alerts.yml").read_text(encoding="utf-8"))["groups"]
    for rule in group["rules"]
]
PARTS = ("Means: ", "Dispatchers notice: ", "Look: ", "Do: ", "Goes away: ")

needs_promtool = pytest.mark.skipif(
    shutil.which("promtool") is None, reason="promtool is not installed (Debian package prometheus)"
)


def promtool(*arguments: str) -> None:
    """Run it; it must be content."""
    ran = subprocess.run(
        ["promtool", *arguments], cwd=RULES, capture_output=True, text=True, timeout=100, check=False
    )
    assert ran.returncode == 0, ran.stdout + ran.stderr


def panels() -> list[dict[str, Any]]:
    """Those that show something."""
    return [panel for panel in DASHBOARD["panels"] if panel["type"] != "row"]


def metrics_in(text: str) -> set[str]:
    """Names of our metrics in expressions, without what histograms add to them."""
    known, found = metric_names(), set()
    for name in re.findall(r"\balmenara_[a-z_]+\b", text):
        found.add(name if name in known else re.sub(r"_(bucket|sum|count)$", "", name))
    return found


def section(alert: str) -> str:
    """What the runbook says of an alert."""
    _, _, rest = RUNBOOK.partition(f"\n### {alert}\n")
    return re.split(r"\n#+ ", rest, maxsplit=1)[0]


def test_every_counter_that_an_alert_names_is_there_from_the_start() -> None:
    """In a process that has done nothing yet each is at 0: an increase from nowhere is none to Prometheus."""
    fresh = "from prometheus_client import generate_latest; from shared.metrics import REGISTRIES; "
    fresh += "print(''.join(generate_latest(each).decode() for each in REGISTRIES.values()))"
    ran = subprocess.run(
        [sys.executable, "-c", fresh], cwd=ROOT, capture_output=True, text=True, timeout=100, check=True
    )
    there = Scrape(ran.stdout)
    asked = [
        found
        for alert in ALERTS
        for found in re.findall(r"(almenara_\w+_total)(?:\{(\w+)=(~?)\"([^\"]*)\"\})?", alert["expr"])
    ]
    assert len(asked) > 8
    for name, label, is_pattern, value in asked:
        for each in value.split("|") if is_pattern else [value]:
            wanted = {label: each.replace(".", "0")} if label else {}
            assert there.total(name, **wanted) == 0


@needs_promtool
def test_rules_and_example_are_prometheus_own() -> None:
    """`promtool` takes both files."""
    promtool("check", "rules", "alerts.yml")
    promtool("check", "config", "prometheus.yml")


@needs_promtool
def test_alerts_come_when_they_should() -> None:
    """`promtool test rules` plays series into them: each comes in its time, and not before."""
    promtool("test", "rules", "alerts_test.yml")


def test_every_metric_in_use_exists() -> None:
    """What alerts and the dashboard ask for is defined in shared/metrics.py."""
    asked = metrics_in((RULES / "alerts.yml").read_text(encoding="utf-8") + json.dumps(DASHBOARD) + RUNBOOK)
    assert asked <= set(metric_names())


def test_every_metric_is_used() -> None:
    """Nothing is counted that no alert and no panel shows."""
    expressions = [alert["expr"] for alert in ALERTS]
    expressions += [target["expr"] for panel in panels() for target in panel["targets"]]
    assert set(metric_names()) <= metrics_in("\n".join(expressions))


@pytest.mark.parametrize("alert", ALERTS, ids=lambda alert: alert["alert"])
def test_an_alert_says_how_bad_it_is_and_where_to_read_on(alert: dict[str, Any]) -> None:
    """And there, in the runbook, is its section, with the five things that one needs at 3 a.m."""
    assert alert["labels"]["severity"] in {"critical", "warning"}
    assert alert["annotations"]["summary"]
    assert alert["annotations"]["runbook_url"] == f"docs/runbook.md#{alert['alert'].lower()}"
    text = section(alert["alert"])
    begins = [next((part for part in PARTS if line.startswith(part)), None) for line in text.splitlines()]
    assert [part for part in begins if part] == list(PARTS)


def test_the_runbook_knows_no_other_alert() -> None:
    """A section of an alert that is gone would be looked for in vain."""
    told = re.findall(r"^### (.+)$", RUNBOOK, flags=re.MULTILINE)
    assert told == [alert["alert"] for alert in ALERTS]


def test_every_panel_has_its_unit_and_says_what_it_shows() -> None:
    """No panel needs an explanation that it does not have; none overlaps another."""
    for panel in panels():
        assert panel["description"], panel["title"]
        assert panel["fieldConfig"]["defaults"]["unit"], panel["title"]
        assert panel["datasource"]["uid"] == "${datasource}"
    taken = [
        (x, y)
        for panel in DASHBOARD["panels"]
        for x in range(panel["gridPos"]["x"], panel["gridPos"]["x"] + panel["gridPos"]["w"])
        for y in range(panel["gridPos"]["y"], panel["gridPos"]["y"] + panel["gridPos"]["h"])
    ]
    assert len(taken) == len(set(taken))
    assert len({panel["id"] for panel in DASHBOARD["panels"]}) == len(DASHBOARD["panels"])


def test_the_dashboard_asks_where_its_numbers_come_from() -> None:
    """The data source is a variable: it can be imported anywhere."""
    (variable,) = DASHBOARD["templating"]["list"]
    assert (variable["name"], variable["type"], variable["query"]) == (
        "datasource",
        "datasource",
        "prometheus",
    )


def test_the_runbooks_commands_exist() -> None:
    """Each `almenara` command in it can be typed as it stands there, with the flags that it names."""
    found = [shlex.split(command) for command in re.findall(r"`almenara ([a-z][^`|]*)", RUNBOOK)]
    assert len(found) > 20
    parser = make_parser()
    for words in found:
        parser.parse_args(words)


def test_the_runbooks_units_are_ours() -> None:
    """systemctl and journalctl are told units that `make install` brings."""
    told = [shlex.split(command) for command in re.findall(r"`((?:systemctl|journalctl) [^`|]+)", RUNBOOK)]
    verbs = {"systemctl", "status", "start", "restart"}
    named = {word for command in told if command[0] == "systemctl" for word in command} - verbs
    named |= {word for command in told for flag, word in pairwise(command) if flag == "-u"}
    assert len(named) >= 6
    for word in named - {"almenara-SERVICE"}:
        name = re.sub(r"@.*", "@", word)
        assert (ROOT / "deploy" / "systemd" / f"{name}.service").exists(), word


def test_the_runbook_tells_nobody_to_command_the_broker() -> None:
    """No user may change its settings while it runs (`deploy/rights.py`); an operator may look."""
    typed = re.findall(r"(?:valkey|redis)-cli[^`]*", RUNBOOK)
    assert all(command.startswith("valkey-cli --user operator --askpass ") for command in typed)
    assert not [command for command in typed if re.search(r"\b(CONFIG|ACL SETUSER|SHUTDOWN|FLUSH)", command)]


def test_a_person_can_compare_two_dashboards() -> None:
    """One panel a line: what changed is what a diff shows."""
    text = (ROOT / "deploy" / "grafana" / "almenara.json").read_text(encoding="utf-8")
    lines = [json.loads(line.rstrip(",")) for line in text.splitlines() if line.startswith("  {")]
    assert lines == DASHBOARD["panels"]
