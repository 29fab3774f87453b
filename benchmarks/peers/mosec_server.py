"""mosec with dynamic batching: a decoding process a core, one with the model; batches of 16 or of 10 ms.

As in its example of a ResNet server, but for the picture's bytes, which come as they are: mosec lets the
first stage read any body.
"""

import os
from typing import Any

from mosec import Server, Worker

from benchmarks.peers import BATCH
from benchmarks.peers.decoding import Pixels, decode_picture
from benchmarks.peers.model import model


class Preprocess(Worker):
    """Decodes."""

    def deserialize(self, data: bytes) -> bytes:
        """The body is the picture."""
        return data

    def forward(self, data: bytes) -> Pixels:
        """Pixels of one picture."""
        return decode_picture(data)


class Inference(Worker):
    """Judges."""

    def __init__(self) -> None:
        super().__init__()  # type: ignore[no-untyped-call]
        model()

    def forward(self, data: list[Pixels]) -> list[dict[str, Any]]:
        """One forward pass."""
        return model().verdicts(data)


if __name__ == "__main__":
    server = Server()  # type: ignore[no-untyped-call]
    server.append_worker(Preprocess, num=os.cpu_count() or 1)
    server.append_worker(Inference, num=1, max_batch_size=BATCH, max_wait_time=10)
    server.run()  # type: ignore[no-untyped-call]
