"""The operator's guide: its commands, files and settings are those that there are."""

import re
import shlex
from dataclasses import fields
from pathlib import Path

import pytest

from deploy.flags import make_parser
from shared.settings import PREFIX, Settings

REPOSITORY = Path(__file__).parents[2]
GUIDE = REPOSITORY / "docs" / "operators-guide.md"
UNITS = REPOSITORY / "deploy" / "systemd"

ROOTS = ("deploy", "docs", "shared", "tests", "models", "benchmarks")


def shown(value: object) -> str:
    """A setting's default as the table has it."""
    if isinstance(value, tuple):
        return ":".join(str(part) for part in value)
    if isinstance(value, Path) and value.is_absolute():
        return str(value.relative_to(REPOSITORY))
    if value is None:
        return "auto"
    return str(value).lower() if isinstance(value, bool) else str(value)


def table() -> list[str]:
    """A row for each setting."""
    rows = []
    for each in fields(Settings):
        default = shown(each.default)
        about = str(each.metadata["about"]).replace("|", "\\|")
        rows.append(f"| `{PREFIX}{each.name.upper()}` | {f'`{default}`' if default else ''} | {about} |")
    return rows


def commands() -> list[list[str]]:
    """Every shell command of the guide, in words."""
    blocks = re.findall(r"(?ms)^```\n(.*?)^```$", GUIDE.read_text())
    lines = [line for block in blocks for line in block.splitlines() if line]
    return [shlex.split(line, comments=True) for line in lines]


def inline() -> list[str]:
    """Everything that stands in backticks within a line."""
    return re.findall(r"`([^`\n]+)`", re.sub(r"(?ms)^```\n.*?^```$", "", GUIDE.read_text()))


def test_every_setting_is_in_the_table_with_its_default() -> None:
    """The guide's table is that of shared/settings.py, in order."""
    rows = re.findall(rf"(?m)^\| `{PREFIX}.*$", GUIDE.read_text())
    assert rows == table(), "replace the table by:\n" + "\n".join(table())


def test_every_almenara_command_parses() -> None:
    """Commands of ours, in blocks and within lines, are understood with their flags."""
    written = [words for words in commands() if words[0] == "almenara"]
    written += [shlex.split(text) for text in inline() if text.startswith("almenara ")]
    in_containers = [words for words in commands() if words[:3] == ["docker", "compose", "run"]]
    written += [["almenara", *words[words.index("operator") + 1 :]] for words in in_containers]
    assert len(written) > 8
    for words in written:
        if "COMMAND" not in words:
            make_parser().parse_args(words[1:])


def test_every_unit_that_is_named_is_there() -> None:
    """systemctl and journalctl are given units of ours."""
    text = GUIDE.read_text()
    names = set(re.findall(r"\balmenara-(broker|ingest|desk|web|webhooks)\b(?!s?-)", text))
    assert names == {"broker", "ingest", "desk", "web", "webhooks"}
    named = [word for words in commands() if words[0] == "systemctl" for word in words if "almenara" in word]
    assert len(named) > 10
    for word in named:
        if word == "almenara-*":
            continue
        name = re.sub(r"@.*", "@", word).removesuffix(".target")
        assert (UNITS / f"{name}.service").exists() or (UNITS / f"{name}.target").exists(), word


def test_every_file_that_is_named_exists() -> None:
    """Paths of the repository exist; paths of an installation are made by what `make install` runs."""
    made = "".join(path.read_text() for path in UNITS.rglob("*") if path.is_file())
    words = [word for line in commands() for word in line] + inline()
    ours = [word for word in words if word.partition("/")[0] in ROOTS and "/" in word]
    assert len(ours) >= 5
    for word in ours:
        assert (REPOSITORY / word).exists(), word
    pages = {word for word in inline() if re.fullmatch(r"[a-z-]+\.md", word)}
    for page in pages:
        assert (GUIDE.parent / page).exists(), page
    installed = {
        match
        for word in words
        for match in re.findall(r"(?:/opt|/etc|/srv|/var/lib|/run)/almenara[a-z_./-]*", word)
    }
    assert len(installed) > 8
    for path in installed:
        name = Path(path).name
        assert path in made or name in made or name.endswith((".toml", "-wal", "-shm")), path


def test_targets_of_make_are_there() -> None:
    """`make install` and others that the guide tells to run."""
    makefile = (REPOSITORY / "Makefile").read_text()
    targets = [words[1] for words in commands() if words[0] == "make"]
    assert targets
    for target in targets:
        assert f"\n{target}:" in makefile


@pytest.mark.parametrize("unit", ["almenara-ingest", "almenara-desk", "almenara-web", "almenara-webhooks"])
def test_ports_are_those_of_the_units(unit: str) -> None:
    """The table of units gives each the metrics port that it has."""
    port = re.search(r"METRICS_PORT=(\d+)", (UNITS / f"{unit}.service").read_text())
    row = re.search(rf"(?m)^\| `{unit}` \|[^|]*\| (\d+) \|", GUIDE.read_text())
    assert port is not None
    assert row is not None
    assert port[1] == row[1]
