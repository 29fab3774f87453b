"""Following the desk's record: each new CAP message about a case of a webhook's departments becomes a letter.

A letter only names its message; the body is made when it is sent. How far the record was read stands in the
broker, and moves on in the same transaction that adds the letters: a process that dies in between loses and
doubles none, and of several replicas one adds them.
"""

import json
import time
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from typing import Any

import structlog
from redis.exceptions import WatchError
from sqlalchemy import Engine, func, select
from sqlalchemy.orm import Session

from console.capchain import News, last_before, news, news_since
from console.tables import TimelineEntry
from console.webhooks.hooks import Webhook
from console.webhooks.leaving import leave_streams, oldest_left_s
from shared.broker import Broker
from shared.incidents import utc_now
from shared.keys import BOARD_VERSION, WEBHOOKS_FOLLOWING, webhook_again_key, webhook_position_key

log = structlog.get_logger()

MOST_WAITING = 10_000
"""Letters of one webhook in the broker. More wait in the record, where they cost nothing."""
_SAY_EVERY_S = 15.0
_MARGIN = timedelta(minutes=5)
"""What the broker's clock and the desk's may be apart."""


class Follower:
    """Reads the record for one webhook.

    Every method raises RedisError where the broker is away and SQLAlchemyError where the record is, and is
    safe to repeat then.
    """

    def __init__(self, broker: Broker, webhook: Webhook, record: Engine, keep: timedelta) -> None:
        """`keep`: how far back `start = "beginning"` goes."""
        self._broker, self._webhook, self._record, self._keep = broker, webhook, record, keep
        self._key, self._again = webhook_position_key(webhook.name), webhook_again_key(webhook.name)
        self._known: bytes | None = None
        self._said, self._said_at_s = -1, float("-inf")

    def leave(self) -> None:
        """Let go of what this webhook read while it still followed dispatches; from there on it follows."""
        if self._broker.get(self._key) is None:
            self._begin()
        leave_streams(self._broker, self._webhook)

    def follow(self) -> bool:
        """Add a page of letters, if there are new messages; and say how far this webhook is.

        Returns:
            Whether more can be read at once.
        """
        version: Any = self._broker.get(BOARD_VERSION)  # first: what comes later is in the record by now
        is_full = self._broker.xlen(self._again) >= MOST_WAITING
        position: Any = self._broker.get(self._key)
        position = self._begin() if position is None else position
        self._known = position
        with Session(self._record) as session:
            after = self._after(session, position)
            found, last = ([], after) if is_full else news(session, after, self._departments)
            further = _position(session, last)
            newest = session.scalar(select(func.max(TimelineEntry.id))) or 0
        more = not is_full and newest > last
        if further != position and self._move(position, further, found):
            self._known = further
        if not is_full and not more:
            self._say(int(version) if version and version.isdigit() else 0)
        return more

    @property
    def _departments(self) -> tuple[str, ...]:
        return self._webhook.departments

    def _move(self, position: bytes, further: bytes, found: list[News]) -> bool:
        with self._broker.pipeline() as pipeline:
            pipeline.watch(self._key)  # type: ignore[no-untyped-call]
            if pipeline.get(self._key) != position:
                return False  # another replica was faster
            pipeline.multi()
            for each in found:
                pipeline.xadd(self._again, {"department": each.department, "event": event_of(each)})
            pipeline.set(self._key, further)
            try:
                pipeline.execute()
            except WatchError:
                return False
        return True

    def _begin(self) -> bytes:
        """Where a webhook begins that the broker does not know: where this process was, if anywhere."""
        with Session(self._record) as session:
            made = self._known or _position(session, self._first(session))
        if self._broker.set(self._key, made, nx=True):
            log.info("a webhook begins", webhook=self._webhook.name, after=made.decode())
        found: Any = self._broker.get(self._key)
        return bytes(found)

    def _first(self, session: Session) -> int:
        oldest = utc_now() - self._keep
        left_s = oldest_left_s(self._broker, self._webhook)
        if left_s is not None:
            left_s = min(left_s, utc_now().timestamp())  # of an id of the future
            return last_before(session, max(oldest, datetime.fromtimestamp(left_s, UTC) - _MARGIN))
        if self._webhook.from_beginning:
            return last_before(session, oldest)
        return session.scalar(select(func.max(TimelineEntry.id))) or 0

    def _after(self, session: Session, position: bytes) -> int:
        """The entry up to which the record was read; in one restored from a backup, as far as it was then."""
        about = json.loads(position)
        number = int(about["entry"])
        if _position(session, number) == position:
            return number
        moment = datetime.fromisoformat(about["at"])
        query = select(func.max(TimelineEntry.id)).where(TimelineEntry.at <= moment)
        number = session.scalar(query) or 0
        log.warning(
            "the desk's record is another than before: going on where it stood",
            webhook=self._webhook.name,
            at=about["at"],
            entry=number,
        )
        return number

    def _say(self, version: int) -> None:
        """For metrics and `almenara status`, which can't see the record."""
        if version == self._said and time.monotonic() - self._said_at_s < _SAY_EVERY_S:
            return  # each time is a write to the broker's disk
        seconds, _ = self._broker.time()
        about = {"department": self._departments[0], "version": version, "at": seconds}
        self._broker.hset(WEBHOOKS_FOLLOWING, self._webhook.name, json.dumps(about))
        self._said, self._said_at_s = version, time.monotonic()


def event_of(each: News) -> str:
    """What a letter says about a message: its name, and what logs call it by, as dispatches have them."""
    about = {"id": each.told.identifier, "subject": each.case_id, "department": each.department}
    return json.dumps(about)


def events_since(record: Engine, department: str, since: datetime) -> Iterator[str]:
    """Letters about all messages to a department of moments at or after an aware one."""
    return map(event_of, news_since(record, (department,), since))


def _position(session: Session, number: int) -> bytes:
    """An entry and its moment, by which another record is known."""
    at = session.scalar(select(TimelineEntry.at).where(TimelineEntry.id == number))
    return json.dumps({"entry": number, "at": at.isoformat() if at else ""}).encode()
