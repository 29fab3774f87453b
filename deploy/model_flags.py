"""The flags of what makes, measures and changes models: train, evaluate, optimise, import, model."""

import argparse
from collections.abc import Callable
from pathlib import Path

_Add = Callable[..., argparse.ArgumentParser]


def add_models(add: _Add) -> None:
    """Add them all; `add` takes a name, the function that runs it, what it does, and examples."""
    _add_training(add)
    _add_checkpoints(add)
    _add_changes(add)


def _add_training(add: _Add) -> None:
    train = add(
        "train",
        "train",
        "make a checkpoint of a folder of labelled photographs",
        "train ~/photographs --init resnet34.safetensors",
        "train ~/photographs --teacher --unlabelled ~/more --out runs/taught",
        "train ~/photographs --recipe seed --without normal --out runs/study",
    )
    train.add_argument("folder", type=Path, metavar="FOLDER", help="class/picture, or with an index.csv")
    train.add_argument(
        "--recipe",
        choices=("tune", "head", "seed"),
        help="head: the last layer alone, in minutes (default); tune: all layers, in hours without a GPU "
        "(default with --teacher, which it needs to be better); seed: the original study's",
    )
    train.add_argument(
        "--init",
        type=Path,
        metavar="FILE",
        help="ResNet-34 weights (default: torchvision's, of ImageNet)",
    )
    train.add_argument(
        "--out", type=Path, metavar="DIR", help="folder for the results (default: runs/RECIPE-SEED)"
    )
    train.add_argument(
        "--seed", type=int, default=0, metavar="N", help="the same result for the same seed (default 0)"
    )
    train.add_argument(
        "--epochs", type=int, metavar="N", help="how many (default: tune 20, under teachers 50; seed 15)"
    )
    train.add_argument(
        "--teacher",
        action="store_true",
        help="tune recipe: learn from EfficientNet-Lite too (needs the extra `distil`)",
    )
    train.add_argument(
        "--unlabelled",
        type=Path,
        metavar="DIR",
        help="tune recipe: more photographs, without labels, for the teachers to explain",
    )
    train.add_argument(
        "--ungrouped", action="store_true", help="seed recipe: the study's own random split, which leaks"
    )
    train.add_argument(
        "--plain-loop",
        action="store_true",
        help="seed recipe: the study's slow loop, for comparison",
    )
    train.add_argument("--views", metavar="A,B", help="head recipe: how pictures are shown, plain first")
    _add_without(train)


def _add_checkpoints(add: _Add) -> None:
    evaluate = add(
        "evaluate",
        "evaluate",
        "measure a checkpoint on a folder of labelled photographs",
        "evaluate models/street6-resnet34.safetensors ~/photographs",
        "evaluate runs/seed-0/street6-resnet34.safetensors ~/photographs --split val --json",
    )
    evaluate.add_argument("checkpoint", type=Path, metavar="CHECKPOINT")
    evaluate.add_argument("folder", type=Path, metavar="FOLDER", help="class/picture, or with an index.csv")
    evaluate.add_argument("--split", metavar="WORD", help="this split alone, such as val (default: all)")
    evaluate.add_argument("--json", action="store_true", help="for scripts")
    _add_without(evaluate)

    optimise = add(
        "optimise",
        "optimise",
        "make an int8 network of a checkpoint, and keep it if it decides as the checkpoint does",
        "optimise models/street6-resnet34.safetensors",
        "optimise models/street6-resnet34.safetensors ~/photographs",
    )
    optimise.add_argument("checkpoint", type=Path, metavar="CHECKPOINT")
    optimise.add_argument(
        "folder",
        nargs="?",
        type=Path,
        metavar="FOLDER",
        help="pictures, or labelled ones as for `evaluate` (default: the newest of the image store)",
    )

    old = add(
        "import",
        "import_model",
        "make a checkpoint of an old model file; nothing in it is run",
        "import old.pth --classes 'Water,Fire,Protest,Accident,Altercation,Robbery'",
        "import old.pth --classes flood_risk,fire,protest,accident,altercation,robbery --out new.safetensors",
    )
    old.add_argument("old", type=Path, metavar="OLD", help="its state dict: ResNet-34, Flatten, Linear")
    old.add_argument("--classes", required=True, metavar="A,B,C", help="in the order of its scores")
    old.add_argument("--out", type=Path, metavar="FILE", help="checkpoint (default: OLD.safetensors)")
    old.add_argument(
        "--temperature", type=float, default=1.0, metavar="T", help="divides the scores (default 1)"
    )
    old.add_argument("--dispatch", type=float, metavar="P", help="dispatch from here on (default: always)")
    old.add_argument("--no-emergency", type=float, metavar="P", help="normal from here on (default 0.5)")


def _add_changes(add: _Add) -> None:
    model = add(
        "model",
        "models.model",
        "let another checkpoint decide, in every worker and without a pause; take it back; list",
        "model use runs/tune-0/street7.safetensors",
        "model rollback",
        "model list",
    )
    model.add_argument("do", choices=("use", "rollback", "list"), help="what to do")
    model.add_argument("checkpoint", nargs="?", type=Path, metavar="CHECKPOINT", help="with use: the file")
    model.add_argument("--by", metavar="NAME", help="who does it (default: the login name)")
    model.add_argument(
        "--wait", type=float, default=60.0, metavar="S", help="seconds to wait for the workers (default 60)"
    )
    model.add_argument("--json", action="store_true", help="with list: for scripts")


def _add_without(command: argparse.ArgumentParser) -> None:
    command.add_argument(
        "--without",
        action="append",
        default=[],
        metavar="CLASS",
        help="leave a class out; may be repeated",
    )
