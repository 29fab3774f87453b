"""`make bench`: every benchmark, one Markdown table on standard output and one JSON file."""

import argparse
import json
import platform
import statistics
import sys
from collections.abc import Callable
from pathlib import Path

from benchmarks import bookkeeping, ingesting, latency, training
from benchmarks.rig import Row, broker
from shared.logs import configure
from shared.settings import Settings

SUITES: dict[str, Callable[..., list[Row]]] = {
    "bookkeeping": bookkeeping.measure,
    "ingest": ingesting.measure,
    "latency": latency.measure,
    "training": training.measure,
}


def main() -> int:
    """Run the chosen suites, each against a private broker that syncs every write."""
    parser = argparse.ArgumentParser(description="Measure Almenara beside its peers.")
    parser.add_argument("suites", nargs="*", metavar="SUITE", help=f"of {', '.join(SUITES)}; default: all")
    parser.add_argument("--repeats", type=int, default=5, help="runs of each contender (default 5)")
    parser.add_argument("--out", type=Path, default=Path("build/bench.json"), help="where the figures go")
    options = parser.parse_args()
    if unknown := set(options.suites) - set(SUITES):
        parser.error(f"there is no suite {', '.join(sorted(unknown))}")
    configure(Settings(log_level="warning"), "bench")
    rows: list[Row] = []
    for name in options.suites or SUITES:
        with broker() as settings:
            rows += SUITES[name](settings, options.repeats)
    print(
        f"Python {platform.python_version()}, {_processor()}; {options.repeats} repeats, median (min, max)\n"
    )
    print("| what | contender | figure | unit | ratio |\n|---|---|---:|---|---:|")
    for row in rows:
        middle = statistics.median(row.figures)
        spread = f"{middle:,.1f} ({min(row.figures):,.1f} to {max(row.figures):,.1f})"
        base = next((each for each in rows if each.what == row.what and each.is_base), None)
        ratio = f"{middle / statistics.median(base.figures):.2f}" if base else ""
        print(f"| {row.what} | {row.contender} | {spread} | {row.unit} | {ratio} |")
    options.out.parent.mkdir(parents=True, exist_ok=True)
    options.out.write_text(json.dumps([row.__dict__ for row in rows], indent=1))
    return 0


def _processor() -> str:
    try:
        lines = Path("/proc/cpuinfo").read_text().splitlines()
    except OSError:
        return platform.processor()
    names = [line.split(":", 1)[1].strip() for line in lines if line.startswith("model name")]
    return f"{len(names)} cores of {names[0]}" if names else platform.processor()


sys.exit(main())
