"""History: search, exports and figures, all under the same filters."""

import re
from collections.abc import AsyncIterator, Iterator
from datetime import UTC, datetime
from itertools import islice
from typing import Annotated, Any

from anyio import to_thread
from fastapi import APIRouter, Depends, Query
from fastapi.responses import StreamingResponse
from pydantic import BaseModel, BeforeValidator
from starlette.requests import Request

from console.web.errors import responses
from console.web.exports import as_csv, as_geojson
from console.web.history import History, Search
from console.web.limits import HISTORY
from console.web.parts import Parts
from console.web.summary import Summary, summarise
from console.web.visitors import PartsOf, Visitor
from shared.board import Row
from shared.coordinates import Coordinates
from shared.moves import clean_note
from shared.verdict import Verdict

router = APIRouter(prefix="/api/history", tags=["history"])

LINES = 200
"""Of an export, made at once: history is read by few threads, and each call of one has its price."""
_WORD = "^([a-z][a-z0-9_-]{0,63})?$"
_DEGREES = r"(\.[0-9]{1,15})?"
_LATITUDE = rf"-?(90(\.0{{1,15}})?|[1-8]?[0-9]{_DEGREES})"
_LONGITUDE = rf"-?(180(\.0{{1,15}})?|(1[0-7][0-9]|[1-9]?[0-9]){_DEGREES})"
_PLACE = f"^({_LATITUDE}, ?{_LONGITUDE})?$"


class HistoryPage(BaseModel):
    """One page of what was found, newest first."""

    total: int
    page: int
    cases: list[Row]


def _written(text: Any) -> Any:
    """A moment is written as one; a mere number would count as seconds since 1970."""
    if not re.match(r"\d{4}-\d{2}-\d{2}", str(text)):
        raise ValueError("write it as 2026-11-24T10:02:03Z")
    return text


_Moment = Annotated[datetime, BeforeValidator(_written)]


def search(
    *,
    since: Annotated[_Moment | None, Query(description="Opened at or after; UTC without an offset.")] = None,
    until: Annotated[_Moment | None, Query(description="Opened before.")] = None,
    situation: Annotated[str, Query(pattern=_WORD)] = "",
    department: Annotated[str, Query(pattern=_WORD)] = "",
    verdict: Verdict | None = None,
    place: Annotated[str, Query(pattern=_PLACE, description="latitude,longitude in degrees")] = "",
    radius_m: Annotated[float, Query(gt=0, le=100_000, description="Around the place.")] = 500,
    number: Annotated[str, Query(pattern="^([0-9]{1,12})?$", description="Of an incident.")] = "",
    text: Annotated[str, Query(max_length=100, description="In labels and notes.")] = "",
) -> Search:
    """The filters that every address of the history takes."""
    latitude, _, longitude = place.partition(",")
    return Search(
        since=_utc(since),
        until=_utc(until),
        situation=situation,
        department=department,
        verdict=verdict.value if verdict else "",
        place=Coordinates(latitude_deg=float(latitude), longitude_deg=float(longitude)) if place else None,
        radius_m=radius_m,
        number=number,
        text=clean_note(text),
    )


def _utc(moment: datetime | None) -> datetime | None:
    """In UTC; the first and the last day of all time have no other zone."""
    if moment is None or moment.tzinfo is None:
        return moment.replace(tzinfo=UTC) if moment else None
    try:
        return moment.astimezone(UTC)
    except OverflowError:
        return moment.replace(tzinfo=UTC)


def history_of(session: Visitor, parts: PartsOf, wanted: Annotated[Search, Depends(search)]) -> History:
    """What of that the record holds for this user."""
    return History(parts.engine, session.user, wanted)


Found = Annotated[History, Depends(history_of)]


async def _spend(request: Request, session: Visitor, parts: PartsOf) -> None:
    parts.limits.spend(HISTORY, session.user.name, request.url.path)


_counted = Depends(_spend)


@router.get("", dependencies=[_counted], responses=responses(429))
async def find(
    history: Found,
    parts: PartsOf,
    page: Annotated[int, Query(ge=1, le=1_000_000)] = 1,
    page_size: Annotated[int, Query(ge=1, le=200)] = 50,
) -> HistoryPage:
    """Search."""
    total, rows = await to_thread.run_sync(history.page, page, page_size, limiter=parts.searchers)
    return HistoryPage(total=total, page=page, cases=rows)


@router.get("/summary", dependencies=[_counted], responses=responses(429))
async def summary(history: Found, parts: PartsOf) -> Summary:
    """Counts by situation, day and verdict; seconds to acknowledge by department."""
    return await to_thread.run_sync(summarise, history, limiter=parts.searchers)


async def _file(parts: Parts, texts: Iterator[str], name: str, kind: str) -> StreamingResponse:
    def read() -> bytes:
        return "".join(islice(texts, LINES)).encode()

    # Read before the answer begins: a record that is away can still be told.
    first = await to_thread.run_sync(read, limiter=parts.searchers)

    async def chunks() -> AsyncIterator[bytes]:
        chunk = first
        while chunk:
            yield chunk  # whoever reads slowly holds no thread meanwhile
            chunk = await to_thread.run_sync(read, limiter=parts.searchers)

    disposition = {"Content-Disposition": f'attachment; filename="{name}"'}
    return StreamingResponse(chunks(), media_type=kind, headers=disposition)


@router.get(
    ".csv",
    dependencies=[_counted],
    response_class=StreamingResponse,
    responses={**responses(429), 200: {"content": {"text/csv": {"schema": {"type": "string"}}}}},
)
async def export_csv(history: Found, parts: PartsOf) -> StreamingResponse:
    """Everything found as CSV in UTF-8. No text in it is a formula to a spreadsheet, whoever wrote it."""
    # The Host header is whatever a client says: without an address of our own, links are relative.
    texts = as_csv(history.rows(), parts.settings.web_url)
    return await _file(parts, texts, "almenara-history.csv", "text/csv; charset=utf-8")


@router.get(
    ".geojson",
    dependencies=[_counted],
    response_class=StreamingResponse,
    responses={
        **responses(429),
        200: {"content": {"application/geo+json": {"schema": {"type": "object"}}}},
    },
)
async def export_geojson(history: Found, parts: PartsOf) -> StreamingResponse:
    """Everything found as GeoJSON points, longitude first."""
    texts = as_geojson(history.rows(), parts.settings.web_url)
    return await _file(parts, texts, "almenara-history.geojson", "application/geo+json")
