"""Photographs decoded in processes of their own: what kills one, or keeps it busy, costs its batch nothing.

Measured on 2 cores: 0.2 ms of CPU more a picture than in a thread, of the 9 to 17 ms that its forward pass
takes there; and the pictures of a batch are decoded side by side, which threads of Python hardly do.

``python -m worker.decoders MAX_PIXELS`` is the process that `Decoders` has this done in.
"""

import struct
import sys
from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from shared.confinement import DecoderKilledError
from shared.confinement_pool import ConfinementPool
from shared.decoding import serve_pictures
from shared.preprocessing import Preprocessing, decode

_SIZE = struct.Struct("!I")
_ANSWER_S = 15.0
"""For one picture; the ingester takes none that needs more than 8 of a core for its check."""

_IDLE_S = 86400.0


class Decoders:
    """As many processes as pictures may be decoded at once. Safe to use from several threads."""

    def __init__(self, max_pixels: int, *, processes: int | None = None, answer_s: float = _ANSWER_S) -> None:
        """Nothing is started yet.

        Args:
            max_pixels: the most width x height to decode.
            processes: None for one a core, and two at least.
            answer_s: seconds that one picture may take.
        """
        self.processes = ConfinementPool(
            "worker.decoders", str(max_pixels), answer_s=answer_s, processes=processes
        )

    def decode(self, image_bytes: bytes, preprocessing: Preprocessing) -> NDArray[np.uint8]:
        """As `shared.preprocessing.decode`; waits for a process that is free.

        Raises:
            PermanentError: as there.
            DecoderKilledError: the picture ends its process, or occupies it.
            ConfinementError: a process can't be had just now.
        """
        size_px = preprocessing.size_px
        pixels = self.processes.ask(_SIZE.pack(size_px) + image_bytes)
        if len(pixels) != size_px * size_px * 3:  # no answer of ours: the picture has taken the process over
            raise DecoderKilledError("looking at it gives something else than pixels")
        # A copy, as a forward pass may want to write.
        return np.frombuffer(bytearray(pixels), np.uint8).reshape(size_px, size_px, 3)

    def warm_up(self) -> None:
        """Start all of them."""
        self.processes.start(_SIZE.pack(32))

    def close(self) -> None:
        """End the processes."""
        self.processes.close()


def main(arguments: Sequence[str]) -> None:
    """Serve pixels; the one argument is the most pixels of a picture."""
    max_pixels = int(arguments[0])

    def answer(request: bytes) -> bytes:
        (size_px,) = _SIZE.unpack_from(request)
        shape = Preprocessing(size_px=size_px, mean=(0.5, 0.5, 0.5), std=(0.5, 0.5, 0.5))
        return decode(request[_SIZE.size :], shape, max_pixels=max_pixels).tobytes()

    serve_pictures(answer, max_pixels, idle_s=_IDLE_S)


if __name__ == "__main__":
    main(sys.argv[1:])
