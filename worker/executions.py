"""One try at one job: starting, renewing, ending and taking back. Each is an atomic script in the broker."""

import uuid
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from enum import StrEnum
from typing import Any

from redis.exceptions import ResponseError
from rq.job import Job
from rq.results import Result
from rq.serializers import JSONSerializer
from rq.utils import utcformat

from shared import heartbeats
from shared.broker import Broker, Script, is_broker_fault, words
from shared.dispatches import Decision, decision_fields, entries
from shared.errors import PermanentError
from shared.incidents import Incident, utc_now
from shared.keys import CLASSIFY_FUNCTION
from shared.routing import Routing

RQ_TTL_S = 3600
"""RQ's own expiry of an execution. Far beyond our lease: our sweep, which costs no retry, comes first."""

WORKER_TTL_S = heartbeats.WORKER_TTL_S
STUCK_S = 5.0
RESULT_KEEP_S = 3600

_start, _finish, _fail = Script("start"), Script("finish"), Script("fail")
_release, _renew, _sweep = Script("release"), Script("renew"), Script("sweep")


class Ending(StrEnum):
    """What ending an execution came to."""

    PUBLISHED = "published"
    """The verdict and its dispatches are in the broker."""
    SUPERSEDED = "superseded"
    """Another execution holds the job; nothing was written."""
    SETTLED = "settled"
    """The incident had its verdict before; only the job ended."""
    RELEASED = "released"
    """The job is back in the queue."""
    EXHAUSTED = "exhausted"
    """No retry is left; nothing was written, and the caller fails the job."""


@dataclass(frozen=True, slots=True)
class Execution:
    """One try at one job by one worker.

    Attributes:
        job_id: also the id of the incident.
        worker: the RQ worker's name.
        started_at: the worker's clock.
        incident: None where the job is none of ours, or its record is damaged; `refusal` says which.
    """

    job_id: str
    execution_id: str
    worker: str
    started_at: datetime
    incident: Incident | None
    refusal: PermanentError | None = None

    @property
    def member(self) -> str:
        """As leases and RQ's registries name it."""
        return f"{self.job_id}:{self.execution_id}"


@dataclass(frozen=True, slots=True)
class Terms:
    """What the ends of a batch's executions have in common.

    Attributes:
        routing: who is told.
        keep_s: how long an incident's record lives from now.
        working_s: seconds that the worker spent on each.
    """

    routing: Routing
    keep_s: int
    working_s: float = 0.0


def new_ids(count: int) -> list[str]:
    """Ids for executions about to start."""
    return [uuid.uuid4().hex for _ in range(count)]


def start(
    broker: Broker, worker: str, ids: Sequence[str], lease_s: float, first: str = ""
) -> list[Execution]:
    """Start as many jobs from the front of the queue as there are ids.

    Args:
        ids: new ones; the same again where the reply to an earlier call was lost.
        first: a job that this worker has moved to RQ's intermediate queue, or an empty string.
    """
    now = utc_now()
    arguments = {
        "worker": worker,
        "first": first,
        "executions": list(ids),
        "lease_s": lease_s,
        "ttl_s": RQ_TTL_S,
        **_clock(now),
    }
    started = []
    for job_id, execution_id, job_fields, incident_fields in _start(broker, arguments):
        incident, refusal = _incident_of(broker, job_id.decode(), job_fields, words(incident_fields))
        started.append(Execution(job_id.decode(), execution_id.decode(), worker, now, incident, refusal))
    return started


def finish(broker: Broker, decided: Sequence[tuple[Execution, Decision]], terms: Terms) -> list[Ending]:
    """End executions with their verdicts, in one pipeline."""
    now = utc_now()
    calls = [
        (
            _ending(execution, decision, terms, now)
            | {
                "result": _result(execution, now, Result.Type.SUCCESSFUL, {"verdict": decision.verdict.value})
            },
            (),
        )
        for execution, decision in decided
    ]
    return [Ending(outcome.decode()) for outcome in _finish.run_many(broker, calls)]


def finish_each(
    broker: Broker, decided: Sequence[tuple[Execution, Decision]], terms: Terms
) -> list[Ending | PermanentError]:
    """As `finish`. One whose dispatches the broker will not have, ever, hurts no other; and says why.

    Raises:
        RedisError: the broker is away, or refuses us altogether.
    """
    try:
        return list(finish(broker, decided, terms))
    except ResponseError as error:
        if is_broker_fault(error):
            raise
    endings: list[Ending | PermanentError] = []
    for each in decided:
        try:
            endings += finish(broker, [each], terms)
        except ResponseError as error:
            if is_broker_fault(error):
                raise
            wrong = f"its dispatches can't be written: {error}"
            endings.append(PermanentError(wrong, reason="unpublishable"))
    return endings


def fail(broker: Broker, execution: Execution, decision: Decision, terms: Terms) -> Ending:
    """End an execution without a verdict: the job fails, and the incident goes to review."""
    now = utc_now()
    text = f"{decision.reason}: {decision.detail}"
    arguments = _ending(execution, decision, terms, now) | {
        "exc_info": text,
        "result": _result(execution, now, Result.Type.FAILED, None, text),
    }
    return Ending(_fail(broker, arguments).decode())


def release(broker: Broker, executions: Sequence[Execution], *, spend: bool) -> list[Ending]:
    """Give jobs back to the front of the queue, in order.

    Args:
        spend: this was a failed try, which costs one of the job's retries.
    """
    calls = [
        ({"id": each.job_id, "execution": each.execution_id, "worker": each.worker, "spend": spend}, ())
        for each in reversed(executions)
    ]
    return [Ending(outcome.decode()) for outcome in reversed(_release.run_many(broker, calls))]


def renew(
    broker: Broker, worker: str, members: Sequence[str], lease_s: float, worker_fields: Mapping[str, Any]
) -> set[str]:
    """Say that a worker lives and what it holds; returns what it no longer holds."""
    arguments = {
        "worker": worker,
        "members": list(members),
        "lease_s": lease_s,
        "ttl_s": RQ_TTL_S,
        "worker_ttl_s": WORKER_TTL_S,
        "worker_fields": dict(worker_fields),
        **_clock(utc_now()),
    }
    return {member.decode() for member in _renew(broker, arguments)}


def sweep(broker: Broker, lease_s: float) -> tuple[int, list[Execution]]:
    """Take back what dead workers held.

    Returns:
        How many jobs are in the queue again, and the executions whose pictures killed two workers alone;
        these are for the caller to fail.
    """
    recovered, killers = _sweep(broker, {"lease_s": lease_s, "stuck_s": STUCK_S, "limit": 200})
    found = []
    for job_id, execution_id, worker in killers:
        try:
            incident = Incident.fetch(broker, job_id.decode())
        except PermanentError:
            incident = None  # a damaged record must not stop every worker's sweeps
        found.append(Execution(job_id.decode(), execution_id.decode(), worker.decode(), utc_now(), incident))
    return recovered, found


def _incident_of(
    broker: Broker, job_id: str, job_fields: list[bytes], incident_fields: dict[str, str]
) -> tuple[Incident | None, PermanentError | None]:
    """The incident that a job is about, and why the job may not run, if so."""
    incident: Incident | None = None
    try:
        if not incident_fields:
            raise PermanentError("there is no incident for this job", reason="no_incident")
        incident = Incident.from_fields(incident_fields)
        _check_allowed(broker, job_id, job_fields)
    except PermanentError as error:
        return incident, error
    return incident, None


def _check_allowed(broker: Broker, job_id: str, job_fields: list[bytes]) -> None:
    """A job runs the one function, on its own incident. Whoever writes to the broker can name another."""
    job = Job(job_id, connection=broker, serializer=JSONSerializer)
    try:
        job.restore(dict(zip(job_fields[::2], job_fields[1::2], strict=True)))
        function, arguments = job.func_name, (list(job.args), dict(job.kwargs))
    except Exception as error:  # RQ lets whatever the serializer raises through
        raise PermanentError(f"the job can't be read: {error}", reason="bad_job") from error
    if function != CLASSIFY_FUNCTION or arguments != ([], {"incident_id": job_id}):
        raise PermanentError(
            f"the job wants to run {function!r}; a worker runs only {CLASSIFY_FUNCTION} on its own incident",
            reason="not_allowed",
            remedy="find out who writes to the broker",
        )


def _ending(execution: Execution, decision: Decision, terms: Terms, now: datetime) -> dict[str, Any]:
    told = entries(execution.incident, decision, terms.routing, now) if execution.incident else []
    return {
        "id": execution.job_id,
        "execution": execution.execution_id,
        "worker": execution.worker,
        "incident": decision_fields(decision, [department for department, _ in told], now),
        "entries": told,
        "keep_s": terms.keep_s,
        "result_keep_s": RESULT_KEEP_S,
        "working_s": f"{terms.working_s:.6f}",
        **_clock(now),
    }


def _result(
    execution: Execution, now: datetime, kind: Result.Type, value: Any, exc_string: str | None = None
) -> dict[str, Any]:
    """The fields of RQ's result record (rq.results.Result.serialize)."""
    result = Result(
        execution.job_id,
        kind,
        connection=None,  # type: ignore[arg-type] # only serialised here, and written by the script
        return_value=value,
        exc_string=exc_string,
        worker_name=execution.worker,
        serializer=JSONSerializer,
        execution_id=execution.execution_id,
        execution_started_at=execution.started_at,
        execution_ended_at=now,
    )
    return {name: str(part) for name, part in result.serialize().items()}


def _clock(now: datetime) -> dict[str, Any]:
    """The worker's clock, as RQ writes it in hashes and in scores."""
    return {"now": utcformat(now), "now_s": now.timestamp()}
