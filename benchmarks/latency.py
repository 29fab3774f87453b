"""From a file closed in the inbox to its verdict published, one photograph at a time, every part running."""

import os
import statistics
import subprocess
import sys
import time

import numpy as np

from benchmarks.rig import Row, picture
from shared.broker import Broker, connect
from shared.checkpoint import Checkpoint
from shared.preprocessing import decode
from shared.settings import Settings
from worker.engines import make_engine

PHOTOGRAPHS = 40
WHAT = "one photograph at a time"


def measure(settings: Settings, repeats: int) -> list[Row]:
    """Milliseconds. The base is the model alone: decode and forward pass of one picture, in a bare loop."""
    bare = Row(
        WHAT,
        "bare: decode + forward, median",
        "ms",
        [_bare_ms(settings) for _ in range(repeats)],
        is_base=True,
    )
    middle = Row(WHAT, "Almenara: file closed to verdict, median", "ms", [])
    tail = Row(WHAT, "Almenara: file closed to verdict, 95th percentile", "ms", [])
    services = [
        subprocess.Popen(
            [sys.executable, "-m", "deploy", name], env=_environ(settings), stderr=subprocess.DEVNULL
        )
        for name in ("ingest", "worker")
    ]
    try:
        client = connect(settings)
        settings.inbox[0].mkdir(parents=True, exist_ok=True)
        _one_ms(settings, client, 10_000)  # waits for the model to load
        for turn in range(repeats):
            taken_ms = [_one_ms(settings, client, turn * PHOTOGRAPHS + index) for index in range(PHOTOGRAPHS)]
            middle.figures.append(statistics.median(taken_ms))
            tail.figures.append(statistics.quantiles(taken_ms, n=20)[-1])
    finally:
        for service in services:
            service.terminate()
        for service in services:
            service.wait(timeout=60)
    return [bare, middle, tail]


def _bare_ms(settings: Settings) -> float:
    checkpoint = Checkpoint.load(settings.checkpoint)
    engine = make_engine("auto", checkpoint)
    engine.warm_up()
    taken_ms = []
    for seed in range(PHOTOGRAPHS):
        data = picture(seed)
        began_s = time.perf_counter()
        engine.scores(np.stack([decode(data, checkpoint.preprocessing)]))
        taken_ms.append((time.perf_counter() - began_s) * 1000)
    return statistics.median(taken_ms)


def _one_ms(settings: Settings, client: Broker, seed: int) -> float:
    """Write a picture, close it, and wait until its verdict is counted, in the step that publishes it."""
    before = _decided(client)
    (settings.inbox[0] / f"{seed % 90}.5, {seed // 90}.5 {seed}.jpeg").write_bytes(picture(1_000_000 + seed))
    began_s = time.perf_counter()
    while _decided(client) == before:
        time.sleep(0.0005)
    return (time.perf_counter() - began_s) * 1000


def _decided(client: Broker) -> int:
    counts = client.hmget("almenara:counts", ["dispatched", "unsure", "no_emergency"])
    return sum(int(count or 0) for count in counts)


def _environ(settings: Settings) -> dict[str, str]:
    return {**os.environ, **settings.to_env()}
