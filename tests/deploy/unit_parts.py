"""The systemd units, as the tests of them read them."""

import configparser
import re
from pathlib import Path

REPOSITORY = Path(__file__).parents[2]
UNITS = REPOSITORY / "deploy" / "systemd"
SERVICES = ("ingest", "worker@", "desk", "web", "webhooks")


def unit(name: str) -> configparser.RawConfigParser:
    """A unit with what all have in common, keys as written; of a repeated key the last."""
    parser = configparser.RawConfigParser(strict=False)
    parser.optionxform = str  # type: ignore[assignment,method-assign]
    parser.read([UNITS / "almenara-.service.d" / "10-common.conf", UNITS / f"almenara-{name}.service"])
    return parser


def lines_of(name: str, key: str) -> list[str]:
    """Every value that a unit gives to a key."""
    text = (UNITS / f"almenara-{name}.service").read_text()
    return re.findall(rf"(?m)^{key}=(.*)$", text)
