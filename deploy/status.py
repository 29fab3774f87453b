"""`almenara status`: how much waits, what came of the rest, who works."""

import json
from collections.abc import Sequence
from datetime import datetime
from typing import Any

from redis.exceptions import RedisError
from rq import worker_registration
from rq.queue import Queue
from rq.serializers import JSONSerializer

from ingest.rejects import Reject, Rejects
from shared.board import desks
from shared.broker import Broker, BrokerAwayError, check, is_broker_fault, words
from shared.incidents import utc_now
from shared.keys import BOARD_VERSION, COUNTS, INCIDENTS, INGESTER_PREFIX, LEASES, QUEUE, open_key
from shared.labels import escape_label
from shared.routing import ALL, REVIEW
from shared.settings import Settings
from shared.verdict import Verdict

SILENT_AFTER_S = 10.0
"""Workers say that they live every two seconds."""


def gather(broker: Broker, settings: Settings) -> dict[str, Any]:
    """The state of everything, as `almenara status --json` prints it.

    Raises:
        BrokerAwayError: the broker does not answer.
        ConfigError: it refuses us, or is none that we can use.
    """
    about = check(broker, settings)
    try:
        return _gathered(broker, settings) | {
            "broker": {
                "version": about.get("valkey_version") or about["redis_version"],
                "uptime_s": about["uptime_in_seconds"],
                "used_memory_bytes": about["used_memory"],
            }
        }
    except RedisError as error:
        if is_broker_fault(error):
            raise BrokerAwayError(f"the broker went away while it was asked ({error})") from error
        raise


def _gathered(broker: Broker, settings: Settings) -> dict[str, Any]:
    queue = Queue(QUEUE, connection=broker, serializer=JSONSerializer)
    with broker.pipeline(transaction=False) as pipeline:
        pipeline.llen(queue.key)
        pipeline.llen(queue.intermediate_queue_key)
        pipeline.zcard(LEASES)
        pipeline.zcard(queue.failed_job_registry.key)
        pipeline.hgetall(COUNTS)
        pipeline.zcard(INCIDENTS)
        pipeline.hlen(open_key(ALL))
        pipeline.hlen(open_key(REVIEW))
        pipeline.get(BOARD_VERSION)
        waiting, popped, in_flight, failed, counted, known, cases, reviews, version = pipeline.execute()
    counts = {word: int(number) for word, number in words(counted).items()}
    return {
        "queue": {"waiting": waiting + popped, "in_flight": in_flight, "failed": failed},
        "incidents": {verdict.value: counts.get(verdict.value, 0) for verdict in Verdict} | {"known": known},
        "undecided": max(0, known - sum(counts.get(verdict.value, 0) for verdict in Verdict)),
        "seen_again": counts.get("seen", 0),
        "rejected": Rejects(settings.rejected_dir).count(),
        "counts": counts,
        "workers": _workers(broker, queue),
        "ingesters": _ingesters(broker),
        "desk": {"running": desks(broker), "open": cases, "review": reviews, "version": int(version or 0)},
    }


def _workers(broker: Broker, queue: Queue) -> list[dict[str, Any]]:
    keys = sorted(worker_registration.get_keys(queue=queue))
    with broker.pipeline(transaction=False) as pipeline:
        for key in keys:
            pipeline.hgetall(key)
            pipeline.scard(f"{key}:executions")
        replies = pipeline.execute()
    workers = []
    for key, fields, in_flight in zip(keys, replies[::2], replies[1::2], strict=True):
        about = words(fields)
        if not about or "death" in about:
            continue  # it died, and its record has run out
        workers.append(
            {
                "name": key.rsplit(":", 1)[-1],
                "host": about.get("hostname", ""),
                "pid": int(about.get("pid", 0)),
                "state": about.get("state", ""),
                "model": about.get("model", ""),
                "in_flight": in_flight,
                "finished": int(about.get("successful_job_count", 0)),
                "failed": int(about.get("failed_job_count", 0)),
                "last_heartbeat": about.get("last_heartbeat", ""),
            }
        )
    return workers


def _ingesters(broker: Broker) -> list[dict[str, Any]]:
    keys = sorted(broker.scan_iter(match=INGESTER_PREFIX + "*", count=1000))
    found = [broker.get(key) for key in keys]
    return [json.loads(about) for about in found if about]


def lines(status: dict[str, Any]) -> list[str]:
    """The same for people."""
    queue, incidents = status["queue"], status["incidents"]
    text = [
        f"Queue      {queue['waiting']} waiting, {queue['in_flight']} in flight, {queue['failed']} failed",
        f"Incidents  {incidents['dispatched']} dispatched, {incidents['unsure']} unsure (for review), "
        f"{incidents['no_emergency']} no emergency, {status['undecided']} undecided; "
        f"{status['seen_again']} resent",
        f"Rejected   {status['rejected']} files"
        + (" (almenara status --rejected)" if status["rejected"] else ""),
    ]
    if status["undecided"] and not queue["waiting"] and not queue["in_flight"]:
        text.append("           Nobody works on the undecided ones: run `almenara audit --repair`")
    for worker in status["workers"]:
        text.append(
            f"Worker     {worker['name'][:12]} on {worker['host']}, pid {worker['pid']}: {worker['state']}, "
            f"{worker['in_flight']} in flight, {worker['finished']} finished, {worker['failed']} failed; "
            f"{worker['model']}{_silence(worker)}"
        )
    if not status["workers"]:
        text.append("Worker     none: photographs wait. Start one with `almenara worker` or `almenara up`")
    for ingester in status["ingesters"]:
        text.append(
            f"Ingester   {ingester['instance']}: {', '.join(ingester['inboxes'])}, holds {ingester['held']}"
        )
    if not status["ingesters"]:
        text.append(
            "Ingester   none: files stay in the inbox. Start one with `almenara ingest` or `almenara up`"
        )
    desk = status["desk"]
    text.append(
        f"Desk       {desk['open']} cases open, {desk['review']} of them for review"
        if desk["running"]
        else "Desk       none: moves wait, and nobody is called again. Start one with `almenara desk`"
    )
    broker = status["broker"]
    text.append(f"Broker     version {broker['version']}, up {broker['uptime_s']:,} s")
    return text


def rejected_lines(listing: Sequence[Reject]) -> list[str]:
    """Every rejected file, with what to do about it."""
    text = []
    for reject in listing:
        remedy = f" {reject.remedy[0].upper()}{reject.remedy[1:]}." if reject.remedy else ""
        text.append(
            f"{reject.rejected_at[:19]}Z  {reject.reason}: {escape_label(reject.detail)}.{remedy}\n"
            f"    {escape_label(reject.path)}"
        )
    return text or ["Nothing was rejected."]


def _silence(worker: dict[str, Any]) -> str:
    """How long a worker has been silent, where that is longer than it should be."""
    try:
        silent_s = (utc_now() - datetime.fromisoformat(worker["last_heartbeat"])).total_seconds()
    except ValueError:
        return ""
    return f"; SILENT for {silent_s:.0f} s: it hangs, or died" if silent_s > SILENT_AFTER_S else ""
