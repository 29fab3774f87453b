import json
import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
import torch
from training_parts import class_folders, indexed_folder, random_state, random_weights, single_threaded

from deploy.cli import main
from shared.checkpoint import Checkpoint

ROOT = Path(__file__).parents[2]
FIELDS = [
    "n",
    "accuracy",
    "macro_f1",
    "six",
    "per_class",
    "ece",
    "unsure_rate",
    "false_alarms_per_1000_normal",
    "missed_emergencies",
]
SIX = "Water,Fire,Protest,Accident,Altercation,Robbery"
pytestmark = pytest.mark.timeout(600)


@pytest.fixture(scope="module", autouse=True)
def one_thread() -> Iterator[None]:
    with single_threaded():
        yield


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return indexed_folder(tmp_path_factory.mktemp("photographs"))


@pytest.fixture(scope="module")
def weights(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return random_weights(tmp_path_factory.mktemp("weights") / "random.safetensors")


@pytest.fixture(scope="module")
def run(folder: Path, weights: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """What two epochs of the seed recipe left behind."""
    out = tmp_path_factory.mktemp("runs") / "new" / "study"
    assert main(["train", str(folder), *SEED, "--init", str(weights), "--out", str(out)]) == 0
    return out


SEED = ("--recipe", "seed", "--epochs", "2")


@contextmanager
def started(*arguments: str, through: tuple[str, ...] = ()) -> Iterator["subprocess.Popen[str]"]:
    """A command in a process of its own, started `through` another program; it does not outlive the test."""
    outside = {name: value for name, value in os.environ.items() if not name.startswith("ALMENARA_")}
    process = subprocess.Popen(
        [*through, sys.executable, "-m", "deploy", *arguments],
        env={**outside, "OMP_NUM_THREADS": "1"},  # as `one_thread` has it here
        cwd=ROOT,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        encoding="utf-8",
    )
    with process:
        try:
            yield process
        finally:
            process.kill()


@pytest.fixture
def interruptible() -> Iterator[None]:
    """Ctrl-C reaches who is started, also from tests in the background, which have to ignore it."""
    before = signal.signal(signal.SIGINT, signal.default_int_handler)
    yield
    signal.signal(signal.SIGINT, before)


def test_a_seed_run_leaves_everything_behind(run: Path) -> None:
    """Checkpoint, figures and table, that agree, and nothing unfinished."""
    pytest.importorskip("matplotlib", reason="matplotlib, of the extra `train`, is not installed")
    names = {"accuracy.png", "cost.png", "epochs.csv", "metrics.json", "street1-resnet34.safetensors"}
    assert {path.name for path in run.iterdir()} == names | {
        "report.html",
        "confusion.png",
        "reliability.png",
    }
    checkpoint = Checkpoint.load(run / "street1-resnet34.safetensors")
    record = json.loads((run / "metrics.json").read_text())
    assert record["model"] == checkpoint.model_id
    assert record["metrics"] == checkpoint.metrics
    assert record["data_fingerprint"] == checkpoint.data_fingerprint != ""
    assert {"recipe": "seed", "epochs": 2}.items() <= checkpoint.config.items()
    table = (run / "epochs.csv").read_text().splitlines()
    assert table[0] == "epoch,cost,accuracy"
    assert [line.partition(",")[0] for line in table[1:]] == ["0", "1"]
    best = max(float(line.rpartition(",")[2]) for line in table[1:])
    assert checkpoint.metrics["best_training_accuracy"] == round(best, 5)


def test_without_matplotlib_everything_else_is_written(
    folder: Path,
    weights: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    """One line says what to install; checkpoint, figures and table are there."""
    monkeypatch.setitem(sys.modules, "matplotlib.figure", None)
    arguments = ["train", str(folder), *SEED, "--init", str(weights), "--out", str(tmp_path / "out")]
    assert main(arguments) == 0
    said = capsys.readouterr().out
    assert "pip install" in said
    assert "epoch    cost  accuracy" in said
    assert len(list((tmp_path / "out").iterdir())) == 4


@pytest.mark.parametrize(("recipe", "flags"), [("tune", ["--epochs", "1"]), ("head", ["--views", "plain"])])
def test_every_recipe_leaves_a_model_and_a_report(
    folder: Path,
    weights: Path,
    tmp_path: Path,
    *,
    recipe: str,
    flags: list[str],
    capsys: pytest.CaptureFixture[str],
) -> None:
    """Head is the default; what a run started from is recorded, and the report names its model."""
    chosen = ["--recipe", recipe] if recipe != "head" else []
    places = ["--init", str(weights), "--out", str(tmp_path)]
    assert main(["train", str(folder), *chosen, *flags, *places]) == 0
    checkpoint = Checkpoint.load(tmp_path / "street1-resnet34.safetensors")
    assert checkpoint.config["recipe"] == recipe
    assert len(checkpoint.config["init"]) == 12
    assert checkpoint.model_id in capsys.readouterr().out
    assert checkpoint.model_id in (tmp_path / "report.html").read_text()
    assert (tmp_path / "epochs.csv").exists() == (recipe == "tune")
    assert [path.name for path in tmp_path.iterdir() if path.is_dir()] == []


def test_evaluating_gives_the_promised_fields(
    run: Path, folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """DESIGN section 7, in that order, of the split that was asked for; without --json a table."""
    command = ["evaluate", str(run / "street1-resnet34.safetensors"), str(folder)]
    assert main([*command, "--split", "val", "--json"]) == 0
    measured = json.loads(capsys.readouterr().out)
    assert list(measured) == FIELDS
    assert measured["n"] == 8
    assert main([*command, "--split", "val"]) == 0
    table = capsys.readouterr().out
    assert "fire                         4" in table
    assert f"8 photographs: accuracy {measured['accuracy']:.3f}" in table


def test_unreadable_photographs_are_no_failure(
    run: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """They are listed and counted, and the figures are of the others."""
    folder = class_folders(tmp_path / "photographs", fire=2, normal=3)
    (folder / "fire" / "broken.jpg").write_bytes(b"no picture")
    assert main(["evaluate", str(run / "street1-resnet34.safetensors"), str(folder), "--json"]) == 0
    printed = capsys.readouterr()
    assert json.loads(printed.out)["n"] == 5
    assert "left out fire/broken.jpg: not a JPEG" in printed.err
    assert "1 photographs left out" in printed.err


def test_a_class_that_the_model_lacks_is_refused(
    run: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """Named with what the model knows and the flag that leaves it out, and that flag works."""
    folder = class_folders(tmp_path / "photographs", fire=1, robbery=1)
    command = ["evaluate", str(run / "street1-resnet34.safetensors"), str(folder)]
    assert main(command) == 2
    said = capsys.readouterr().err
    assert "the class robbery, which street1-resnet34 does not know (it knows fire, normal)" in said
    assert main([*command, "--without", "robbery", "--json"]) == 0
    assert json.loads(capsys.readouterr().out)["six"] == {"accuracy": 1.0, "macro_f1": 1.0}
    assert main([*command, "--split", "val2"]) == 2
    assert "has no split val2" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("changes", "complaint"),
    [
        (["--init", "nowhere.safetensors"], "nowhere.safetensors can't be read"),
        (["--plain-loop"], "--plain-loop does not belong to the recipe head"),
        (["--epochs", "3"], "--epochs does not belong to the recipe head"),
        (["--teacher", "--views", "plain"], "--views does not belong to the recipe tune"),
        (["--recipe", "seed", "--epochs", "0"], "--epochs 0 is not above 0"),
        (["--recipe", "seed", "--views", "plain"], "--views does not belong to the recipe seed"),
        (["--views", "mirrored"], "plain first"),
        (["--without", "fire"], "fewer than two classes"),
        (["--seed", "-1"], "--seed -1 is below 0"),
        (["--recipe", "tune", "--unlabelled", "more"], "--unlabelled is of use only where teachers"),
        (["--recipe", "head", "--teacher"], "--teacher does not belong to the recipe head"),
    ],
)
def test_wrong_flags_are_said_before_the_work(
    folder: Path,
    weights: Path,
    tmp_path: Path,
    *,
    changes: list[str],
    complaint: str,
    capsys: pytest.CaptureFixture[str],
) -> None:
    """Exit code 2, one sentence, and no folder made."""
    out = tmp_path / "out"
    assert main(["train", str(folder), "--init", str(weights), "--out", str(out), *changes]) == 2
    assert complaint in capsys.readouterr().err
    assert not out.exists()


def test_a_lone_photograph_and_a_wrong_name_are_refused(
    weights: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """A class of one can't be split, and a class needs a name that the wire can carry."""
    alone = class_folders(tmp_path / "alone", fire=1, protest=4)
    assert main(["train", str(alone), *SEED, "--init", str(weights)]) == 2
    assert "of the class fire, 1 photographs can be read" in capsys.readouterr().err
    named = class_folders(tmp_path / "named", **{"Big Fire": 2, "protest": 4})
    assert main(["train", str(named), *SEED, "--init", str(weights)]) == 2
    assert "'Big Fire' is not a class name" in capsys.readouterr().err


def test_a_class_without_a_route_is_warned_about(
    weights: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """Training goes on, and says what the routing file will need."""
    folder = class_folders(tmp_path / "photographs", storm=4, protest=4)
    assert main(["train", str(folder), *SEED, "--init", str(weights), "--out", str(tmp_path / "out")]) == 0
    said = capsys.readouterr().err
    assert "warning: the checkpoint knows storm, which the routing file sends nowhere" in said
    assert "[situations.…]" in said


@pytest.mark.usefixtures("interruptible")
def test_ctrl_c_leaves_nothing_half_written(folder: Path, weights: Path, tmp_path: Path) -> None:
    """Exit code 130 and one sentence; the folder that was begun is gone."""
    out = tmp_path / "new" / "out"
    flags = ("--recipe", "seed", "--epochs", "100000", "--init", str(weights), "--out", str(out))
    with started("train", str(folder), *flags) as process:
        assert process.stdout is not None
        lines = iter(process.stdout.readline, "")
        assert any(line.startswith("    3  ") for line in lines)
        assert list(out.iterdir()) != []
        process.send_signal(signal.SIGINT)
        _, said = process.communicate(timeout=100)
    assert process.returncode == 130
    assert f"almenara: stopped before the end; nothing is written to {out}" in said
    assert "Traceback" not in said
    assert list(tmp_path.iterdir()) == []


def test_a_full_disk_leaves_nothing_half_written(folder: Path, weights: Path, tmp_path: Path) -> None:
    """What does not fit is said with the folder, and an earlier run's files are as they were."""
    (tmp_path / "metrics.json").write_text("earlier")
    small_files_only = ("bash", "-c", 'ulimit -f 1000 && exec "$@"', "bash")  # RLIMIT_FSIZE of 1 MB
    flags = (*SEED, "--init", str(weights), "--out", str(tmp_path))
    with started("train", str(folder), *flags, through=small_files_only) as process:
        _, said = process.communicate(timeout=200)
    assert process.returncode == 2
    assert f"nothing is written to {tmp_path}: File too large" in said
    assert "Traceback" not in said
    assert [(path.name, path.read_text()) for path in tmp_path.iterdir()] == [("metrics.json", "earlier")]


def test_an_old_model_is_imported(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """A checkpoint beside the old file; a class without a route comes with the study's own route."""
    state = {f"0.{name}": tensor for name, tensor in random_state().items()}
    layer = {"2.weight": torch.zeros(7, 512), "2.bias": torch.zeros(7)}
    torch.save(state | layer, tmp_path / "old.pth")
    command = ["import", str(tmp_path / "old.pth"), "--classes", f"{SIX},Infrastructure Damage"]
    assert main(command) == 0
    assert Checkpoint.load(tmp_path / "old.safetensors").classes[::6] == (
        "flood_risk",
        "infrastructure_damage",
    )
    said = capsys.readouterr().err
    assert 'repair-unit = "Repair Unit"' in said
    assert 'to = ["repair-unit", "transit-police"]' in said
    assert main(command) == 2
    assert "is there already" in capsys.readouterr().err
    assert main([*command[:3], SIX, "--out", str(tmp_path / "new.safetensors")]) == 2
    assert "7 classes apart, and --classes names 6" in capsys.readouterr().err


@pytest.mark.parametrize("command", ["train", "evaluate", "import"])
def test_help_has_examples(command: str, capsys: pytest.CaptureFixture[str]) -> None:
    """`--help` ends with lines that can be typed."""
    with pytest.raises(SystemExit) as end:
        main([command, "--help"])
    assert end.value.code == 0
    assert f"  almenara {command}" in capsys.readouterr().out.partition("examples:\n")[2]


def test_no_torch_is_loaded_for_other_commands() -> None:
    """The command and what its subcommands do are there without torch: that comes with the first use."""
    show = "import sys, deploy.cli, deploy.commands; print('torch' in sys.modules)"
    loaded = subprocess.run(
        [sys.executable, "-c", show], cwd=ROOT, capture_output=True, text=True, check=True
    )
    assert loaded.stdout == "False\n"
