"""Fuzzing: ``python tests/fuzz/fuzz_campaign.py --inputs 120000`` tries so many inputs and prints a table.

The trials run in a process of their own, which says what it is about to try: when it dies or hangs, the trial
is the finding, and another process goes on behind it. ``--only INDEX`` tries one again, in this process.
"""

import argparse
import json
import logging
import os
import resource
import signal
import subprocess
import sys
import warnings
from collections import Counter, defaultdict
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

import fuzz_trials
from fuzz_targets import Targets

from shared.settings import Settings

CPU_S, TIME_S = 20.0, 300.0
"""For all that is done with one input here; and by the clock, for what waits, on a busy machine."""
MEMORY_BYTES = 2**30 + 24 * Settings().max_pixels
"""Address space, as the processes have it that decode."""
PROGRAM = Path(__file__)
"""What tries them: itself, but for tests."""
_TRIES, _CAME = "tries", "came"


@dataclass
class Tally:
    """What came of a campaign."""

    outcomes: dict[str, Counter[str]] = field(default_factory=lambda: defaultdict(Counter))
    mutations: Counter[str] = field(default_factory=Counter)
    slowest: dict[str, tuple[float, int]] = field(default_factory=dict)
    largest: dict[str, tuple[float, int]] = field(default_factory=dict)
    faults: list[tuple[int, str]] = field(default_factory=list)

    def add(self, tried: tuple[int, str, str], outcome: str, seconds: float, mib: float) -> None:
        """Count one trial: (its number, kind, mutation), and what came of it."""
        index, kind, mutation = tried
        self.outcomes[kind]["FAULT" if outcome.startswith("FAULT") else outcome] += 1
        self.mutations[mutation] += 1
        self.slowest[kind] = max(self.slowest.get(kind, (0.0, 0)), (seconds, index))
        self.largest[kind] = max(self.largest.get(kind, (0.0, 0)), (mib, index))
        if outcome.startswith("FAULT"):
            self.faults.append((index, f"{kind}, {mutation}: {outcome}"))

    def tried(self) -> int:
        """How many inputs."""
        return sum(self.mutations.values())

    def table(self) -> str:
        """As Markdown."""
        words = sorted({word for counts in self.outcomes.values() for word in counts} | {"FAULT"})
        rows = [
            ["kind", "inputs", *words, "most CPU", "most memory"],
            *(
                [
                    kind,
                    f"{counts.total():,}",
                    *(f"{counts[word]:,}" for word in words),
                    f"{self.slowest[kind][0]:.2f} s (#{self.slowest[kind][1]})",
                    f"{self.largest[kind][0]:.0f} MiB",
                ]
                for kind, counts in sorted(self.outcomes.items())
            ),
        ]
        lines = ["| " + " | ".join(row) + " |" for row in rows]
        lines.insert(1, "|" + "---|" * len(rows[0]))
        made = ", ".join(f"{word} {count:,}" for word, count in self.mutations.most_common())
        return "\n".join([*lines, "", f"Inputs: {self.tried():,}, made by {made}."])


def campaign(inputs: int, seed: int, photographs: str = "", *, say: bool = False) -> Tally:
    """Try so many inputs; what came of them, or of those until Ctrl-C where it `say`s how far it is."""
    tally, index = Tally(), 0
    try:
        while index < inputs:
            index = _slice(tally, seed, index, inputs, photographs, say=say)
    except KeyboardInterrupt:
        if not say:
            raise
    return tally


def _slice(tally: Tally, seed: int, begin: int, end: int, photographs: str, *, say: bool) -> int:
    """Try from `begin` on, in one process; where to go on."""
    command = [sys.executable, "-W", "ignore", str(PROGRAM), "--child", str(begin), "--inputs", str(end)]
    command += ["--seed", str(seed), "--photographs", photographs]
    at, finished = begin - 1, begin
    kind = mutation = "?"
    # libtiff writes about each fault in a picture, however many there are.
    nowhere = subprocess.DEVNULL
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=nowhere, text=True) as process:
        assert process.stdout is not None
        for line in process.stdout:
            record = json.loads(line)
            if record[0] == _TRIES:
                _, at, kind, mutation = record
                continue
            tally.add((at, kind, mutation), *record[1:])
            finished = at + 1
            if say and (finished % 5000 == 0 or record[1].startswith("FAULT")):
                print(f"{finished:,} tried, findings: {tally.faults}", file=sys.stderr, flush=True)
    if process.returncode == 0:
        return end
    hangs = process.returncode in (-signal.SIGALRM, -signal.SIGPROF)
    how = "it hangs" if hangs else f"exit status {process.returncode}"
    if at < finished:  # not of a trial's making: nothing would ever be tried
        raise RuntimeError(f"the process that tries them ends by itself: {how}")
    tally.add((at, kind, mutation), f"FAULT it ends the process ({how})", CPU_S, 0.0)
    return at + 1


def child(seed: int, begin: int, end: int, photographs: str) -> None:
    """Try inputs, and say before and after each what is tried and what came of it."""
    logging.disable()
    warnings.simplefilter("ignore")
    resource.setrlimit(resource.RLIMIT_AS, (MEMORY_BYTES, resource.getrlimit(resource.RLIMIT_AS)[1]))
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    targets = Targets()
    try:
        for index in range(begin, end):
            trial = fuzz_trials.make(seed, index, photographs)
            _tell(_TRIES, index, trial.kind, trial.mutation)
            signal.setitimer(signal.ITIMER_PROF, CPU_S)
            signal.setitimer(signal.ITIMER_REAL, TIME_S)
            gauge = fuzz_trials.Gauge()
            outcome = fuzz_trials.run(targets, trial)
            signal.setitimer(signal.ITIMER_REAL, 0)
            signal.setitimer(signal.ITIMER_PROF, 0)
            _tell(_CAME, outcome, *gauge.read())
    finally:
        targets.close()


def _tell(*words: object) -> None:
    os.write(1, (json.dumps(words) + "\n").encode())


def main(arguments: Sequence[str]) -> int:
    """Run a campaign, or a part of one, or one trial; 1 where there is a finding."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--inputs", type=int, default=120_000, help="how many (default 120000)")
    parser.add_argument("--seed", type=int, default=1, help="another one, other inputs (default 1)")
    parser.add_argument(
        "--photographs", default=os.environ.get("ALMENARA_PHOTOS", ""), help="folder of real ones"
    )
    parser.add_argument("--only", type=int, help="try this one alone, and keep it in fuzz-input")
    parser.add_argument("--child", type=int, help=argparse.SUPPRESS)
    options = parser.parse_args(arguments)
    if options.child is not None:
        child(options.seed, options.child, options.inputs, options.photographs)
        return 0
    if options.only is not None:
        trial = fuzz_trials.make(options.seed, options.only, options.photographs)
        content = (
            trial.content
            if isinstance(trial.content, bytes)
            else trial.content.encode("utf-8", "surrogatepass")
        )
        Path("fuzz-input").write_bytes(content)
        print(trial.kind, trial.mutation, trial.variable, f"{len(content):,} bytes, kept in ./fuzz-input")
        print(fuzz_trials.run(Targets(), trial))
        return 0
    tally = campaign(options.inputs, options.seed, options.photographs, say=True)
    print(tally.table())
    for index, words in tally.faults:
        print(f"finding: --seed {options.seed} --only {index}: {words}")
    return 1 if tally.faults else 0


if __name__ == "__main__":
    raise SystemExit(main(sys.argv[1:]))
