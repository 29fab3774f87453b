"""Pictures and records older than the retention are removed, pictures first."""

from datetime import datetime, timedelta

import structlog

from shared.broker import Broker
from shared.images import ImageStore
from shared.incidents import IncidentState, iso
from shared.keys import DISPATCH_PREFIX, INCIDENTS, incident_key

log = structlog.get_logger()

LEFTOVER_S = 3600.0
"""No writer takes so long between a file and its name."""


def prune(broker: Broker, store: ImageStore, retention_days: float, now: datetime) -> int:
    """Remove what is older than the retention; an incident still undecided is kept whatever its age.

    Sidecar, then picture, then record: an audit that runs in between finds a record without a picture, which
    is only reported, and never a picture without a record, which it would put into the queue again.

    Returns:
        How many incidents were removed.
    """
    store.clear_leftovers(LEFTOVER_S)
    oldest = now - timedelta(days=retention_days)
    keep: set[str] = set()
    removed = []
    for place, photograph in store.sidecars():
        if photograph is None:
            continue
        if photograph.received_at >= iso(oldest) or _undecided(broker, photograph.incident_id):
            keep.add(photograph.image)
        else:
            store.remove(place)
            removed.append(photograph.incident_id)
    for place, age_s in store.pictures():
        if place not in keep and age_s > retention_days * 86400:
            store.remove(place)
    for incident in removed:
        broker.delete(incident_key(incident))
        broker.zrem(INCIDENTS, incident)
    for stream in broker.scan_iter(match=DISPATCH_PREFIX + "*", _type="stream"):
        broker.xtrim(stream, minid=f"{int(oldest.timestamp() * 1000)}-0", approximate=True)
    if removed:
        log.info("removed incidents past their retention", incidents=len(removed), days=retention_days)
    return len(removed)


def _undecided(broker: Broker, incident: str) -> bool:
    state = broker.hget(incident_key(incident), "state")
    return state is not None and state != IncidentState.DECIDED.value.encode()
