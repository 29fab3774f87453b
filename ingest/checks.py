"""Checks of pictures in processes of their own: what kills one, or keeps it busy, costs no other file much.

Measured: 0.1 ms of CPU more a file for the check, some 10 % of all that taking it in needs. What libraries
write about a damaged file goes nowhere, too: libtiff has a line for each row that it can't read.

``python -m ingest.checks MAX_BYTES MAX_PIXELS CPU_S [quick]`` is the process that `Checks` has this done in.
"""

import json
import sys
from collections.abc import Sequence
from dataclasses import asdict
from functools import partial

from ingest.pictures import Picture, check_picture
from ingest.signatures import SLOW, PictureError, SlowPictureError
from shared.confinement import DecoderKilledError, TooLongError
from shared.confinement_pool import ConfinementPool
from shared.coordinates import Coordinates
from shared.decoding import serve_pictures
from shared.errors import PermanentError

_ANSWER_S = 45.0
"""For one picture, by the clock: a machine may have other things to do."""
_CPU_S = 8.0
"""Of a core, for one picture: what takes longer is refused here, and not by a worker, which gives it 15 s.
The largest that are taken need 1 to 6, measured."""
_QUICK_CPU_S = 1.0
"""Of a core, for one picture that is checked among others; what takes longer is checked beside them."""

_IDLE_S = 86400.0


class Checks:
    """As many processes as pictures may be checked at once. Safe to use from several threads."""

    def __init__(
        self,
        *,
        max_bytes: int,
        max_pixels: int,
        processes: int | None = None,
        answer_s: float = _ANSWER_S,
        cpu_s: float = _CPU_S,
    ) -> None:
        """Nothing is started yet.

        Args:
            max_bytes: a larger file is refused.
            max_pixels: width times height; a larger picture is refused.
            processes: None for one a core, and two at least.
            answer_s: seconds that one picture may take.
            cpu_s: likewise, of a core.
        """
        limits = (str(max_bytes), str(max_pixels))
        self.processes = ConfinementPool(
            "ingest.checks", *limits, str(cpu_s), answer_s=answer_s, processes=processes
        )
        self.quick = ConfinementPool(
            "ingest.checks", *limits, str(_QUICK_CPU_S), "quick", answer_s=answer_s, processes=processes
        )

    def check(self, data: bytes) -> Picture:
        """As `ingest.pictures.check_picture`; waits for a process that is free.

        Raises:
            PictureError: as there; or ``kills_decoder``: it ends its process, or occupies it.
            ConfinementError: a process can't be had just now.
        """
        return _answer(self.processes, data)

    def check_quickly(self, data: bytes) -> Picture:
        """As `check`, in other processes, for as long as most pictures need.

        Raises:
            SlowPictureError: it needs longer; `check` may still find that it is sound.
            PictureError, ConfinementError: as `check`.
        """
        return _answer(self.quick, data, quickly=True)

    def close(self) -> None:
        """End the processes."""
        self.processes.close()
        self.quick.close()


def _answer(processes: ConfinementPool, data: bytes, *, quickly: bool = False) -> Picture:
    try:
        return _picture(processes.ask(data))
    except PermanentError as error:
        if quickly and (isinstance(error, TooLongError) or error.reason == SLOW):
            raise SlowPictureError(error.detail) from error
        raise PictureError(error.detail, reason=error.reason, remedy=error.remedy) from error
    except (ValueError, LookupError, TypeError, AttributeError, RecursionError) as error:
        # No answer of ours: the picture has taken the process over.
        words = "looking at it gives something else than an answer"
        raise PictureError(words, reason=DecoderKilledError.default_reason) from error


def main(arguments: Sequence[str]) -> None:
    """Serve checks; the arguments are MAX_BYTES, MAX_PIXELS, CPU_S, and perhaps `quick`."""
    max_bytes, max_pixels, cpu_s = int(arguments[0]), int(arguments[1]), float(arguments[2])
    check = partial(check_picture, max_bytes=max_bytes, max_pixels=max_pixels, quickly="quick" in arguments)

    def answer(request: bytes) -> bytes:
        return json.dumps(asdict(check(request))).encode()

    serve_pictures(answer, max_pixels, cpu_s=cpu_s, idle_s=_IDLE_S)


def _picture(answer: bytes) -> Picture:
    fields = json.loads(answer)
    gps = fields.pop("gps")
    return Picture(**fields, gps=Coordinates(**gps) if gps else None)


if __name__ == "__main__":
    main(sys.argv[1:])
