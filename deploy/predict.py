"""`almenara predict`: what the model says of photographs, without broker or inbox."""

from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from shared.checkpoint import Checkpoint
from shared.errors import PermanentError
from shared.labels import escape_label
from shared.preprocessing import decode
from shared.routing import Routing
from shared.settings import Settings
from shared.verdict import Verdict, judge
from worker.engines import Engine, make_engine

BATCH = 16


def predict(photographs: Sequence[Path], settings: Settings) -> Iterator[dict[str, Any]]:
    """One record a photograph, in order, with the fields of DESIGN section 7; or ``path`` and ``error``.

    Raises:
        ConfigError: the checkpoint, routing or engine can't be used.
    """
    checkpoint = Checkpoint.load(settings.checkpoint)
    routing = Routing.load(settings.routing)
    routing.check_classes(checkpoint.classes)
    engine = make_engine(settings.engine, checkpoint, settings.threads, state_dir=settings.state_dir)
    for begin in range(0, len(photographs), BATCH):
        yield from _batch(
            photographs[begin : begin + BATCH], checkpoint, routing, engine, settings.max_pixels
        )


def _batch(
    paths: Sequence[Path], checkpoint: Checkpoint, routing: Routing, engine: Engine, max_pixels: int
) -> Iterator[dict[str, Any]]:
    decoded: dict[Path, np.ndarray[Any, np.dtype[np.uint8]]] = {}
    errors: dict[Path, str] = {}
    for path in paths:
        try:
            decoded[path] = decode(path.read_bytes(), checkpoint.preprocessing, max_pixels=max_pixels)
        except OSError as error:
            errors[path] = f"can't be read: {error.strerror}"
        except PermanentError as error:
            errors[path] = error.detail
    logits = engine.scores(np.stack(list(decoded.values()))) if decoded else ()
    rows = dict(zip(decoded, logits, strict=True))
    for path in paths:
        if path in errors:
            yield {"path": str(path), "error": errors[path]}
            continue
        found = judge(rows[path], checkpoint.classes, checkpoint.temperature, checkpoint.thresholds)
        told = found.verdict is Verdict.DISPATCHED and found.situation is not None
        yield {
            "path": str(path),
            "verdict": found.verdict.value,
            "situation": found.situation,
            "confidence": round(found.confidence, 4),
            "scores": {word: round(score, 4) for word, score in found.scores.items()},
            "departments": list(routing.streams(found.situation)) if told and found.situation else [],
        }


def line(record: dict[str, Any]) -> str:
    """One record for people."""
    path = escape_label(record["path"])  # a stranger's name, perhaps
    if "error" in record:
        return f"{path}: {record['error']}"
    situation = record["situation"] or "normal"
    to = f" => {', '.join(record['departments'])}" if record["departments"] else ""
    return f"{path}: {record['verdict']}, {situation} {record['confidence']:.2f}{to}"
