"""Publishing: how executions end, with their verdicts, in review, or back in the queue."""

from collections import Counter
from collections.abc import Callable, Sequence
from functools import partial

import structlog
from redis.exceptions import ResponseError

from shared import metrics
from shared.broker import Broker, patiently
from shared.dispatches import Decision
from shared.errors import AlmenaraError, PermanentError, TransientError
from worker.batches import Outcome
from worker.executions import Ending, Execution, Terms, fail, finish_each, release
from worker.keeper import Keeper
from worker.tallies import count_decided, count_ended

log = structlog.get_logger()

PAUSES_S = (0.5, 10.0)
"""The first pause, and the longest, of a worker that can't end what it takes."""

Review = Callable[[AlmenaraError], Decision]
"""What is told of a photograph that no model could judge."""


class Publisher:
    """Ends what a worker has started.

    Attributes:
        counts: how executions ended, by word.
        pause_s: how long to wait before more is taken, where the image store or a stream refuses.
    """

    def __init__(self, broker: Broker, keeper: Keeper, stop: Callable[[], bool]) -> None:
        """Nothing is asked of the broker yet; `stop` turning true ends every wait for it."""
        self.counts: Counter[str] = Counter()
        self.pause_s = 0.0
        self._broker = broker
        self._keeper = keeper
        self._patiently = partial(patiently, stop=stop)

    def publish(
        self,
        batch: Sequence[Execution],
        judged: Sequence[tuple[Execution, Outcome]],
        review: Review,
        terms: Terms,
    ) -> None:
        """End a batch.

        Args:
            batch: all of it, those that may not run too.
            judged: those that were, with what came of it.
            review: makes the decision about the others.
            terms: what the ends have in common.

        Raises:
            BrokerAwayError: the worker was told to stop while the broker was away.
            RedisError: a fault that waiting does not cure, and no single picture's.
        """
        refused = [(execution, execution.refusal) for execution in batch if execution.refusal is not None]
        pairs: list[tuple[Execution, Outcome]] = [*judged, *refused]
        decided = [(execution, each) for execution, each in pairs if not isinstance(each, AlmenaraError)]
        pairs += self._finish(decided, terms)
        transient = [(execution, each) for execution, each in pairs if isinstance(each, TransientError)]
        if len(transient) < len(judged):
            # The store serves others, so the fault is these pictures', and they have only so many tries.
            transient = []
        self._wait_for_store(transient)
        waited_for = {execution.member for execution, _ in transient}
        for execution, error in pairs:
            if isinstance(error, AlmenaraError) and execution.member not in waited_for:
                self._end_without_verdict(execution, error, review, terms)

    def quarantine(self, execution: Execution, review: Review, terms: Terms) -> None:
        """Send a photograph to review that killed whoever had it."""
        error = PermanentError(
            "two workers died while they had this photograph alone; no model has judged it",
            reason="quarantined",
        )
        metrics.WORKER_QUARANTINED.inc()
        log.error("photograph quarantined and sent to review", incident=execution.job_id)
        fail(self._broker, execution, review(error), terms)

    def _finish(
        self, decided: Sequence[tuple[Execution, Decision]], terms: Terms
    ) -> list[tuple[Execution, Outcome]]:
        """End with verdicts; those whose dispatches the broker will not have, and why."""
        if not decided:
            return []
        outcomes = self._patiently(lambda: finish_each(self._broker, decided, terms))
        both = list(zip(decided, outcomes, strict=True))
        done = [(pair, each) for pair, each in both if isinstance(each, Ending)]
        endings = [ending for _, ending in done]
        self._ended([execution for (execution, _), _ in done], endings)
        count_decided([pair for pair, _ in done], endings)
        return [(execution, each) for (execution, _), each in both if isinstance(each, PermanentError)]

    def _wait_for_store(self, transient: list[tuple[Execution, TransientError]]) -> None:
        """Give back what could not be fetched, at no cost, and slow down until the store serves again."""
        if not transient:
            self.pause_s = 0.0
            return
        metrics.WORKER_STORE_FAULTS.inc()
        if not self.pause_s:
            log.error("photographs can't be fetched, trying again", error=str(transient[0][1]))
        self._give_back([execution for execution, _ in transient])

    def _give_back(self, executions: list[Execution]) -> None:
        """At no cost to the pictures, whose fault it is not; but slowly."""
        first_s, longest_s = PAUSES_S
        self.pause_s = min(max(first_s, self.pause_s * 2), longest_s)
        self._ended(executions, self._patiently(lambda: release(self._broker, executions, spend=False)))

    def _end_without_verdict(
        self, execution: Execution, error: AlmenaraError, review: Review, terms: Terms
    ) -> None:
        """A permanent error goes to review at once; any other is tried again while there are retries."""
        ending = Ending.EXHAUSTED
        if not isinstance(error, PermanentError):
            ending = self._patiently(lambda: release(self._broker, [execution], spend=True)[0])
        if ending is Ending.EXHAUSTED:
            log.warning(
                "photograph goes to review",
                incident=execution.job_id,
                reason=error.reason,
                detail=error.detail,
            )
            try:
                ending = self._patiently(lambda: fail(self._broker, execution, review(error), terms))
            except ResponseError as refusal:
                # Nobody can be told. Ending for it would take the worker from every other picture, again
                # and again: whoever starts it hands it the same one first.
                log.critical(
                    "a photograph can't be given to anybody", incident=execution.job_id, error=str(refusal)
                )
                self._give_back([execution])
                return
        self._ended([execution], [ending])

    def _ended(self, executions: list[Execution], endings: list[Ending]) -> None:
        self._keeper.drop(executions)
        self.counts.update(ending.value for ending in endings)
        count_ended(executions, endings)
        if superseded := endings.count(Ending.SUPERSEDED):
            log.warning(
                "jobs had been taken over by another worker; nothing published twice", jobs=superseded
            )
