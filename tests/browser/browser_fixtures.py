"""Fixtures of the browser tests, whose modules name this one in `pytest_plugins`.

A dictionary CLOCK in such a module holds settings that its parts run with.
"""

import os
import shutil
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import scenes
import taught
from browser_parts import Consoles, Person
from playwright.sync_api import Browser, sync_playwright

BROWSERS = ("chromium", "chromium-browser", "google-chrome")


@pytest.fixture(scope="module")
def chromium() -> Iterator[Browser]:
    """A headless browser. It ends with the module: while it runs, nothing else here can run an event loop."""
    path = next(filter(None, map(shutil.which, BROWSERS)), None)
    if path is None:
        pytest.skip(f"no browser to test with: none of {', '.join(BROWSERS)} is on the PATH")
    arguments = ["--no-sandbox"] if os.geteuid() == 0 else []
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=path, args=arguments, timeout=120_000)
        yield browser
        browser.close()


@pytest.fixture(scope="session")
def model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A checkpoint that knows a drawing of each kind by heart."""
    path = tmp_path_factory.mktemp("model") / "taught.safetensors"
    taught.teach(path, [taught.drawing(kind) for kind in scenes.KINDS])
    return path


@pytest.fixture(scope="module")
def consoles(request: pytest.FixtureRequest, chromium: Browser, model: Path) -> Iterator[Consoles]:
    """Everything, running; the tests of a module share it, and each uses photographs of its own."""
    made = Consoles(model, **getattr(request.module, "CLOCK", {}))
    try:
        made.start_all()
        yield made
    finally:
        made.close()


@pytest.fixture
def people(chromium: Browser, consoles: Consoles) -> Iterator[Callable[..., Person]]:
    """Makes people by name; at the end, nothing may have gone wrong in any of their browsers."""
    made: list[Person] = []

    def make(name: str = "", **context: Any) -> Person:
        made.append(Person(chromium, consoles.url, name, **context))
        return made[-1]

    yield make
    troubles = [f"{person.name}: {trouble}" for person in made for trouble in person.unexpected()]
    for person in made:
        person.context.close()
    assert not troubles
