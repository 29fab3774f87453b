"""Vitals: how everything stands, as the broker knows it. Metrics and `almenara status` show the same.

What the broker refuses to tell this user is left out: a console's rights are less than an operator's.
"""

import json
from collections.abc import Callable, Iterable, Iterator, Sequence
from datetime import datetime
from typing import Any

from redis.exceptions import ResponseError
from rq.queue import Queue
from rq.serializers import JSONSerializer

from shared import heartbeats
from shared.announcements import announcement_in, lags
from shared.broker import Broker, is_broker_fault, words
from shared.keys import (
    BOARD_VERSION,
    CHANGED,
    COUNTS,
    INCIDENTS,
    INGESTER_PREFIX,
    LABEL_SEEN,
    LEASES,
    MODEL,
    QUEUE,
    WATCHED,
    WEBHOOKS_FOLLOWING,
    alive_key,
    dead_letters_key,
    dispatch_key,
    incident_key,
    listening_key,
    moves_key,
    open_key,
    webhook_again_key,
)
from shared.routing import ALL, REVIEW
from shared.settings import Settings
from shared.verdict import Verdict

Vitals = dict[str, Any]

BEATING = (heartbeats.INGEST, heartbeats.DESK, heartbeats.WEB, heartbeats.WEBHOOKS)
"""Services that beat; workers are in RQ's registry."""

_Question = Callable[[Any], Any]


def read(broker: Broker, settings: Settings, departments: Iterable[str]) -> Vitals:
    """Everything, in two round trips.

    Args:
        broker: whom to ask.
        settings: which cameras are watched.
        departments: those of the routing file.

    Raises:
        RedisError: the broker is away.
    """
    streams = (*departments, REVIEW)
    first = _ask(broker, _questions(broker, streams))
    second = _ask(broker, _details(first))
    now_s = _seconds(first.get("time"))
    announcement = announcement_in(first.get("model"))
    workers = [each | {"lags": lags(each, announcement)} for each in _workers(first, second)]
    ingesters = [json.loads(about) for _, about in _prefixed(second, "ingester:") if about]
    since_s = now_s - heartbeats.SILENT_AFTER_S
    alive = {service: _recent(first.get(f"alive:{service}"), since_s) for service in BEATING}
    alive[heartbeats.WORKER] = sum(worker["silent_s"] <= heartbeats.SILENT_AFTER_S for worker in workers)
    counts = {word: int(number) for word, number in words(first.get("counts", {})).items()}
    verdicts = {verdict.value: counts.get(verdict.value, 0) for verdict in Verdict}
    known = first.get("known", 0)
    return {
        "broker": _broker(first),
        "queue": {
            "waiting": first.get("waiting", 0) + first.get("popped", 0),
            "in_flight": first.get("in_flight", 0),
            "failed": first.get("failed", 0),
        },
        "oldest_s": _age_s(second.get("received_at"), now_s),
        "incidents": {**verdicts, "known": known},
        "undecided": max(0, known - sum(verdicts.values())),
        "seen_again": counts.get("seen", 0),
        "counts": counts,
        "workers": workers,
        "model": announcement.about(),
        "ingesters": ingesters,
        "alive": alive,
        "desk": {
            "running": alive[heartbeats.DESK],
            "open": first.get("open", 0),
            "review": first.get("review", 0),
            "version": int(first.get("version") or 0),
        },
        "listening": {
            word: _recent(first.get(f"listening:{word}"), now_s - heartbeats.LISTENING_S) for word in streams
        },
        "cameras": list(_cameras(settings, first.get("seen"), now_s)),
        "streams": dict(_prefixed(first, "length:")),
        "groups": [*_groups(first, streams), *_followers(first, second, streams, now_s)],
    }


def alarms(vitals: Vitals) -> list[str]:
    """What somebody must see to, in words, the worst first."""
    alive = vitals["alive"]
    found = [words for service, words in _MISSED.items() if not alive[service]]
    limit, used = vitals["broker"].get("max_memory_bytes"), vitals["broker"].get("used_memory_bytes")
    if limit and used and used > FULL * limit:
        found.append(f"the broker's memory is {used / limit:.0%} full: when it is full, nothing is taken in")
    if away := [each.get("instance", "") for each in vitals["ingesters"] if each.get("store_away")]:
        found.append(f"the image store fails: files wait at {', '.join(away)}")
    found += [
        f"worker {worker['name'][:12]} on {worker['host']} refuses the announced model: {worker['refused']}"
        for worker in vitals["workers"]
        if worker["refused"] and worker["lags"]
    ]
    if vitals["undecided"] and not vitals["queue"]["waiting"] and not vitals["queue"]["in_flight"]:
        found.append(f"nobody works on {vitals['undecided']} undecided ones: run `almenara audit --repair`")
    if deaf := [word for word, consoles in vitals["listening"].items() if not consoles]:
        found.append(f"no console listens for {', '.join(deaf)}")
    for camera in vitals["cameras"]:
        if camera["silent_s"] is None:
            found.append(f"camera {camera['label']}: no ingester watches for it yet")
        elif camera["silent_s"] > camera["limit_s"]:
            minutes = f"{camera['silent_s'] / 60:.0f} minutes"
            since = f"for {minutes}" if camera["has_sent"] else f"since it was first watched, {minutes} ago"
            found.append(f"camera {camera['label']}: no picture {since}")
    for stream, length in vitals["streams"].items():
        if length and stream.startswith(dead_letters_key("")):
            found.append(f"{length} dispatches in {stream}: a receiver did not take them")
    return found


def _questions(broker: Broker, streams: Sequence[str]) -> dict[str, _Question]:
    queue = Queue(QUEUE, connection=broker, serializer=JSONSerializer)
    asked: dict[str, _Question] = {
        "time": lambda ask: ask.time(),
        "about": lambda ask: ask.info("server"),
        "memory": lambda ask: ask.info("memory"),
        "waiting": lambda ask: ask.llen(queue.key),
        "popped": lambda ask: ask.llen(queue.intermediate_queue_key),
        "next": lambda ask: ask.lindex(queue.key, 0),
        "in_flight": lambda ask: ask.zcard(LEASES),
        "failed": lambda ask: ask.zcard(queue.failed_job_registry.key),
        "counts": lambda ask: ask.hgetall(COUNTS),
        "known": lambda ask: ask.zcard(INCIDENTS),
        "open": lambda ask: ask.hlen(open_key(ALL)),
        "review": lambda ask: ask.hlen(open_key(REVIEW)),
        "version": lambda ask: ask.get(BOARD_VERSION),
        "workers": lambda ask: ask.smembers(heartbeats.WORKERS),
        "seen": lambda ask: ask.hgetall(LABEL_SEEN),
        "model": lambda ask: ask.hgetall(MODEL),
        "following": lambda ask: ask.hgetall(WEBHOOKS_FOLLOWING),
        f"length:{CHANGED}": lambda ask: ask.xlen(CHANGED),
    }
    for service in BEATING:
        asked[f"alive:{service}"] = _call("zrange", alive_key(service), 0, -1, withscores=True)
    for word in streams:
        asked[f"listening:{word}"] = _call("zrange", listening_key(word), 0, -1, withscores=True)
        asked[f"groups:{word}"] = _call("xinfo_groups", dispatch_key(word))
        for key in (dispatch_key(word), moves_key(word), dead_letters_key(word)):
            asked[f"length:{key}"] = _call("xlen", key)
    return asked


def _details(first: Vitals) -> dict[str, _Question]:
    """What can be asked only once the first answers are there."""
    asked: dict[str, _Question] = {}
    if first.get("next"):
        asked["received_at"] = _call("hget", incident_key(first["next"].decode()), "received_at")
    for key in sorted(each.decode() for each in first.get("workers", ())):
        asked[f"worker:{key}"] = _call("hgetall", key)
        asked[f"left:{key}"] = _call("pttl", key)
        asked[f"holds:{key}"] = _call("scard", f"{key}:executions")
    for name in words(first.get("following") or {}):
        asked[f"waiting:{name}"] = _call("xlen", webhook_again_key(name))
    for name, _ in sorted(first.get(f"alive:{heartbeats.INGEST}", ())):
        asked[f"ingester:{name.decode()}"] = _call("get", INGESTER_PREFIX + name.decode())
    return asked


def _ask(broker: Broker, questions: dict[str, _Question]) -> Vitals:
    """The answers by name, in one round trip; without those that were refused.

    Raises:
        RedisError: the broker is away, or about to be.
    """
    if not questions:
        return {}
    with broker.pipeline(transaction=False) as pipeline:
        for question in questions.values():
            question(pipeline)
        answers = pipeline.execute(raise_on_error=False)
    found = {}
    for name, answer in zip(questions, answers, strict=True):
        if isinstance(answer, Exception):
            if is_broker_fault(answer) or not isinstance(answer, ResponseError):
                raise answer
            continue  # not for us to know, or not there: a stream without groups
        found[name] = answer
    return found


def _call(name: str, *arguments: Any, **more: Any) -> _Question:
    return lambda ask: getattr(ask, name)(*arguments, **more)


def _prefixed(answers: Vitals, prefix: str) -> Iterator[tuple[str, Any]]:
    for name, answer in answers.items():
        if name.startswith(prefix):
            yield name.removeprefix(prefix), answer


def _broker(first: Vitals) -> Vitals:
    about, memory = first.get("about", {}), first.get("memory", {})
    return {
        "version": about.get("valkey_version") or about.get("redis_version", "unknown"),
        "uptime_s": about.get("uptime_in_seconds", 0),
        "used_memory_bytes": memory.get("used_memory"),
        "max_memory_bytes": memory.get("maxmemory"),
    }


def _workers(first: Vitals, second: Vitals) -> Iterator[Vitals]:
    for key in sorted(each.decode() for each in first.get("workers", ())):
        about = words(second.get(f"worker:{key}") or {})
        if not about or "death" in about:
            continue  # it died, and its record has run out
        left_ms = second.get(f"left:{key}", -1)
        yield {
            "name": key.rsplit(":", 1)[-1],
            "host": about.get("hostname", ""),
            "pid": int(about.get("pid", 0)),
            "state": about.get("state", ""),
            "model": about.get("model", ""),
            "generation": int(about.get("model_generation") or 0),
            "refused": about.get("model_refused", ""),
            "in_flight": second.get(f"holds:{key}", 0),
            "finished": int(about.get("successful_job_count", 0)),
            "failed": int(about.get("failed_job_count", 0)),
            "last_heartbeat": about.get("last_heartbeat", ""),
            "silent_s": heartbeats.worker_silent_s(left_ms),
        }


def _cameras(settings: Settings, seen: Any, now_s: float) -> Iterator[Vitals]:
    noted = {label: text.partition(" ") for label, text in words(seen or {}).items()}
    for label, limit_s in settings.silence_s.items():
        at_s, _, word = noted.get(label, ("", "", ""))
        yield {
            "label": label,
            "silent_s": max(0.0, now_s - _number(at_s)) if label in noted else None,
            "limit_s": limit_s,
            "has_sent": label in noted and word != WATCHED,
        }


def _groups(first: Vitals, streams: Sequence[str]) -> Iterator[Vitals]:
    for word in streams:
        for group in first.get(f"groups:{word}") or ():
            # None where entries were removed before they were read: it is told by the stream's length.
            lag = group.get("lag")
            yield {
                "department": word,
                "group": group["name"].decode("utf-8", "replace"),
                "lag": (first.get(f"length:{dispatch_key(word)}", 0) if lag is None else lag)
                + group["pending"],
            }


def _followers(first: Vitals, second: Vitals, streams: Sequence[str], now_s: float) -> Iterator[Vitals]:
    """Webhooks that send CAP messages: what they have yet to deliver, and what they have yet to read."""
    for name, text in words(first.get("following") or {}).items():
        try:
            about = json.loads(text)
            unread = int(first.get("version") or 0) - int(about["version"])
            silent_s, department = now_s - float(about["at"]), about["department"]
        except (ValueError, LookupError, TypeError, RecursionError, OverflowError):
            continue
        lag = second.get(f"waiting:{name}", 0)
        if silent_s > _UNREAD_AFTER_S:  # else there is always something new that is read in a moment
            lag += max(0, unread)
        if department in streams:
            yield {"department": department, "group": f"webhooks:{name}", "lag": lag}


def _recent(beats: Any, since_s: float) -> int:
    return sum(at_s >= since_s for _, at_s in beats or ())


def _age_s(received_at: bytes | None, now_s: float) -> float:
    try:
        return max(0.0, now_s - datetime.fromisoformat((received_at or b"").decode()).timestamp())
    except ValueError:
        return 0.0


def _seconds(reply: Any) -> float:
    return float(reply[0]) + float(reply[1]) / 1e6 if reply else 0.0


def _number(text: str) -> float:
    try:
        return float(text)
    except ValueError:
        return 0.0


_UNREAD_AFTER_S = 60.0
FULL = 0.9
"""Of its memory: then a broker counts as nearly full."""

_MISSED = {
    heartbeats.WORKER: "no worker runs: photographs wait, and nobody is called. Start `almenara worker`",
    heartbeats.DESK: "no desk runs: moves wait, and nobody is called again. Start `almenara desk`",
    heartbeats.INGEST: "no ingester runs: files stay in the inbox. Start `almenara ingest`",
}
