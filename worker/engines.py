"""Which engine looks at photographs: the fastest that can run here, or the one that is asked for.

What tests hold each to on validation photographs, against ``torch-cpu``:

=============  ===============  =========================
engine         same best class  probabilities differ by
=============  ===============  =========================
openvino-f32   all              0.001 at most
openvino-bf16  98.5 %           0.05 at most (0.024)
openvino-int8  97 %             not limited (0.063)
torch-cuda     99 %             0.05 at most (unmeasured)
=============  ===============  =========================

In brackets what was measured on 470. int8 is kept only at 99 %, see ``almenara optimise``.
"""

import ctypes
import importlib.util
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import structlog

from shared.checkpoint import Checkpoint
from shared.errors import ConfigError
from worker import int8
from worker.inference import Engine, EngineError
from worker.openvino_engine import OpenVinoEngine, build, capabilities, processor
from worker.torch_engine import CudaEngine, TorchEngine, cuda_is_available

__all__ = ["ENGINES", "Engine", "EngineError", "Option", "make_engine", "options"]

log = structlog.get_logger()

ENGINES = ("torch-cuda", "openvino-int8", "openvino-bf16", "openvino-f32", "torch-cpu")
"""The fastest first."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Option:
    """An engine, and what keeps it from running here.

    Attributes:
        name: one of ``ENGINES``.
        obstacle: what keeps it, or an empty string.
        remedy: what to do about the obstacle.
    """

    name: str
    obstacle: str = ""
    remedy: str = ""


def make_engine(
    name: str, checkpoint: Checkpoint, threads: int | None = None, *, state_dir: Path | None = None
) -> Engine:
    """Make the engine called ``name``.

    Args:
        name: one of ``ENGINES``, or ``auto`` for the fastest that runs here.
        checkpoint: the model.
        threads: CPU threads for one forward pass; None for every core that this process may use.
        state_dir: the state folder, where ``almenara optimise`` keeps quantised networks; None for none.

    Raises:
        ConfigError: no engine has that name, or this machine can't run it.
    """
    if name == "auto":
        return _fastest(checkpoint, threads, state_dir)
    if name not in ENGINES:
        words = ("auto", *ENGINES)
        raise ConfigError(
            f"there is no engine {name!r}",
            remedy=f"set ALMENARA_ENGINE to {', '.join(words[:-1])} or {words[-1]}",
        )
    option = _OPTIONS[name](checkpoint, state_dir)
    if option.obstacle:
        raise ConfigError(f"the engine {name} can't run here: {option.obstacle}", remedy=option.remedy)
    try:
        return _make(name, checkpoint, threads, state_dir)
    except (ImportError, RuntimeError) as error:
        raise ConfigError(
            f"the engine {name} does not start: {error}", remedy="set ALMENARA_ENGINE=auto"
        ) from error


def options(checkpoint: Checkpoint, state_dir: Path | None) -> list[Option]:
    """Every engine, the fastest first, and what keeps it from running here; none is started."""
    return [_OPTIONS[name](checkpoint, state_dir) for name in ENGINES]


def _fastest(checkpoint: Checkpoint, threads: int | None, state_dir: Path | None) -> Engine:
    *faster, last = options(checkpoint, state_dir)
    for option in faster:
        if option.obstacle:
            continue
        try:
            return _make(option.name, checkpoint, threads, state_dir)
        except (ConfigError, ImportError, RuntimeError) as error:
            log.warning("engine does not start, the next one is tried", engine=option.name, error=str(error))
    log.warning("PyTorch runs the model, more slowly than OpenVINO would", why=faster[-1].obstacle)
    return _make(last.name, checkpoint, threads, state_dir)


def _make(name: str, checkpoint: Checkpoint, threads: int | None, state_dir: Path | None) -> Engine:
    if name == "torch-cuda":
        return CudaEngine(checkpoint)
    if name == "torch-cpu":
        return TorchEngine(checkpoint, threads)
    if name == "openvino-int8":
        assert state_dir is not None
        return OpenVinoEngine(name, int8.load(int8.place(state_dir, checkpoint), checkpoint), threads)
    return OpenVinoEngine(name, build(checkpoint), threads)


def _torch_cuda(_: Checkpoint, __: Path | None) -> Option:
    # The driver is asked first: where there is none, torch need not be loaded to say so.
    try:
        if _has_cuda_driver() and cuda_is_available():
            return Option(name="torch-cuda")
    except (ImportError, OSError, RuntimeError) as error:
        return Option(
            name="torch-cuda", obstacle=f"PyTorch can't be loaded: {error}", remedy="run `make setup`"
        )
    return Option(
        name="torch-cuda",
        obstacle="PyTorch sees no CUDA device",
        remedy="install a driver and a CUDA build of PyTorch, or set ALMENARA_ENGINE=auto",
    )


def _openvino(name: str, needs: str, checkpoint: Checkpoint, state_dir: Path | None) -> Option:
    try:
        able = capabilities()
    except (ImportError, RuntimeError) as error:
        return Option(name=name, obstacle=f"OpenVINO can't be used: {error}", remedy="run `make setup`")
    if needs not in able:
        return Option(
            name=name,
            obstacle=f"this processor does not compute in {needs.lower()}",
            remedy="set ALMENARA_ENGINE=auto",
        )
    if name != "openvino-int8":
        return Option(name=name)
    path = int8.place(state_dir, checkpoint) if state_dir is not None else None
    try:
        kept = path is not None and path.is_file()
    except OSError as error:
        return Option(
            name=name,
            obstacle=f"{path} can't be looked at: {error.strerror}",
            remedy="let the worker's user read it",
        )
    if path is None or not kept:
        return Option(
            name=name,
            obstacle=f"no quantised network of {checkpoint.model_id} is kept",
            remedy="run `almenara optimise CHECKPOINT`",
        )
    try:
        found = int8.measured(path, checkpoint)
    except ConfigError as error:
        return Option(name=name, obstacle=error.detail, remedy=error.remedy)
    if found.processor != processor():
        return Option(
            name=name,
            obstacle=f"it was measured on another processor ({found.processor})",
            remedy="run `almenara optimise CHECKPOINT` here",
        )
    return Option(name=name)


def _torch_cpu(_: Checkpoint, __: Path | None) -> Option:
    if importlib.util.find_spec("torch") is None:
        return Option(name="torch-cpu", obstacle="PyTorch is not installed", remedy="run `make setup`")
    return Option(name="torch-cpu")


_OPTIONS: dict[str, Callable[[Checkpoint, Path | None], Option]] = {
    "torch-cuda": _torch_cuda,
    "openvino-int8": partial(_openvino, "openvino-int8", "INT8"),
    "openvino-bf16": partial(_openvino, "openvino-bf16", "BF16"),
    "openvino-f32": partial(_openvino, "openvino-f32", "FP32"),
    "torch-cpu": _torch_cpu,
}


def _has_cuda_driver() -> bool:
    try:
        ctypes.CDLL("libcuda.so.1")
    except OSError:
        return False
    return True
