"""`almenara audit`: do inbox, claims, store, incidents, jobs, streams and the desk's record agree?

With --repair, make them, as far as that can be done.
"""

import time
import uuid
from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from datetime import timedelta
from typing import Any

from rq.queue import Queue
from rq.serializers import JSONSerializer
from sqlalchemy import Engine, func, select
from sqlalchemy.exc import DBAPIError
from sqlalchemy.orm import Session

from console.outages import RecordAwayError, said
from console.records import check_record, open_database
from console.tables import IncidentRecord
from ingest.admission import admit, job_fields
from ingest.claims import claimed_files
from ingest.rejects import Rejects
from ingest.watching import find_candidates
from shared.broker import Broker, Script, words
from shared.dispatches import Dispatch, DispatchError
from shared.images import ImageStore
from shared.incidents import Incident, IncidentState, Photograph, RecordError, all_ids, iso, utc_now
from shared.keys import DISPATCH_PREFIX, LEASES, QUEUE, incident_key
from shared.settings import Settings

PAGE = 500
ON_ITS_WAY_S = 3.0
"""Longer than from a sidecar written to its incident admitted, by an ingester that waits for nothing."""

_requeue = Script("requeue")

Progress = Callable[[str], None]


@dataclass
class Audit:
    """What was counted, and what does not balance.

    Attributes:
        counts: how much of what there is.
        findings: (kind, thing, what is wrong) of everything that does not balance.
        repaired: how many findings were put right.
    """

    counts: Counter[str] = field(default_factory=Counter)
    findings: list[tuple[str, str, str]] = field(default_factory=list)
    repaired: int = 0

    @property
    def balanced(self) -> bool:
        """Whether nothing is left to put right."""
        return len(self.findings) == self.repaired

    def found(self, kind: str, thing: str, wrong: str) -> None:
        """Note one finding."""
        self.findings.append((kind, thing, wrong))


def audit(
    broker: Broker,
    store: ImageStore,
    settings: Settings,
    *,
    repair: bool = False,
    progress: Progress = lambda _: None,
) -> Audit:
    """Compare everything with everything. Safe while the services run: what is on its way is not a finding.

    Args:
        repair: give stored pictures without an incident one, and stranded incidents a new job.
        progress: is told what is being looked at.

    Raises:
        BrokerAwayError, StoreAwayError, RecordAwayError: one of them can't be asked.
    """
    result = Audit()
    progress("inbox and claims")
    _files(result, settings)
    progress("image store")
    stored = _stored(result, broker, store, settings, repair)
    progress("incidents and jobs")
    decided = _incidents(result, broker, store, stored, repair)
    progress("streams")
    _streams(result, broker, decided)
    progress("the desk's record")
    _desk(result, settings, decided)
    progress("RQ registries")
    _registries(result, broker)
    return result


def _files(result: Audit, settings: Settings) -> None:
    for inbox in settings.inbox:
        if not inbox.is_dir():
            result.found("inbox", str(inbox), "the folder is not there")
            continue
        result.counts["files in inbox"] += sum(1 for _ in find_candidates(inbox, settings.recursive))
        result.counts["files claimed"] += len(claimed_files(inbox))
    result.counts["files rejected"] = Rejects(settings.rejected_dir).count()


def _stored(
    result: Audit, broker: Broker, store: ImageStore, settings: Settings, repair: bool
) -> dict[str, Photograph]:
    """Photographs in the store by incident id; those that have no incident are findings."""
    stored: dict[str, Photograph] = {}
    pictures = {place for place, _ in store.pictures()}
    oldest = iso(utc_now() - timedelta(days=settings.retention_days))
    for place, photograph in store.sidecars():
        if photograph is None:
            result.found("store", place, "the sidecar can't be read")
            continue
        stored[photograph.incident_id] = photograph
        if photograph.image not in pictures and not store.has(photograph.image):
            result.found("store", place, f"its picture {photograph.image} is gone")
    result.counts["pictures stored"] = len(pictures)
    result.counts["sidecars stored"] = len(stored)
    lost = [each for each in _unknown(broker, stored) if each.received_at >= oldest and store.has(each.image)]
    for photograph in lost:
        result.found(
            "store", photograph.incident_id, f"stored as {photograph.name!r}, but it has no incident"
        )
    if repair and lost:
        admit(broker, [(f"audit-{uuid.uuid4().hex}", photograph) for photograph in lost])
        result.repaired += len(lost)
    return stored


def _unknown(broker: Broker, stored: dict[str, Photograph]) -> list[Photograph]:
    """Stored photographs that the broker has no incident of, also a while later."""
    unknown = sorted(stored)
    for wait_s in (0.0, ON_ITS_WAY_S):
        if unknown:
            time.sleep(wait_s)
            unknown = _without_record(broker, unknown)
    return [stored[incident_id] for incident_id in unknown]


def _without_record(broker: Broker, ids: list[str]) -> list[str]:
    without = []
    for begin in range(0, len(ids), PAGE):
        page = ids[begin : begin + PAGE]
        with broker.pipeline(transaction=False) as pipeline:
            for incident_id in page:
                pipeline.exists(incident_key(incident_id))
            without += [
                incident_id for incident_id, there in zip(page, pipeline.execute(), strict=True) if not there
            ]
    return without


def _incidents(
    result: Audit, broker: Broker, store: ImageStore, stored: dict[str, Photograph], repair: bool
) -> dict[str, Incident]:
    """Decided incidents by id; undecided ones that nobody works on are findings."""
    decided: dict[str, Incident] = {}
    numbers: dict[str, str] = {}
    for incident_id, fields in _records(broker):
        try:
            incident = Incident.from_fields(fields)
        except RecordError as error:
            result.found("incident", incident_id, str(error))
            continue
        result.counts["incidents"] += 1
        if numbers.setdefault(incident.number, incident_id) != incident_id:
            result.found("incident", incident.number, "two incidents have this number")
        if incident.state is IncidentState.DECIDED:
            decided[incident_id] = incident
            result.counts[f"incidents {incident.verdict}"] += 1
        else:
            result.counts["incidents undecided"] += 1
            _stranded(result, broker, incident, repair)
        if incident_id not in stored and not store.has(incident.photograph.image):
            result.found("incident", incident.number, "its picture is not in the image store")
    return decided


def _stranded(result: Audit, broker: Broker, incident: Incident, repair: bool) -> None:
    fields = job_fields(broker, incident.photograph, utc_now())
    more = [part for pair in fields.items() for part in pair]
    arguments = {"id": incident.photograph.incident_id, "repair": repair}
    if _requeue.run_many(broker, [(arguments, more)])[0] == b"stranded":
        result.found("incident", incident.number, "it is undecided, and no queue or worker has it")
        result.repaired += repair


def _records(broker: Broker) -> Iterator[tuple[str, dict[str, str]]]:
    ids = all_ids(broker)
    for begin in range(0, len(ids), PAGE):
        page = ids[begin : begin + PAGE]
        with broker.pipeline(transaction=False) as pipeline:
            for incident_id in page:
                pipeline.hgetall(incident_key(incident_id))
            for incident_id, reply in zip(page, pipeline.execute(), strict=True):
                if reply:  # else it has run out, or its stored picture is a finding of its own
                    yield incident_id, words(reply)


def _streams(result: Audit, broker: Broker, decided: dict[str, Incident]) -> None:
    """Each decision about an incident stands once in each stream that it went to."""
    told = Counter(_entries(broker))
    result.counts["stream entries"] = told.total()
    for (department, incident_id, revision), times in told.items():
        if times > 1:
            again = f", revision {revision}," if revision > 1 else ""
            result.found("stream", department, f"incident {incident_id}{again} was dispatched {times} times")
    reached = {(department, incident_id) for department, incident_id, _ in told}
    for incident_id, incident in decided.items():
        for department in filter(None, incident.fields.get("departments", "").split(",")):
            if (department, incident_id) not in reached:
                result.found("stream", department, f"incident {incident.number} is not in its stream")


def _entries(broker: Broker) -> Iterator[tuple[str, str, int]]:
    """(department, incident id, revision) of every stream entry."""
    for key in sorted(broker.scan_iter(match=DISPATCH_PREFIX + "*", count=1000, _type="stream")):
        department = key.decode().removeprefix(DISPATCH_PREFIX)
        last = "-"
        while page := _page(broker, key, last):
            for _, entry in page:
                try:
                    dispatch = Dispatch.decode(entry.get(b"event", b""))
                    revision = int(dispatch.data.get("revision", 1))
                except (DispatchError, TypeError, ValueError):
                    continue
                yield department, str(dispatch.data["incident_id"]), revision
            last = f"({page[-1][0].decode()}"


def _desk(result: Audit, settings: Settings, decided: dict[str, Incident]) -> None:
    """Every decided incident is in the desk's record, where there is one."""
    if not settings.database_url and not (settings.state_dir / "desk.db").exists():
        return  # no desk has run here
    engine = open_database(settings.database, read_only=True)
    try:
        check_record(engine)
        unknown = sorted(decided)
        for wait_s in (0.0, ON_ITS_WAY_S):
            if unknown:
                time.sleep(wait_s)
                unknown = _without_case(engine, unknown)
        with Session(engine) as session:
            count = session.scalar(select(func.count()).select_from(IncidentRecord))
            result.counts["incidents in the desk's record"] = count or 0
    except RecordAwayError as error:
        if error.reason != "not_ready":
            raise
        return  # nor has one run there
    except DBAPIError as error:
        raise RecordAwayError(
            f"the desk's record does not answer ({said(error)})", remedy="check ALMENARA_DATABASE_URL"
        ) from error
    finally:
        engine.dispose()
    for incident_id in unknown:
        wrong = "it is decided, and the desk has no case of it: `almenara desk` takes it in when it runs"
        result.found("desk", decided[incident_id].number, wrong)


def _without_case(engine: Engine, ids: list[str]) -> list[str]:
    without = []
    with Session(engine) as session:
        for begin in range(0, len(ids), PAGE):
            page = ids[begin : begin + PAGE]
            known = set(session.scalars(select(IncidentRecord.id).where(IncidentRecord.id.in_(page))))
            without += [incident_id for incident_id in page if incident_id not in known]
    return without


def _page(broker: Broker, key: bytes, begin: str) -> list[tuple[bytes, dict[bytes, bytes]]]:
    entries: Any = broker.xrange(key, min=begin, count=PAGE)
    return list(entries)


def _registries(result: Audit, broker: Broker) -> None:
    """RQ's started jobs are our leases. Looked at twice, since a script may run between two reads."""
    queue = Queue(QUEUE, connection=broker, serializer=JSONSerializer)
    result.counts["jobs waiting"] = queue.count
    differing: set[bytes] | None = None
    for attempt in range(3):
        with broker.pipeline(transaction=True) as pipeline:
            pipeline.zrange(queue.started_job_registry.key, 0, -1)
            pipeline.zrange(LEASES, 0, -1)
            started, leased = (set(reply) for reply in pipeline.execute())
        result.counts["jobs in flight"] = len(leased)
        differing = (started ^ leased) if differing is None else differing & (started ^ leased)
        if not differing:
            return
        time.sleep(0.1 * (attempt + 1))
    for member in differing or ():
        result.found("rq", member.decode(), "RQ's started jobs and our leases differ")


def lines(result: Audit, repair: bool) -> list[str]:
    """The audit for people."""
    text = [f"{number:>8,}  {what}" for what, number in sorted(result.counts.items())]
    text += [f"{kind}: {thing}: {wrong}" for kind, thing, wrong in result.findings]
    if not result.findings:
        text.append("The books balance.")
    elif repair:
        rest = (
            "" if result.balanced else " What is left needs a person: it can't be made again from the store."
        )
        text.append(f"{len(result.findings)} findings, {result.repaired} repaired.{rest}")
    else:
        text.append(f"{len(result.findings)} findings. `almenara audit --repair` puts right what can be.")
    return text


def as_json(result: Audit) -> dict[str, Any]:
    """The audit for scripts."""
    return {
        "balanced": result.balanced,
        "counts": dict(result.counts),
        "findings": [
            {"kind": kind, "thing": thing, "wrong": wrong} for kind, thing, wrong in result.findings
        ],
        "repaired": result.repaired,
    }
