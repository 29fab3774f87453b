"""The event stream: everything open, then what changes, as it happens."""

import asyncio
from collections.abc import AsyncIterator
from typing import Annotated

import structlog
from fastapi import APIRouter, Header, Response
from sse_starlette.sse import EventSourceResponse
from starlette.requests import Request

from console.web.errors import responses
from console.web.listeners import Listener
from console.web.parts import Parts
from console.web.visitors import PartsOf, Visitor

log = structlog.get_logger()
router = APIRouter(prefix="/api", tags=["live"])

USER_STREAMS = 20
"""Pages that one user may have open; then the oldest ends."""
RETRY = b"retry: 2000\n\n"
"""Milliseconds after which a browser that was cut off comes back."""

_ABOUT = """Server-sent events. The id of an event is a version of the desk's record, and a word for the user.

`open` has everything open for this user, as /api/cases, and the `user`, as /api/session; it comes first, but
where Last-Event-ID is of this user, and of a version from which on nothing is missing. Then `row`, a case
that has changed, closed ones too; `outcome`, what became of a move of this user; and every 5 s `pulse`:
`{"desk": bool, "broker": bool, "workers": number or null, "ingesters": number or null, "at": time}`. A
browser that reads too slowly is cut off, and goes on from the last id when it comes back."""


@router.get(
    "/live",
    description=_ABOUT,
    response_class=EventSourceResponse,
    responses={
        **responses(),
        200: {"content": {"text/event-stream": {"schema": {"type": "string"}}}, "description": "The stream."},
    },
)
async def live(
    request: Request,
    session: Visitor,
    parts: PartsOf,
    last_event_id: Annotated[str, Header(description="The last id that was received.")] = "",
) -> Response:
    """Follow the board."""
    transport: asyncio.WriteTransport | None = request.scope.get("state", {}).get("transport")
    listener = Listener(session, transport.abort if transport else lambda: None)
    return EventSourceResponse(_events(parts, listener, last_event_id), ping=0)


async def _events(parts: Parts, listener: Listener, known: str) -> AsyncIterator[bytes]:
    live, user = parts.live, listener.session.user.name
    streams = parts.streams.setdefault(user, [])
    streams.append(listener)
    for oldest in streams[:-USER_STREAMS]:
        log.warning("a user has too many pages open, and the oldest is ended", user=user)
        streams.remove(oldest)
        live.forget(oldest)
    try:
        live.listen(listener, known)
        yield RETRY
        while (messages := await listener.next()) is not None:
            yield messages
    finally:
        live.forget(listener)
        if listener in streams:
            streams.remove(listener)
        if not streams and parts.streams.get(user) is streams:
            del parts.streams[user]
