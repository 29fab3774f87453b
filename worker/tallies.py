"""Tallies: what a worker counts, times and says of the batches that are through.

A batch at a time where that is possible: at thousands of jobs a second each microsecond counts.
"""

from collections import Counter
from collections.abc import Sequence
from datetime import datetime

import structlog

from shared import metrics
from shared.dispatches import Decision
from shared.incidents import utc_now
from shared.routing import REVIEW
from shared.verdict import Verdict
from worker.executions import Ending, Execution

log = structlog.get_logger()


def count_ended(executions: Sequence[Execution], endings: Sequence[Ending]) -> None:
    """Note how executions ended, and say so of each that did not end with a verdict of this worker."""
    for ending, jobs in Counter(endings).items():
        metrics.WORKER_JOBS.labels(ending=ending.value).inc(jobs)
    for execution, ending in zip(executions, endings, strict=True):
        if ending is not Ending.PUBLISHED:
            log.info("not decided here", incident=execution.job_id, ending=ending.value)


def count_decided(decided: Sequence[tuple[Execution, Decision]], endings: Sequence[Ending]) -> None:
    """Note how long photographs took from the inbox to their dispatch, and say what each verdict is."""
    now = utc_now()
    times: dict[str, list[float]] = {}
    for (execution, decision), ending in zip(decided, endings, strict=True):
        if ending is not Ending.PUBLISHED or execution.incident is None:
            continue
        took_s = _since(execution.incident.photograph.received_at, now)
        if decision.verdict is not Verdict.NO_EMERGENCY:
            told = decision.situation if decision.verdict is Verdict.DISPATCHED else REVIEW
            times.setdefault(told or REVIEW, []).append(took_s)
        log.info(
            "decided",
            incident=execution.job_id,
            number=execution.incident.number,
            verdict=decision.verdict.value,
            situation=decision.situation,
            confidence=round(decision.confidence, 3),
            after_s=round(took_s, 3),
        )
    for situation, took in times.items():
        child = metrics.WORKER_DISPATCH.labels(situation=situation)
        for took_s in took:
            child.observe(took_s)


def count_batch(photographs: int, *, fetch_s: float, judge_s: float, publish_s: float) -> None:
    """Note a batch that is through, and say so."""
    metrics.WORKER_BATCH.observe(photographs)
    metrics.WORKER_FETCH.observe(fetch_s)
    metrics.WORKER_FORWARD.observe(judge_s)
    metrics.WORKER_PUBLISH.observe(publish_s)
    log.info(
        "batch done",
        photographs=photographs,
        fetch_ms=_ms(fetch_s),
        judge_ms=_ms(judge_s),
        publish_ms=_ms(publish_s),
    )


def _since(received_at: str, now: datetime) -> float:
    """Clocks of two machines: never less than nothing."""
    try:
        return max(0.0, (now - datetime.fromisoformat(received_at)).total_seconds())
    except (TypeError, ValueError):  # a record that somebody else wrote
        return 0.0


def _ms(seconds: float) -> float:
    """Milliseconds, for logs."""
    return round(seconds * 1000, 1)
