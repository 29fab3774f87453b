"""One service as `almenara` starts it, with a model that costs nothing and a store that can be made to hang.

``python -m chaos.service worker``: CHAOS_SWITCHES names the folder of the switches, CHAOS_ENGINE the model.
"""

import os
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from worker_parts import ColourEngine, checkpoint

import worker.engines
from chaos import clock
from console.webhooks.service import WebhookService
from deploy.cli import main
from shared.checkpoint import Checkpoint
from shared.images import ImageStore

HANGS = "store-hangs"
SLOW = "store-slow"
SLOW_S = 1.0
ABANDONED_S = 6.0
PASS_S = 0.7
"""Of one batch through the model, so that workers that are struck have some in hand."""


class Colours(ColourEngine):
    """Knows red, green and blue; nothing is poison to it."""

    def __init__(self, pass_s: float) -> None:
        """A forward pass takes `pass_s` and costs no processor time."""
        super().__init__()
        self._pass_s = pass_s

    def scores(self, batch: NDArray[np.uint8]) -> NDArray[np.float32]:
        """See ``worker.engines.Engine.scores``."""
        time.sleep(self._pass_s)
        logits: NDArray[np.float32] = (batch.mean(axis=(1, 2)) / 10).astype(np.float32)  # (N, 3)
        return logits


def throttled(method: Callable[..., Any], switches: Path) -> Callable[..., Any]:
    """The same, but it waits while the switch ``store-hangs`` is there, and a while for ``store-slow``."""

    def work(*arguments: Any, **named: Any) -> Any:
        while (switches / HANGS).exists():
            time.sleep(0.1)
        if (switches / SLOW).exists():
            time.sleep(SLOW_S)
        return method(*arguments, **named)

    return work


def put_in(environ: dict[str, str]) -> None:
    """Change what the environment says is to be changed."""
    for name in ("get", "put_picture", "put_sidecar", "commit"):
        setattr(ImageStore, name, throttled(getattr(ImageStore, name), Path(environ["CHAOS_SWITCHES"])))
    # What a dead process has read is another's after a minute; here there is less time.
    assert WebhookService.__init__.__kwdefaults__
    WebhookService.__init__.__kwdefaults__["abandoned_s"] = ABANDONED_S
    clock.put_in(Path(environ["CHAOS_CLOCK"]))
    if environ["CHAOS_ENGINE"] == "colours":
        vars(worker.engines)["make_engine"] = lambda *_, **__: Colours(PASS_S)
        setattr(Checkpoint, "load", lambda *_, **__: checkpoint())  # noqa: B010 - not for the type checker


if __name__ == "__main__":
    put_in(dict(os.environ))
    sys.exit(main(sys.argv[1:]))
