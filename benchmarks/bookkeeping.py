"""What the queue costs when the model costs nothing: our batch worker beside RQ's own SimpleWorker.

The stock worker runs an empty function with RQ's bookkeeping. Ours starts, ends and publishes every job: the
incident record, two dispatches each, leases and RQ's own records. Decoding is skipped in both."""

import logging
import time
import uuid

from rq import Queue, SimpleWorker
from rq.serializers import JSONSerializer

from benchmarks.free import FREE, free_worker, photograph
from benchmarks.rig import Row
from ingest.admission import admit
from shared.broker import Broker, connect
from shared.routing import Routing
from shared.settings import Settings
from worker.executions import Terms, finish, new_ids, start

JOBS = 4000
BATCHES = (1, 8, 32, 128)
WHAT = "jobs through the queue, free model"


def nothing() -> None:
    """The stock worker's job."""


def measure(settings: Settings, repeats: int) -> list[Row]:
    """Jobs a second, contenders in turn within each repeat."""
    client = connect(settings)
    routing = Routing.load(settings.routing)
    stock = Row(WHAT, "RQ SimpleWorker, no-op job", "jobs/s", [], is_base=True)
    whole = Row(WHAT, "Almenara's worker process, pictures and model free", "jobs/s", [])
    ours = {
        size: Row(WHAT, f"Almenara's start and finish alone, batch of {size}", "jobs/s", [])
        for size in BATCHES
    }
    logging.getLogger("rq.worker").setLevel(logging.ERROR)
    for _ in range(repeats):
        stock.figures.append(_stock(client))
        with free_worker(settings) as worker:
            whole.figures.append(JOBS / worker.flood(JOBS))
        for size, row in ours.items():
            row.figures.append(_ours(client, routing, size))
    return [stock, whole, *ours.values()]


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
