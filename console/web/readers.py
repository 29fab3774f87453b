"""Readers: programs with a token, and people who have logged in, for the few routes that only read."""

from typing import Annotated

import structlog
from fastapi import Depends, Security
from fastapi.security import HTTPAuthorizationCredentials, HTTPBearer
from starlette.requests import Request

from console.users import User
from console.web.errors import RefusedError
from console.web.limits import FEED, TOKENS
from console.web.visitors import PartsOf, cookie_scheme

log = structlog.get_logger()

_bearer = HTTPBearer(auto_error=False, description="Of `almenara user token NAME`.")


async def reader(
    request: Request,
    parts: PartsOf,
    cookie: Annotated[str | None, Security(cookie_scheme)],
    bearer: Annotated[HTTPAuthorizationCredentials | None, Security(_bearer)],
) -> User:
    """Whose request it is. Every read is counted and logged.

    Raises:
        RefusedError: nobody's, 401; too many at once, 429.
    """
    address = request.client.host if request.client else ""
    if bearer is not None:
        user = parts.users.find_by_token(bearer.credentials)
        if user is None:
            parts.limits.spend(TOKENS, address)
            log.warning("a token is refused", address=address)
            raise RefusedError(
                401,
                "wrong_token",
                "This token is none, or was taken away",
                remedy="`almenara user token NAME` makes one",
                headers={"WWW-Authenticate": "Bearer"},
            )
    else:
        session = parts.sessions.find(cookie)
        if session is None:
            raise RefusedError(
                401,
                "not_logged_in",
                "Nobody is logged in here",
                remedy="log in first, or send a token",
                headers={"WWW-Authenticate": "Bearer"},
            )
        user = session.user
    # By route: each case has a path of its own.
    parts.limits.spend(FEED, user.name, request.scope["route"].name)
    log.info("feed read", user=user.name, path=request.url.path, token=bearer is not None)
    return user


Reader = Annotated[User, Depends(reader)]
