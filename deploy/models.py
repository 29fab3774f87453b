"""`almenara model`: let another checkpoint decide in every worker, without a pause; take it back; list."""

import argparse
import getpass
import hashlib
import json
import sys
import time
from pathlib import Path
from typing import Any

from shared.announcements import Announcement, Model, announce, history, is_name, roll_back, shown
from shared.broker import Broker, check, connect
from shared.errors import ConfigError
from shared.heartbeats import SILENT_AFTER_S
from shared.labels import escape_label
from shared.settings import Settings
from shared.vitals import read

LOOK_EVERY_S = 0.3
MAX_BYTES = 1 << 30
"""Of a checkpoint: it is held whole in memory, here and in every worker."""
SHOWN = 20
"""Entries of the history that people see."""


def model(options: argparse.Namespace, settings: Settings) -> int:
    """Announce a checkpoint, take the last one back, or list; 1 where a worker does not follow.

    Raises:
        ConfigError: the checkpoint can't be used, or there is none to go back to.
        TransientError: broker or image store are away.
    """
    if (options.checkpoint is not None) != (options.do == "use"):
        raise ConfigError(
            "`use` names a checkpoint file, and nothing else does", remedy="see `almenara model --help`"
        )
    broker = connect(settings)
    check(broker, settings)
    if options.do == "list":
        return _list(broker, settings, as_json=options.json)
    by = options.by or getpass.getuser()
    if options.do == "use":
        announcement = announce(broker, put(options.checkpoint, settings), by)
    else:
        announcement = roll_back(broker, by)
    _print(f"announced: {shown(announcement.model)}")
    return _followed(broker, settings, announcement, options.wait)


def put(path: Path, settings: Settings) -> Model:
    """Check a checkpoint file and put it into the image store, for every worker.

    Raises:
        ConfigError: it is no checkpoint of this version, or a class of it has no route.
        StoreAwayError: the image store does not take it.
    """
    from shared.checkpoint import Checkpoint
    from shared.images import ImageStore
    from shared.model_files import Library
    from shared.routing import Routing
    from worker.engines import options as engines

    try:
        size_bytes = path.stat().st_size
        content = path.read_bytes() if size_bytes <= MAX_BYTES else b""
    except OSError as error:
        raise ConfigError(
            f"{path} can't be read: {error.strerror}", remedy="name a checkpoint file"
        ) from error
    if size_bytes > MAX_BYTES:
        raise ConfigError(
            f"{path} is of {size_bytes / 1e9:.1f} GB, and a checkpoint of at most {MAX_BYTES / 1e9:.1f} GB",
            remedy="name a checkpoint file",
        )
    checkpoint = Checkpoint.parse(content, path)
    Routing.load(settings.routing).check_classes(checkpoint.classes)
    if not is_name(path.stem):
        raise ConfigError(
            f"a model can't be called {escape_label(path.stem)!r}",
            remedy="rename the file: letters, digits and ._- only, 64 at most",
        )
    found = Model(hashlib.sha256(content).hexdigest(), path.stem)
    Library(ImageStore(settings.image_store_url), settings.state_dir).put(content, found)
    int8 = next(each for each in engines(checkpoint, settings.state_dir) if each.name == "openvino-int8")
    if int8.obstacle and any((settings.state_dir / "engines").glob("*-int8.zip")):
        sys.stderr.write(
            f"note: workers of this machine will run it without int8, {int8.obstacle}; "
            f"`almenara optimise {path}` first, then `almenara model use` again\n"
        )
    return found


def _followed(broker: Broker, settings: Settings, mine: Announcement, wait_s: float) -> int:
    """Wait for the workers, and say what each of them made of it; 1 where not all of them follow `mine`."""
    deadline_s = time.monotonic() + wait_s
    while True:
        vitals = _vitals(broker, settings)
        workers, stands = vitals["workers"], vitals["model"]
        is_mine = (stands["generation"], stands["since"]) == (mine.generation, mine.since)
        late = [each for each in workers if each["generation"] != mine.generation or _is_between(each)]
        if not late or not is_mine or time.monotonic() >= deadline_s:
            break
        time.sleep(LOOK_EVERY_S)
    for each in workers:
        _print(f"  {_line(each)}")
    if not workers:
        _print("  no worker runs; whichever starts uses it")
    if is_mine:
        return int(any(each["lags"] for each in workers))
    announced = stands["announced"] or shown(None)
    _print(f"{escape_label(stands['by'])} announced {announced} meanwhile: that is what stands")
    return 1


def _is_between(worker: dict[str, Any]) -> bool:
    """It has taken the model over, and its heartbeat does not say so yet."""
    return bool(worker["lags"]) and not worker["refused"]


def _list(broker: Broker, settings: Settings, *, as_json: bool) -> int:
    vitals, entries = _vitals(broker, settings), history(broker, SHOWN)
    announcement = Announcement.fetch(broker)
    if as_json:
        previous = [shown(each) for each in announcement.previous]
        workers = [
            {name: each[name] for name in ("name", "host", "model", "generation", "refused", "lags")}
            for each in vitals["workers"]
        ]
        _print(
            json.dumps(announcement.about() | {"previous": previous, "workers": workers, "history": entries})
        )
        return 0
    if announcement.generation:
        by = escape_label(announcement.by)
        _print(f"{shown(announcement.model)}, since {announcement.since[:19]}Z, by {by}")
    else:
        _print("none was announced: each worker uses the checkpoint that it is configured with")
    for each in announcement.previous[:1]:
        _print(f"`almenara model rollback` goes back to {shown(each)}")
    for worker in vitals["workers"]:
        _print(f"  {_line(worker)}")
    for entry in entries:
        _print(_entry(entry))
    return 0


def _vitals(broker: Broker, settings: Settings) -> dict[str, Any]:
    """As `almenara status` has them, without workers that have fallen silent."""
    vitals = read(broker, settings, ())
    return vitals | {"workers": [each for each in vitals["workers"] if each["silent_s"] <= SILENT_AFTER_S]}


def _line(worker: dict[str, Any]) -> str:
    text = f"worker {worker['name'][:12]} on {worker['host']}: {escape_label(worker['model'])}"
    if worker["refused"]:
        return f"{text}; REFUSES {escape_label(worker['refused'])}"
    return f"{text}; has not followed yet" if worker["lags"] else text


def _entry(entry: dict[str, str]) -> str:
    at, what, model, by, detail, seconds = (
        escape_label(entry.get(name, "")) for name in ("at", "what", "model", "by", "detail", "seconds")
    )
    took = f" in {seconds} s" if seconds else ""
    return f"{at[:19]}Z  {what:<11} {model} by {by[:24]}{took}{': ' if detail else ''}{detail}"


def _print(text: str) -> None:
    sys.stdout.write(text + "\n")
