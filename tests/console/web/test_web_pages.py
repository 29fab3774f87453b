import json
import re
from collections.abc import Iterator
from pathlib import Path

import pytest
from web_parts import WebRig

from console.web.assets import browser_folder, vendor_files, world
from console.web.pages import Pages
from shared.broker import Broker
from shared.errors import ConfigError
from shared.settings import Settings

WEB = Path(__file__).parents[3] / "console" / "web"


@pytest.fixture
def rig(settings: Settings, broker: Broker) -> Iterator[WebRig]:
    """A console with one user of each kind."""
    made = WebRig(settings, broker)
    made.add_everybody()
    with made.serving():
        yield made
    made.close()


@pytest.mark.parametrize("path", ["/", "/history?text=a%26b", "/cases/" + "a" * 32])
def test_who_is_not_logged_in_logs_in_first(rig: WebRig, path: str) -> None:
    """A page leads to the login, which knows where to go back to."""
    answer = rig.client().get(path)
    assert answer.status_code == 303
    location = answer.headers["location"]
    assert location.startswith("/login?next=%2F")
    assert rig.client().build_request("GET", location).url.params["next"] == path
    assert rig.client("ana").get(path).status_code == 200


def test_pages_have_no_inline_script_or_style(rig: WebRig) -> None:
    """The policy forbids it; what a page is given beside is data."""
    texts = [rig.client().get("/login").text, rig.client("ana").get("/").text]
    for text in texts:
        for attributes in re.findall(r"<script([^>]*)>", text):
            assert "src=" in attributes or 'type="application/json"' in attributes
        assert "<style" not in text
        assert not re.search(r"\s(style|on\w+)=", text)


def test_a_page_has_the_sessions_token(rig: WebRig) -> None:
    """What changes something needs it; the login page has none to give."""
    client = rig.client("ana")
    assert client.headers["X-CSRF-Token"] in client.get("/").text
    assert client.get("/login").headers["location"] == "/"


@pytest.mark.parametrize(
    ("path", "accepted", "language"),
    [
        ("/login", "", "en"),
        ("/login", "es-MX,es;q=0.9,en;q=0.8", "es"),
        ("/login", "xx, de;q=0.3", "en"),
        ("/login?lang=es", "en", "es"),
        ("/login?lang=../../etc/passwd", "en", "en"),
    ],
)
def test_a_page_speaks_the_readers_language(rig: WebRig, path: str, accepted: str, language: str) -> None:
    """As asked for, else as the browser prefers, else English; what was asked for is remembered."""
    client = rig.client()
    answer = client.get(path, headers={"Accept-Language": accepted})
    assert f'<html lang="{language}">' in answer.text
    again = client.get("/login", headers={"Accept-Language": ""})
    assert f'<html lang="{"es" if "lang=es" in path else "en"}">' in again.text


def test_every_file_that_pages_name_is_there(rig: WebRig) -> None:
    """Scripts, styles and pictures of every page, and what scripts import, are served with their types."""
    client = rig.client("ana")
    named: set[str] = set()
    for text in (client.get("/").text, rig.client().get("/login").text):
        named |= set(re.findall(r'(?:src|href)="(/static/[^"]+)"', text))
    for script in (WEB / "static").rglob("*.js"):
        named |= set(re.findall(r'"(/static/[^"\s]+\.\w+)"', script.read_text(encoding="utf-8")))
    assert named
    for path in sorted(named):
        answer = client.get(path)
        assert answer.status_code == 200, path
        kind = answer.headers["content-type"].partition(";")[0]
        if path.endswith(".js"):
            assert kind == "text/javascript", path
        if path.endswith(".css"):
            assert kind == "text/css", path


def test_the_worlds_outline_is_a_map(rig: WebRig) -> None:
    """GeoJSON of some 170 countries, in degrees with two decimals, sent once."""
    client = rig.client()
    answer = client.get("/static/vendor/world.geojson")
    features = json.loads(answer.text)["features"]
    assert len(features) > 150
    assert {feature["geometry"]["type"] for feature in features} <= {"Polygon", "MultiPolygon"}
    assert "Mexico" in {feature["properties"]["name"] for feature in features}
    numbers = re.findall(r"-?\d+\.\d+", json.dumps([each["geometry"]["coordinates"] for each in features]))
    assert all(len(number.partition(".")[2]) <= 2 for number in numbers)
    again = client.get("/static/vendor/world.geojson", headers={"If-None-Match": answer.headers["etag"]})
    assert again.status_code == 304


def test_missing_libraries_stop_the_start_with_a_remedy(tmp_path: Path) -> None:
    """Where `make setup` has not put the browsers' libraries, the console says so, and does not start."""
    with pytest.raises(ConfigError, match="make setup"):
        vendor_files(tmp_path)
    with pytest.raises(ConfigError, match="make setup"):
        world(tmp_path)
    assert browser_folder().is_dir()


def test_damaged_texts_stop_the_start(tmp_path: Path) -> None:
    """A console without English words does not start."""
    (tmp_path / "locales").mkdir()
    with pytest.raises(ConfigError, match="texts"):
        Pages(tmp_path)
    (tmp_path / "locales" / "en.json").write_text("{")
    with pytest.raises(ConfigError, match="texts"):
        Pages(tmp_path)


def test_a_wrong_address_tells_a_person_in_words(rig: WebRig) -> None:
    """A browser gets a page that leads back; a program, and the API, keep the one shape of refusals."""
    person = {"Accept": "text/html,*/*", "Accept-Language": "es"}
    answer = rig.client().get("/nowhere", headers=person)
    assert answer.status_code == 404
    assert "Esa página no existe" in answer.text
    assert 'href="/"' in answer.text
    assert rig.client().get("/nowhere").json()["reason"] == "not_found"
    assert rig.client().get("/api/nowhere", headers=person).json()["reason"] == "not_found"
