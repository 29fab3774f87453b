"""A flooded inbox: files a second to queued, beside what the disk gives in bare loops."""

import hashlib
import os
import shutil
import subprocess
import sys
import threading
import time
from pathlib import Path

from benchmarks.rig import Row, picture
from ingest.checks import Checks
from ingest.service import BATCH, IngestService
from shared.broker import connect
from shared.durable import Aside
from shared.images import ImageStore
from shared.keys import INCIDENTS
from shared.settings import Settings

FILES = 4000
DIFFERENT = 500  # drawn; the others get a number of their own behind the picture's end
SIDECAR = b"x" * 400
WHAT = "files of about 15 kB to queued"

# A camera at full speed: each picture in FOLDER is written anew under the same name in INBOX.
WRITER = """
import pathlib, sys
for path in sorted(pathlib.Path(sys.argv[1]).iterdir()):
    (pathlib.Path(sys.argv[2]) / path.name).write_bytes(path.read_bytes())
"""


def measure(settings: Settings, repeats: int) -> list[Row]:
    """Files a second, each durable, with its sidecar, before the broker hears of it.

    The base is the disk with one durable file at a time. The second loop keeps what the ingester keeps,
    picture and sidecar by digest, durable in batches of its size, and does nothing else: the disk's limit.
    """
    pictures = _pictures()
    alone = Row(WHAT, "bare loop: write, fsync, rename, one at a time", "files/s", [], is_base=True)
    batches = Row(WHAT, f"bare loop: two files each, flushed in batches of {BATCH}", "files/s", [])
    full = Row(WHAT, "Almenara ingest, starting on a full inbox", "files/s", [])
    live = Row(WHAT, "Almenara ingest, while a process writes", "files/s", [])
    for _ in range(repeats):
        alone.figures.append(_alone(settings.state_dir / "bare", pictures))
        batches.figures.append(_in_batches(settings.state_dir / "bare", pictures))
        full.figures.append(_ingest(settings, pictures, live=False))
        live.figures.append(_ingest(settings, pictures, live=True))
    return [alone, batches, full, live]


def _pictures() -> list[bytes]:
    drawn = [picture(seed) for seed in range(DIFFERENT)]
    return [drawn[index % DIFFERENT] + b"%d\xff\xd9" % index for index in range(FILES)]


def _empty(folder: Path) -> Path:
    """An empty folder, on a disk with nothing left to write."""
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir(parents=True)
    os.sync()
    return folder


def _alone(folder: Path, pictures: list[bytes]) -> float:
    _empty(folder)
    began_s = time.perf_counter()
    for index, data in enumerate(pictures):
        aside = folder / f"{index}.tmp"
        with aside.open("wb") as file:
            file.write(data)
            file.flush()
            os.fsync(file.fileno())
        aside.rename(folder / f"{index}.jpg")
    return len(pictures) / (time.perf_counter() - began_s)


def _in_batches(folder: Path, pictures: list[bytes]) -> float:
    _empty(folder)
    for part in ("pictures", "incidents"):
        (folder / part).mkdir()
    digests = [hashlib.sha256(data).hexdigest() for data in pictures]
    began_s = time.perf_counter()
    for begin in range(0, len(pictures), BATCH):
        aside = Aside(folder)
        for index in range(begin, min(begin + BATCH, len(pictures))):
            name = digests[index]
            aside.write(folder / "pictures" / name[:2] / name, pictures[index])
            aside.write(folder / "incidents" / name[:2] / name, SIDECAR)
        aside.commit()
    return len(pictures) / (time.perf_counter() - began_s)


def _ingest(settings: Settings, pictures: list[bytes], *, live: bool) -> float:
    inbox = _empty(settings.inbox[0])
    shutil.rmtree(settings.state_dir / "images", ignore_errors=True)
    source = _empty(settings.state_dir / "camera") if live else inbox
    client = connect(settings)
    client.flushall()
    for index, data in enumerate(pictures):
        (source / f"{index // 100 / 10:.1f}, {index % 100 / 10:.1f} {index}.jpeg").write_bytes(data)
    done = threading.Event()
    settings = settings.override(label_rate=0)  # it is the disk that is measured
    checks = Checks(max_bytes=settings.max_file_bytes, max_pixels=settings.max_pixels)
    checks.quick.start(b"")
    store = ImageStore(settings.image_store_url)
    service = IngestService(settings, client, store, checks.check_quickly, checks.check)
    thread = threading.Thread(target=service.run, args=(done.is_set,))
    began_s = time.perf_counter()
    thread.start()
    writer = subprocess.Popen([sys.executable, "-c", WRITER, str(source), str(inbox)]) if live else None
    counter = connect(settings)
    while counter.zcard(INCIDENTS) < len(pictures):
        time.sleep(0.01)
    took_s = time.perf_counter() - began_s
    done.set()
    thread.join()
    checks.close()
    if writer is not None:
        writer.wait()
    return len(pictures) / took_s
