"""How many cores a process may use."""

import os
from pathlib import Path

import pytest

import shared.cores
from shared.cores import usable_cores


@pytest.mark.parametrize(
    ("text", "cores"),
    [("50000 100000", 1), ("100000 100000", 1), ("150000 100000", 2), ("100000000 100000", None)],
)
def test_a_containers_quota_counts(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, text: str, cores: int | None
) -> None:
    """Half a core is one, one and a half are two, and a quota beyond the machine adds nothing."""
    file = tmp_path / "cpu.max"
    file.write_text(text + "\n")
    monkeypatch.setattr(shared.cores, "_QUOTA", file)
    monkeypatch.setattr(os, "sched_getaffinity", lambda _: {0, 1, 2})
    assert usable_cores() == (3 if cores is None else cores)


@pytest.mark.parametrize("text", ["max 100000", "", "nonsense", None])
def test_without_a_quota_affinity_decides(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, text: str | None
) -> None:
    """A machine without control groups, or without a limit in them, gives every core."""
    file = tmp_path / "cpu.max"
    if text is not None:
        file.write_text(text)
    monkeypatch.setattr(shared.cores, "_QUOTA", file)
    monkeypatch.setattr(os, "sched_getaffinity", lambda _: {0, 5})
    assert usable_cores() == 2
