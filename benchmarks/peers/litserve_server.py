"""LitServe with dynamic batching: one worker with the model, batches of 16 or of what 10 ms bring.

Pictures come as base64 in JSON, as in its guide to image classification. Given as a module of its own because
LitServe starts the worker as another process, which imports it.
"""

import base64
import sys
from typing import Any

import litserve

from benchmarks.peers import BATCH
from benchmarks.peers.decoding import Pixels, decode_picture
from benchmarks.peers.model import model

TIMEOUT_S = 120


class Classify(litserve.LitAPI):
    """One request: ``{"image_data": base64}``."""

    def setup(self, device: str) -> None:
        """Load the model in the worker."""
        model()

    def decode_request(self, request: dict[str, Any]) -> Pixels:
        """Pixels of one request; LitServe calls it for each of a batch, in the worker."""
        return decode_picture(base64.b64decode(request["image_data"]))

    def batch(self, inputs: list[Pixels]) -> list[Pixels]:
        """Left as a list."""
        return inputs

    def predict(self, x: list[Pixels]) -> list[dict[str, Any]]:
        """One forward pass."""
        return model().verdicts(x)

    def unbatch(self, output: list[dict[str, Any]]) -> list[dict[str, Any]]:
        """Is a list."""
        return output

    def encode_response(self, output: dict[str, Any]) -> dict[str, Any]:
        """Is JSON."""
        return output


if __name__ == "__main__":
    server = litserve.LitServer(
        Classify(max_batch_size=BATCH, batch_timeout=0.01),
        accelerator="cpu",
        devices=1,
        workers_per_device=1,
        timeout=TIMEOUT_S,
    )
    server.run(host="127.0.0.1", port=int(sys.argv[1]), log_level="warning", generate_client_file=False)
