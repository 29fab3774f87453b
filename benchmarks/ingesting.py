"""A flooded inbox: files a second from lying there to queued, beside what the disk and a bare loop give."""

import os
import shutil
import threading
import time
from pathlib import Path

from benchmarks.rig import Row, picture
from ingest.service import IngestService
from shared.broker import connect
from shared.images import ImageStore
from shared.incidents import all_ids
from shared.settings import Settings

FILES = 1000
WHAT = "files of about 15 kB, inbox to queued"


def measure(settings: Settings, repeats: int) -> list[Row]:
    """Files a second. The base is the disk: the same bytes written, synced and renamed in a bare loop."""
    pictures = [picture(seed) for seed in range(FILES)]
    disk = Row(WHAT, "bare loop: write, fsync, rename", "files/s", [], is_base=True)
    ours = Row(WHAT, "Almenara ingest", "files/s", [])
    for _ in range(repeats):
        disk.figures.append(_disk(settings.state_dir / "bare", pictures))
        ours.figures.append(_ours(settings, pictures))
    return [disk, ours]


def _disk(folder: Path, pictures: list[bytes]) -> float:
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir(parents=True)
    began_s = time.perf_counter()
    for index, data in enumerate(pictures):
        aside = folder / f"{index}.tmp"
        with aside.open("wb") as file:
            file.write(data)
            file.flush()
            os.fsync(file.fileno())
        aside.rename(folder / f"{index}.jpg")
    return len(pictures) / (time.perf_counter() - began_s)


def _ours(settings: Settings, pictures: list[bytes]) -> float:
    inbox = settings.inbox[0]
    for folder in (inbox, settings.state_dir / "images"):
        shutil.rmtree(folder, ignore_errors=True)
    inbox.mkdir(parents=True)
    client = connect(settings)
    client.flushall()
    for index, data in enumerate(pictures):
        (inbox / f"{index // 100 / 10:.1f}, {index % 100 / 10:.1f} {index}.jpeg").write_bytes(data)
    done = threading.Event()
    service = IngestService(settings, client, ImageStore(settings.image_store_url))
    began_s = time.perf_counter()
    thread = threading.Thread(target=service.run, args=(done.is_set,))
    thread.start()
    counter = connect(settings)
    while len(all_ids(counter)) < len(pictures):
        time.sleep(0.005)
    took_s = time.perf_counter() - began_s
    done.set()
    thread.join()
    return len(pictures) / took_s
