"""From stored photographs to incidents and RQ jobs, in one pipeline."""

from collections.abc import Sequence
from datetime import datetime
from typing import Any

from rq.job import Job, JobStatus
from rq.serializers import JSONSerializer
from rq.utils import utcformat

from shared.broker import Broker, Script
from shared.incidents import Photograph, iso, utc_now
from shared.keys import CLASSIFY_FUNCTION, QUEUE

JOB_TIMEOUT_S = 180
JOB_RETRIES = 3

_admit = Script("admit")


def admit(broker: Broker, photographs: Sequence[tuple[str, Photograph]]) -> list[str]:
    """Make each stored photograph an incident with a job in the queue, unless it is one already.

    Args:
        photographs: claim id and photograph. Safe to repeat: a claim counts once.

    Returns:
        For each, ``admitted``, ``seen`` (the same picture of the same place came before) or ``already``
        (this very claim was admitted before).
    """
    now = utc_now()
    calls = [_call(broker, claim_id, photograph, now) for claim_id, photograph in photographs]
    return [outcome.decode() for outcome in _admit.run_many(broker, calls, outlives_master=True)]


def job_fields(broker: Broker, photograph: Photograph, now: datetime) -> dict[str, Any]:
    """The hash of the RQ job, as RQ itself would write it."""
    job = Job.create(
        CLASSIFY_FUNCTION,
        kwargs={"incident_id": photograph.incident_id},
        id=photograph.incident_id,
        connection=broker,
        serializer=JSONSerializer,
        status=JobStatus.QUEUED,
        origin=QUEUE,
        timeout=JOB_TIMEOUT_S,
        description=f"classify {photograph.incident_id}",
    )
    job.enqueued_at = now
    job.retries_left = JOB_RETRIES
    return job.to_dict()


def _call(
    broker: Broker, claim_id: str, photograph: Photograph, now: datetime
) -> tuple[dict[str, Any], list[str | bytes | int]]:
    fields = job_fields(broker, photograph, now)
    arguments = {
        "id": photograph.incident_id,
        "claim": claim_id,
        "received_s": now.timestamp(),
        "seen_at": iso(now),
        "incident": photograph.to_fields() | {"enqueued_at": utcformat(now)},
    }
    return arguments, [part for pair in fields.items() for part in pair]
