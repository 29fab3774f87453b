"""What is wrong, as every client reads it: a word, a sentence, and what to do about it."""

from collections.abc import Iterator, Mapping
from http import HTTPStatus
from typing import Any

import structlog
from fastapi import FastAPI
from fastapi.exceptions import RequestValidationError
from fastapi.responses import JSONResponse, Response
from pydantic import BaseModel
from redis.exceptions import RedisError
from sqlalchemy.exc import DBAPIError
from sqlalchemy.exc import TimeoutError as PoolTimeoutError
from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.routing import Match

from shared.broker import is_broker_fault
from shared.errors import AlmenaraError, PermanentError, TransientError

log = structlog.get_logger()

_SHOWN_FAULTS = 5
_WORDS: Mapping[int, tuple[str, str]] = {
    404: ("not_found", "There is no such page"),
    405: ("bad_method", "That can't be done with this address"),
    413: ("too_large", "That is too much"),
    503: ("away", "A part of Almenara is away; try again in a moment"),
}


class Problem(BaseModel):
    """Why something was refused, or did not work."""

    reason: str
    """A stable word for programs."""
    message: str
    """A sentence for people."""
    remedy: str = ""
    """What to do about it, or nothing."""


class RefusedError(PermanentError):
    """Raised when a request is refused.

    Attributes:
        status: the HTTP status that says so.
        headers: what the answer carries beside.
    """

    default_reason = "refused"

    def __init__(
        self,
        status: int,
        reason: str,
        message: str,
        *,
        remedy: str = "",
        headers: Mapping[str, str] | None = None,
    ) -> None:
        super().__init__(message, reason=reason, remedy=remedy)
        self.status = status
        self.headers = dict(headers or {})


def problem(
    status: int, reason: str, message: str, remedy: str = "", headers: Mapping[str, str] | None = None
) -> JSONResponse:
    """The one shape of every refusal."""
    body = Problem(reason=reason, message=message, remedy=remedy).model_dump()
    return JSONResponse(body, status, headers=dict(headers or {}))


def responses(*statuses: int) -> dict[int | str, dict[str, Any]]:
    """For a route's documentation: the refusals that it gives, 401 and 422 included."""
    return {
        status: {"model": Problem, "description": HTTPStatus(status).phrase}
        for status in sorted({401, 422, 503, *statuses})
    }


def install(app: FastAPI) -> None:
    """Every error of a request becomes a problem; what nobody foresaw is left to the guard, and logged."""
    for kind, handler in (
        (RefusedError, _refused),
        (AlmenaraError, _ours),
        (RequestValidationError, _invalid),
        (HTTPException, _plain),
        (RedisError, _broker),
        (DBAPIError, _database),
        (PoolTimeoutError, _database),
    ):
        app.add_exception_handler(kind, handler)


async def _refused(_: Request, error: Exception) -> Response:
    assert isinstance(error, RefusedError)
    return problem(error.status, error.reason, error.detail, error.remedy, error.headers)


async def _ours(_: Request, error: Exception) -> Response:
    assert isinstance(error, AlmenaraError)
    status = 422 if isinstance(error, PermanentError) else 503
    if not isinstance(error, PermanentError | TransientError):
        log.error("a request failed", reason=error.reason, error=str(error))
    return problem(status, error.reason, error.detail, error.remedy)


async def _invalid(_: Request, error: Exception) -> Response:
    """What does not fit the API's description; an id in the address that can't be one is just unknown."""
    assert isinstance(error, RequestValidationError)
    faults = error.errors()
    if any(fault["loc"][:1] == ("path",) for fault in faults):
        return problem(404, "unknown_id", "There is nothing with that id")
    told = "; ".join(_fault(fault) for fault in faults[:_SHOWN_FAULTS])
    return problem(422, "invalid", told, "see /openapi.json for what fits")


def _fault(fault: Mapping[str, Any]) -> str:
    where = ".".join(str(part) for part in fault["loc"][1:])
    return f"{where}: {fault['msg']}" if where else str(fault["msg"])


async def _plain(request: Request, error: Exception) -> Response:
    assert isinstance(error, HTTPException)
    if error.status_code == 400:  # FastAPI's own, for a body that can't be taken apart
        return problem(422, "invalid", "The body of the request can't be read", "send JSON")
    if error.status_code == 404 and _is_before_a_person(request):
        page: Response = request.app.state.pages.render(request, "lost.html", None)
        page.status_code = 404
        return page
    reason, message = _WORDS.get(error.status_code, ("refused", str(error.detail)))
    headers = dict(error.headers or {})
    if error.status_code == 405:
        headers["Allow"] = ", ".join(_allowed(request))
    return problem(error.status_code, reason, message, headers=headers)


def _is_before_a_person(request: Request) -> bool:
    """Whether a browser asks for a page, and not a program or a page's own part for data."""
    wanted = request.headers.get("accept", "")
    return "text/html" in wanted and not request.url.path.startswith(("/api", "/static"))


def _allowed(request: Request) -> Iterator[str]:
    """Every method of an address; the framework names those of the first route alone."""
    for method in ("DELETE", "GET", "HEAD", "PATCH", "POST", "PUT"):
        scope = {**request.scope, "method": method}
        if any(route.matches(scope)[0] is Match.FULL for route in request.app.routes):
            yield method


async def _broker(_: Request, error: Exception) -> Response:
    assert isinstance(error, RedisError)
    if not is_broker_fault(error):
        log.error("the broker refuses a request", error=str(error))
    return problem(503, "broker_away", "The broker does not answer just now", "try again in a moment")


async def _database(_: Request, error: Exception) -> Response:
    log.error("the desk's record can't be read", error=str(error))
    return problem(503, "record_away", "The desk's record can't be read just now", "try again in a moment")
