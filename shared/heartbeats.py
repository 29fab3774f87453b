"""Heartbeats: which services say that they live, and which consoles listen for whom.

On the broker's clock, so that machines need not agree. What says nothing any longer is forgotten by itself.
"""

import os
import socket
import uuid
from collections.abc import Iterable
from typing import Any

from shared.broker import Broker
from shared.keys import QUEUE, alive_key, listening_key

INGEST, WORKER, DESK, WEB, WEBHOOKS = "ingest", "worker", "desk", "web", "webhooks"
BEAT_S = 2.0
"""How often a service says so; a web console does with its pulse."""
SILENT_AFTER_S = 10.0
WORKERS = f"rq:workers:{QUEUE}"
"""RQ's set of the keys of workers' records."""
WORKER_TTL_S = 60
"""Seconds after which RQ's record of a worker runs out, counted from its last heartbeat."""
LISTENING_S = 20.0
"""A console that has said nothing for so long listens no more; it says so every few seconds."""
_FORGOTTEN_AFTER_S = 60
_MOST_CONSOLES = 1000
"""Remembered for a department: who may say that a console listens can't fill the broker with them."""


def beat(broker: Broker, service: str, name: str) -> None:
    """Say that one runs: `name` is another for each process of a service."""
    now_s = now(broker)
    with broker.pipeline(transaction=False) as pipeline:
        pipeline.zadd(alive_key(service), {name: now_s})
        pipeline.zremrangebyscore(alive_key(service), "-inf", now_s - _FORGOTTEN_AFTER_S)
        pipeline.execute()


def end(broker: Broker, service: str, name: str) -> None:
    """Say that it ends; one that is killed is silent instead."""
    broker.zrem(alive_key(service), name)


def living(broker: Broker, service: str) -> int:
    """How many of a service have said so lately; workers, which RQ registers, too."""
    if service == WORKER:
        return _living_workers(broker)
    return int(broker.zcount(alive_key(service), now(broker) - SILENT_AFTER_S, "+inf"))


def worker_silent_s(left_ms: int) -> float:
    """Seconds since a worker last said so, by how long its record still lives; negative: for ever."""
    # On the broker's clock: each heartbeat lets the record live for so long again.
    return max(0.0, WORKER_TTL_S - left_ms / 1000) if left_ms >= 0 else 0.0


def process_name(kind: str = "") -> str:
    """A name for this process that no other has or had; `kind` comes first in it."""
    name = f"{socket.gethostname()}-{os.getpid()}-{uuid.uuid4().hex[:8]}"
    return f"{kind}-{name}" if kind else name


def listen(broker: Broker, console: str, departments: Iterable[str], ended: Iterable[str] = ()) -> None:
    """Say that a console listens for departments (``review`` may be one), and for these no more.

    Args:
        console: another name for each; a web server is one, however many pages are open.
        departments: which.
        ended: departments that it has listened for before.
    """
    now_s = now(broker)
    with broker.pipeline(transaction=False) as pipeline:
        for key in map(listening_key, departments):
            pipeline.zadd(key, {console: now_s})
            pipeline.zremrangebyscore(key, "-inf", now_s - _FORGOTTEN_AFTER_S)
            pipeline.zremrangebyrank(key, 0, -_MOST_CONSOLES - 1)
            pipeline.expire(key, _FORGOTTEN_AFTER_S)
        for key in map(listening_key, ended):
            pipeline.zrem(key, console)
        pipeline.execute()


def _living_workers(broker: Broker) -> int:
    keys: Any = broker.smembers(WORKERS)
    with broker.pipeline(transaction=False) as pipeline:
        for key in keys:
            pipeline.hmget(key, ["birth", "death"])
            pipeline.pttl(key)
        replies = pipeline.execute()
    # One that ended has a record for a while; of one that was killed it runs out.
    return sum(
        bool(birth) and not death and worker_silent_s(left_ms) <= SILENT_AFTER_S
        for (birth, death), left_ms in zip(replies[::2], replies[1::2], strict=True)
    )


def now(broker: Broker) -> float:
    """The broker's clock, in seconds since the epoch."""
    reply: Any = broker.time()
    return float(reply[0]) + float(reply[1]) / 1e6
