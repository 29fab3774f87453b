"""Every metric of every service, defined once: names, units, and what to do about them.

Each service shows its own (shared/probes.py); desk and web also show what is broker-wide (`BROKER_WIDE`), so
that any one survivor tells. Labels are of a bounded set: words of the routing file, outcomes, routes, and the
cameras in the settings; nothing that a stranger's file name could multiply.
"""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from prometheus_client import (
    CollectorRegistry,
    Counter,
    Gauge,
    Histogram,
    Info,
    PlatformCollector,
    ProcessCollector,
    disable_created_metrics,
)
from prometheus_client.core import GaugeMetricFamily

from shared.label_values import VALUES

disable_created_metrics()  # type: ignore[no-untyped-call] # one more series for each, which nothing of ours reads

SERVICES = ("ingest", "worker", "desk", "web", "webhooks")

REGISTRIES: Mapping[str, CollectorRegistry] = {service: CollectorRegistry() for service in SERVICES}
"""What each service shows; parts add collectors of their own."""

for _registry in REGISTRIES.values():
    ProcessCollector(registry=_registry)
    PlatformCollector(registry=_registry)

_INGEST, _WORKER, _DESK, _WEB, _WEBHOOKS = (REGISTRIES[service] for service in SERVICES)

_SHORT_S = (0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 60.0)
_LONG_S = (0.05, 0.1, 0.25, 0.5, 1, 2, 5, 10, 20, 30, 60, 120, 300, 600, 1800, 3600)
_PEOPLE_S = (5, 10, 20, 30, 45, 60, 90, 120, 180, 300, 600, 1200, 1800, 3600)

# Every service.

BUILD = {
    service: Gauge(
        "almenara_build_info",
        "1, for each service that runs: its version. Two versions at once are an upgrade that has not ended.",
        ["part", "version"],
        registry=registry,
    )
    for service, registry in REGISTRIES.items()
}
LOOP_SILENT = {
    service: Gauge(
        "almenara_loop_silent_seconds",
        "Seconds since the main loop turned. Above 60 it hangs: restart the service; /livez fails above 90.",
        registry=registry,
    )
    for service, registry in REGISTRIES.items()
}
READY = {
    service: Gauge(
        "almenara_ready",
        "1 once the service serves; 0 while it starts, or waits at its start for the broker.",
        registry=registry,
    )
    for service, registry in REGISTRIES.items()
}

# Ingest.

INGEST_FILES = Counter(
    "almenara_ingest_files",
    "Files by outcome: admitted, seen (a resend), already (claimed twice), rejected with its reason. "
    "Many rejected ones: see `almenara status --rejected`.",
    ["outcome", "reason"],
    registry=_INGEST,
)
INGEST_HELD_BACK = Counter(
    "almenara_ingest_held_back",
    "Files that the label limit made wait in the inbox. If it grows, a camera floods: see LABEL_RATE.",
    registry=_INGEST,
)
INGEST_WAITING = Gauge(
    "almenara_ingest_waiting_files",
    "Files claimed from the inbox and not yet taken in; those behind them are in the inbox still, uncounted. "
    "Not 0 for long: the disk, the store or the broker is slow, or LABEL_RATE holds them back.",
    registry=_INGEST,
)
INGEST_ADMISSION = Histogram(
    "almenara_ingest_admission_seconds",
    "From a file's claim until the broker has its job (this machine's clock).",
    buckets=_LONG_S,
    registry=_INGEST,
)
INGEST_STORE = Histogram(
    "almenara_ingest_store_seconds",
    "Storing one batch of pictures durably. If it grows, the image store is slow.",
    buckets=_SHORT_S,
    registry=_INGEST,
)
INGEST_STORE_FAULTS = Counter(
    "almenara_ingest_store_faults",
    "Times that pictures could not be stored and wait: is the store full, or away?",
    registry=_INGEST,
)

# Worker.

WORKER_BATCH = Histogram(
    "almenara_worker_batch_photographs",
    "Photographs in one forward pass. Always at the maximum: add a worker.",
    buckets=(1, 2, 4, 8, 16, 32, 64),
    registry=_WORKER,
)
WORKER_FETCH = Histogram(
    "almenara_worker_fetch_seconds",
    "Fetching and decoding one batch. If it is above forward's, the image store is the bottleneck.",
    buckets=_SHORT_S,
    registry=_WORKER,
)
WORKER_FORWARD = Histogram(
    "almenara_worker_forward_seconds",
    "One batch through the model.",
    buckets=_SHORT_S,
    registry=_WORKER,
)
WORKER_PUBLISH = Histogram(
    "almenara_worker_publish_seconds",
    "Publishing one batch, waits for the broker included.",
    buckets=_SHORT_S,
    registry=_WORKER,
)
WORKER_JOBS = Counter(
    "almenara_worker_jobs",
    "Jobs by how they ended: published, superseded (another worker had it), settled, released (tried again), "
    "exhausted (went to review).",
    ["ending"],
    registry=_WORKER,
)
WORKER_RECOVERED = Counter(
    "almenara_worker_recovered_jobs",
    "Jobs that this worker took back from one that fell silent. If it grows, workers die: see their logs.",
    registry=_WORKER,
)
WORKER_QUARANTINED = Counter(
    "almenara_worker_quarantined_photographs",
    "Photographs that killed two workers alone and went to review. Keep the file: it is a bug, or an attack.",
    registry=_WORKER,
)
WORKER_STORE_FAULTS = Counter(
    "almenara_worker_store_faults",
    "Times that a whole batch could not be fetched from the image store and waits.",
    registry=_WORKER,
)
WORKER_DISPATCH = Histogram(
    "almenara_worker_dispatch_seconds",
    "From a file taken in (received_at, the ingester's clock) to its dispatch (the worker's clock), by "
    "situation, or review. Clocks of machines must agree (NTP).",
    ["situation"],
    buckets=_LONG_S,
    registry=_WORKER,
)
WORKER_MODEL = Info(
    "almenara_worker_model",
    "Which model decides, on which engine: labels model, engine. Workers that differ are a swap under way.",
    registry=_WORKER,
)
WORKER_SWAPS = Counter(
    "almenara_worker_model_swaps",
    "Announced models by outcome: swapped, refused (the old one goes on; the worker's log says why).",
    ["outcome"],
    registry=_WORKER,
)

# Desk.

DESK_ENTRIES = Counter(
    "almenara_desk_entries",
    "Entries that this desk brought into the record: kind is incident or move.",
    ["kind"],
    registry=_DESK,
)
DESK_MOVES = Counter(
    "almenara_desk_moves",
    "Moves of people by outcome: applied, or the reason of a refusal.",
    ["outcome"],
    registry=_DESK,
)
DESK_CLOCK = Counter(
    "almenara_desk_clock_actions",
    "What the clock did because nobody did: repeated, fell_back, expired (came back without units on scene), "
    "unverified (went out undecided).",
    ["action"],
    registry=_DESK,
)
DESK_ACKNOWLEDGE = Histogram(
    "almenara_desk_acknowledge_seconds",
    "From a call until the department acknowledged it (the desk's clock).",
    ["department"],
    buckets=_PEOPLE_S,
    registry=_DESK,
)

# Web.

WEB_REQUESTS = Counter(
    "almenara_web_requests",
    "Requests by route and status. Many 5xx: see the web console's log. Many 401 or 429: somebody tries.",
    ["route", "status"],
    registry=_WEB,
)
WEB_INVALID = Counter(
    "almenara_web_invalid_requests",
    "Connections that spoke no HTTP: a scanner, or TLS sent to the plain port.",
    registry=_WEB,
)
WEB_STREAMS = Gauge("almenara_web_streams", "Pages that follow the board now.", registry=_WEB)
WEB_LOGINS = Counter(
    "almenara_web_logins",
    "Logins by outcome: accepted, refused, limited.",
    ["outcome"],
    registry=_WEB,
)
WEB_PICTURES = Counter(
    "almenara_web_picture_views",
    "Pictures shown to people: kind is picture or activation. The log says to whom.",
    ["kind"],
    registry=_WEB,
)

# Webhooks.

WEBHOOK_DELIVERIES = Counter(
    "almenara_webhooks_deliveries",
    "Tries to deliver by department and outcome: delivered, failed (tried again), dead (given up).",
    ["department", "outcome"],
    registry=_WEBHOOKS,
)
WEBHOOK_SECONDS = Histogram(
    "almenara_webhooks_delivery_seconds",
    "One try, until the receiver answered or was given up.",
    buckets=_SHORT_S,
    registry=_WEBHOOKS,
)

for _counter in (
    INGEST_FILES,
    WORKER_JOBS,
    WORKER_SWAPS,
    DESK_ENTRIES,
    DESK_MOVES,
    DESK_CLOCK,
    WEB_REQUESTS,
    WEB_LOGINS,
    WEB_PICTURES,
):
    for _values in VALUES[next(iter(_counter.describe())).name]:
        _counter.labels(*_values)


def count_from_nothing(departments: Iterable[str]) -> None:
    """Have the webhooks' counters of these departments at 0, before anything is delivered."""
    for department in departments:
        for outcome in ("delivered", "failed", "dead"):
            WEBHOOK_DELIVERIES.labels(department, outcome)


@dataclass(frozen=True)
class Told:
    """A metric that is looked up when somebody scrapes, see `shared/vital_metrics.py`."""

    name: str
    about: str
    labels: tuple[str, ...] = ()

    def family(self, samples: Sequence[tuple[Sequence[str], float]]) -> Any:
        """The metric with its samples: the values of its labels, and the number."""
        family = GaugeMetricFamily(self.name, self.about, labels=self.labels)
        for labels, number in samples:
            family.add_metric(list(labels), number)
        return family


DESK_UNACKNOWLEDGED = Told(
    "almenara_desk_unacknowledged",
    "Calls that a department has not acknowledged. Of review: pictures that nobody has decided on.",
    ("department",),
)
DESK_OLDEST = Told(
    "almenara_desk_unacknowledged_oldest_seconds",
    "Age of the oldest of them (the desk's clock). Call the department by other means.",
    ("department",),
)

BROKER_UP = Told("almenara_broker_up", "1 if the broker answers this service within seconds, else 0.")
BROKER_USED = Told("almenara_broker_memory_used_bytes", "Memory that the broker uses.")
BROKER_LIMIT = Told(
    "almenara_broker_memory_limit_bytes",
    "Its limit (maxmemory); 0: none. When it is reached, nothing is taken in until there is room.",
)
QUEUE_JOBS = Told(
    "almenara_queue_jobs",
    "Jobs: state is waiting, in_flight or failed. Waiting ones grow: add workers.",
    ("state",),
)
QUEUE_OLDEST = Told(
    "almenara_queue_oldest_seconds",
    "Age of the job next in line (broker's clock against received_at); 0 where none waits.",
)
INCIDENTS_KNOWN = Told("almenara_incidents_known", "Incidents whose record is kept.")
UNDECIDED = Told(
    "almenara_incidents_undecided",
    "Incidents without a verdict yet. If nothing waits and it is not 0: `almenara audit --repair`.",
)
VERDICTS = Told(
    "almenara_incidents",
    "Incidents by verdict (dispatched, unsure, no_emergency) since the broker began, as people left them. "
    "More unsure than usual: are cameras dirty, or is it dark?",
    ("verdict",),
)
ALIVE = Told(
    "almenara_services_alive",
    "Processes of a service that have said lately that they live. 0 workers: photographs wait.",
    ("part",),
)
LISTENING = Told(
    "almenara_listening_consoles",
    "Consoles (a web server with a page open, a terminal) that listen for a department. 0: nobody is told.",
    ("department",),
)
CAMERA_SILENT = Told(
    "almenara_camera_silent_seconds",
    "Since the last picture of a camera in CAMERAS, or since it was first watched (broker's clock).",
    ("label",),
)
CAMERA_LIMIT = Told(
    "almenara_camera_limit_seconds", "After how long its silence is an alarm, as CAMERAS says.", ("label",)
)
STREAMS = Told(
    "almenara_stream_entries",
    "Entries of a stream: dispatch:*, webhooks:dead:*, almenara:changed; of moves:* those not yet trimmed.",
    ("stream",),
)
GROUP_LAG = Told(
    "almenara_consumer_lag_entries",
    "Dispatches that a consumer group (webhooks, an integration) has not acknowledged. It grows while its "
    "consumer is away.",
    ("department", "group"),
)

BROKER_WIDE = (
    BROKER_UP,
    BROKER_USED,
    BROKER_LIMIT,
    QUEUE_JOBS,
    QUEUE_OLDEST,
    INCIDENTS_KNOWN,
    UNDECIDED,
    VERDICTS,
    ALIVE,
    LISTENING,
    CAMERA_SILENT,
    CAMERA_LIMIT,
    STREAMS,
    GROUP_LAG,
)
"""Shown by desk and web."""
