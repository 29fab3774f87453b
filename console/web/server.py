"""Serving the web console: one process, which stops within seconds though browsers keep streams open."""

import asyncio
import contextlib
import logging
import socket
from collections.abc import Callable, Iterator

import structlog
import uvicorn
from fastapi import FastAPI

from console.web.connections import Connection, Doors, networks, raise_descriptor_limit, without_garbled
from console.web.live import Live
from console.web.parts import Parts
from shared.errors import ConfigError
from shared.settings import Settings

log = structlog.get_logger()

STOP_S = 3
"""For requests that are being answered; streams end at once."""
KEEP_ALIVE_S = 15
BACKLOG = 512
SEND_BUFFER_BYTES = 128 * 1024
"""Of the kernel, for each connection: a browser that does not read is noticed before it is far behind."""
UNANSWERED_S = 30
"""After which a browser that has gone without a word, or takes nothing, is let go."""

PROXIES = "127.0.0.0/8, ::1"
"""Whose word about the browser's address is taken, where ALMENARA_WEB_PROXIES names nobody."""


def serve(
    app: FastAPI,
    settings: Settings,
    stop: Callable[[], bool],
    listening: Callable[[int], None] = lambda port: None,
) -> None:
    """Serve until `stop` turns true.

    Args:
        app: from `make_app`.
        settings: host, port (0: any that is free) and address.
        stop: looked at ten times a second.
        listening: is told the port, once browsers can connect.

    Raises:
        ConfigError: the address can't be listened on.
    """
    parts: Parts = app.state.parts
    sock = listen(settings.web_host, settings.web_port)
    host, port = sock.getsockname()[:2]
    proxies = settings.web_proxies or PROXIES
    doors = Doors(networks(proxies) if settings.web_url else (), raise_descriptor_limit())
    url = settings.web_url or f"http://{f'[{host}]' if ':' in host else host}:{port}"
    config = uvicorn.Config(
        app,
        http=Connection,
        ws="none",
        lifespan="on",
        log_config=None,
        access_log=False,
        server_header=False,
        proxy_headers=bool(settings.web_url),
        forwarded_allow_ips=[each.strip() for each in proxies.split(",")],
        backlog=BACKLOG,
        timeout_keep_alive=KEEP_ALIVE_S,
        timeout_graceful_shutdown=STOP_S,
    )

    logging.getLogger("uvicorn.error").addFilter(without_garbled)

    def ready() -> None:
        log.info("the web console listens", url=url, host=host, port=port)
        listening(port)

    _Server(config, stop, ready, parts.live, doors).run(sockets=[sock])


def listen(host: str, port: int) -> socket.socket:
    """A socket that listens.

    Raises:
        ConfigError: it can't be had.
    """
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    try:
        sock = socket.create_server((host, port), family=family, backlog=BACKLOG)
    except OSError as error:
        raise ConfigError(
            f"the web console can't listen on {host}, port {port}: {error.strerror or error}",
            reason="cant_listen",
            remedy="choose another with --port or ALMENARA_WEB_PORT, or end who has it",
        ) from error
    # What connects inherits these. asyncio turns Nagle's delay (40 ms) off only where it made the socket.
    sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    sock.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, SEND_BUFFER_BYTES)
    if hasattr(socket, "TCP_USER_TIMEOUT"):
        sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_USER_TIMEOUT, UNANSWERED_S * 1000)
    return sock


class _Server(uvicorn.Server):
    """Signals are who starts us's to mind; streams end before their connections are waited for."""

    def __init__(
        self,
        config: uvicorn.Config,
        stop: Callable[[], bool],
        ready: Callable[[], None],
        live: Live,
        doors: Doors,
    ) -> None:
        super().__init__(config)
        self._stop, self._ready, self._live, self._doors = stop, ready, live, doors
        self.server_state = doors

    @contextlib.contextmanager
    def capture_signals(self) -> Iterator[None]:
        yield

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        asyncio.get_running_loop().set_exception_handler(self._doors.fault)
        await super().startup(sockets)
        if self.started:
            self._ready()

    async def on_tick(self, counter: int) -> bool:
        self.should_exit = self.should_exit or self._stop()
        return await super().on_tick(counter)

    async def shutdown(self, sockets: list[socket.socket] | None = None) -> None:
        self._live.close()
        await super().shutdown(sockets)
