"""What browser tests share: every part of Almenara as processes, and people at real browsers before it."""

import itertools
import re
from pathlib import Path
from typing import Any

import httpx
import pytest
import scenes
from conftest import wait_until
from deployment import Deployment

from console.users import add_user
from deploy.status import gather
from shared.coordinates import Coordinates
from shared.heartbeats import DESK, living
from shared.routing import Routing

pytest.importorskip("playwright.sync_api", reason="Playwright, which drives the browser, is not installed")

from playwright.sync_api import (
    Browser,
    ConsoleMessage,
    Locator,
    Request,
    expect,
)

PASSWORD = "salmon under the bridge"  # noqa: S105 - of a test
USERS = {
    "ana": (["operator"], ["firefighters"]),
    "abel": (["operator"], ["firefighters"]),
    "ben": (["operator"], ["transit-police"]),
    "pia": (["operator"], ["police-department"]),
    "rita": (["reviewer"], []),
    "sol": (["supervisor"], ["all"]),
}
PATIENCE_MS = 60_000
"""Longer than anything takes that is not to last for ever, on a busy machine too."""
_START_S = 120
_SLOW_CLOCK = {"acknowledge_within_s": 3600.0, "fallback_after_s": 7200.0, "review_within_s": 3600.0}
"""However long a test takes, nobody is called again meanwhile, but where a module wants that."""
_TELL_VIOLATIONS = """addEventListener("securitypolicyviolation", (event) =>
  console.error(`the policy was violated: ${event.violatedDirective} ${event.blockedURI}`))"""
_FITS = "document.scrollingElement.scrollWidth <= Math.min(innerWidth, visualViewport.width)"

expect.set_options(timeout=PATIENCE_MS)


class Consoles(Deployment):
    """Every part of Almenara as a process, with users and a model of certain verdicts."""

    SERVICES = ("ingest", "worker", "desk", "web")

    def __init__(self, model: Path, **settings: Any) -> None:
        super().__init__(checkpoint=model, **{**_SLOW_CLOCK, **settings})
        self._places = itertools.count()
        self.url = f"http://127.0.0.1:{self.settings.web_port}"

    def start_all(self) -> None:
        """Start everything, and wait until all of it works."""
        self.start_broker()
        routing = Routing.load(self.settings.routing)
        for name, (roles, departments) in USERS.items():
            path = self.settings.users_path
            add_user(path, name, PASSWORD, roles=roles, departments=departments, routing=routing)
        for service in self.SERVICES:
            self.start(service, service)
        client = self.client()
        wait_until(lambda: gather(client, self.settings)["workers"], within_s=_START_S, what="a worker works")
        wait_until(lambda: living(client, DESK), within_s=_START_S, what="a desk works")
        self.wait_web()

    def wait_web(self) -> None:
        """Wait until the web console answers, and has what it needs."""
        what = f"the web console is ready; log: {self.log.name}"
        wait_until(self._is_ready, within_s=_START_S, what=what)

    def _is_ready(self) -> bool:
        try:
            return httpx.get(f"{self.url}/readyz", timeout=5).status_code == 200
        except httpx.HTTPError:
            return False

    def photograph(self, kind: str, label: str, *, place: Coordinates | None = None) -> Coordinates:
        """Drop a drawing of a kind into the inbox, by default far away from all others; its place."""
        number = next(self._places)
        place = place or Coordinates(latitude_deg=round(-60 + number * 0.731, 4), longitude_deg=151.2153)
        aside = self.inbox / f".{number}.tmp"
        aside.write_bytes(scenes.jpeg(scenes.draw(kind), comment=f"{number}"))
        # As a stranger would name it, with whatever is in the label.
        aside.rename(self.inbox / f"{place.latitude_deg:.4f}, {place.longitude_deg:.4f} {label}.jpeg")
        return place


class Person:
    """Somebody at a browser of their own. What goes wrong there is kept in `troubles`."""

    def __init__(self, browser: Browser, url: str, name: str, **context: Any) -> None:
        self.name, self.url = name, url
        self.troubles: list[str] = []
        self._expected: list[str] = []
        self.context = browser.new_context(base_url=url, **{"locale": "en-GB", **context})
        self.context.set_default_timeout(PATIENCE_MS)
        self.context.add_init_script(_TELL_VIOLATIONS)
        self.page = self.context.new_page()
        self.page.on("console", self._hear)
        self.page.on("pageerror", lambda error: self.troubles.append(f"fault in the page: {error}"))
        self.page.on("dialog", lambda dialog: self.troubles.append(f"a dialog: {dialog.message}"))
        self.page.on("request", self._see)

    def log_in(self, path: str = "/") -> "Person":
        """Take a session without the form, and open a page."""
        answer = self.context.request.post("/api/session", data={"name": self.name, "password": PASSWORD})
        assert answer.ok, answer.text()
        self.page.goto(path)
        expect(
            self.page.get_by_text("Live", exact=True).or_(self.page.get_by_text("En directo"))
        ).to_be_visible()
        return self

    def row(self, words: str) -> Locator:
        """The row of the board with these words on it."""
        return self.page.get_by_role("article").filter(has_text=words)

    def open(self, words: str) -> None:
        """Open the case of a row of the board."""
        self.row(words).get_by_role("link", name="#").first.click()
        expect(self.page.get_by_role("heading", level=1)).to_be_visible()

    def button(self, name: str) -> Locator:
        """A button of the case that is open; its name may go on with its key."""
        return self.page.locator(".case").get_by_role("button", name=re.compile(rf"^{name}\b"))

    def sees_picture(self, image: Locator) -> None:
        """A picture is there, and has loaded."""
        wait_until(
            # One look for both: between two the page may have painted another one in its place.
            lambda: image.evaluate("(image) => image.complete && image.naturalWidth > 0"),
            within_s=PATIENCE_MS / 1000,
            what=f"{image} has loaded",
        )

    def fits(self) -> None:
        """Nothing is wider than the screen."""
        self.page.wait_for_function(_FITS)

    def expects(self, words: str) -> None:
        """Troubles with these words are the test's own doing."""
        self._expected.append(words)

    def unexpected(self) -> list[str]:
        """Troubles that nobody caused on purpose."""
        return [each for each in self.troubles if not any(words in each for words in self._expected)]

    def _hear(self, message: ConsoleMessage) -> None:
        if message.type in ("error", "warning"):
            self.troubles.append(f"{message.type} in the console: {message.text}")

    def _see(self, request: Request) -> None:
        if not request.url.startswith((f"{self.url}/", "data:", "blob:")):
            self.troubles.append(f"a request to elsewhere: {request.url}")
