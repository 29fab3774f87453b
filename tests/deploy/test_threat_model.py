"""The threat model names tests and files: each is there."""

import re
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
PAGE = (ROOT / "docs" / "threat-model.md").read_text(encoding="utf-8")
NAMED = sorted(set(re.findall(r"`(tests/[\w/]+\.py)(?:::(\w+))?`", PAGE)))
FILES = sorted(set(re.findall(r"`((?:console|deploy|ingest|shared|training|worker)/[\w/.-]+)`", PAGE)))


def test_the_page_names_many_tests_and_files() -> None:
    """The patterns above find what the page names."""
    assert len(NAMED) >= 30
    assert len(FILES) >= 20


@pytest.mark.parametrize(("path", "function"), NAMED)
def test_every_named_test_is_there(path: str, function: str) -> None:
    """A test that the page names can be run by that name."""
    text = (ROOT / path).read_text(encoding="utf-8")
    assert re.search(rf"^(async )?def {function or 'test_'}", text, re.MULTILINE)


@pytest.mark.parametrize("path", FILES)
def test_every_named_file_is_there(path: str) -> None:
    """A file that the page names is where it says."""
    assert (ROOT / path).exists()


def test_every_threat_has_a_test_and_says_what_is_not_stopped() -> None:
    """No row of the first table is a mere promise."""
    rows = [line.strip("|").split(" | ") for line in PAGE.splitlines() if line.startswith("| **")]
    assert len(rows) >= 12
    for who, where, tests, left in rows:
        assert "`" in where or "limit" in where, who
        assert "tests/" in tests, who
        assert left.strip(), who
