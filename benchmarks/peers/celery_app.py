"""Celery with celery-batches: one prefork child that holds the model, batches of 16 or of what 50 ms bring.

The prefetch multiplier is two batches: celery-batches wants it above `flush_every`. Results go to the result
backend in the same broker, each by `mark_as_done`, as its documentation shows.
"""

import os
from typing import Any

from celery import Celery, signals
from celery_batches import Batches, SimpleRequest

from benchmarks.peers import BATCH, CELERY_TASK
from benchmarks.peers.decoding import decode_files
from benchmarks.peers.model import model
from shared.settings import Settings

FLUSH_S = 0.05

_url = Settings.from_env(os.environ).redis_url.replace("unix://", "redis+socket://")
app = Celery("benchmark", broker=_url, backend=_url)
app.conf.worker_prefetch_multiplier = 2 * BATCH
app.conf.broker_connection_retry_on_startup = True


@signals.worker_process_init.connect
def load(**_: Any) -> None:
    """Load the model in the child, where it runs."""
    model()


@app.task(base=Batches, name=CELERY_TASK, flush_every=BATCH, flush_interval=FLUSH_S)
def classify(requests: list[SimpleRequest]) -> None:
    """Judge the pictures whose paths the requests carry."""
    verdicts = model().verdicts(decode_files([request.args[0] for request in requests]))
    for request, verdict in zip(requests, verdicts, strict=True):
        app.backend.mark_as_done(request.id, verdict, request=request)
