"""Presence: the web console says that it lives, and for which departments somebody has a page open."""

import contextlib
import threading
from collections.abc import Collection, Iterable

import structlog
from redis.exceptions import RedisError

from shared import heartbeats
from shared.broker import Broker
from shared.heartbeats import WEB
from shared.routing import ALL

log = structlog.get_logger()


class Presence:
    """One for each web server. What can't be told now is told with the next pulse.

    Safe to use from several threads: who waits for one no longer leaves it running.
    """

    def __init__(self, broker: Broker, departments: Iterable[str]) -> None:
        """Nothing is told yet.

        Args:
            broker: who is told.
            departments: those of the routing file, for which a page of ``all`` stands.
        """
        self._broker = broker
        self._departments = frozenset(departments)
        self._name = heartbeats.process_name("web")
        self._told: frozenset[str] = frozenset()
        self._turn = threading.Lock()
        self._ended = False

    def tell(self, watched: Collection[str]) -> None:
        """Say so once. Called every few seconds; after the end it says nothing.

        Args:
            watched: the boards on all open pages.
        """
        listens = frozenset(watched) - {ALL} | (self._departments if ALL in watched else frozenset())
        with self._turn:
            if self._ended:
                return
            try:
                heartbeats.beat(self._broker, WEB, self._name)
                heartbeats.listen(self._broker, self._name, listens, self._told - listens)
            except RedisError as error:
                log.debug("nobody was told who listens", error=str(error))
                return
            self._told = listens

    def end(self) -> None:
        """Say that it ends, once what is being told is."""
        self._ended = True
        with self._turn, contextlib.suppress(RedisError):
            heartbeats.listen(self._broker, self._name, (), self._told)
            heartbeats.end(self._broker, WEB, self._name)
