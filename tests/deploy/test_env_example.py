"""The example of every setting keeps up with the settings."""

import re
from dataclasses import fields
from pathlib import Path

from shared.settings import PREFIX, Settings

EXAMPLE = Path(__file__).parents[2] / "deploy" / ".env.example"


def test_the_example_has_every_setting_with_its_default_and_meaning() -> None:
    """deploy/.env.example lists exactly the settings there are, in order, each as it is by default."""
    found = re.findall(r"# (.*)\n#(ALMENARA_\w+)=(.*)", EXAMPLE.read_text())
    assert [variable for _, variable, _ in found] == [PREFIX + each.name.upper() for each in fields(Settings)]
    for each, (about, _, value) in zip(fields(Settings), found, strict=True):
        assert about == each.metadata["about"]
        if value:
            parsed = each.metadata["parse"](value)
            assert parsed == each.default or str(each.default).endswith(str(parsed))
        else:
            assert each.default == ""
