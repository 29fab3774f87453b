"""Cameras that must not fall silent: when each sent its last picture, on the broker's clock."""

import time
from collections.abc import Iterable

import structlog
from redis.exceptions import RedisError

from shared.broker import Broker
from shared.heartbeats import now
from shared.keys import LABEL_SEEN, WATCHED

log = structlog.get_logger()

NOTE_EVERY_S = 1.0
"""A camera that sends many pictures a second is noted once."""


class Cameras:
    """The watched labels. What can't be noted now, is with the next picture: nobody waits for it."""

    def __init__(self, broker: Broker, labels: Iterable[str]) -> None:
        """Watch these labels, as they stand in the settings."""
        self._broker = broker
        self._labels = frozenset(labels)
        self._begun = not self._labels
        self._noted_at_s: dict[str, float] = {}

    def begin(self) -> None:
        """From now on a camera that was never seen counts as silent. Safe to repeat, and cheap once done."""
        if self._begun:
            return
        try:
            now_s = now(self._broker)
            with self._broker.pipeline(transaction=False) as pipeline:
                for label in self._labels:
                    pipeline.hsetnx(LABEL_SEEN, label, f"{now_s:.3f} {WATCHED}")
                pipeline.execute()
            self._begun = True
        except RedisError as error:
            log.debug("cameras are watched as soon as the broker answers", error=str(error))

    def note(self, labels: Iterable[str]) -> None:
        """Pictures with these labels were taken in just now."""
        now_s = time.monotonic()
        due = [
            label
            for label in self._labels.intersection(labels)
            if now_s - self._noted_at_s.get(label, float("-inf")) >= NOTE_EVERY_S
        ]
        if not due:
            return
        try:
            seen_s = f"{now(self._broker):.3f}"
            self._broker.hset(LABEL_SEEN, mapping=dict.fromkeys(due, seen_s))
        except RedisError as error:
            log.debug("a camera's picture was not noted", error=str(error))
            return
        self._noted_at_s.update(dict.fromkeys(due, now_s))
