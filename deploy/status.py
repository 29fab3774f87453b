"""`almenara status`: how much waits, what came of the rest, who works."""

from collections.abc import Sequence
from typing import Any

from redis.exceptions import RedisError

from ingest.rejects import Reject, Rejects
from shared.broker import Broker, BrokerAwayError, check, is_broker_fault
from shared.errors import ConfigError
from shared.heartbeats import SILENT_AFTER_S
from shared.labels import escape_label
from shared.routing import Routing
from shared.settings import Settings
from shared.vitals import alarms, read


def gather(broker: Broker, settings: Settings) -> dict[str, Any]:
    """The state of everything, as `almenara status --json` prints it.

    Raises:
        BrokerAwayError: the broker does not answer.
        ConfigError: it refuses us, or is none that we can use.
    """
    check(broker, settings)
    try:
        vitals = read(broker, settings, _departments(settings))
    except RedisError as error:
        if is_broker_fault(error):
            raise BrokerAwayError(f"the broker went away while it was asked ({error})") from error
        raise
    return vitals | {"rejected": Rejects(settings.rejected_dir).count(), "alarms": alarms(vitals)}


def _departments(settings: Settings) -> tuple[str, ...]:
    """Those of the routing file; what else there is can be told without it."""
    try:
        return tuple(Routing.load(settings.routing).departments)
    except ConfigError:
        return ()


def lines(status: dict[str, Any]) -> list[str]:
    """The same for people, alarms first: what does not run is among them, and has no line of its own."""
    incidents = status["incidents"]
    text = [f"ALARM      {escape_label(words)}" for words in status["alarms"]]
    text += [
        f"Queue      {_waiting(status)}",
        f"Incidents  {incidents['dispatched']} dispatched, {incidents['unsure']} unsure (for review), "
        f"{incidents['no_emergency']} no emergency, {status['undecided']} undecided; "
        f"{status['seen_again']} resent",
        f"Rejected   {status['rejected']} files"
        + (" (almenara status --rejected)" if status["rejected"] else ""),
    ]
    for worker in status["workers"]:
        text.append(
            f"Worker     {worker['name'][:12]} on {worker['host']}, pid {worker['pid']}: {worker['state']}, "
            f"{worker['in_flight']} in flight, {worker['finished']} finished, {worker['failed']} failed; "
            f"{worker['model']}{_lag(worker, status['model'])}{_silence(worker)}"
        )
    for ingester in status["ingesters"]:
        text.append(
            f"Ingester   {ingester['instance']}: {', '.join(ingester['inboxes'])}, holds {ingester['held']}"
        )
        for label, files in ingester.get("held_back", {}).items():
            text.append(
                f"           holds back {files} of {_label(label)}: more than ALMENARA_LABEL_RATE a minute"
            )
    desk = status["desk"]
    if desk["running"]:  # else an alarm says so
        text.append(f"Desk       {desk['open']} cases open, {desk['review']} of them for review")
    text += _listening(status)
    text += [
        f"Consumer   {escape_label(group['group'])} has {group['lag']} dispatches of "
        f"{group['department']} to go"
        for group in status["groups"]
        if group["lag"]
    ]
    broker = status["broker"]
    used, limit = broker["used_memory_bytes"] or 0, broker["max_memory_bytes"]
    of = f" of {limit / 1e6:,.0f}" if limit else ""
    text.append(
        f"Broker     version {broker['version']}, up {broker['uptime_s']:,} s, "
        f"{used / 1e6:,.1f}{of} MB of memory"
    )
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


def _label(label: str) -> str:
    return f"label {escape_label(label)!r}" if label else "those without a label"


def _lag(worker: dict[str, Any], model: dict[str, Any]) -> str:
    """That a worker does not decide with the announced model, and why."""
    if not worker["lags"]:
        return ""
    if worker["refused"]:
        return f"; REFUSES {escape_label(worker['refused'])}"
    return f"; not yet {model['announced']}"


def _silence(worker: dict[str, Any]) -> str:
    """How long a worker has been silent, where that is longer than it should be."""
    silent_s = worker["silent_s"]
    return f"; SILENT for {silent_s:.0f} s: it hangs, or died" if silent_s > SILENT_AFTER_S else ""


def _waiting(status: dict[str, Any]) -> str:
    queue = status["queue"]
    oldest = f" (the next one for {status['oldest_s']:.0f} s)" if queue["waiting"] else ""
    return f"{queue['waiting']} waiting{oldest}, {queue['in_flight']} in flight, {queue['failed']} failed"


def _listening(status: dict[str, Any]) -> list[str]:
    """Which departments have somebody before a console, and which cameras have sent a picture lately."""
    consoles = [f"{word} {number}" for word, number in status["listening"].items()]
    text = [f"Listening  {', '.join(consoles)}"] if consoles else []
    for camera in status["cameras"]:
        ago = "" if camera["silent_s"] is None else f"{camera['silent_s']:.0f} s ago"
        seen = f"last picture {ago}" if camera["has_sent"] else f"none since it was first watched, {ago}"
        seen = seen if ago else "not watched yet"
        label = escape_label(camera["label"])
        text.append(f"Camera     {label}: {seen}, alarm after {camera['limit_s']:.0f} s")
    return text
