"""Checks of pictures in processes of their own: what kills one, or keeps it busy, costs no other file much.

Measured: 0.1 ms of CPU more a file for the check, some 10 % of all that taking it in needs. What libraries
write about a damaged file goes nowhere, too: libtiff has a line for each row that it can't read.

``python -m ingest.checks MAX_BYTES MAX_PIXELS`` is the process that `Checks` has this done in.
"""

import json
import sys
from collections.abc import Sequence
from dataclasses import asdict

from PIL import Image

from ingest.pictures import Picture, check_picture
from ingest.signatures import PictureError
from shared.confinement import DecoderKilledError, serve
from shared.confinements import Confinements
from shared.coordinates import Coordinates
from shared.errors import PermanentError

_ANSWER_S = 20.0
"""For one picture; the largest that are taken need 1 to 9 (measured, on a shared core)."""

_LAST_RESORT_S = 60.0
_IDLE_S = 86400.0
_MEMORY_BYTES = 2**30
_BYTES_A_PIXEL = 24
"""As for `console.thumbnails`."""


class Checks:
    """As many processes as pictures may be checked at once. Safe to use from several threads."""

    def __init__(
        self, *, max_bytes: int, max_pixels: int, processes: int | None = None, answer_s: float = _ANSWER_S
    ) -> None:
        """Nothing is started yet.

        Args:
            max_bytes: a larger file is refused.
            max_pixels: width times height; a larger picture is refused.
            processes: None for one a core, and two at least.
            answer_s: seconds that one picture may take.
        """
        limits = (str(max_bytes), str(max_pixels))
        self.processes = Confinements("ingest.checks", *limits, answer_s=answer_s, processes=processes)

    def check(self, data: bytes) -> Picture:
        """As `ingest.pictures.check_picture`; waits for a process that is free.

        Raises:
            PictureError: as there; or ``kills_decoder``: it ends its process, or occupies it.
            ConfinementError: a process can't be had just now.
        """
        try:
            return _picture(self.processes.ask(data))
        except PermanentError as error:
            raise PictureError(error.detail, reason=error.reason, remedy=error.remedy) from error
        except (ValueError, LookupError, TypeError, AttributeError, RecursionError) as error:
            # No answer of ours: the picture has taken the process over.
            words = "looking at it gives something else than an answer"
            raise PictureError(words, reason=DecoderKilledError.default_reason) from error

    def close(self) -> None:
        """End the processes."""
        self.processes.close()


def main(arguments: Sequence[str]) -> None:
    """Serve checks; the arguments are MAX_BYTES and MAX_PIXELS."""
    max_bytes, max_pixels = int(arguments[0]), int(arguments[1])

    def answer(request: bytes) -> bytes:
        return json.dumps(asdict(check_picture(request, max_bytes=max_bytes, max_pixels=max_pixels))).encode()

    Image.MAX_IMAGE_PIXELS = None  # ours is the limit, and this process decodes nothing else
    memory_bytes = _MEMORY_BYTES + _BYTES_A_PIXEL * max_pixels
    serve(answer, memory_bytes=memory_bytes, answer_s=_LAST_RESORT_S, idle_s=_IDLE_S)


def _picture(answer: bytes) -> Picture:
    fields = json.loads(answer)
    gps = fields.pop("gps")
    return Picture(**fields, gps=Coordinates(**gps) if gps else None)


if __name__ == "__main__":
    main(sys.argv[1:])
