"""Model files of the original study, made into checkpoints."""

import hashlib
import re
from collections.abc import Sequence
from importlib.metadata import version
from pathlib import Path

from shared.checkpoint import Checkpoint
from shared.errors import ConfigError
from shared.verdict import Thresholds
from training.backbone import PREPROCESSING, WIDTH, Weights, backbone_of, read_tensors
from training.seed import always_dispatch

ALIASES = {"water": "flood_risk"}
"""What the study called otherwise."""

_REMEDY = "give a state dict of Sequential(ResNet-34, Flatten, Linear), saved with torch.save or safetensors"

# torchvision's resnet34 in the order of its children, which is how a Sequential of them numbers them:
# conv1, bn1, relu, maxpool, layer1 to layer4, avgpool.
_CHILDREN = {"0": "conv1", "1": "bn1", "4": "layer1", "5": "layer2", "6": "layer3", "7": "layer4"}


def import_model(
    path: Path,
    classes: Sequence[str],
    *,
    temperature: float = 1.0,
    dispatch: float | None = None,
    no_emergency: float | None = None,
) -> Checkpoint:
    """Make a checkpoint of an old model file; nothing in the file is ever run.

    Args:
        path: a state dict of ``Sequential(backbone, Flatten, Linear)``; the backbone is a ResNet-34 whose
            classifier is an Identity, or a Sequential of its children.
        classes: names in the order of the old model's scores, in any spelling.
        temperature: divides the scores before the softmax.
        dispatch: threshold; None dispatches the best situation always.
        no_emergency: threshold; None for the usual one.

    Raises:
        ConfigError: the file is refused, or does not fit the classes.
    """
    names = tuple(class_name(name) for name in classes)
    parts = _parts(read_tensors(path, _REMEDY))
    backbone, layer = _torchvision_names(parts.get("0", {})), _classifier(parts, path)
    count = layer["fc.weight"].shape[0]
    if count != len(names):
        raise ConfigError(
            f"{path} tells {count} classes apart, and --classes names {len(names)}: {', '.join(names)}",
            remedy="name every class once, in the order that the old model was trained with",
        )
    usual = always_dispatch(names)
    try:
        return Checkpoint(
            weights=backbone_of(backbone, f"the layers of {path}", _REMEDY) | layer,
            classes=names,
            preprocessing=PREPROCESSING,
            temperature=temperature,
            thresholds=Thresholds(
                dispatch=usual.dispatch if dispatch is None else dispatch,
                no_emergency=usual.no_emergency if no_emergency is None else no_emergency,
            ),
            config={
                "recipe": "import",
                "old_file": hashlib.sha256(path.read_bytes()).hexdigest()[:12],
            },
            code_version=version("almenara"),
        ).checked()
    except ValueError as error:
        raise ConfigError(f"{path} is not imported: {error}", remedy=_REMEDY) from error


def class_name(name: str) -> str:
    """``Infrastructure Damage`` as ``infrastructure_damage``, and the study's ``Water`` as ``flood_risk``."""
    word = "_".join(re.findall(r"[a-z0-9]+", name.lower()))
    return ALIASES.get(word, word)


def _parts(tensors: Weights) -> dict[str, Weights]:
    """Tensors by the number of the part they belong to; DataParallel's prefix is dropped."""
    parts: dict[str, Weights] = {}
    for name, array in tensors.items():
        part, _, rest = name.removeprefix("module.").partition(".")
        parts.setdefault(part, {})[rest] = array
    return parts


def _torchvision_names(backbone: Weights) -> Weights:
    named: Weights = {}
    for name, array in backbone.items():
        child, _, rest = name.partition(".")
        named[f"{_CHILDREN.get(child, child)}.{rest}"] = array
    return named


def _classifier(parts: dict[str, Weights], path: Path) -> Weights:
    found = [
        part
        for number, part in parts.items()
        if number != "0" and set(part) == {"weight", "bias"} and part["weight"].shape[1:] == (WIDTH,)
    ]
    if len(found) != 1 or found[0]["bias"].shape != found[0]["weight"].shape[:1]:
        raise ConfigError(
            f"{path} has no linear layer on {WIDTH} numbers behind its first part", remedy=_REMEDY
        )
    return {"fc.weight": found[0]["weight"], "fc.bias": found[0]["bias"]}
