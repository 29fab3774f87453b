"""Photographs and what the model saw in them, for those whose case it is. Every view is logged."""

import hashlib
from collections.abc import Callable
from typing import Annotated, Literal

import anyio
import anyio.to_thread
import structlog
from fastapi import APIRouter, Header, Path, Query, Response

from console.tables import IncidentRecord
from console.web import reading
from console.web.api_cases import ID_PATTERN
from console.web.errors import RefusedError, responses
from console.web.parts import Parts
from console.web.sessions import Session
from console.web.visitors import PartsOf, Visitor
from shared.errors import AlmenaraError, TransientError
from shared.metrics import WEB_PICTURES

log = structlog.get_logger()
router = APIRouter(prefix="/api/incidents", tags=["pictures"])

IncidentId = Annotated[str, Path(pattern=ID_PATTERN)]
_Known = Annotated[str, Header(alias="If-None-Match")]
_MADE = "1"
"""Raised when pictures are made otherwise, so that browsers fetch them anew."""


def _answers(kind: str) -> dict[int | str, dict[str, object]]:
    picture = {"content": {kind: {"schema": {"type": "string", "format": "binary"}}}}
    unchanged = {"description": "The browser has it already"}
    return {**responses(403, 404), 200: picture, 304: unchanged}


@router.get("/{incident}/picture", response_class=Response, responses=_answers("image/jpeg"))
async def picture(
    incident: IncidentId,
    session: Visitor,
    parts: PartsOf,
    width_px: Annotated[Literal["320", "1280"], Query(description="At most; never enlarged.")] = "320",
    if_none_match: _Known = "",
) -> Response:
    """The photograph as JPEG, upright and without metadata."""
    record = await _viewed(parts, session, incident, "picture")

    def make() -> bytes:
        return parts.pictures.jpeg(record.image, int(width_px))

    tag = _tag("picture", record.image, width_px)
    return await _image(make, "image/jpeg", tag, if_none_match, parts.decoders)


@router.get("/{incident}/activation", response_class=Response, responses=_answers("image/png"))
async def activation(
    incident: IncidentId,
    session: Visitor,
    parts: PartsOf,
    situation: Annotated[str, Query(pattern="^[a-z][a-z0-9_-]{0,63}$")],
    if_none_match: _Known = "",
) -> Response:
    """How much each part of the picture speaks for a situation: a PNG to lay over it."""
    record = await _viewed(parts, session, incident, "activation")
    explain = parts.explain
    if explain is None or situation not in record.scores:
        raise RefusedError(404, "no_activation", "The model has said nothing about that for this picture")

    def make() -> bytes:
        # Of the picture as it is shown: upright, and decoded where a hostile file does no harm.
        return explain(parts.pictures.jpeg(record.image, 1280), situation, record.model)

    tag = _tag("activation", record.image, situation, record.model)
    return await _image(make, "image/png", tag, if_none_match, parts.explainers)


async def _viewed(parts: Parts, session: Session, incident: str, what: str) -> IncidentRecord:
    try:
        record = await anyio.to_thread.run_sync(
            reading.incident, parts.engine, session.user, incident, limiter=parts.viewers
        )
    except RefusedError as error:
        log.warning(f"{what} refused", user=session.user.name, incident=incident, reason=error.reason)
        raise
    WEB_PICTURES.labels(kind=what).inc()
    log.info(f"{what} viewed", user=session.user.name, incident=incident, number=record.number)
    return record


async def _image(
    make: Callable[[], bytes], kind: str, tag: str, known: str, threads: anyio.CapacityLimiter
) -> Response:
    # Kept by the browser, and asked about each time: a user who may see it no more does not.
    headers = {"Cache-Control": "private, no-cache", "ETag": tag, "Vary": "Cookie"}
    if tag in (each.strip().removeprefix("W/") for each in known.split(",")):
        return Response(status_code=304, headers=headers)
    try:
        content = await anyio.to_thread.run_sync(make, limiter=threads)
    except TransientError:
        raise
    except AlmenaraError as error:
        log.warning("a picture can't be shown", reason=error.reason, error=str(error))
        raise RefusedError(404, error.reason, "This picture can't be shown", remedy=error.detail) from error
    return Response(content, media_type=kind, headers=headers)


def _tag(*parts: str) -> str:
    return f'"{hashlib.sha256(" ".join([_MADE, *parts]).encode()).hexdigest()[:32]}"'
