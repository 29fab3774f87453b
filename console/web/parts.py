"""What requests need: made once by `make_app`, found through the application."""

from collections.abc import Callable
from dataclasses import dataclass, field

import anyio
from sqlalchemy import Engine
from starlette.requests import Request

from console.cap import CapSource
from console.pictures import Pictures
from console.users import Users
from console.web.limits import Limits
from console.web.listeners import Listener
from console.web.live import Live
from console.web.logins import Logins
from console.web.sessions import Sessions
from shared.broker import Broker
from shared.routing import Routing
from shared.settings import Settings

Explain = Callable[[bytes, str, str], bytes]
"""From a picture's file and a situation to a PNG: how much each part of the picture speaks for it."""


@dataclass(frozen=True, kw_only=True)
class Parts:
    """Everything behind the API. Threads that do slow work are counted, so that they starve nothing else."""

    settings: Settings
    broker: Broker
    engine: Engine
    routing: Routing
    users: Users
    pictures: Pictures
    explain: Explain | None
    sessions: Sessions
    live: Live
    limits: Limits
    cap_source: CapSource
    decoders: anyio.CapacityLimiter = field(default_factory=lambda: anyio.CapacityLimiter(4))
    explainers: anyio.CapacityLimiter = field(default_factory=lambda: anyio.CapacityLimiter(1))
    viewers: anyio.CapacityLimiter = field(default_factory=lambda: anyio.CapacityLimiter(4))
    searchers: anyio.CapacityLimiter = field(default_factory=lambda: anyio.CapacityLimiter(2))
    logins: Logins = field(default_factory=Logins)
    streams: dict[str, list[Listener]] = field(default_factory=dict)
    """Of each user, the oldest first."""


def parts_of(request: Request) -> Parts:
    """The parts of the application that a request came to."""
    parts: Parts = request.app.state.parts
    return parts
