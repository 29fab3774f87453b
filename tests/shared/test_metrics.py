import re

import pytest

from shared import metrics

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


@pytest.mark.parametrize("name", sorted(metrics.names()))
def test_names_follow_one_form(name: str) -> None:
    """One prefix, base units, lower case; the help is a sentence that says what to make of it."""
    assert re.fullmatch(r"almenara_[a-z]+(_[a-z]+)*", name)
    assert name.endswith(ENDS + COUNTED) or name in PLAIN
    assert metrics.names()[name].endswith((".", "?"))
    assert len(metrics.names()[name]) > 25


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
