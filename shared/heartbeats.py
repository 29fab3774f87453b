"""Heartbeats: which services say that they live. On the broker's clock, so that machines need not agree."""

from typing import Any

from shared.broker import Broker
from shared.keys import alive_key

DESK = "desk"
BEAT_S = 2.0
"""How often a service says so."""
SILENT_AFTER_S = 10.0
_FORGOTTEN_AFTER_S = 60.0


def beat(broker: Broker, service: str, name: str) -> None:
    """Say that one runs: `name` is another for each process of a service."""
    now_s = _now_s(broker)
    with broker.pipeline(transaction=False) as pipeline:
        pipeline.zadd(alive_key(service), {name: now_s})
        pipeline.zremrangebyscore(alive_key(service), "-inf", now_s - _FORGOTTEN_AFTER_S)
        pipeline.execute()


def end(broker: Broker, service: str, name: str) -> None:
    """Say that it ends; one that is killed is silent instead."""
    broker.zrem(alive_key(service), name)


def living(broker: Broker, service: str) -> int:
    """How many of a service have said so lately."""
    return int(broker.zcount(alive_key(service), _now_s(broker) - SILENT_AFTER_S, "+inf"))


def _now_s(broker: Broker) -> float:
    reply: Any = broker.time()
    return float(reply[0]) + float(reply[1]) / 1e6
