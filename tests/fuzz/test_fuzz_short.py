"""The fuzzer, in short; `make fuzz` is the long form. And that it finds what there is to be found."""

from pathlib import Path

import fuzz_campaign
import fuzz_seeds
import fuzz_trials
import pytest
from fuzz_targets import Targets

INPUTS = 1500

# Tries as the campaign does, but for three trials: one kills, one hangs, one raises. Only for the one that
# hangs the time is short: on a busy machine any other may take as long.
FAULTY = """
import os, signal, sys
sys.path.insert(0, {folder!r})
import fuzz_campaign, fuzz_trials
fuzz_campaign.CPU_S = 600.0
plain, make, tried = fuzz_trials.run, fuzz_trials.make, []
def made(seed, index, photographs=""):
    fuzz_campaign.TIME_S = 0.5 if index == 4 else 600.0
    return make(seed, index, photographs)
fuzz_trials.make = made
def run(targets, trial):
    tried.append(trial)
    index = begin + len(tried) - 1
    if index == 2:
        os.kill(os.getpid(), signal.SIGSEGV)
    if index == 4:
        signal.pause()
    if index == 6:
        targets = None
    return plain(targets, trial) if index == 6 else "accepted"
fuzz_trials.run = run
begin = int(sys.argv[sys.argv.index("--child") + 1])
raise SystemExit(fuzz_campaign.main(sys.argv[1:]))
"""


@pytest.mark.timeout(600)
def test_mutated_inputs_find_nothing() -> None:
    """Thousands of mutated pictures, names, records and settings bring only documented errors, in bounds."""
    tally = fuzz_campaign.campaign(INPUTS, seed=11)
    assert tally.faults == []
    assert tally.tried() == INPUTS
    assert {
        "jpeg",
        "png",
        "webp",
        "bmp",
        "tiff",
        "foreign",
        "name",
        "sidecar",
        "move",
    } <= tally.outcomes.keys()
    # Mutations that break everything, or nothing, would try little.
    for kind in ("jpeg", "png", "webp", "bmp", "tiff", "name"):
        assert min(tally.outcomes[kind]["accepted"], tally.outcomes[kind]["refused"]) >= 10


def test_the_same_number_is_the_same_input() -> None:
    """An input is made from seed and number alone, so that a finding can be tried again."""
    assert fuzz_trials.make(5, 17) == fuzz_trials.make(5, 17)
    assert len({repr(fuzz_trials.make(seed, 17)) for seed in range(20)}) > 10


def test_deaths_hangs_and_wrong_errors_are_findings(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """An input that kills, hangs or raises what is not documented is told by number, and the rest goes on."""
    program = tmp_path / "faulty.py"
    program.write_text(FAULTY.format(folder=str(Path(fuzz_campaign.__file__).parent)))
    monkeypatch.setattr(fuzz_campaign, "PROGRAM", program)
    tally = fuzz_campaign.campaign(9, seed=1)
    assert [index for index, _ in tally.faults] == [2, 4, 6]
    assert tally.tried() == 9
    assert "exit status -11" in tally.faults[0][1]
    assert "hangs" in tally.faults[1][1]
    assert "AttributeError" in tally.faults[2][1]
    assert "| FAULT |" in tally.table()


def test_every_kind_has_an_input_that_is_accepted() -> None:
    """The fuzzer begins with what is sound: otherwise nothing behind the first check would be tried."""
    targets = Targets()
    try:
        for kind, files in fuzz_seeds.pictures().items():
            for number, data in enumerate(files):
                assert (kind, number, targets.picture(data)) == (
                    kind,
                    number,
                    "refused" if kind == "foreign" else "accepted",
                )
        for kind, content in fuzz_seeds.records().items():
            assert (kind, targets.record(kind, content)) == (kind, "accepted")
    finally:
        targets.close()
