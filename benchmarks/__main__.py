"""`make bench`: every measurement in one run; a table in Markdown, all figures in JSON, and a picture."""

import argparse
import os
import sys
import tempfile
import time
from collections.abc import Callable, Sequence
from pathlib import Path

from benchmarks import bookkeeping, depth, growth, ingesting, latency, live, machine, scaling, training
from benchmarks.comparison import QUICK, Plan, compare, contenders, say
from benchmarks.contenders import Contender
from benchmarks.engines import NEEDS_OPTIMISING, OF_A_CPU, default_engine, hand_over, optimised
from benchmarks.figures import Contest
from benchmarks.photographs import make_album
from benchmarks.report import Run, markdown, write
from benchmarks.rig import Row, broker
from benchmarks.targets import targets
from shared.incidents import iso, utc_now
from shared.logs import configure
from shared.settings import Settings

COMPARISON = "comparison"
SUITES = (
    COMPARISON,
    "workers",
    "sizes",
    "depth",
    "bookkeeping",
    "ingest",
    "latency",
    "live",
    "scaling",
    "training",
)
ALONE: dict[str, Callable[[Settings, int], list[Row]]] = {
    "bookkeeping": bookkeeping.measure,
    "ingest": ingesting.measure,
    "latency": latency.measure,
    "live": live.measure,
    "training": training.measure,
    "depth": depth.measure,
    "scaling": scaling.measure,
}
"""Suites that need neither pictures nor an engine from here."""

GROWTH = {"workers": growth.workers, "sizes": growth.sizes}


def main() -> int:
    """Run the chosen suites, each against a private broker that syncs every write."""
    options = _options()
    configure(Settings(log_level="warning"), "bench")
    began_s = time.monotonic()
    photographs = Path(path) if (path := os.environ.get("ALMENARA_PHOTOS")) else None
    default = default_engine()
    engines = options.engines or list(dict.fromkeys([*OF_A_CPU, default]))
    plan = QUICK if options.quick else Plan(repeats=options.repeats)
    contests: list[Contest] = []
    rows: list[Row] = []
    facts: dict[str, str] = {}
    with tempfile.TemporaryDirectory(prefix="almenara-album-") as scratch:
        album, kept = make_album(Path(scratch) / "album", photographs), Path(scratch) / "state"
        if COMPARISON in options.suites and NEEDS_OPTIMISING in engines:
            say("optimise, for int8")
            facts["int8"] = optimised(kept, photographs or album.paths[0].parent)
        for name in options.suites:
            say(f"{name}, {(time.monotonic() - began_s) / 60:.0f} min after the start")
            with broker() as settings:
                if name == COMPARISON:  # the other suites measure what a new installation has
                    hand_over(kept, settings.state_dir)
                facts |= machine.describe(settings)
                if name == COMPARISON:
                    contests = compare(settings, album, _chosen(engines, options.only), plan)
                elif name in GROWTH:
                    rows += GROWTH[name](settings, album, default, plan)
                else:
                    rows += ALONE[name](settings, plan.repeats)
            facts |= {
                "date": iso(utc_now()),
                "command": f"python -m benchmarks {' '.join(sys.argv[1:])}".strip(),
                "pictures": album.about,
                "default engine": default,
                "repeats": f"{plan.repeats} (training: 1), contenders in turn; of comparison, workers, sizes "
                "and depth in the opposite order every second time; medians and ranges",
                "took": f"{(time.monotonic() - began_s) / 60:.0f} min",
            }
            # After each, so that a suite that fails takes nothing with it.
            run = Run(facts, contests, rows, targets(contests, rows, default))
            said = write(run, options.out)
    print(markdown(run))
    for line in said:
        say(line)
    return 0


def _chosen(engines: Sequence[str], words: Sequence[str]) -> list[Contender]:
    everyone = contenders(engines)
    return [each for each in everyone if not words or any(word in each.name for word in words)]


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        prog="python -m benchmarks", description="Measure Almenara beside its peers."
    )
    parser.add_argument("suites", nargs="*", metavar="SUITE", help=f"of {', '.join(SUITES)}; default: all")
    parser.add_argument("--repeats", type=int, default=3, help="runs of each contender (default 3)")
    parser.add_argument("--out", type=Path, default=Path("bench-results"), help="folder for the results")
    parser.add_argument("--only", nargs="+", default=[], metavar="WORD", help="contenders with such a name")
    parser.add_argument("--engines", nargs="+", default=[], metavar="ENGINE", help="default: all of a CPU")
    parser.add_argument("--quick", action="store_true", help="a smoke test: the figures mean nothing")
    options = parser.parse_args()
    if unknown := set(options.suites) - set(SUITES):
        parser.error(f"there is no suite {', '.join(sorted(unknown))}")
    options.suites = options.suites or list(SUITES)
    return options


if __name__ == "__main__":
    sys.exit(main())
