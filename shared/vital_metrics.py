"""The vitals as metrics: what stands in the broker, told to whoever scrapes a desk or a web console."""

from collections.abc import Iterable, Iterator, Sequence
from typing import Any

from prometheus_client.registry import Collector
from redis.exceptions import RedisError

from shared import metrics
from shared.broker import Broker
from shared.inquiries import Inquiry
from shared.settings import Settings
from shared.verdict import Verdict
from shared.vitals import Vitals, read

SCRAPE_S = 2.5
"""How long a scrape waits for the broker."""


class VitalsCollector(Collector):
    """The metrics of `shared.metrics.BROKER_WIDE`, asked for when somebody scrapes."""

    def __init__(self, broker: Broker, settings: Settings, departments: Iterable[str]) -> None:
        """Nothing is asked yet; arguments as for `shared.vitals.read`."""
        known = tuple(departments)
        self._inquiry = Inquiry(lambda: read(broker, settings, known), SCRAPE_S)

    def describe(self) -> Iterable[Any]:
        """Nothing: a registry must not ask the broker to know the names."""
        return []

    def collect(self) -> Iterator[Any]:
        """Every metric; where the broker does not answer in time, `almenara_broker_up 0` alone."""
        try:
            vitals = self._inquiry.ask()
        except (RedisError, TimeoutError):
            yield metrics.BROKER_UP.family([((), 0)])
            return
        yield metrics.BROKER_UP.family([((), 1)])
        for told, samples in _samples(vitals):
            yield told.family(samples)


_Samples = list[tuple[Sequence[str], float]]


def _samples(vitals: Vitals) -> Iterator[tuple[metrics.Told, _Samples]]:
    broker, queue = vitals["broker"], vitals["queue"]
    for told, name in (
        (metrics.BROKER_USED, "used_memory_bytes"),
        (metrics.BROKER_LIMIT, "max_memory_bytes"),
    ):
        if broker.get(name) is not None:
            yield told, [((), broker[name])]
    yield metrics.QUEUE_JOBS, [((state,), queue[state]) for state in ("waiting", "in_flight", "failed")]
    yield metrics.QUEUE_OLDEST, [((), vitals["oldest_s"])]
    yield metrics.INCIDENTS_KNOWN, [((), vitals["incidents"]["known"])]
    yield metrics.UNDECIDED, [((), vitals["undecided"])]
    yield (
        metrics.VERDICTS,
        [((verdict.value,), vitals["incidents"][verdict.value]) for verdict in Verdict],
    )
    yield metrics.ALIVE, [((service,), number) for service, number in vitals["alive"].items()]
    yield metrics.LISTENING, [((word,), number) for word, number in vitals["listening"].items()]
    cameras = vitals["cameras"]
    yield (
        metrics.CAMERA_SILENT,
        [((each["label"],), each["silent_s"]) for each in cameras if each["silent_s"] is not None],
    )
    yield metrics.CAMERA_LIMIT, [((each["label"],), each["limit_s"]) for each in cameras]
    yield metrics.STREAMS, [((stream,), length) for stream, length in vitals["streams"].items()]
    yield (
        metrics.GROUP_LAG,
        [((each["department"], each["group"]), each["lag"]) for each in vitals["groups"]],
    )
