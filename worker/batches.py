"""A batch of executions through decoding and one forward pass, to decisions."""

from collections.abc import Callable, Sequence
from concurrent.futures import FIRST_COMPLETED, Executor, Future, wait
from dataclasses import dataclass

import numpy as np
import structlog
from numpy.typing import NDArray

from shared.checkpoint import Checkpoint
from shared.dispatches import Decision
from shared.errors import AlmenaraError, PermanentError, TransientError
from shared.images import ImageStore, StoreAwayError
from shared.preprocessing import decode
from shared.verdict import Verdict, judge
from worker.decoders import Decoders
from worker.engines import Engine
from worker.executions import Execution

log = structlog.get_logger()

Pixels = NDArray[np.uint8]
Fetched = Pixels | AlmenaraError
Outcome = Decision | AlmenaraError
"""A decision; a PermanentError for review; a TransientError to wait for; any other error to try again."""


FORWARD_S = 0.5
"""A batch is capped at about this much forward time: what waits behind it waits no longer."""

_SILENT = "the image store gives no picture and no answer"

LARGEST_BATCH = 64
"""Of batches lost with a worker each picture runs alone elsewhere: there must not be too many of them."""


class DeviceLostError(Exception):
    """Raised when the model fails whatever it is shown: what it runs on is gone."""


@dataclass(frozen=True)
class Classifier:
    """A checkpoint on an engine, and where its pictures are."""

    checkpoint: Checkpoint
    engine: Engine
    store: ImageStore
    max_pixels: int
    decoders: Decoders | None = None
    """Processes to decode in; None: in the threads that fetch, for trusted pictures and tests."""
    patience_s: float = 30.0
    """Shorter than a batch may take, so that a store that hangs is not taken for a picture that does."""

    @property
    def model(self) -> str:
        """What records say decided."""
        return f"{self.checkpoint.model_id} {self.engine.name}"

    def fetch(
        self, batch: Sequence[Execution], pool: Executor, moved: Callable[[], None] = lambda: None
    ) -> list[Fetched]:
        """The pixels of each execution of a batch, in order, or why there are none.

        An image store that lets us wait for `patience_s` without giving any picture counts as away: a worker
        that ended for it would leave its pictures under suspicion. One that hangs in a decoder is waited for.

        Args:
            batch: executions that have an incident.
            pool: threads to fetch and decode in.
            moved: called for each picture that is had, or can't be.
        """
        read: set[str] = set()

        def fetched(execution: Execution) -> Fetched:
            try:
                return self._fetch(execution, read)
            finally:
                moved()

        tasks = {pool.submit(fetched, execution): execution.member for execution in batch}
        waiting, hung = set(tasks), set[Future[Fetched]]()
        while waiting:
            done, waiting = wait(waiting, self.patience_s, FIRST_COMPLETED)
            if not done:
                hung |= {task for task in waiting if tasks[task] not in read}
                waiting -= hung
        for task in hung:
            task.cancel()
        return [StoreAwayError(_SILENT) if task in hung else task.result() for task in tasks]

    def judge(self, fetched: Sequence[Fetched]) -> list[Outcome]:
        """Decide about each picture of a batch, in order. One bad picture hurts only itself.

        Raises:
            DeviceLostError: nothing can be judged any more; it is no picture's fault.
        """
        scored = self._scores(pictures) if (pictures := _pictures(fetched)) else []
        if scored and all(isinstance(each, AlmenaraError) for each in scored):
            self._check_device()
        outcomes = iter(scored)
        return [each if isinstance(each, AlmenaraError) else next(outcomes) for each in fetched]

    def review(self, error: AlmenaraError) -> Decision:
        """What is told of a photograph that no model could judge: a person must look."""
        return Decision(
            verdict=Verdict.UNSURE,
            situation=None,
            confidence=0.0,
            scores={},
            model=self.model,
            reason=error.reason,
            detail=error.detail,
        )

    def _fetch(self, execution: Execution, read: set[str]) -> Fetched:
        assert execution.incident is not None
        try:
            data = self.store.get(execution.incident.photograph.image)
            read.add(execution.member)
            if self.decoders is not None:
                return self.decoders.decode(data, self.checkpoint.preprocessing)
            return decode(data, self.checkpoint.preprocessing, max_pixels=self.max_pixels)
        except (PermanentError, TransientError) as error:
            return error
        # Drivers of image stores raise errors of their own kinds. Let through, one would end every worker
        # that takes this picture; so it is tried a few times, and then a person looks.
        except Exception as error:
            return AlmenaraError(f"the picture can't be had: {error!r}", reason="unforeseen")

    def _scores(self, pictures: list[Pixels]) -> list[Outcome]:
        """One forward pass; where it fails, each half by itself, down to the one picture that is at fault."""
        try:
            logits = self.engine.scores(np.stack(pictures))  # (N, C)
        # torch and OpenVINO raise RuntimeError, out of memory too, and now and then something else.
        except Exception as error:
            if len(pictures) > 1:
                half = len(pictures) // 2
                log.warning(
                    "forward pass failed, halving the batch", pictures=len(pictures), error=str(error)
                )
                return self._scores(pictures[:half]) + self._scores(pictures[half:])
            fault = error if isinstance(error, AlmenaraError) else AlmenaraError(str(error), reason="engine")
            return [fault]
        return [self._decision(row) for row in logits]

    def _check_device(self) -> None:
        """Show the model a picture that is beyond doubt."""
        size_px = self.checkpoint.preprocessing.size_px
        try:
            self.engine.scores(np.full((1, size_px, size_px, 3), 127, np.uint8))
        except AlmenaraError:
            return  # the model's own fault, or one that passes
        except Exception as error:
            raise DeviceLostError(str(error)) from error

    def _decision(self, row: NDArray[np.float32]) -> Decision:
        judgement = judge(
            row, self.checkpoint.classes, self.checkpoint.temperature, self.checkpoint.thresholds
        )
        return Decision(
            verdict=judgement.verdict,
            situation=judgement.situation,
            confidence=judgement.confidence,
            scores=judgement.scores,
            model=self.model,
            reason="low_confidence" if judgement.verdict is Verdict.UNSURE else "",
            detail="the model is not sure enough" if judgement.verdict is Verdict.UNSURE else "",
        )


def largest_batch(seconds_an_image: float) -> int:
    """Photographs in one forward pass of an engine that takes so long for each."""
    return max(1, min(LARGEST_BATCH, int(FORWARD_S / max(seconds_an_image, 1e-6))))


def _pictures(fetched: Sequence[Fetched]) -> list[Pixels]:
    return [each for each in fetched if not isinstance(each, AlmenaraError)]
