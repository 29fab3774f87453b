"""A run as Markdown, as JSON and as a picture."""

import json
import statistics
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from benchmarks.figures import Contest, Spread
from benchmarks.rig import Row
from benchmarks.targets import Target, best_peer


@dataclass(frozen=True)
class Run:
    """All that one run measured.

    Attributes:
        facts: date, command, machine, versions and pictures, by name.
        contests: the comparison.
        rows: the other suites.
        targets: as checked.
    """

    facts: Mapping[str, str]
    contests: Sequence[Contest]
    rows: Sequence[Row]
    targets: Sequence[Target]


def write(run: Run, folder: Path) -> list[str]:
    """Write results.json, table.md and plot.png; what there is to say about it, line by line."""
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "results.json").write_text(json.dumps(record(run), indent=1), encoding="utf-8")
    (folder / "table.md").write_text(markdown(run), encoding="utf-8")
    if not any(each.repeats for each in run.contests):
        return [f"written: {folder}/results.json, table.md"]
    try:
        # Only here: it takes a second to load, and is an extra.
        from benchmarks.plot import draw
    except ImportError as error:
        return [
            f"written: {folder}/results.json, table.md",
            f"no plot ({error}): install the extra, pip install '.[train]'",
        ]
    draw(run.contests, folder / "plot.png")
    return [f"written: {folder}/results.json, table.md, plot.png"]


def record(run: Run) -> dict[str, Any]:
    """Everything, every repeat's figures too, as JSON values."""
    return {
        "facts": dict(run.facts),
        "comparison": [each.record() for each in run.contests],
        "suites": [asdict(row) for row in run.rows],
        "targets": [asdict(each) | {"met": each.met} for each in run.targets],
    }


def markdown(run: Run) -> str:
    """Facts, tables, set-ups and targets."""
    parts = ["\n".join(f"- {name}: {fact}" for name, fact in run.facts.items())]
    if run.contests:
        parts += ["\n".join(comparison_table(run.contests)), "\n".join(_notes(run.contests))]
    if run.rows:
        parts.append("\n".join(suite_table(run.rows)))
    if run.targets:
        parts.append("Targets:\n\n" + "\n".join(f"- {each.line}" for each in run.targets))
    return "\n\n".join(parts) + "\n"


def comparison_table(contests: Sequence[Contest]) -> Iterator[str]:
    """One line a contender. The ratio is to the fastest peer, median by median."""
    yield (
        "| contender | engine | images/s | x best peer | p50 ms | p95 ms | p99 ms | peak MB | CPU s/image |"
    )
    yield "|---|---|---:|---:|---:|---:|---:|---:|---:|"
    best = best_peer(contests)
    for each in contests:
        if not each.repeats:
            yield f"| {each.name} | {each.engine} | not measured: {each.reason} | | | | | | |"
            continue
        rate, base = each.images_per_s, best.images_per_s if best else None
        cells = [
            each.name,
            each.engine,
            _cell(rate, ".1f"),
            f"{rate.middle / base.middle:.2f}" if rate and base else "",
            *(_cell(each.latency_ms(share), ".0f") for share in (0.5, 0.95, 0.99)),
            _cell(each.peak_bytes, ".0f", 1e-6),
            _cell(each.cpu_s_per_image, ".3f"),
        ]
        yield f"| {' | '.join(cells)} |"


def suite_table(rows: Sequence[Row]) -> Iterator[str]:
    """One line a contender. The ratio is to the base of the same measurement."""
    yield "| what | contender | figure | unit | ratio |"
    yield "|---|---|---:|---|---:|"
    for row in rows:
        middle = statistics.median(row.figures)
        figure = f"{middle:,.1f} ({min(row.figures):,.1f} to {max(row.figures):,.1f})"
        base = next((each for each in rows if each.what == row.what and each.is_base), None)
        ratio = f"{middle / statistics.median(base.figures):.2f}" if base else ""
        yield f"| {row.what} | {row.contender} | {figure} | {row.unit} | {ratio} |"


def _notes(contests: Sequence[Contest]) -> Iterator[str]:
    """How each was set up, and which of them gave up on the way."""
    yield "How they are set up:"
    yield ""
    told = set()
    for each in contests:
        if each.about not in told:
            told.add(each.about)
            yield f"- {each.name}: {each.about}"
        if each.reason and each.repeats:
            yield f"- {each.name} ({each.engine}) failed after {len(each.repeats)} repeats: {each.reason}"


def _cell(spread: Spread | None, form: str, factor: float = 1.0) -> str:
    if spread is None:
        return ""
    middle, least, most = (f"{each * factor:{form}}" for each in (spread.middle, spread.least, spread.most))
    return f"{middle} ({least} to {most})"
