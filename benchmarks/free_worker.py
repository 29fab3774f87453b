"""The whole of our worker, with pictures and a model that cost nothing: the pipeline's own work is left."""

import os
from collections.abc import Callable, Sequence
from concurrent.futures import Executor

import numpy as np

from benchmarks.free import FREE
from shared.broker import connect
from shared.checkpoint import Checkpoint
from shared.images import ImageStore
from shared.logs import configure
from shared.routing import Routing
from shared.settings import Settings
from worker.batches import Classifier, Fetched, Outcome
from worker.executions import Execution
from worker.inference import Logits, Pixels
from worker.service import BatchWorker

NO_PIXELS = np.zeros((1, 1, 3), np.uint8)


class FreeEngine:
    """Is asked only how fast it is."""

    name = "free"

    def scores(self, batch: Pixels) -> Logits:
        """See ``Engine.scores``."""
        raise NotImplementedError

    def warm_up(self) -> float:
        """See ``Engine.warm_up``."""
        return 0.0


class FreeClassifier(Classifier):
    """Fetches nothing and has its answer ready."""

    def fetch(
        self, batch: Sequence[Execution], pool: Executor, moved: Callable[[], None] = lambda: None
    ) -> list[Fetched]:
        """See ``Classifier.fetch``."""
        return [NO_PIXELS] * len(batch)

    def judge(self, fetched: Sequence[Fetched]) -> list[Outcome]:
        """See ``Classifier.judge``."""
        return [FREE] * len(fetched)


def main() -> None:
    """Work until ended."""
    settings = Settings.from_env(os.environ)
    configure(settings, "worker")
    classifier = FreeClassifier(
        Checkpoint.load(settings.checkpoint),
        FreeEngine(),
        ImageStore(settings.image_store_url),
        settings.max_pixels,
    )
    worker = BatchWorker(settings, connect(settings), classifier, Routing.load(settings.routing))
    worker.warm_up()
    worker.work()


if __name__ == "__main__":
    main()
