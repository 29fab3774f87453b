"""Logging in and out."""

import anyio.to_thread
import structlog
from fastapi import APIRouter, Depends, Response
from pydantic import BaseModel, ConfigDict, Field
from starlette.requests import Request

from console.userfile import name_key
from console.web.errors import RefusedError, responses
from console.web.sessions import COOKIE, SESSION_S, Session
from console.web.visitors import PartsOf, Trusted, Visitor, own_page
from shared.labels import escape_label
from shared.metrics import WEB_LOGINS
from shared.moves import NAME_MAX_CHARACTERS

log = structlog.get_logger()
router = APIRouter(prefix="/api/session", tags=["session"])


class Login(BaseModel):
    """Who wants to log in."""

    model_config = ConfigDict(extra="forbid")
    name: str = Field(max_length=NAME_MAX_CHARACTERS)
    password: str = Field(max_length=1024)


class UserView(BaseModel):
    """A user as they may see themselves."""

    name: str
    roles: list[str]
    departments: list[str]


class SessionView(BaseModel):
    """Who is logged in, and the token that changes need in X-CSRF-Token."""

    user: UserView
    csrf: str


def _view(session: Session) -> SessionView:
    return SessionView(user=UserView(**session.user.to_json()), csrf=session.csrf)


@router.post("", dependencies=[Depends(own_page)], responses=responses(403, 413, 429))
async def log_in(login: Login, request: Request, response: Response, parts: PartsOf) -> SessionView:
    """Log in. Sets the session's cookie, for twelve hours."""
    address = request.client.host if request.client else ""
    shown = escape_label(login.name)
    # Counted before the password is looked at: attempts that come at once count too.
    key = name_key(login.name)
    try:
        parts.logins.check_room(address)
        parts.limits.spend_login(key, address)
    except RefusedError as error:
        WEB_LOGINS.labels(outcome="limited").inc()
        log.warning("a login is refused", user=shown, address=address, reason=error.reason)
        raise
    async with parts.logins.turn(address):
        if await request.is_disconnected():
            raise RefusedError(400, "gone", "Nobody waits for this login any more")
        user = await anyio.to_thread.run_sync(
            parts.users.check, login.name, login.password, limiter=anyio.CapacityLimiter(1)
        )
    if user is None:
        WEB_LOGINS.labels(outcome="refused").inc()
        log.warning("a login is refused", user=shown, address=address, reason="wrong_password")
        raise RefusedError(401, "wrong_password", "Name or password is wrong")
    parts.limits.forgive_login(key, address)
    WEB_LOGINS.labels(outcome="accepted").inc()
    log.info("logged in", user=user.name, address=address)
    session, cookie = parts.sessions.begin(user)
    response.set_cookie(
        COOKIE,
        cookie,
        max_age=SESSION_S,
        path="/",
        secure=parts.settings.web_url.startswith("https://"),
        httponly=True,
        samesite="strict",
    )
    return _view(session)


@router.get("", responses=responses())
async def who(session: Visitor) -> SessionView:
    """Who is logged in."""
    return _view(session)


@router.delete("", status_code=204, responses=responses(403))
async def log_out(session: Trusted, parts: PartsOf) -> Response:
    """Log out, everywhere a copy of this session's cookie is."""
    await anyio.to_thread.run_sync(parts.sessions.end, session)
    for listener in parts.live.listeners:
        if listener.session.session_id == session.session_id:
            parts.live.forget(listener)
    log.info("logged out", user=session.user.name)
    response = Response(status_code=204)
    response.delete_cookie(COOKIE, path="/", httponly=True, samesite="strict")
    return response
