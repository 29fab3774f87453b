"""docs/architecture.md leads through files: each is where it says."""

import re
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
PAGE = (ROOT / "docs" / "architecture.md").read_text(encoding="utf-8")
FOLDERS = ("console", "deploy", "docs", "ingest", "shared", "tests", "training", "worker")
NAMED = sorted(
    set(re.findall(r"`([\w./-]+\.(?:py|lua|toml|md|json))`", PAGE))
    | set(re.findall(r"`((?:" + "|".join(FOLDERS) + r")/[\w/.-]*)`", PAGE))
    | {f"docs/{name}" for name in re.findall(r"\(([\w-]+\.md)\)", PAGE)}
)


def test_the_page_names_many_files() -> None:
    """The patterns above find what the page names."""
    assert len(NAMED) >= 40


@pytest.mark.parametrize("name", NAMED)
def test_every_named_file_is_there(name: str) -> None:
    """With its folder it is there; a name alone, in a list under its folder, is a file of ours."""
    if "/" in name:
        assert (ROOT / name).exists()
    else:
        assert [path for folder in FOLDERS for path in (ROOT / folder).rglob(name)]
