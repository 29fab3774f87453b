"""What one photograph costs each part: processor seconds, commands, bytes, memory; see docs/scaling.md.

Processor seconds, not speed: they say how much a machine can take, and hold on a busy one. The services are
the real ones, as processes, one after the other: all files are taken in, then judged, then recorded. Eager
PyTorch is left out where OpenVINO runs: its threads spin while they wait, which counts as work.
"""

import hashlib
import importlib
import importlib.util
import os
import socket
import sqlite3
import subprocess
import sys
import tempfile
import time
import uuid
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

from benchmarks.photographs import Album, make_album
from benchmarks.processes import cpu_s, memory_bytes
from benchmarks.rig import Row
from deploy.private_broker import PrivateBroker
from ingest.admission import admit
from ingest.names import parse_name
from ingest.pictures import check_picture
from shared.broker import Broker, connect
from shared.checkpoint import Checkpoint
from shared.coordinates import Coordinates
from shared.images import ImageStore
from shared.incidents import Photograph, incident_id, iso, utc_now
from shared.keys import COUNTS, INCIDENTS
from shared.settings import Settings
from worker.engines import options

COUNT = 400
PATIENCE_S = 300.0
MB = 1e6


def measure(settings: Settings, repeats: int) -> list[Row]:
    """Every part's cost of a photograph; nothing is compared.

    Raises:
        RuntimeError: a service does not come to its end.
    """
    photographs = Path(path) if (path := os.environ.get("ALMENARA_PHOTOS")) else None
    able = options(Checkpoint.load(settings.checkpoint), settings.state_dir)
    possible = [each.name for each in able if not each.obstacle]
    engines = [name for name in possible if name != "torch-cpu"] or possible
    rows: dict[tuple[str, str], Row] = {}
    with tempfile.TemporaryDirectory(prefix="almenara-album-") as scratch:
        album = make_album(Path(scratch), photographs)
        for _ in range(repeats):
            for what, figures in _rounds(settings, album, engines):
                for (name, unit), figure in figures.items():
                    rows.setdefault((what, name), Row(what, name, unit, [])).figures.append(figure)
    return list(rows.values())


Figures = dict[tuple[str, str], float]


def _rounds(settings: Settings, album: Album, engines: Sequence[str]) -> Iterator[tuple[str, Figures]]:
    yield "ingest, parts by themselves", _ingest_parts(settings, album)
    yield "image store, by itself", _store_costs(settings, album)
    for engine in engines:
        with _alone(settings) as (own, broker):
            start_s = _desk_start_s(own, broker) if engine == engines[0] else 0.0
            ingested = _ingested(own, broker, album)
            judged = _judged(replace(own, engine=engine), broker)
            if engine == engines[0]:
                yield "ingest", ingested
                yield "desk", _recorded(own, broker, start_s)
            yield f"worker, {engine}", judged


@contextmanager
def _alone(settings: Settings) -> Iterator[tuple[Settings, Broker]]:
    """A broker and folders for one round, so that what it keeps can be told."""
    with tempfile.TemporaryDirectory(prefix="almenara-scale-") as folder:
        own = replace(
            settings,
            redis_url="",
            state_dir=Path(folder) / "s",
            inbox=(Path(folder) / "inbox",),
            label_rate=0,
        )
        own.inbox[0].mkdir()
        private = PrivateBroker(own)
        private.prepare()
        process = subprocess.Popen(private.command())
        try:
            private.wait_until_ready(process)
            yield own, connect(own)
        finally:
            process.terminate()
            process.wait(timeout=60)


def _ingest_parts(settings: Settings, album: Album) -> Figures:
    """Milliseconds of processor time a file, of each step alone in this process."""
    pictures = [album.picture(index) + b"%d" % index for index in range(COUNT)]
    names = [f"{index // 100 / 10:.1f}, {index % 100 / 10:.1f} cam {index}.jpeg" for index in range(COUNT)]
    with tempfile.TemporaryDirectory(dir=settings.state_dir) as folder:
        store = ImageStore(folder)
        for shelf in range(256):
            for part in ("pictures", "incidents"):
                (Path(folder) / part / f"{shelf:02x}").mkdir()
        made: list[Photograph] = []

        def keep() -> None:
            for begin in range(0, COUNT, 256):
                aside = store.aside()
                for index in range(begin, min(begin + 256, COUNT)):
                    sha256 = hashlib.sha256(pictures[index]).hexdigest()
                    place = store.put_picture(pictures[index], sha256, "jpeg", aside)
                    made.append(_photograph(index, sha256, place))
                    store.put_sidecar(made[-1], aside)
                store.commit(aside)

        steps: dict[str, Callable[[], Any]] = {
            "name": lambda: [parse_name(name) for name in names],
            "check the picture": lambda: [
                check_picture(data, max_bytes=2**26, max_pixels=10**8) for data in pictures
            ],
            "digest, picture and sidecar, synced": keep,
            "admission, our side": lambda: _admit(connect(settings), made),
        }
        return {(name, "ms CPU a file"): _cpu_ms(step) for name, step in steps.items()}


def _store_costs(settings: Settings, album: Album) -> Figures:
    """Milliseconds of the client's processor time: a folder; S3, where moto's server is installed."""
    figures: Figures = {}
    with tempfile.TemporaryDirectory(dir=settings.state_dir) as folder:
        figures |= _store_cost("a folder", ImageStore(folder), album)
    if importlib.util.find_spec("moto") is None or importlib.util.find_spec("s3fs") is None:
        return figures
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = str(taken.getsockname()[1])
    address = {"AWS_ENDPOINT_URL": f"http://127.0.0.1:{port}", "AWS_DEFAULT_REGION": "us-east-1"}
    os.environ.update(address | dict.fromkeys(("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY"), "any"))
    command = [sys.executable, "-m", "moto.server", "-H", "127.0.0.1", "-p", port]
    server = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    try:
        _wait(lambda: not _refuses(int(port)), "moto's server listens")
        s3fs = importlib.import_module("s3fs")
        s3fs.S3FileSystem().call_s3("create_bucket", Bucket="bench")
        return figures | _store_cost("S3", ImageStore("s3://bench/store"), album)
    finally:
        server.kill()
        server.wait()


def _refuses(port: int) -> bool:
    with socket.socket() as client:
        return client.connect_ex(("127.0.0.1", port)) != 0


def _store_cost(name: str, store: ImageStore, album: Album) -> Figures:
    digests = [hashlib.sha256(data).hexdigest() for data in album.pictures]
    places: list[str] = []

    def put() -> None:
        for data, sha256 in zip(album.pictures, digests, strict=True):
            places.append(store.put_picture(data, sha256, "jpeg"))

    def get() -> None:
        for place in places:
            store.get(place)

    per_file = COUNT / len(digests)
    return {
        (f"{name}, a picture put", "ms CPU"): _cpu_ms(put) * per_file,
        (f"{name}, a picture got", "ms CPU"): _cpu_ms(get) * per_file,
    }


def _cpu_ms(step: Callable[[], Any]) -> float:
    began_s = time.process_time()
    step()
    return 1000 * (time.process_time() - began_s) / COUNT


def _admit(client: Broker, photographs: Sequence[Photograph]) -> None:
    for begin in range(0, len(photographs), 256):
        admit(client, [(uuid.uuid4().hex, each) for each in photographs[begin : begin + 256]])


def _photograph(index: int, sha256: str, place: str) -> Photograph:
    coordinates = Coordinates(latitude_deg=index // 100 / 10, longitude_deg=index % 100 / 10)
    return Photograph(
        incident_id=incident_id(sha256, coordinates),
        image=place,
        coordinates=coordinates,
        label=f"cam {index}",
        received_at=iso(utc_now()),
        name=f"{coordinates} cam {index}.jpeg",
        place_from="name",
    )


def _ingested(settings: Settings, broker: Broker, album: Album) -> Figures:
    with _service(settings, "ingest", ready=lambda: bool(broker.keys("almenara:ingester:*"))) as process:
        total = sum(len(album.picture(index)) for index in range(COUNT))
        before, used = _broker(broker), cpu_s([process.pid])
        for index in range(COUNT):
            name = f"{index // 100 / 10:.1f}, {index % 100 / 10:.1f} cam {index}.jpeg"
            aside = settings.inbox[0] / f".{index}.tmp"
            aside.write_bytes(album.picture(index))
            aside.rename(settings.inbox[0] / name)
        _wait(lambda: broker.zcard(INCIDENTS) >= COUNT, "all files are taken in")
        _wait(lambda: not any(settings.inbox[0].glob(".almenara/*/*.jpeg")), "all claims are let go")
        figures = _cost("ingest", cpu_s([process.pid]) - used, before, _broker(broker))
        figures["memory", "MB"] = memory_bytes([process.pid]) / MB
        sidecars = settings.state_dir / "images" / "incidents"
        kept = sum(file.stat().st_size for file in sidecars.rglob("*") if file.is_file())
        figures["sidecar", "bytes"] = kept / COUNT
        figures["picture", "bytes"] = total / COUNT
        return figures


def _judged(settings: Settings, broker: Broker) -> Figures:
    waiting = broker.lrange("rq:queue:classify", 0, -1)
    broker.rename("rq:queue:classify", "aside")  # until the worker is warm
    with _service(settings, "worker", ready=lambda: bool(broker.smembers("rq:workers:classify"))) as process:
        children = _children(process.pid)
        before = _broker(broker)
        used, decoding = cpu_s([process.pid]), cpu_s(children)
        broker.rename("aside", "rq:queue:classify")
        _wait(lambda: _decided(broker) >= len(waiting), "all photographs are judged")
        spent, decoded = cpu_s([process.pid]) - used, cpu_s(children) - decoding
        figures = _cost("worker, all of it", spent, before, _broker(broker))
        figures["worker, decoding", "ms CPU a photograph"] = 1000 * decoded / COUNT
        figures["memory", "MB"] = memory_bytes([process.pid]) / MB
        return figures | _kept(broker)


def _kept(broker: Broker) -> Figures:
    """What the broker holds of an incident for as long as its picture is kept, and what for an hour."""
    long = short = 0
    for key in broker.scan_iter(count=1000):
        held = int(broker.memory_usage(key, samples=0) or 0)
        if key.startswith((b"almenara:", b"dispatch:")):
            long += held
        else:
            short += held
    return {
        ("broker, kept as long as the picture", "bytes a photograph"): long / COUNT,
        ("broker, kept for an hour", "bytes a photograph"): short / COUNT,
    }


def _recorded(settings: Settings, broker: Broker, start_s: float) -> Figures:
    before = _broker(broker)
    database = settings.state_dir / "desk.db"

    def rows() -> int:
        try:
            with sqlite3.connect(f"file:{database}?mode=ro", uri=True) as record:
                return int(record.execute("SELECT count(*) FROM incidents").fetchone()[0])
        except sqlite3.Error:
            return 0

    with _service(settings, "desk", ready=lambda: True) as process:
        _wait(lambda: rows() >= COUNT, "the desk has all incidents")
        time.sleep(3)  # and has put them on the boards
        spent_s = cpu_s([process.pid]) - start_s
        figures = _cost("desk", spent_s, before, _broker(broker))
        figures["memory", "MB"] = memory_bytes([process.pid]) / MB
    figures["record", "bytes an incident"] = (
        sum(file.stat().st_size for file in settings.state_dir.glob("desk.db*")) / COUNT
    )
    return figures


def _desk_start_s(settings: Settings, broker: Broker) -> float:
    """Processor seconds of a desk until it has nothing to do."""
    with _service(settings, "desk", ready=lambda: bool(broker.exists("almenara:alive:desk"))) as process:
        time.sleep(2)
        return cpu_s([process.pid])


def _cost(who: str, spent_s: float, before: dict[str, float], after: dict[str, float]) -> Figures:
    each = {name: (after[name] - before[name]) / COUNT for name in after}
    return {
        (who, "ms CPU a photograph"): 1000 * spent_s / COUNT,
        ("broker", "ms CPU a photograph"): 1000 * each["cpu_s"],
        ("broker", "commands a photograph"): each["commands"],
        ("broker, received", "bytes a photograph"): each["in"],
        ("broker, sent", "bytes a photograph"): each["out"],
        ("broker, memory", "bytes a photograph"): each["memory"],
        ("broker, append-only file", "bytes a photograph"): each["file"],
    }


def _broker(broker: Broker) -> dict[str, float]:
    about: Any = broker.info("everything")
    return {
        "cpu_s": about["used_cpu_user"] + about["used_cpu_sys"],
        "commands": about["total_commands_processed"],
        "in": about["total_net_input_bytes"],
        "out": about["total_net_output_bytes"],
        "memory": about["used_memory_dataset"],
        "file": about["aof_current_size"],
    }


def _decided(broker: Broker) -> int:
    counts: Any = broker.hmget(COUNTS, ["dispatched", "unsure", "no_emergency"])
    return sum(int(each or 0) for each in counts)


def _children(pid: int) -> list[int]:
    import psutil

    return [each.pid for each in psutil.Process(pid).children(recursive=True)]


@contextmanager
def _service(
    settings: Settings, name: str, *, ready: Callable[[], bool]
) -> "Iterator[subprocess.Popen[bytes]]":
    environ = {key: value for key, value in os.environ.items() if not key.startswith("ALMENARA_")}
    process = subprocess.Popen(
        [sys.executable, "-m", "deploy", name],
        env={**environ, **settings.to_env(), "ALMENARA_LOG_LEVEL": "warning"},
    )
    try:
        _wait(ready, f"{name} is ready")
        yield process
    finally:
        process.terminate()
        process.wait(timeout=60)


def _wait(condition: Callable[[], object], what: str) -> None:
    deadline_s = time.monotonic() + PATIENCE_S
    while not condition():
        if time.monotonic() > deadline_s:
            raise RuntimeError(f"not within {PATIENCE_S:g} s: {what}")
        time.sleep(0.05)
