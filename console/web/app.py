"""The web console, put together: API, pages, one reader of the board, and the pulse."""

import asyncio
import contextlib
from collections.abc import AsyncIterator
from importlib.metadata import version

import anyio
import anyio.to_thread
from fastapi import FastAPI
from sqlalchemy import Engine

from console.cap import CapSource
from console.pictures import Pictures
from console.users import Users
from console.web import (
    api_cases,
    api_feeds,
    api_health,
    api_history,
    api_live,
    api_moves,
    api_pictures,
    api_session,
    errors,
    pages,
)
from console.web.following import Follower
from console.web.limits import Limits
from console.web.live import Live
from console.web.parts import Explain, Parts
from console.web.presence import Presence
from console.web.pulse import beat
from console.web.security import Guard
from console.web.sessions import Sessions
from shared.broker import Broker
from shared.routing import Routing
from shared.settings import Settings

_API = (api_session, api_cases, api_live, api_moves, api_pictures, api_history, api_feeds, api_health)
_ABOUT = """What the web console's own pages use. Log in with `POST /api/session`, keep its cookie, and send
`csrf` of its answer as `X-CSRF-Token` with everything that is no GET. A program reads feeds with a token of
`almenara user token`. What goes wrong is told as `reason`, a word for programs, `message`, a sentence for
people, and `remedy`. Times are RFC 3339 in UTC."""


def make_app(  # noqa: PLR0917 - each is one part, and they differ in type
    settings: Settings,
    broker: Broker,
    engine: Engine,
    routing: Routing,
    users: Users,
    pictures: Pictures,
    explain: Explain | None = None,
) -> FastAPI:
    """The application. It reads the board while it is served, and ends that when it stops.

    Args:
        settings: of this process.
        broker: where boards are read and moves appended.
        engine: the desk's record, which is only read.
        routing: words and names.
        users: who may log in.
        pictures: photographs as they are shown.
        explain: from a picture's file, a situation and the model that decided to a PNG to lay over it; None
            shows none.

    Raises:
        ConfigError: the session secret or the browsers' libraries can't be used.
    """
    app = FastAPI(
        title="Almenara",
        description=_ABOUT,
        version=version("almenara"),
        docs_url=None,
        redoc_url=None,
        redirect_slashes=False,  # its address would be the Host header's
        lifespan=_lifespan,
    )
    app.state.parts = Parts(
        settings=settings,
        broker=broker,
        engine=engine,
        routing=routing,
        users=users,
        pictures=pictures,
        explain=explain,
        sessions=Sessions(settings, users),
        live=Live(),
        limits=Limits(),
        cap_source=CapSource.of(settings),
    )
    for part in _API:
        app.include_router(part.router)
    pages.install(app)
    errors.install(app)
    app.add_middleware(Guard, settings=settings)
    return app


@contextlib.asynccontextmanager
async def _lifespan(app: FastAPI) -> AsyncIterator[None]:
    parts: Parts = app.state.parts
    follower = Follower(parts.broker, parts.live)
    follower.start()
    presence = Presence(parts.broker, parts.routing.departments)
    pulse = asyncio.create_task(beat(parts.live, parts.sessions, parts.broker, presence))
    try:
        yield
    finally:
        follower.stop()
        parts.live.close()
        pulse.cancel()
        with contextlib.suppress(asyncio.CancelledError):
            await pulse
        with anyio.move_on_after(1.0):
            await anyio.to_thread.run_sync(presence.end, abandon_on_cancel=True)
        await anyio.to_thread.run_sync(follower.join, 2.0)
        await anyio.to_thread.run_sync(parts.pictures.close)
