"""Probes: what a service tells who watches over it, at a port of its own: /metrics, /livez and /readyz."""

import contextlib
import socket
import threading
import time
from datetime import timedelta
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from importlib.metadata import version
from typing import Any

import structlog
from prometheus_client import CONTENT_TYPE_LATEST, CollectorRegistry, generate_latest
from prometheus_client.registry import Collector
from redis.exceptions import RedisError

from shared import metrics
from shared.broker import Broker
from shared.errors import ConfigError
from shared.incidents import iso, utc_now
from shared.inquiries import Inquiry
from shared.liveness import SILENT_AFTER_S, Liveness
from shared.settings import Settings

log = structlog.get_logger()

REQUEST_S = 5.0
"""From a connection to its end: for who asks to say what they want, and to take the answer."""
CONNECTIONS = 32
"""At once. One more, and the oldest must go: who asks says so at once, and only who does not stays."""
BACKLOG = 128
"""Connections that the system keeps until we take them."""
_AFTER_FAULT_S = 0.2
BROKER_S = 2.0
"""How long a probe waits for the broker."""
_TEXT = "text/plain; charset=utf-8"


def serve(
    service: str, settings: Settings, liveness: Liveness, broker: Broker, *collectors: Collector
) -> "Probes | None":
    """Begin to answer where the settings say; None where they say nothing.

    Args:
        service: one of `shared.metrics.SERVICES`.
        settings: metrics_host and metrics_port.
        liveness: of this process's main loop.
        broker: asked whether it answers.
        collectors: what this service shows beside its own metrics.

    Raises:
        ConfigError: the address can't be listened on.
    """
    registry = metrics.REGISTRIES[service]
    metrics.BUILD[service].labels(part=service, version=version("almenara")).set(1)
    metrics.LOOP_SILENT[service].set_function(liveness.silent_s)
    metrics.READY[service].set_function(lambda: liveness.ready)
    if not settings.metrics_port:
        return None
    for collector in collectors:
        registry.register(collector)
    probes = Probes(registry, liveness, broker)
    probes.listen(settings.metrics_host, settings.metrics_port)
    return probes


class Probes:
    """A small HTTP server in threads of its own: it answers though the main loop hangs, and says so."""

    def __init__(self, registry: CollectorRegistry, liveness: Liveness, broker: Broker) -> None:
        """Nobody can ask yet."""
        self._registry = registry
        self._liveness = liveness
        self._broker = Inquiry(broker.ping, BROKER_S)
        self._server: _Server | None = None

    def listen(self, host: str, port: int) -> int:
        """Answer at an address; the port, where 0 was any.

        Raises:
            ConfigError: it can't be had.
        """
        try:
            self._server = _Server(host, port, self)
        except OSError as error:
            raise ConfigError(
                f"/metrics and probes can't listen on {host}, port {port}: {error.strerror or error}",
                reason="cant_listen",
                remedy="choose another with ALMENARA_METRICS_PORT, or end who has it",
            ) from error
        threading.Thread(target=self._server.serve_forever, name="probes", daemon=True).start()
        taken: int = self._server.server_address[1]
        log.debug("probes listen", host=host, port=taken)
        return taken

    def close(self) -> None:
        """Answer no more."""
        if self._server is not None:
            self._server.shutdown()
            self._server.server_close()

    def metrics(self) -> tuple[int, str, bytes]:
        """Status, kind and text of /metrics."""
        return 200, CONTENT_TYPE_LATEST, generate_latest(self._registry)

    def livez(self) -> tuple[int, str, bytes]:
        """Whether the main loop turns: to be restarted where it does not."""
        silent_s = self._liveness.silent_s()
        if silent_s <= SILENT_AFTER_S:
            return _said(200, "ok")
        since = iso(utc_now() - timedelta(seconds=silent_s))
        return _said(503, f"the main loop has not turned for {silent_s:.0f} s, since {since}")

    def readyz(self) -> tuple[int, str, bytes]:
        """Whether it serves: to be waited for where it does not."""
        if not self._liveness.ready:
            return _said(503, "it is starting, or stopping")
        try:
            self._broker.ask()
        except TimeoutError:
            return _said(503, f"the broker has not answered for {BROKER_S:g} s")
        except RedisError as error:
            log.debug("not ready", error=str(error))
            return _said(503, f"the broker does not answer ({type(error).__name__})")
        return _said(200, "ok")


def _said(status: int, words: str) -> tuple[int, str, bytes]:
    return status, _TEXT, f"{words}\n".encode()


class _Server(ThreadingHTTPServer):
    daemon_threads = True
    block_on_close = False
    request_queue_size = BACKLOG

    def __init__(self, host: str, port: int, probes: Probes) -> None:
        self.address_family = socket.AF_INET6 if ":" in host else socket.AF_INET
        self.probes = probes
        self._lock = threading.Lock()
        self._room = threading.Condition(self._lock)
        self._deadlines_s: dict[socket.socket, float] = {}
        """Of each connection, by the monotonic clock, oldest first."""
        self._ended: set[socket.socket] = set()
        """Those whose thread has yet to notice that they are."""
        super().__init__((host, port), _Handler)

    def get_request(self) -> tuple[socket.socket, Any]:
        """A connection. Without the pause, one that can't be had is asked for again and again at once."""
        try:
            return super().get_request()
        except OSError:
            time.sleep(_AFTER_FAULT_S)
            raise

    def verify_request(self, request: Any, client_address: Any) -> bool:
        """Whether there is room for one more: at the cost of the oldest.

        On a busy machine threads notice late that they are ended: whoever comes next waits for that.
        """
        with self._room:
            if not self._room.wait_for(self._has_room, timeout=REQUEST_S):
                return False
            if len(self._deadlines_s) >= CONNECTIONS:
                self._end(next(iter(self._deadlines_s)))
            self._deadlines_s[request] = time.monotonic() + REQUEST_S
        return True

    def service_actions(self) -> None:
        """Twice a second, and after each connection: end those that take too long."""
        with self._lock:
            for request, deadline_s in list(self._deadlines_s.items()):
                if deadline_s < time.monotonic():
                    self._end(request)

    def shutdown_request(self, request: Any) -> None:
        """It is over."""
        with self._room:
            self._deadlines_s.pop(request, None)
            self._ended.discard(request)
            self._room.notify()
        super().shutdown_request(request)

    def _has_room(self) -> bool:
        return len(self._deadlines_s) + len(self._ended) < 2 * CONNECTIONS

    def _end(self, request: socket.socket) -> None:
        """Its thread then reads an end, and closes it."""
        del self._deadlines_s[request]
        self._ended.add(request)
        with contextlib.suppress(OSError):
            request.shutdown(socket.SHUT_RDWR)

    def server_bind(self) -> None:
        """Without the name server that http.server asks for our name."""
        self.socket.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        self.socket.bind(self.server_address)
        self.server_address = self.socket.getsockname()
        self.server_name, self.server_port = str(self.server_address[0]), int(self.server_address[1])

    def handle_error(self, request: Any, client_address: Any) -> None:
        """A client that goes away is no fault of ours; anything else is in one line of the log."""
        log.debug("a probe was not answered", exc_info=True)


class _Handler(BaseHTTPRequestHandler):
    server: _Server
    timeout = REQUEST_S
    server_version, sys_version = "almenara", ""

    def do_GET(self) -> None:
        """Answer one of the three."""
        probes = self.server.probes
        answers = {"/metrics": probes.metrics, "/livez": probes.livez, "/readyz": probes.readyz}
        answer = answers.get(self.path.partition("?")[0])
        status, kind, text = answer() if answer else _said(404, "ask for /metrics, /livez or /readyz")
        self.send_response(status)
        self.send_header("Content-Type", kind)
        self.send_header("Content-Length", str(len(text)))
        self.send_header("Cache-Control", "no-store")
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(text)

    do_HEAD = do_GET  # noqa: N815 - http.server's names

    def log_message(self, format: str, *args: Any) -> None:
        """Who watches over us asks every few seconds: no line each."""
