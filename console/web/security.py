"""What every request meets before the application, and every answer carries."""

import asyncio
import ipaddress
import re
from collections.abc import MutableMapping
from typing import Any
from urllib.parse import urlsplit

import structlog
from starlette.datastructures import Headers, MutableHeaders
from starlette.exceptions import HTTPException
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from console.web.errors import RefusedError, problem
from shared.metrics import WEB_REQUESTS
from shared.settings import Settings

log = structlog.get_logger()

BODY_MAX_BYTES = 65_536
"""A move with the longest note is a tenth of it."""

OPEN_TO_PROBES = frozenset({"/livez", "/readyz"})
"""What machines that watch over us ask, by whatever name they know us."""

_HOST = re.compile(r"\[?(?P<name>[a-z0-9.-]+|(?<=\[)[0-9a-f:]+(?=\]))\]?(:\d*)?")
_POLICIES = {
    "X-Content-Type-Options": "nosniff",
    "X-Frame-Options": "DENY",
    "Referrer-Policy": "no-referrer",
    "Cross-Origin-Opener-Policy": "same-origin",
    "Cross-Origin-Resource-Policy": "same-origin",
    "Permissions-Policy": "camera=(), geolocation=(), microphone=(), payment=(), usb=(), interest-cohort=()",
}


def content_security_policy(settings: Settings) -> str:
    """Nothing but our own files and, for pictures alone, the map's tiles."""
    tiles = f" {tile_origin(settings.tile_url)}" if settings.tile_url else ""
    return "; ".join(
        (
            "default-src 'none'",
            "script-src 'self'",
            "style-src 'self'",
            f"img-src 'self' data: blob:{tiles}",
            "connect-src 'self'",
            "form-action 'self'",
            "frame-ancestors 'none'",
            "base-uri 'none'",
        )
    )


def tile_origin(url: str) -> str:
    """Where tiles come from, as a policy names it: ``{s}`` in a host is any host of that domain."""
    parts = urlsplit(url)
    host = parts.netloc.rpartition("@")[2]
    if "{" in host:
        host = "*." + host[host.rindex("}") + 1 :].partition(".")[2]
    return f"{parts.scheme}://{host}"


def same_origin(headers: Headers, settings: Settings) -> bool:
    """Whether a request comes from our own pages, or from no page at all.

    A browser says so in `Origin`, or where a page sends no referrer at least in `Sec-Fetch-Site`.
    """
    origin = headers.get("origin", "")
    if origin in ("", "null"):
        said = headers.get("sec-fetch-site")
        return said in ("same-origin", "none") if said is not None else origin == ""
    if settings.web_url:
        return origin == settings.web_url
    # Without a proxy that speaks TLS we are reached by http alone.
    return origin == f"http://{headers.get('host', '')}"


def is_loopback(host: str) -> bool:
    """Whether only this machine reaches what listens there."""
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return host.lower() == "localhost"


class _Hosts:
    """By what names we may be asked for. Any other is one that somebody points at us (DNS rebinding)."""

    def __init__(self, settings: Settings) -> None:
        self._own = urlsplit(settings.web_url).netloc
        self._loopback = is_loopback(settings.web_host)
        self._listens = settings.web_host.lower()

    def check(self, host: str) -> None:
        """Let a request for a host pass.

        Raises:
            RefusedError: it is not ours; 400.
        """
        remedy = ""
        if self._own and host != self._own:
            remedy = f"open {self._own}, or correct ALMENARA_WEB_URL"
        elif not self._own and self._loopback and not self._is_near(host):
            remedy = "open 127.0.0.1 or localhost; behind a proxy, ALMENARA_WEB_URL must be its address"
        if remedy:
            raise RefusedError(400, "wrong_host", "This address is not the console's own", remedy=remedy)

    def _is_near(self, host: str) -> bool:
        found = _HOST.fullmatch(host.lower())
        return found is not None and found["name"] in {"127.0.0.1", "::1", "localhost", self._listens}


class Guard:
    """Refuses what is too large or meant for somebody else; gives every answer its policies.

    It stands outside everything else, so that an answer to a fault carries them too.
    """

    def __init__(self, app: ASGIApp, settings: Settings) -> None:
        self._app = app
        self._hosts = _Hosts(settings)
        self._policies = {
            **_POLICIES,
            "Content-Security-Policy": content_security_policy(settings),
        }
        if settings.web_url.startswith("https://"):
            self._policies["Strict-Transport-Security"] = "max-age=31536000"

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Pass a request on."""
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        answer = _Answer(send, scope, self._policies)
        headers = Headers(scope=scope)
        try:
            if scope["path"] not in OPEN_TO_PROBES:
                self._hosts.check(headers.get("host", ""))
            length = headers.get("content-length", "0")
            if length.isdecimal() and int(length) > BODY_MAX_BYTES:
                raise RefusedError(
                    413,
                    "too_large",
                    "That is too much at once",
                    remedy=f"send at most {BODY_MAX_BYTES} bytes",
                )
            await self._app(scope, _Limited(receive), answer)
        except RefusedError as error:
            refusal = problem(error.status, error.reason, error.detail, error.remedy)
            await answer.instead(refusal, scope, receive)
        except asyncio.CancelledError:
            raise
        except Exception:
            log.exception("a request failed", method=scope["method"], path=scope["path"])
            words = "Something went wrong here; it is in the log"
            await answer.instead(problem(500, "fault", words), scope, receive)


def _route(scope: Scope) -> str:
    """The route that a request came to, of a bounded set: addresses are whatever strangers ask for."""
    if scope["path"].startswith("/static/"):
        return "GET /static"
    path = getattr(scope.get("route"), "path", "")
    methods = getattr(scope.get("route"), "methods", None) or ()
    return f"{scope['method']} {path}" if path and scope["method"] in methods else "other"


class _Limited:
    """The body of a request, as far as it may go."""

    def __init__(self, receive: Receive) -> None:
        self._receive = receive
        self._received_bytes = 0

    async def __call__(self) -> Message:
        message = await self._receive()
        self._received_bytes += len(message.get("body", b""))
        if self._received_bytes > BODY_MAX_BYTES:
            # The one error that FastAPI lets pass while it reads a body.
            raise HTTPException(413)
        return message


class _Answer:
    """Sends an answer with its policies, and knows whether it has begun."""

    def __init__(self, send: Send, scope: Scope, policies: MutableMapping[str, str]) -> None:
        self._send = send
        self._scope = scope
        self._static = scope["path"].startswith("/static/")
        self._policies = policies
        self._begun = False

    async def __call__(self, message: Message) -> None:
        if message["type"] == "http.response.start":
            self._begun = True
            WEB_REQUESTS.labels(route=_route(self._scope), status=str(message["status"])).inc()
            headers = MutableHeaders(scope=message)
            for name, value in self._policies.items():
                headers.setdefault(name, value)
            # Our files are kept and asked about each time; what the API and pages say is kept nowhere.
            headers.setdefault("Cache-Control", "no-cache" if self._static else "no-store")
        await self._send(message)

    async def instead(self, response: Any, scope: Scope, receive: Receive) -> None:
        """Answer otherwise; where the answer has begun, it ends unfinished, and the client sees that."""
        if self._begun:
            raise ConnectionAbortedError("the answer had begun")
        await response(scope, receive, self)
