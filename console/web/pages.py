"""Pages: shells in the reader's language; what they show they fetch from the API."""

import hashlib
import json
import mimetypes
from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Any

from fastapi import APIRouter, FastAPI
from fastapi import Path as PathPart
from jinja2 import Environment, FileSystemLoader, StrictUndefined, select_autoescape
from starlette.requests import Request
from starlette.responses import HTMLResponse, RedirectResponse, Response
from starlette.staticfiles import StaticFiles

from console.web.api_cases import ID_PATTERN
from console.web.assets import browser_folder, vendor_files, world
from console.web.parts import parts_of
from console.web.sessions import COOKIE, Session
from shared.errors import ConfigError

_HERE = Path(__file__).parent
LANGUAGE_COOKIE = "lang"
_YEAR_S = 365 * 24 * 3600

router = APIRouter(include_in_schema=False)


class Pages:
    """Templates and the texts of every language, read at start."""

    def __init__(self, folder: Path = _HERE) -> None:
        """Read them.

        Raises:
            ConfigError: one is missing or damaged.
        """
        self._templates = Environment(
            loader=FileSystemLoader(folder / "templates"),
            autoescape=select_autoescape(default=True),
            undefined=StrictUndefined,
        )
        self._words = _read_words(folder / "locales")

    def render(self, request: Request, name: str, session: Session | None) -> Response:
        """A page in the reader's language; one that they asked for is remembered."""
        language = self._language(request)
        text = self._templates.get_template(name).render(
            lang=language,
            languages=list(self._words),
            words=self._words[language],
            csrf=session.csrf if session else "",
        )
        response = HTMLResponse(text, headers={"Vary": "Cookie, Accept-Language"})
        if request.query_params.get("lang") == language:
            response.set_cookie(LANGUAGE_COOKIE, language, max_age=_YEAR_S, samesite="lax")
        return response

    def _language(self, request: Request) -> str:
        accepted = request.headers.get("accept-language", "")
        wanted = [
            request.query_params.get("lang", ""),
            request.cookies.get(LANGUAGE_COOKIE, ""),
            *(part.partition(";")[0].strip().partition("-")[0].lower() for part in accepted.split(",")),
        ]
        return next((word for word in wanted if word in self._words), next(iter(self._words)))


def _read_words(folder: Path) -> dict[str, Mapping[str, str]]:
    """Language -> its texts, English first: what is asked for in no language that there is, is in English."""
    try:
        words = {path.stem: json.loads(path.read_text(encoding="utf-8")) for path in folder.glob("*.json")}
        return {language: words[language] for language in ("en", *sorted(set(words) - {"en"}))}
    except (KeyError, OSError, ValueError) as error:
        raise ConfigError(f"the console's texts in {folder} are damaged: {error!r}") from error


def install(app: FastAPI) -> None:
    """Add the pages and their files.

    Raises:
        ConfigError: a part of them is not installed.
    """
    mimetypes.add_type("text/javascript", ".js")  # whatever this machine's own table says
    app.state.pages = Pages()
    folder = browser_folder()
    vendor, outlines = vendor_files(folder), world(folder)
    tag = f'"{hashlib.sha256(outlines).hexdigest()[:32]}"'

    async def world_map(request: Request) -> Response:
        headers = {"ETag": tag, "Cache-Control": "no-cache"}
        if request.headers.get("if-none-match") == tag:
            return Response(status_code=304, headers=headers)
        return Response(outlines, media_type="application/geo+json", headers=headers)

    app.add_route("/static/vendor/world.geojson", world_map, include_in_schema=False)
    app.mount("/static/vendor", vendor)
    app.mount("/static", StaticFiles(directory=_HERE / "static"))
    app.include_router(router)


def _page(request: Request, name: str) -> Response:
    """A page for those who are logged in; others log in first, and come back."""
    session = _session(request)
    if session is None:
        back = request.url.path + (f"?{request.url.query}" if request.url.query else "")
        login = request.url_for("login").include_query_params(next=back)
        return RedirectResponse(f"{login.path}?{login.query}", 303)
    pages: Pages = request.app.state.pages
    return pages.render(request, name, session)


def _session(request: Request) -> Session | None:
    return parts_of(request).sessions.find(request.cookies.get(COOKIE))


@router.get("/login")
async def login(request: Request) -> Response:
    """Log in, for who has not."""
    if _session(request) is not None:
        return RedirectResponse("/", 303)
    pages: Any = request.app.state.pages
    response: Response = pages.render(request, "login.html", None)
    return response


@router.get("/")
async def board(request: Request) -> Response:
    """The board."""
    return _page(request, "board.html")


@router.get("/cases/{case}")
async def case(case: Annotated[str, PathPart(pattern=ID_PATTERN)], request: Request) -> Response:
    """One case."""
    return _page(request, "case.html")


@router.get("/history")
async def history(request: Request) -> Response:
    """The history."""
    return _page(request, "history.html")
