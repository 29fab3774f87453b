"""Visitors: whose request it is, and whether it came from our own page."""

import hmac
from typing import Annotated

from fastapi import Depends, Header, Security
from fastapi.security import APIKeyCookie
from starlette.requests import Request

from console.web.errors import RefusedError
from console.web.parts import Parts, parts_of
from console.web.security import same_origin
from console.web.sessions import COOKIE, Session

cookie_scheme = APIKeyCookie(name=COOKIE, auto_error=False, description="Set by POST /api/session.")

PartsOf = Annotated[Parts, Depends(parts_of)]


async def visitor(parts: PartsOf, cookie: Annotated[str | None, Security(cookie_scheme)]) -> Session:
    """Who is logged in.

    Raises:
        RefusedError: nobody is; 401.
    """
    session = parts.sessions.find(cookie)
    if session is None:
        raise RefusedError(401, "not_logged_in", "Nobody is logged in here", remedy="log in first")
    return session


async def own_page(request: Request, parts: PartsOf) -> None:
    """Let a request pass that changes something.

    Raises:
        RefusedError: another site's page sent it; 403.
    """
    if not same_origin(request.headers, parts.settings):
        raise RefusedError(
            403,
            "wrong_origin",
            "Another site's page has sent this, and it is refused",
            remedy="open the console itself; behind a proxy, ALMENARA_WEB_URL must be its address",
        )


async def trusted(
    session: Annotated[Session, Depends(visitor)],
    _: Annotated[None, Depends(own_page)],
    x_csrf_token: Annotated[str, Header(description="`csrf` of the session.")] = "",
) -> Session:
    """Who is logged in, for a request that changes something.

    Raises:
        RefusedError: it lacks this session's token; 403.
    """
    if not hmac.compare_digest(x_csrf_token.encode(), session.csrf.encode()):
        raise RefusedError(
            403,
            "wrong_token",
            "This page is out of date, and nothing was changed",
            remedy="load it again; a program sends the session's `csrf` in X-CSRF-Token",
        )
    return session


Visitor = Annotated[Session, Depends(visitor)]
Trusted = Annotated[Session, Depends(trusted)]
