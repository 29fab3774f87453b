from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from conftest import picture_bytes
from engine_parts import random_checkpoint

from shared.announcements import fingerprint_of
from shared.checkpoint import Checkpoint
from worker.attention import Explainer, UnknownModelError


def saved(path: Path, *, turned: bool = False) -> Checkpoint:
    """A checkpoint in a file; turned, its classes have other evidence."""
    random = random_checkpoint()
    weights = dict(random.weights)
    if turned:
        weights["fc.weight"] = np.roll(weights["fc.weight"], 1, axis=0)
    return replace(random, weights=weights).save(path)


def test_the_model_that_decided_explains(tmp_path: Path) -> None:
    """After a swap a picture is still explained by whoever judged it; another one never speaks for it."""
    configured, announced = tmp_path / "one.safetensors", tmp_path / "two.safetensors"
    one, two = saved(configured), saved(announced, turned=True)
    picture = picture_bytes(1)
    explain = Explainer(
        configured, announced=lambda model: announced if fingerprint_of(model) == two.fingerprint else None
    )
    try:
        by_one = explain(picture, "fire", f"{one.model_id} torch-cpu")
        by_two = explain(picture, "fire", f"{two.model_id} torch-cpu")
        assert by_one != by_two
        # The roll makes of the evidence for one class that for the next.
        assert explain(picture, "protest", f"{two.model_id} openvino-f32") == by_one
        with pytest.raises(UnknownModelError, match="three@0123456789ab"):
            explain(picture, "fire", "three@0123456789ab torch-cpu")
        assert explain(picture, "fire", f"{one.model_id} torch-cpu") == by_one
    finally:
        explain.close()
