"""Names of what is kept in the broker. shared/scripts/prelude.lua says what each holds."""

QUEUE = "classify"
"""The RQ queue between ingest and worker. One queue only: RQ loses jobs of a worker that pops from two."""

CLASSIFY_FUNCTION = "worker.jobs.classify"
"""The one function a worker runs, enqueued by name so that ingest never loads torch."""

INCIDENTS = "almenara:incidents"
COUNTS = "almenara:counts"
LEASES = "almenara:lease"
DISPATCH_PREFIX = "dispatch:"
INGESTER_PREFIX = "almenara:ingester:"


def incident_key(incident_id: str) -> str:
    """The hash that holds one incident."""
    return f"almenara:incident:{incident_id}"


def dispatch_key(department: str) -> str:
    """The stream of one department's dispatches, or of ``review``."""
    return DISPATCH_PREFIX + department
