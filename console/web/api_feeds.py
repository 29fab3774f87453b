"""Feeds: what is open now as GeoJSON for maps, and a case as a CAP message. For programs too."""

import hashlib
from typing import Annotated

import anyio.to_thread
from fastapi import APIRouter, Header, Response
from sqlalchemy.orm import Session as Transaction

from console.cap import NoAlertError, cap_of
from console.tables import Case
from console.web import reading
from console.web.access import watches
from console.web.api_cases import CaseId
from console.web.errors import RefusedError, responses
from console.web.exports import as_geojson
from console.web.readers import Reader
from console.web.visitors import PartsOf

router = APIRouter(prefix="/api", tags=["feeds"])

_GEOJSON = "application/geo+json"
_CAP = "application/cap+xml"


@router.get(
    "/feed.geojson",
    response_class=Response,
    responses={
        **responses(429),
        200: {"content": {_GEOJSON: {"schema": {"type": "object"}}}, "description": "A FeatureCollection"},
        304: {"description": "Nothing has changed since"},
    },
)
async def feed(
    user: Reader,
    parts: PartsOf,
    if_none_match: Annotated[str, Header(description="`ETag` of the answer before.")] = "",
) -> Response:
    """Open cases of the user's departments as points, longitude first (RFC 7946); newest first."""
    if not parts.live.opened:
        raise RefusedError(503, "broker_away", "The board is not read yet", remedy="try again in a moment")
    rows = parts.live.open_rows(watches(user))

    def make() -> bytes:
        ordered = sorted(rows, key=lambda row: (row["opened_at"], row["case"]), reverse=True)
        # Who holds a case is for colleagues, and a map on a wall is for everybody who passes it.
        return "".join(as_geojson(ordered, parts.settings.web_url, holders=False)).encode()

    content = await anyio.to_thread.run_sync(make)
    tag = f'"{hashlib.sha256(content).hexdigest()[:32]}"'
    headers = {"Cache-Control": "private, no-cache", "ETag": tag, "Vary": "Authorization, Cookie"}
    if tag in (each.strip().removeprefix("W/") for each in if_none_match.split(",")):
        return Response(status_code=304, headers=headers)
    return Response(content, media_type=_GEOJSON, headers=headers)


@router.get(
    "/cases/{case}/cap",
    response_class=Response,
    responses={
        **responses(403, 404, 429),
        200: {"content": {_CAP: {"schema": {"type": "string"}}}, "description": "One alert"},
    },
)
def cap(case: CaseId, user: Reader, parts: PartsOf) -> Response:
    """The newest Common Alerting Protocol message about a case: an Alert, an Update or a Cancel."""
    reading.case(parts.engine, user, case)
    try:
        with Transaction(parts.engine) as session:
            text = cap_of(session, session.get_one(Case, case), parts.routing, parts.cap_source)
    except NoAlertError as error:
        raise RefusedError(404, error.reason, "Nobody was called to this case") from error
    return Response(text, media_type=f"{_CAP}; charset=utf-8")
