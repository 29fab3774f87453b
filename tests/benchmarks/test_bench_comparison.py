from pathlib import Path

import pytest

from benchmarks import contenders
from benchmarks.comparison import Plan, compare
from benchmarks.limit import Limit
from benchmarks.ours import Almenara
from benchmarks.photographs import make_album
from benchmarks.rig import broker

PLAN = Plan(repeats=1, flood_s=0.2, rate=4.0, steady_s=0.75)


@pytest.mark.fault
@pytest.mark.timeout(900)
def test_limit_and_ours_are_measured_and_a_failure_is_reported(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Real processes on a real broker give figures; one that can't start says why, and the others go on."""
    # Three networks are loaded, one after the other: on a busy machine that takes minutes.
    monkeypatch.setattr(contenders, "START_S", 240.0)
    monkeypatch.setattr(contenders, "STALL_S", 240.0)
    album = make_album(tmp_path, None, count=4)
    entrants = [Limit("openvino-int8"), Limit("torch-cpu"), Almenara("torch-cpu")]
    with broker() as settings:
        failed, *measured = compare(settings, album, entrants, PLAN)
    assert failed.repeats == []
    assert "openvino-int8 can't run here" in failed.reason
    for contest in measured:
        (figures,) = contest.repeats
        assert contest.reason == ""
        assert figures.images_per_s and figures.images_per_s > 0
        assert figures.cpu_s_per_image and figures.cpu_s_per_image > 0
        assert len(figures.latencies_ms) == 3
        assert figures.peak_bytes > 50e6
