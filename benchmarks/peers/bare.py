"""The limit: read, decode and forward pass in a bare loop, without a queue.

Batches as our worker makes them: about half a second of forward pass, 256 at most. A batch is read and
decoded by as many threads as there are cores, then goes through the model; one after the other.
Reads lines of JSON, each a list of paths, and answers each with the seconds that it took.
"""

import json
import os
import sys
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np

from shared.checkpoint import Checkpoint
from shared.preprocessing import decode
from shared.settings import Settings
from worker.engines import make_engine


def main() -> None:
    """Serve until standard input ends."""
    settings = Settings.from_env(os.environ)
    checkpoint = Checkpoint.load(settings.checkpoint)
    engine = make_engine(settings.engine, checkpoint, settings.threads, state_dir=settings.state_dir)
    size = max(1, min(256, int(0.5 / engine.warm_up())))
    print(json.dumps({"engine": engine.name, "batch": size}), flush=True)
    pool = ThreadPoolExecutor(os.cpu_count() or 1)
    for line in sys.stdin:
        paths = json.loads(line)
        began_s = time.perf_counter()
        for first in range(0, len(paths), size):
            batch = paths[first : first + size]
            pixels = pool.map(lambda path: decode(Path(path).read_bytes(), checkpoint.preprocessing), batch)
            engine.scores(np.stack(list(pixels)))
        print(json.dumps({"took_s": time.perf_counter() - began_s}), flush=True)


main()
