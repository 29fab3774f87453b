"""`almenara optimise`: an int8 network of a checkpoint, kept only where it decides as the checkpoint does."""

import importlib.util
import logging
import sys
import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import redirect_stdout
from dataclasses import dataclass
from functools import partial
from importlib.metadata import version
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from rich.console import Console
from rich.progress import track

from shared.checkpoint import Checkpoint
from shared.errors import AlmenaraError, ConfigError, TransientError
from shared.images import ImageStore
from shared.incidents import iso, utc_now
from shared.preprocessing import decode
from shared.settings import Settings
from training.dataset import INDEX_NAME, labels, of_split, read_folder, read_unlabelled
from worker import int8
from worker.engines import options
from worker.inference import Engine, Logits, Pixels
from worker.openvino_engine import OpenVinoEngine, build, processor

if TYPE_CHECKING:
    import openvino

CALIBRATION = 300
"""Pictures whose activations set the ranges of int8."""
JUDGED = 500
"""Pictures without labels that it is judged on; of a labelled folder, all of its validation photographs."""
LEAST = 100
"""Fewer of either say too little: of 100, one that comes out otherwise is 1 %."""
LEAST_AGREEMENT = 0.99
MOST_LOST = 0.005
"""Accuracy that int8 may lose."""
_BATCH = 32


@dataclass(frozen=True, kw_only=True, slots=True)
class Sample:
    """A picture that is yet to be read; its label is empty where nobody has said what it shows."""

    read: Callable[[], bytes]
    label: str = ""


@dataclass(frozen=True, kw_only=True, slots=True)
class Row:
    """An engine on the pictures that int8 is judged on.

    Attributes:
        engine: its name.
        images_per_s: in batches of 32, without decoding.
        agreement: share of the pictures for which it finds the class that f32 finds.
        accuracy: share for which it finds the right one; None without labels.
    """

    engine: str
    images_per_s: float
    agreement: float
    accuracy: float | None


@dataclass(frozen=True, kw_only=True, slots=True)
class Outcome:
    """What came of it.

    Attributes:
        rows: every engine that was measured: f32 first, int8 last.
        pictures: how many they were measured on.
        refusal: why int8 is not kept, or an empty string.
        path: where it is kept, if it is.
    """

    rows: list[Row]
    pictures: int
    refusal: str
    path: Path


def optimise(checkpoint: Checkpoint, folder: Path | None, settings: Settings, *, console: Console) -> Outcome:
    """Quantise a checkpoint, compare it with f32 on other pictures, and keep it if it is good enough.

    A network that was kept before goes where the new one is refused.

    Args:
        checkpoint: the model.
        folder: pictures, labelled or not; None for the newest of the image store.
        settings: give the image store, the state folder, and threads.
        console: for progress.

    Raises:
        ConfigError: NNCF or OpenVINO is missing, there are too few pictures, or nothing can be written.
        TransientError: the image store is away.
    """
    able = {option.name: option for option in options(checkpoint, None)}
    if obstacle := able["openvino-f32"].obstacle:
        raise ConfigError(obstacle, remedy=able["openvino-f32"].remedy)
    if importlib.util.find_spec("nncf") is None:
        raise ConfigError(
            "NNCF, which quantises, is not installed",
            remedy="`pip install '.[optimise]'` in the project's folder",
        )
    calibrating, judging = _pictures(checkpoint, folder, settings)
    read = partial(_decoded, checkpoint=checkpoint, max_pixels=settings.max_pixels)
    calibration = [pixels for _, pixels in read(track(calibrating, "calibration pictures", console=console))]
    _check_enough(len(calibration), "calibrate on")
    network = _quantised(build(checkpoint), calibration)
    engines: list[Engine] = [
        OpenVinoEngine(name, build(checkpoint), settings.threads)
        for name in ("openvino-f32", "openvino-bf16")
        if not able[name].obstacle
    ]
    engines.append(OpenVinoEngine("openvino-int8", network, settings.threads))
    rows, pictures = _compared(engines, read(track(judging, "comparing", console=console)), checkpoint)
    path, refusal = int8.place(settings.state_dir, checkpoint), _refusal(rows[0], rows[-1])
    if refusal:
        path.unlink(missing_ok=True)
    else:
        int8.save(network, _measured(checkpoint, rows, pictures), path)
    return Outcome(rows=rows, pictures=pictures, refusal=refusal, path=path)


def lines(outcome: Outcome) -> list[str]:
    """What was measured, as a table for people."""
    return [
        f"{'engine':<16}{'images/s':>10}{'agrees with f32':>18}{'accuracy':>11}",
        *(
            f"{row.engine:<16}{row.images_per_s:>10.1f}{100 * row.agreement:>16.1f} %"
            + (f"{100 * row.accuracy:>9.1f} %" if row.accuracy is not None else f"{'-':>11}")
            for row in outcome.rows
        ),
        f"on {outcome.pictures} pictures that int8 was not calibrated on",
    ]


def _pictures(
    checkpoint: Checkpoint, folder: Path | None, settings: Settings
) -> tuple[list[Sample], list[Sample]]:
    """Those to calibrate on, and others to judge on."""
    if folder is None:
        store = ImageStore(settings.image_store_url)
        newest = sorted(store.pictures(), key=lambda picture: picture[1])  # by age
        return _parted([Sample(read=partial(store.get, place)) for place, _ in newest])
    if not _is_labelled(folder, checkpoint):
        return _parted(_shuffled([Sample(read=each.path.read_bytes) for each in read_unlabelled(folder)]))
    photographs = read_folder(folder)
    if unknown := sorted(set(labels(photographs)) - set(checkpoint.classes)):
        raise ConfigError(
            f"{folder} has the class {unknown[0]}, which {checkpoint.name} does not know "
            f"(it knows {', '.join(checkpoint.classes)})",
            remedy="rename the class, or move its photographs elsewhere",
        )
    train, val = (
        [Sample(read=each.path.read_bytes, label=each.label) for each in of_split(photographs, split)]
        for split in ("train", "val")
    )
    return _shuffled(train)[:CALIBRATION], val


def _is_labelled(folder: Path, checkpoint: Checkpoint) -> bool:
    """Whether it has an index, or folders named by classes that the model knows."""
    return (folder / INDEX_NAME).is_file() or any((folder / name).is_dir() for name in checkpoint.classes)


def _shuffled(samples: Sequence[Sample]) -> list[Sample]:
    return [samples[position] for position in np.random.default_rng(0).permutation(len(samples))]


def _parted(samples: list[Sample]) -> tuple[list[Sample], list[Sample]]:
    count = min(CALIBRATION, len(samples) // 2)
    return samples[:count], samples[count : count + JUDGED]


def _decoded(
    samples: Iterable[Sample], *, checkpoint: Checkpoint, max_pixels: int
) -> Iterator[tuple[str, Pixels]]:
    """Label and (S, S, 3) pixels of each that can be read; as at work, others are left out."""
    for sample in samples:
        try:
            yield sample.label, decode(sample.read(), checkpoint.preprocessing, max_pixels=max_pixels)
        except TransientError:
            raise
        except (AlmenaraError, OSError):
            continue


def _check_enough(count: int, use: str) -> None:
    if count < LEAST:
        raise ConfigError(
            f"there are {count} readable pictures to {use}, and at least {LEAST} are needed",
            remedy=f"name a folder of {CALIBRATION + JUDGED} typical ones, or let the image store fill",
        )


def _quantised(network: "openvino.Model", calibration: Sequence[Pixels]) -> "openvino.Model":
    """The network with int8 weights and activations, but for the first layer and the sums of residual blocks.

    Measured on the shipped model and 470 validation photographs, on which this recipe was chosen: it agrees
    with f32 on all of them, probabilities within 0.06; with those in int8 too, on 98.9 to 99.4 %, within
    0.15, for about a fifth more speed. Quantiles for ranges, smoothing, slow bias correction or none, and
    sparing the last layers came no closer.
    """
    with redirect_stdout(sys.stderr):  # for its progress
        import nncf

        nncf.set_log_level(logging.ERROR)
        return nncf.quantize(
            network,
            nncf.Dataset([pixels[None] for pixels in calibration]),  # (1, S, S, 3) each
            subset_size=len(calibration),
            preset=nncf.QuantizationPreset.MIXED,
            ignored_scope=nncf.IgnoredScope(names=["conv1"], types=["Add"]),
        )


def _compared(
    engines: Sequence[Engine], pictures: Iterator[tuple[str, Pixels]], checkpoint: Checkpoint
) -> tuple[list[Row], int]:
    """Each engine on the same batches in turn, so that what else the machine does slows all of them."""
    logits: list[list[Logits]] = [[] for _ in engines]
    seconds = [0.0] * len(engines)
    shown: list[str] = []
    for engine in engines:
        engine.warm_up()
    for batch in _batches(pictures):
        shown += [label for label, _ in batch]
        pixels = np.stack([each for _, each in batch])  # (B, S, S, 3)
        for position, engine in enumerate(engines):
            started_s = time.perf_counter()
            logits[position].append(engine.scores(pixels))
            seconds[position] += time.perf_counter() - started_s
    _check_enough(len(shown), "judge on")
    best = [np.concatenate(each).argmax(axis=1) for each in logits]  # (N,) each
    right = np.array([checkpoint.classes.index(label) for label in shown]) if shown[0] else None  # (N,)
    rows = [
        Row(
            engine=engine.name,
            images_per_s=len(shown) / spent_s,
            agreement=float((found == best[0]).mean()),
            accuracy=float((found == right).mean()) if right is not None else None,
        )
        for engine, spent_s, found in zip(engines, seconds, best, strict=True)
    ]
    return rows, len(shown)


def _batches(pictures: Iterator[tuple[str, Pixels]]) -> Iterator[list[tuple[str, Pixels]]]:
    batch = []
    for picture in pictures:
        batch.append(picture)
        if len(batch) == _BATCH:
            yield batch
            batch = []
    if batch:
        yield batch


def _refusal(reference: Row, quantised: Row) -> str:
    if quantised.agreement < LEAST_AGREEMENT:
        return (
            f"it finds the class that f32 finds for {100 * quantised.agreement:.2f} % of the pictures, "
            f"and {100 * LEAST_AGREEMENT:g} % are needed"
        )
    if reference.accuracy is not None and quantised.accuracy is not None:
        lost = reference.accuracy - quantised.accuracy
        if lost > MOST_LOST:
            return f"it is right {100 * lost:.2f} points less often, and {100 * MOST_LOST:g} are allowed"
    return ""


def _measured(checkpoint: Checkpoint, rows: Sequence[Row], pictures: int) -> int8.Measured:
    return int8.Measured(
        model=checkpoint.model_id,
        pictures=pictures,
        agreement=rows[-1].agreement,
        accuracy=rows[-1].accuracy,
        accuracy_f32=rows[0].accuracy,
        processor=processor(),
        made_at=iso(utc_now()),
        made_with={package: version(package) for package in ("almenara", "openvino", "nncf")},
    )
