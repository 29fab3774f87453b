"""The event stream: everything open, then what changes, as it happens."""

import asyncio
from collections.abc import AsyncIterator
from typing import Annotated

from fastapi import APIRouter, Header, Response
from sse_starlette.sse import EventSourceResponse
from starlette.requests import Request

from console.web.errors import responses
from console.web.listeners import Listener
from console.web.live import Live
from console.web.visitors import PartsOf, Visitor

router = APIRouter(prefix="/api", tags=["live"])

RETRY = b"retry: 2000\n\n"
"""Milliseconds after which a browser that was cut off comes back."""

_ABOUT = """Server-sent events. The id of an event is a version of the desk's record.

`open` has everything open for this user, as /api/cases; it comes first, unless Last-Event-ID is of a version
from which on nothing is missing. Then `row`, a case that has changed, closed ones too; `outcome`, what became
of a move of this user; and every 5 s `pulse`: `{"desk": bool, "broker": bool, "workers": number or null,
"at": time}`. A browser that reads too slowly is cut off, and goes on from the last id when it comes back."""


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
    known = int(last_event_id) if last_event_id.isdecimal() and len(last_event_id) < 16 else None
    return EventSourceResponse(_events(parts.live, listener, known), ping=0)


async def _events(live: Live, listener: Listener, known: int | None) -> AsyncIterator[bytes]:
    live.listen(listener, known)
    try:
        yield RETRY
        while (messages := await listener.next()) is not None:
            yield messages
    finally:
        live.forget(listener)
