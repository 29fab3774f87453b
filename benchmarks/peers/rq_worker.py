"""Stock RQ: `Worker`, which forks for each job, or `SimpleWorker`, which does not.

The model is loaded before the work loop, as RQ's notes on performance say. Where the worker forks, torch must
be kept to one thread until then: it starts threads even to load a model, they are missing in the child, and
the child's first forward pass waits for them for ever. The job takes all cores again. Jobs and results are
JSON, as ours; a result is what the job returns, kept by RQ.
"""

import os
import sys
from typing import Any

import torch
from redis import Redis
from rq import Queue, SimpleWorker, Worker
from rq.serializers import JSONSerializer
from rq.worker.base import BaseWorker

from benchmarks.peers import RQ_QUEUE
from benchmarks.peers.decoding import decode_files
from benchmarks.peers.model import model
from shared.settings import Settings


def classify(path: str) -> dict[str, Any]:
    """The job."""
    torch.set_num_threads(os.cpu_count() or 1)
    return model().verdicts(decode_files([path]))[0]


def main(kind: type[BaseWorker]) -> None:
    """Work until ended."""
    torch.set_num_threads(1)
    client = Redis.from_url(Settings.from_env(os.environ).redis_url)
    model()
    queue = Queue(RQ_QUEUE, connection=client, serializer=JSONSerializer)
    kind([queue], connection=client, serializer=JSONSerializer).work(logging_level="WARNING")


if __name__ == "__main__":
    main({"fork": Worker, "simple": SimpleWorker}[sys.argv[1]])
