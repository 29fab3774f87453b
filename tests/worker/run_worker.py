"""A batch worker with a fake model, to be killed by tests: python run_worker.py, settings as ALMENARA_*."""

import argparse
import io
import os
import signal
import sys
import time
from pathlib import Path
from typing import Any

PATIENCE_S = 240.0  # longer than any test waits: a gate that opens by itself would change what is tested


def wait_for(gate: str) -> None:
    """Make the file `gate`.reached, and wait until the file `gate` is there."""
    Path(gate + ".reached").touch()
    deadline_s = time.monotonic() + PATIENCE_S
    while not Path(gate).exists() and time.monotonic() < deadline_s:
        time.sleep(0.02)


class Interrupted(io.TextIOBase):
    """Standard error, where a signal arrives in the middle of a line."""

    def __init__(self, line: str) -> None:
        self._line = line

    def write(self, text: str) -> int:
        """See ``io.TextIOBase.write``."""
        if self._line and self._line in text:
            self._line = ""
            os.kill(os.getpid(), signal.SIGTERM)
        return os.write(2, text.encode())


def main() -> None:
    """Work until a signal says stop."""
    from worker_parts import DEADLY, ColourEngine, checkpoint

    import worker.batches
    from shared.broker import connect, patiently
    from shared.images import ImageStore
    from shared.logs import configure
    from shared.preprocessing import Preprocessing, decode
    from shared.routing import Routing
    from shared.settings import Settings
    from worker.service import BatchWorker

    parser = argparse.ArgumentParser()
    parser.add_argument("--gate", default="", help="a forward pass ends once this file is there")
    parser.add_argument("--warm-up-gate", default="", help="warm-up ends once this file is there")
    parser.add_argument("--device-lost", action="store_true", help="every forward pass fails")
    parser.add_argument("--signal-after", default="", help="a SIGTERM arrives while this line is logged")
    options = parser.parse_args()
    settings = Settings.from_env(os.environ)
    if options.signal_after:
        sys.stderr = Interrupted(options.signal_after)
    configure(settings, "worker")

    def decode_or_die(data: bytes, preprocessing: Preprocessing, *, max_pixels: int) -> Any:
        if data.endswith(DEADLY):
            os.kill(os.getpid(), signal.SIGKILL)
        return decode(data, preprocessing, max_pixels=max_pixels)

    class GatedEngine(ColourEngine):
        def warm_up(self) -> float:
            if options.warm_up_gate:
                wait_for(options.warm_up_gate)
            return super().warm_up()

    vars(worker.batches)["decode"] = decode_or_die

    def on_batch() -> None:
        if options.gate:
            wait_for(options.gate)
        if options.device_lost:
            raise RuntimeError("an illegal memory access was encountered")

    engine = GatedEngine(on_batch)
    classifier = worker.batches.Classifier(
        checkpoint(), engine, ImageStore(settings.image_store_url), settings.max_pixels
    )
    broker, routing = connect(settings), Routing.load(settings.routing)
    service = patiently(lambda: BatchWorker(settings, broker, classifier, routing))
    service.warm_up()
    service.work()


main()
