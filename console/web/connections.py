"""Connections: what one must do in time, and how many there may be, so that nobody can take them all."""

import asyncio
import errno
import ipaddress
import logging
import resource
import time
from collections import Counter
from collections.abc import Sequence
from typing import Any

import h11
import structlog
from uvicorn.protocols.http.h11_impl import H11Protocol
from uvicorn.server import ServerState

from shared.metrics import WEB_INVALID

log = structlog.get_logger()

HEAD_S = 10.0
"""From the connection, or the first byte of a later request, until a request's head is whole."""
BODY_S = 15.0
"""For the body of a request."""
ADDRESS_CONNECTIONS = 200
"""Open at once from one address. Proxies, which speak for many, are counted with all others alone."""
CONNECTIONS = 8000
"""Open at once."""
SPARE_DESCRIPTORS = 1024
"""For everything else: files, database, broker, and what is accepted before it can be counted."""
QUIET_S = 60.0
"""Between two lines about the same trouble."""

Network = ipaddress.IPv4Network | ipaddress.IPv6Network
_NO_DESCRIPTORS = (errno.EMFILE, errno.ENFILE, errno.ENOBUFS, errno.ENOMEM)


def networks(text: str) -> list[Network]:
    """Addresses and networks, separated by commas.

    Raises:
        ValueError: one is neither.
    """
    return [ipaddress.ip_network(part.strip()) for part in text.split(",")]


def raise_descriptor_limit() -> int:
    """Let this process open as many files as it ever may; how many that is."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    try:
        resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))
    except (OSError, ValueError):  # some systems name a hard limit that they do not grant
        return soft
    return hard


class Seldom:
    """Says whether a line about trouble that goes on is due again."""

    def __init__(self) -> None:
        self._due_at_s = 0.0
        self._unsaid = 0

    def due(self) -> int:
        """How often it happened since the last line, or 0 while that is too young."""
        self._unsaid += 1
        now_s = time.monotonic()
        if now_s < self._due_at_s:
            return 0
        times, self._unsaid, self._due_at_s = self._unsaid, 0, now_s + QUIET_S
        return times


class Doors(ServerState):
    """Counts who is in. Lives in the event loop's thread."""

    def __init__(self, proxies: Sequence[Network], descriptors: int) -> None:
        """Doors of a server.

        Args:
            proxies: who may have more connections than one address has; none where there is no proxy.
            descriptors: that this process may open.
        """
        super().__init__()
        self._proxies = proxies
        # Of few descriptors half are for connections.
        room = max(descriptors - SPARE_DESCRIPTORS, descriptors // 2)
        self._room = min(CONNECTIONS, room) if descriptors > 0 else CONNECTIONS
        self._inside = Counter[str]()
        self._all = 0
        self._full, self._starved, self._garbled = Seldom(), Seldom(), Seldom()

    def enter(self, address: str) -> bool:
        """Count a connection, and say whether it may stay; each leaves once, whatever was said."""
        self._inside[address] += 1
        self._all += 1
        crowded = self._inside[address] > ADDRESS_CONNECTIONS and not self._is_proxy(address)
        if not crowded and self._all <= self._room:
            return True
        if times := self._full.due():
            log.warning(
                "connections are refused: too many are open", refused=times, address=address, open=self._all
            )
        return False

    def leave(self, address: str) -> None:
        """A connection is no more."""
        self._all -= 1
        self._inside[address] -= 1
        if not self._inside[address]:
            del self._inside[address]

    def garbled(self, address: str) -> None:
        """A connection spoke no HTTP."""
        WEB_INVALID.inc()
        if times := self._garbled.due():
            log.warning("connections that speak no HTTP are refused", times=times, address=address)

    def fault(self, loop: asyncio.AbstractEventLoop, context: dict[str, Any]) -> None:
        """For the event loop: where descriptors run out, it would write hundreds of lines a second."""
        error = context.get("exception")
        if not isinstance(error, OSError) or error.errno not in _NO_DESCRIPTORS:
            loop.default_exception_handler(context)
        elif times := self._starved.due():
            log.error(
                "connections can't be taken: out of descriptors or memory", error=str(error), times=times
            )

    def _is_proxy(self, address: str) -> bool:
        try:
            peer = ipaddress.ip_address(address)
        except ValueError:
            return False
        return any(peer in network for network in self._proxies)


def without_garbled(record: logging.LogRecord) -> bool:
    """A filter of uvicorn's log: it would write a line for each, and the doors say it seldom."""
    return record.getMessage() != "Invalid HTTP request received."


class Connection(H11Protocol):
    """A browser's connection, which is let go where it keeps us waiting for a request.

    Tells each request its transport, so that a browser that does not read can be cut off.
    """

    server_state: Doors
    _address = ""
    _awaited: tuple[str, object] | None = None
    _timer: asyncio.TimerHandle | None = None

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        super().connection_made(transport)
        self.app_state = {**self.app_state, "transport": transport}
        self._address = self.client[0] if self.client else ""
        if self.server_state.enter(self._address):
            self._watch()
        else:
            transport.abort()

    def connection_lost(self, exc: Exception | None) -> None:
        self.server_state.leave(self._address)
        self._await(None)
        super().connection_lost(exc)

    def send_400_response(self, msg: str) -> None:
        self.server_state.garbled(self._address)
        super().send_400_response(msg)

    def handle_events(self) -> None:
        super().handle_events()
        self._watch()

    def _watch(self) -> None:
        """Give what we now wait for its time; more of the same gets no more of it."""
        state = self.conn.their_state
        begun = self.cycle is None or bool(self.conn.trailing_data[0])
        if state is h11.SEND_BODY:
            self._await(("body", self.cycle), BODY_S)
        elif state is h11.IDLE and begun:
            self._await(("head", self.cycle), HEAD_S)
        else:  # it waits for us, or is idle between two requests, which uvicorn minds
            self._await(None)

    def _await(self, what: tuple[str, object] | None, within_s: float = 0.0) -> None:
        if what == self._awaited:
            return
        if self._timer is not None:
            self._timer.cancel()
        self._awaited = what
        self._timer = self.loop.call_later(within_s, self.transport.abort) if what else None
