"""Heartbeats: which services say that they live, and which consoles listen for whom.

On the broker's clock, so that machines need not agree. What says nothing any longer is forgotten by itself.
"""

from collections.abc import Iterable
from typing import Any

from shared.broker import Broker
from shared.keys import alive_key, listening_key

INGEST, WORKER, DESK, WEB, WEBHOOKS = "ingest", "worker", "desk", "web", "webhooks"
BEAT_S = 2.0
"""How often a service says so."""
SILENT_AFTER_S = 10.0
WORKER_TTL_S = 60
"""Seconds after which RQ's record of a worker runs out, counted from its last heartbeat."""
LISTENING_S = 20.0
"""A console that has said nothing for so long listens no more; it says so every few seconds."""
_FORGOTTEN_AFTER_S = 60
_MOST_CONSOLES = 1000
"""Remembered for a department: who may say that a console listens can't fill the broker with them."""

_RARELY = {INGEST: 20.0, WEB: 20.0}
"""These beat every five seconds."""


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
    """How many of a service have said so lately."""
    return int(broker.zcount(alive_key(service), now(broker) - silent_after_s(service), "+inf"))


def silent_after_s(service: str) -> float:
    """Seconds without a beat after which a process of this service counts as dead."""
    return _RARELY.get(service, SILENT_AFTER_S)


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


def now(broker: Broker) -> float:
    """The broker's clock, in seconds since the epoch."""
    reply: Any = broker.time()
    return float(reply[0]) + float(reply[1]) / 1e6
