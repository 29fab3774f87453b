"""One trial: an input, made from a seed and a number alone, and what came of it."""

import os
import random
import time
from dataclasses import dataclass
from pathlib import Path

import fuzz_mutations
import fuzz_seeds
from fuzz_targets import Targets, printable

from shared.settings import PREFIX, Settings

KINDS = ("picture",) * 13 + ("name",) * 4 + ("record",) * 2 + ("settings",)
_TEXTS = ("1", "a=1", "/x", "https://x/{z}/{x}/{y}", f"redis://u:{fuzz_seeds.MARK}@h:1/0", "", "10.0.0.0/8")
_LARGEST_BYTES = Settings().max_file_bytes + 1000  # of a larger file no more is read
_CLEAR_PEAK = "5"  # proc(5), clear_refs: the peak of resident memory begins anew


@dataclass(frozen=True, kw_only=True, slots=True)
class Trial:
    """What was tried: of which kind, how it was made, and the input."""

    kind: str
    mutation: str
    content: bytes | str
    variable: str = ""


def make(seed: int, index: int, photographs: str = "") -> Trial:
    """The trial with this number: always the same for the same seed and photographs."""
    rng = random.Random(f"{seed}:{index}")
    match rng.choice(KINDS):
        case "picture":
            return _picture(rng, photographs)
        case "name":
            name = rng.choice(fuzz_seeds.NAMES)
            return Trial(kind="name", mutation="letters", content=fuzz_mutations.letters(rng, name))
        case "record":
            kind, content = rng.choice(sorted(fuzz_seeds.records().items()))
            mutation = rng.choice((fuzz_mutations.words, *fuzz_mutations.GENERAL))
            return Trial(kind=kind, mutation=mutation.__name__, content=mutation(rng, content))
        case _:
            text = rng.choice(_TEXTS)
            variable = PREFIX + rng.choice(sorted(Settings.__dataclass_fields__)).upper()
            # No environment can hold these.
            text = fuzz_mutations.letters(rng, text).replace("\0", "").replace("\ud800", "")
            return Trial(kind="settings", mutation="letters", content=text, variable=variable)


def _picture(rng: random.Random, photographs: str) -> Trial:
    seeds = dict(fuzz_seeds.pictures())
    kind = rng.choice(sorted(seeds))
    files = seeds[kind]
    real = fuzz_seeds.real_pictures(photographs)
    if kind == "jpeg" and real and rng.random() < 0.5:
        files, kind = real, "jpeg"
    data, made = rng.choice(files), []
    for _ in range(rng.choice((1, 1, 1, 2, 3))):
        special = fuzz_mutations.OF_FORMAT.get(kind)
        if special is not None and rng.random() < 0.5:
            data = special(rng, data)
            made.append("parts")
        elif rng.random() < 0.1:
            data = fuzz_mutations.splice(rng, data, rng.choice(seeds[rng.choice(sorted(seeds))]))
            made.append("splice")
        else:
            mutation = rng.choice(fuzz_mutations.GENERAL)
            data = mutation(rng, data)
            made.append(mutation.__name__)
        data = data[:_LARGEST_BYTES]
    return Trial(kind=kind, mutation=made[0] if len(made) == 1 else "several", content=data)


def run(targets: Targets, trial: Trial) -> str:
    """The outcome, in a word; a finding begins with ``FAULT``."""
    try:
        if isinstance(trial.content, bytes):
            known = trial.kind in fuzz_seeds.records()
            return targets.record(trial.kind, trial.content) if known else targets.picture(trial.content)
        if trial.kind == "name":
            return targets.name(trial.content)
        return targets.settings(trial.variable, trial.content)
    except BaseException as error:  # each is what we look for
        where = error.__traceback__
        while where is not None and where.tb_next is not None:
            where = where.tb_next
        line = (
            f"{Path(where.tb_frame.f_code.co_filename).name}:{where.tb_lineno}" if where is not None else "?"
        )
        return f"FAULT {type(error).__name__} at {line}: {printable(error)}"


class Gauge:
    """Seconds and memory of one trial."""

    def __init__(self) -> None:
        self._clear_peak()
        self._before_kib = _status_kib("VmRSS")
        self._began_s = time.process_time()

    def read(self) -> tuple[float, float]:
        """(CPU seconds, MiB of resident memory above what there was), since this was made."""
        seconds = time.process_time() - self._began_s
        return seconds, max(0, _status_kib("VmHWM") - self._before_kib) / 1024

    def _clear_peak(self) -> None:
        descriptor = os.open("/proc/self/clear_refs", os.O_WRONLY)
        try:
            os.write(descriptor, _CLEAR_PEAK.encode())
        finally:
            os.close(descriptor)


def _status_kib(word: str) -> int:
    with Path("/proc/self/status").open(encoding="ascii") as file:
        return next(int(line.split()[1]) for line in file if line.startswith(word))
