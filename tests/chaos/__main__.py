"""`python -m chaos`: the long form, or a shorter one. `make chaos FAULTS=200 SEED=7`."""

import argparse
import logging
import os
import random
import shutil
import signal
import subprocess
import sys
import time
from dataclasses import replace
from pathlib import Path
from typing import Any, NoReturn

import structlog

from chaos.proxy import Side
from chaos.suite import Plan, Suite

APART = "CHAOS_APART"
"""Set in the run that has file systems of its own."""

SHORT: dict[str, Any] = {
    "faults": 0,
    "a_round": 34,
    "window_s": 15.0,
    "longest_s": 4.0,
    "sides": (Side.AFTER,),
    "loops": 4,
    "starts": 1,
}


def main() -> int:
    """Run the suite; 1 and the folder of its logs where something was wrong."""
    parser = argparse.ArgumentParser(prog="make chaos", description=__doc__)
    parser.add_argument("--faults", type=int, default=1500, help="at least so many (default 1500)")
    parser.add_argument("--seed", type=int, default=None, help="repeats a schedule; drawn where left out")
    parser.add_argument("--minutes", type=float, default=45.0, help="no new round begins after so long")
    parser.add_argument("--a-round", type=int, default=48, help="faults before the books are looked at")
    parser.add_argument("--window-s", type=float, default=45.0, help="in which a round's faults begin")
    parser.add_argument("--longest-s", type=float, default=60.0, help="seconds that one fault lasts, at most")
    parser.add_argument("--loops", type=int, default=80, help="commands in turn to cut at, at most")
    parser.add_argument("--starts", type=int, default=20, help="the same of services that start")
    parser.add_argument("--engine", choices=("colours", "real"), default="colours", help="runs the model")
    parser.add_argument("--short", action="store_true", help="each kind of fault at least once")
    options = parser.parse_args()
    if APART not in os.environ:
        _apart()
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))
    structlog.configure(wrapper_class=structlog.make_filtering_bound_logger(logging.ERROR))
    seed = random.randrange(1_000_000) if options.seed is None else options.seed
    _say(f"seed {seed}")
    folder = os.environ.get("ALMENARA_PHOTOS", "")
    plan = Plan(
        seed=seed,
        faults=options.faults,
        minutes=options.minutes,
        a_round=options.a_round,
        window_s=options.window_s,
        longest_s=options.longest_s,
        loops=options.loops,
        starts=options.starts,
        engine=options.engine,
        photographs=Path(folder) if folder else None,
    )
    if options.short:
        plan = replace(plan, **SHORT)
    suite = Suite(plan, _say)
    try:
        report = suite.run()
    finally:
        kept = suite.close()
    sys.stdout.write("\n".join(["", *report.lines(), ""]) + "\n")
    for wrong in suite.wrong:
        sys.stdout.write(f"VIOLATION: {wrong}\n")
    if kept:
        sys.stdout.write(f"Repeat with: make chaos SEED={seed}. Logs and state: {kept}\n")
    return 1 if suite.wrong else 0


def _apart() -> NoReturn:
    """Run again where what we mount and start is nobody else's, and goes when we do, however we end."""
    command = [sys.executable, "-m", "chaos", *sys.argv[1:]]
    unshare = shutil.which("unshare")
    apart = ["--mount", "--pid", "--fork", "--kill-child", "--mount-proc"]
    for flags in (apart, ["--map-root-user", *apart]):
        if unshare and _runs([unshare, *flags, "true"]):
            command = [unshare, *flags, *command]
            break
    os.execve(command[0], command, {**os.environ, APART: "1"})  # noqa: S606 - our own program


def _runs(command: list[str]) -> bool:
    return subprocess.run(command, capture_output=True, check=False).returncode == 0


def _say(line: str) -> None:
    sys.stdout.write(f"{time.strftime('%H:%M:%S')} {line}\n")
    sys.stdout.flush()


if __name__ == "__main__":
    sys.exit(main())
