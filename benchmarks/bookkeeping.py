"""What the queue costs when the model costs nothing: our batch worker beside RQ's own SimpleWorker.

The stock worker runs an empty function with RQ's bookkeeping. Ours starts, ends and publishes every job: the
incident record, two dispatches each, leases and RQ's own records. Decoding is skipped in both. How a whole
worker process does is in `depth.py`.
"""

import logging
import time
import uuid

from rq import Queue, SimpleWorker
from rq.serializers import JSONSerializer

from benchmarks.rig import Row
from ingest.admission import admit
from shared.broker import Broker, connect
from shared.coordinates import Coordinates
from shared.dispatches import Decision
from shared.incidents import Photograph, iso, utc_now
from shared.routing import Routing
from shared.settings import Settings
from shared.verdict import Verdict
from worker.executions import Terms, finish, new_ids, start

JOBS = 2000
BATCHES = (1, 8, 32, 128)
WHAT = "jobs through the queue, free model"
FREE = Decision(
    verdict=Verdict.DISPATCHED,
    situation="fire",
    confidence=0.9,
    scores={"fire": 0.9, "normal": 0.1},
    model="free",
)
"""What a model that costs nothing says."""


def nothing() -> None:
    """The stock worker's job."""


def measure(settings: Settings, repeats: int) -> list[Row]:
    """Jobs a second, contenders in turn within each repeat."""
    client = connect(settings)
    routing = Routing.load(settings.routing)
    stock = Row(WHAT, "RQ SimpleWorker, no-op job", "jobs/s", [], is_base=True)
    ours = {size: Row(WHAT, f"Almenara, batch of {size}, publishing", "jobs/s", []) for size in BATCHES}
    logging.getLogger("rq.worker").setLevel(logging.ERROR)
    for _ in range(repeats):
        stock.figures.append(_stock(client))
        for size, row in ours.items():
            row.figures.append(_ours(client, routing, size))
    return [stock, *ours.values()]


def _stock(client: Broker) -> float:
    client.flushall()
    queue = Queue("stock", connection=client, serializer=JSONSerializer)
    queue.enqueue_many([Queue.prepare_data(nothing) for _ in range(JOBS)])
    worker = SimpleWorker([queue], connection=client, serializer=JSONSerializer, log_job_description=False)
    worker.log_result_lifespan = False
    began_s = time.perf_counter()
    worker.work(burst=True, logging_level="ERROR")
    return JOBS / (time.perf_counter() - began_s)


def _ours(client: Broker, routing: Routing, size: int) -> float:
    client.flushall()
    admit(client, [(uuid.uuid4().hex, photograph(index)) for index in range(JOBS)])
    terms = Terms(routing, 86400)
    began_s = time.perf_counter()
    done = 0
    while batch := start(client, "bench", new_ids(size), 8.0):
        finish(client, [(execution, FREE) for execution in batch], terms)
        done += len(batch)
    assert done == JOBS
    return JOBS / (time.perf_counter() - began_s)


def photograph(index: int) -> Photograph:
    """What an ingester would know of picture `index`."""
    return Photograph(
        incident_id=f"{index:032x}",
        image="pictures/00/00.jpg",
        coordinates=Coordinates(latitude_deg=33.8568, longitude_deg=151.2153),
        label="bench",
        received_at=iso(utc_now()),
        name="33.8568, 151.2153.jpeg",
        place_from="name",
    )
