"""Which engines run the model here, and the int8 network that one of them needs."""

import subprocess
import sys
from dataclasses import replace
from pathlib import Path

from benchmarks.contenders import ROOT, environ
from shared.checkpoint import Checkpoint
from shared.settings import Settings
from worker.engines import make_engine
from worker.int8 import FOLDER

OF_A_CPU = ("torch-cpu", "openvino-f32", "openvino-bf16", "openvino-int8")
NEEDS_OPTIMISING = "openvino-int8"


def default_engine() -> str:
    """What ALMENARA_ENGINE=auto comes to on this machine, where nothing has been optimised."""
    return make_engine("auto", Checkpoint.load(Settings().checkpoint)).name


def optimised(folder: Path, photographs: Path) -> str:
    """Let `almenara optimise` quantise the checkpoint.

    Args:
        folder: a state folder, where the network is kept if it is accepted.
        photographs: what it is calibrated and judged on.

    Returns:
        The last line that it says, of its results where there are any.
    """
    settings = replace(Settings(), state_dir=folder)
    ran = subprocess.run(
        [sys.executable, "-m", "deploy", "optimise", str(settings.checkpoint), str(photographs)],
        env=environ(settings),
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=False,
    )
    lines = [line for line in (ran.stdout or ran.stderr).splitlines() if line.strip()]
    return lines[-1].replace(str(folder), "STATE_DIR") if lines else f"it ended with {ran.returncode}"


def hand_over(kept: Path, state_dir: Path) -> None:
    """Give another state folder the network that was accepted in `kept`, if one was."""
    if (kept / FOLDER).is_dir():
        state_dir.mkdir(parents=True, exist_ok=True)
        (state_dir / FOLDER).symlink_to((kept / FOLDER).resolve())
