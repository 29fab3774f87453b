"""The pulse: every few seconds, how the parts behind the console are, and who may still listen."""

import asyncio
from typing import Any

import anyio
import anyio.to_thread
import structlog
from redis.exceptions import RedisError

from console.web.live import Live
from console.web.presence import Presence
from console.web.sessions import Sessions
from shared.broker import Broker
from shared.heartbeats import DESK, INGEST, WORKER, living

log = structlog.get_logger()

PULSE_S = 5.0
_PATIENCE_S = 3.0


async def beat(live: Live, sessions: Sessions, broker: Broker, presence: Presence) -> None:
    """Tell every browser how things are, for ever; end the streams of sessions that stand no more."""
    # Threads of its own: slow requests must not hold it up.
    threads = anyio.CapacityLimiter(2)
    while True:
        listeners = live.listeners
        try:
            standing = await anyio.to_thread.run_sync(
                list, map(sessions.stands, [each.session for each in listeners]), limiter=threads
            )
            for listener, stands in zip(listeners, standing, strict=True):
                if not stands:
                    log.info("an event stream ends with its session", user=listener.session.user.name)
                    live.forget(listener)
            live.pulse(await _vitals(broker, threads))
            watched = frozenset[str]().union(*(each.watches for each in live.listeners))
            with anyio.move_on_after(_PATIENCE_S):
                await anyio.to_thread.run_sync(
                    presence.tell, watched, limiter=threads, abandon_on_cancel=True
                )
        except Exception:
            log.exception("a pulse failed")  # the next one may not
        await asyncio.sleep(PULSE_S)


async def _vitals(broker: Broker, threads: anyio.CapacityLimiter) -> dict[str, Any]:
    with anyio.move_on_after(_PATIENCE_S):
        return await anyio.to_thread.run_sync(read_vitals, broker, limiter=threads, abandon_on_cancel=True)
    return {"desk": False, "workers": None, "ingesters": None}


def read_vitals(broker: Broker) -> dict[str, Any]:
    """Whether a desk runs, and how many workers and ingesters; None where that can't be known."""
    try:
        running = living(broker, DESK) > 0
    except RedisError:
        return {"desk": False, "workers": None, "ingesters": None}
    try:
        return {"desk": running, "workers": living(broker, WORKER), "ingesters": living(broker, INGEST)}
    except RedisError:  # a broker that lets the console read boards alone
        return {"desk": running, "workers": None, "ingesters": None}
