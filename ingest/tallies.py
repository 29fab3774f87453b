"""Tallies: what an ingester counts, times and says of the photographs that it takes in."""

import time
from collections import Counter
from collections.abc import Sequence

import structlog

from ingest.claims import Claim
from shared import metrics
from shared.incidents import Photograph

log = structlog.get_logger()


def count_admitted(photographs: Sequence[tuple[Claim, Photograph]], outcomes: Sequence[str]) -> None:
    """Note photographs that are in the broker, and say of each under which id it goes on from here.

    Args:
        photographs: those of one batch.
        outcomes: of each, as `ingest.admission.admit` tells it.
    """
    now_s = time.monotonic()
    for outcome, files in Counter(outcomes).items():
        metrics.INGEST_FILES.labels(outcome=outcome, reason="").inc(files)
    for (claim, photograph), outcome in zip(photographs, outcomes, strict=True):
        metrics.INGEST_ADMISSION.observe(now_s - claim.claimed_at_s)
        log.info("taken in", outcome=outcome, incident=photograph.incident_id, name=photograph.name)


def count_rejected(reason: str) -> None:
    """Note a file that can never be taken in."""
    metrics.INGEST_FILES.labels(outcome="rejected", reason=reason).inc()
