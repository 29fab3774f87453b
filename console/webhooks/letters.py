"""Letters: what one webhook has yet to deliver. All that must outlive us is in the broker.

Dispatches are in the departments' streams; CAP messages (following.py) and what people put back in one of the
webhook's own. A consumer group on each holds what was read and not yet delivered, with the count of tries; a
sorted set holds when each is tried again. Every replica is the same consumer: what one leaves behind is not
asked for by its name but by how long it has lain.

A try is taken by one replica: it alone removes the letter from the sorted set, and claims it only if nobody
has touched it since. One that then dies leaves the letter to whoever finds it lying for `ABANDONED_S`.
"""

import json
import re
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any

import structlog
from redis.exceptions import ResponseError

from console.capchain import named
from console.webhooks.hooks import Form, Webhook
from shared.board import streams_of
from shared.broker import Broker
from shared.incidents import iso, utc_now
from shared.keys import (
    DISPATCH_PREFIX,
    WEBHOOKS_FOLLOWING,
    dead_letters_key,
    dispatch_key,
    webhook_again_key,
    webhook_disabled_key,
    webhook_group,
    webhook_later_key,
    webhook_position_key,
)

log = structlog.get_logger()

CONSUMER = "almenara"
ABANDONED_S = 60.0
"""Longer than a try can take, with everything around it."""
_TOUCHED_MS = 300
"""Shorter than the shortest wait between two tries, longer than two replicas need to see the same one."""
_AHEAD_MS = 60_000
_ID = re.compile("[0-9a-f]{32}")
_LEAST_WAIT_S = 0.5
_PAGE = 100
_KEEP_DEAD = 100_000

Fields = Mapping[bytes, bytes]
Entries = Iterable[tuple[bytes, Fields]]
"""As the broker gives them: ids, and what they hold."""


@dataclass(frozen=True, slots=True)
class Letter:
    """One dispatch or message on its way: an entry of a stream, and which try this is."""

    stream: str
    entry_id: str
    department: str
    event: bytes
    tries: int

    @property
    def member(self) -> str:
        """What stands for it in the sorted set."""
        return f"{self.stream} {self.entry_id}"

    @property
    def incident(self) -> str:
        """The id of the incident, or case, that it is about, for logs; empty where it is about none."""
        try:
            subject = json.loads(self.event)["subject"]
        except (ValueError, LookupError, TypeError, RecursionError):
            return ""
        return subject if isinstance(subject, str) and _ID.fullmatch(subject) else ""


class Letters:
    """See above. Every method raises RedisError where the broker is away, and is safe to repeat then."""

    def __init__(self, broker: Broker, webhook: Webhook, *, abandoned_s: float = ABANDONED_S) -> None:
        self._broker, self._name, self._departments = broker, webhook.name, webhook.departments
        self._forgery_said = False
        self._again = webhook_again_key(webhook.name)
        self._group = webhook_group(webhook.name)
        self._later = webhook_later_key(webhook.name)
        self._abandoned_ms = int(abandoned_s * 1000)
        self._follows_record = webhook.form is not Form.CLOUDEVENTS
        read = () if self._follows_record else webhook.departments
        streams = [dispatch_key(department) for department in read]
        # Where a group that is not there begins. Later on: after what this process has read, should the
        # broker have lost the group.
        begin = "0-0" if webhook.from_beginning else ""
        self._read = dict.fromkeys(streams, begin) | {self._again: "0-0"}

    def prepare(self) -> None:
        """Make the groups that are not there yet."""
        if not self._follows_record:  # any more, where it did: or it would count as one that lags
            self._broker.hdel(WEBHOOKS_FOLLOWING, self._name)
            self._broker.delete(webhook_position_key(self._name))
        for stream in self._read:
            is_new = not self._read[stream]
            begin = self._read[stream] or f"{self._now_ms()}-0"
            if self._is_ahead(begin):
                begin = "0-0"  # of an id that somebody made up; a person has removed the stream since
            self._read[stream] = begin
            try:
                # A new one at the stream's very end: what comes in the same millisecond is not the past.
                self._broker.xgroup_create(stream, self._group, "$" if is_new else begin, mkstream=True)
                log.info("a webhook begins", webhook=self._name, stream=stream, after=begin)
            except ResponseError as error:
                if not str(error).startswith("BUSYGROUP"):
                    raise

    def fresh(self, count: int, block_ms: int | None) -> list[Letter]:
        """New ones, at most so many a stream; waits `block_ms` for the first."""
        reply: Any = self._broker.xreadgroup(
            self._group, CONSUMER, dict.fromkeys(self._read, ">"), count=count, block=block_ms
        )
        found = []
        for key, entries in streams_of(reply):
            stream = key.decode()
            found += self._letters(stream, entries, 1)
            if entries:
                self._read[stream] = entries[-1][0].decode()
        return found

    def due(self, count: int) -> list[Letter]:
        """Those whose next try is now."""
        members: Any = self._broker.zrangebyscore(
            self._later, "-inf", self._now_ms() / 1000, start=0, num=count
        )
        found = []
        for member in members:
            if self._broker.zrem(self._later, member):
                found += self._claimed(*member.decode().split(" "), idle_ms=_TOUCHED_MS)
        return found

    def abandoned(self) -> Iterator[Letter]:
        """Those that a process which died was at."""
        for stream in self._read:
            after = "-"
            while True:
                page: Any = self._broker.xpending_range(
                    stream, self._group, min=after, max="+", count=_PAGE, idle=self._abandoned_ms
                )
                for each in page:
                    entry_id = each["message_id"].decode()
                    if self._broker.zscore(self._later, f"{stream} {entry_id}") is None:
                        yield from self._claimed(stream, entry_id, idle_ms=self._abandoned_ms)
                if len(page) < _PAGE:
                    break
                after = "(" + page[-1]["message_id"].decode()

    def done(self, letter: Letter) -> None:
        """It is delivered."""
        with self._broker.pipeline(transaction=True) as pipeline:
            self._strike(pipeline, letter)
            pipeline.execute()

    def postpone(self, letter: Letter, wait_s: float) -> None:
        """It is tried again after so many seconds, and not at once: see `_TOUCHED_MS`."""
        due_at_s = self._now_ms() / 1000 + max(wait_s, _LEAST_WAIT_S)
        self._broker.zadd(self._later, {letter.member: due_at_s})

    def give_up(self, letter: Letter, reason: str) -> None:
        """It goes among the dead letters."""
        with self._broker.pipeline(transaction=True) as pipeline:
            pipeline.xadd(
                dead_letters_key(letter.department),
                {
                    "webhook": self._name,
                    "event": letter.event,
                    "reason": reason,
                    "tries": letter.tries,
                    "at": iso(utc_now()),
                },
                maxlen=_KEEP_DEAD,
                approximate=True,
            )
            self._strike(pipeline, letter)
            pipeline.execute()

    def disable(self, reason: str) -> None:
        """Send nothing more until a person replays or enables it."""
        record = json.dumps({"reason": reason, "at": iso(utc_now())})
        self._broker.set(webhook_disabled_key(self._name), record)

    def is_disabled(self) -> bool:
        """Whether the receiver said that it is gone."""
        return bool(self._broker.exists(webhook_disabled_key(self._name)))

    def _strike(self, pipeline: Any, letter: Letter) -> None:
        pipeline.xack(letter.stream, self._group, letter.entry_id)
        pipeline.zrem(self._later, letter.member)
        if letter.stream == self._again:
            pipeline.xdel(letter.stream, letter.entry_id)  # nobody else reads it

    def _claimed(self, stream: str, entry_id: str, *, idle_ms: int) -> list[Letter]:
        """It, if nobody has touched it for so long."""
        entries: Any = self._broker.xclaim(stream, self._group, CONSUMER, idle_ms, [entry_id])
        kept: Any = [(found, fields) for found, fields in entries if fields]
        if not kept:
            return []  # another replica has it, or it was trimmed
        pending: Any = self._broker.xpending_range(stream, self._group, min=entry_id, max=entry_id, count=1)
        tries = int(pending[0]["times_delivered"]) if pending else 1
        return self._letters(stream, kept, tries)

    def _letters(self, stream: str, entries: Entries, tries: int) -> list[Letter]:
        """Of a department's stream all; of what was put back, that which this webhook may have been sent.

        Whoever may put something back writes the department beside it as they like, and all is signed.
        """
        if stream != self._again:
            department = stream.removeprefix(DISPATCH_PREFIX)
            return [_letter(stream, department, entry_id, fields, tries) for entry_id, fields in entries]
        found = []
        for entry_id, fields in entries:
            department = fields.get(b"department", b"").decode("utf-8", "replace")
            letter = _letter(stream, department, entry_id, fields, tries)
            if department in self._departments and _is_of(letter):
                found.append(letter)
                continue
            if not self._forgery_said:
                log.error(
                    "no dispatch of this webhook, put back by somebody: dropped",
                    webhook=self._name,
                    stream=stream,
                    entry=letter.entry_id,
                )
                self._forgery_said = True
            self.done(letter)
        return found

    def _is_ahead(self, entry_id: str) -> bool:
        return int(entry_id.partition("-")[0]) > self._now_ms() + _AHEAD_MS

    def _now_ms(self) -> int:
        seconds, microseconds = self._broker.time()
        return int(seconds) * 1000 + int(microseconds) // 1000


def _letter(stream: str, department: str, entry_id: bytes, fields: Fields, tries: int) -> Letter:
    return Letter(stream, entry_id.decode(), department, fields.get(b"event", b""), tries)


def _is_of(letter: Letter) -> bool:
    """Whether the event says itself that it goes to that department, and its id and subject agree.

    It is a dispatch, or names a CAP message.
    """
    try:
        event = json.loads(letter.event)
        subject, department = event["subject"], event["department"]
        case = named(event["id"])
        agrees = case[0] == subject if case else event["id"].startswith(f"{subject}:{department}:")
        is_ours: bool = department == letter.department and agrees
    except (AttributeError, ValueError, LookupError, TypeError, RecursionError):
        return False
    return is_ours and bool(letter.incident)
