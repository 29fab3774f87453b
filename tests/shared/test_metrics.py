import re
from pathlib import Path

import pytest
from prometheus_client import generate_latest
from scraping import Scrape, metric_names

from shared import metrics
from shared.label_values import REJECTIONS, VALUES

# https://prometheus.io/docs/practices/naming: base units, and what counts ends in _total.
ENDS = ("_seconds", "_bytes", "_total", "_info")
COUNTED = ("_files", "_photographs", "_entries", "_jobs")
PLAIN = {
    "almenara_ready",
    "almenara_web_streams",
    "almenara_broker_up",
    "almenara_incidents_known",
    "almenara_incidents_undecided",
    "almenara_incidents",
    "almenara_services_alive",
    "almenara_listening_consoles",
    "almenara_desk_unacknowledged",
}


@pytest.mark.parametrize("name", sorted(metric_names()))
def test_names_follow_one_form(name: str) -> None:
    """One prefix, base units, lower case; the help is a sentence that says what to make of it."""
    assert re.fullmatch(r"almenara_[a-z]+(_[a-z]+)*", name)
    assert name.endswith(ENDS + COUNTED) or name in PLAIN
    assert metric_names()[name].endswith((".", "?"))
    assert len(metric_names()[name]) > 25


def test_each_service_has_its_own_and_no_other() -> None:
    """A service's registry holds what begins with its name, what all have, and the process's own."""
    for service, registry in metrics.REGISTRIES.items():
        names = [family.name for family in registry.collect() if family.name.startswith("almenara_")]
        others = tuple(f"almenara_{other}_" for other in metrics.SERVICES if other != service)
        assert names
        assert not [name for name in names if name.startswith(others)]


def test_no_label_comes_from_a_file_name() -> None:
    """But for the watched cameras, which are as many as the settings name."""
    labelled = {told.name: told.labels for told in metrics.BROKER_WIDE if "label" in told.labels}
    assert set(labelled) == {"almenara_camera_silent_seconds", "almenara_camera_limit_seconds"}


def test_no_label_of_ours_is_one_that_a_scrape_puts_on() -> None:
    """Prometheus would rename ours to `exported_service`, and no alert would find it."""
    made = [
        each
        for found in vars(metrics).values()
        for each in (found.values() if isinstance(found, dict) else [found])
    ]
    labels = {label for each in made for label in getattr(each, "_labelnames", ())}
    labels |= {label for told in metrics.BROKER_WIDE for label in told.labels}
    assert {"part", "outcome"} <= labels
    assert not labels & {"service", "job", "instance"}


def test_a_webhooks_first_delivery_is_counted_from_nothing() -> None:
    """Of each of its departments every outcome is there at 0 before it begins."""
    metrics.count_from_nothing(["coast-guard"])
    told = Scrape(generate_latest(metrics.REGISTRIES["webhooks"]).decode())
    for outcome in ("delivered", "failed", "dead"):
        labels = {"department": "coast-guard", "outcome": outcome}
        assert told.total("almenara_webhooks_deliveries_total", **labels) == 0


ROOT = Path(__file__).parents[2]


def words(pattern: str, *paths: str) -> set[str]:
    """What a pattern finds in modules."""
    found = (
        match for path in paths for match in re.findall(pattern, (ROOT / path).read_text(encoding="utf-8"))
    )
    return set(found)


def test_every_reason_to_reject_is_counted_from_nothing() -> None:
    """Each word that intake rejects a file with is among those that are there at 0."""
    modules = [str(path.relative_to(ROOT)) for path in (ROOT / "ingest").glob("*.py")]
    modules += ["shared/decoding.py", "shared/coordinates.py"]
    found = words(r'(?:reason=|default_reason = )"([a-z_]+)"', *modules)
    assert {"empty", "truncated"} <= found
    assert found <= set(REJECTIONS)


def test_every_refusal_and_clock_action_of_the_desk_is_counted_from_nothing() -> None:
    """The same for moves, and for what the clock does."""
    modules = [str(path.relative_to(ROOT)) for path in (ROOT / "console" / "desk").glob("*.py")]
    reasons = words(r'reason="([a-z_]+)"', *modules)
    assert "not_yours" in reasons
    assert {(reason,) for reason in reasons} <= set(VALUES["almenara_desk_moves"])
    actions = words(r'tally\.clock\("([a-z_]+)"\)', *modules)
    assert {(action,) for action in actions} == set(VALUES["almenara_desk_clock_actions"])
