import json
from pathlib import Path

import pytest

from benchmarks import depth
from benchmarks.figures import Contest, Figures
from benchmarks.report import Run, markdown, write
from benchmarks.rig import Row
from benchmarks.targets import Target, targets

ROWS = [
    Row("of a kind", "first", "images/s", [2.0, 4.0, 3.0], is_base=True),
    Row("of a kind", "second", "images/s", [6.0]),
]


def contest(name: str, engine: str, rate: float, p50_ms: float) -> Contest:
    """A contender of two repeats, the second a tenth faster."""
    repeats = [Figures(rate * factor, 0.05, (p50_ms, p50_ms * 2), 500_000_000) for factor in (1.0, 1.1)]
    return Contest(name, engine, f"set up as {name} is", repeats)


CONTESTS = [
    contest("LitServe", "torch-cpu", 20, 60),
    contest("mosec", "torch-cpu", 25, 70),
    contest("limit: bare loop", "torch-cpu", 30, 40),
    contest("Almenara", "torch-cpu", 27, 50),
    contest("limit: bare loop", "openvino-bf16", 80, 15),
    contest("Almenara", "openvino-bf16", 77.6, 40),
    Contest("Celery", "torch-cpu", "set up", reason="not installed: celery"),
]


def made_run(contests: list[Contest]) -> Run:
    """A run with those contests."""
    return Run({"pictures": "4 drawn ones"}, contests, ROWS, targets(contests, ROWS, "openvino-bf16"))


def lines_with(text: str, *words: str) -> list[str]:
    """Lines that hold all of the words."""
    return [line for line in text.splitlines() if all(word in line for word in words)]


def test_ratios_are_to_the_best_peer() -> None:
    """The table compares everybody with the fastest peer, which is neither we nor the limit."""
    table = markdown(made_run(CONTESTS))
    (mosec,) = lines_with(table, "| mosec |")
    (mine,) = lines_with(table, "| Almenara | openvino-bf16 |")
    assert mosec.split(" | ")[3] == "1.00"
    assert mine.split(" | ")[3] == "3.10"
    assert mine.split(" | ")[2] == "81.5 (77.6 to 85.4)"


def test_who_could_not_be_measured_stands_in_the_table() -> None:
    """A contender without figures is shown with the reason."""
    assert lines_with(markdown(made_run(CONTESTS)), "| Celery |", "not measured: not installed: celery")


def test_suites_are_compared_with_their_base() -> None:
    """The ratio of a row is to the median of its base."""
    assert lines_with(markdown(made_run([])), "second", "| 6.0 (6.0 to 6.0) | images/s | 2.00 |")


def test_targets_are_checked_against_the_figures() -> None:
    """Each target says what was measured and whether, or by how much, it was missed."""
    text = markdown(made_run(CONTESTS))
    assert lines_with(text, "share of the limit, torch-cpu: 0.90, aim >= 0.95: MISSED by 0.05")
    assert lines_with(text, "share of the limit, openvino-bf16: 0.97, aim >= 0.95: met")
    assert lines_with(text, "eager PyTorch, times the best peer (mosec): 1.08, aim >= 1: met")
    assert lines_with(text, "default engine (openvino-bf16)", "3.10, aim >= 3: met")
    assert lines_with(text, "p50", "openvino-bf16: 25.00 ms, aim <= 15 ms: MISSED by 10.00 ms")


def test_targets_without_figures_are_not_claimed() -> None:
    """What was not measured is neither met nor missed."""
    assert targets([Contest("Almenara", "torch-cpu", "", reason="it ended")], [], "torch-cpu") == []


@pytest.mark.parametrize(("gained_mb", "met"), [(3.0, True), (300.0, False)])
def test_memory_is_held_to_the_worst_repeat(gained_mb: float, met: bool) -> None:
    """Memory that grows in one repeat misses the target."""
    (target,) = targets([], [Row(depth.MEMORY, "100,000", "MB", [0.5, gained_mb])], "torch-cpu")
    assert target.met is met


@pytest.mark.parametrize(("measured", "met"), [(0.95, True), (0.9499, False)])
def test_a_bound_itself_is_met(measured: float, met: bool) -> None:
    """What is measured is not rounded before it is compared."""
    assert Target("share", measured, 0.95, "", at_least=True).met is met


def test_json_holds_every_repeat(tmp_path: Path) -> None:
    """Nothing that was measured is only in the table."""
    write(made_run(CONTESTS), tmp_path)
    kept = json.loads((tmp_path / "results.json").read_text())
    assert [each["images_per_s"] for each in kept["comparison"][0]["repeats"]] == [20, 22]
    assert kept["comparison"][0]["repeats"][0]["latencies_ms"] == [60, 120]
    assert kept["suites"][0]["figures"] == [2.0, 4.0, 3.0]
    assert kept["facts"] == {"pictures": "4 drawn ones"}
    assert (tmp_path / "table.md").read_text() == markdown(made_run(CONTESTS))


def test_the_plot_is_a_picture(tmp_path: Path) -> None:
    """Contenders with figures are drawn; without any there is no plot."""
    pytest.importorskip("matplotlib")
    write(made_run(CONTESTS), tmp_path / "some")
    write(made_run([]), tmp_path / "none")
    assert (tmp_path / "some" / "plot.png").read_bytes().startswith(b"\x89PNG")
    assert not (tmp_path / "none" / "plot.png").exists()
