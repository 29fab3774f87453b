from collections.abc import Iterator

import pytest
from starlette.datastructures import Headers
from web_parts import WebRig

from console.web.security import content_security_policy, same_origin, tile_origin
from shared.broker import Broker
from shared.settings import Settings


@pytest.fixture
def rig(settings: Settings, broker: Broker) -> Iterator[WebRig]:
    """A console with one user of each kind."""
    made = WebRig(settings, broker)
    made.add_everybody()
    with made.serving():
        yield made
    made.close()


PATHS = (
    "/",
    "/login",
    "/api/session",
    "/api/cases",
    "/api/nowhere",
    "/nowhere",
    "/livez",
    "/openapi.json",
    "/static/vendor/leaflet/leaflet.js",
    "/static/vendor/world.geojson",
    "/static/nowhere.js",
)


@pytest.mark.parametrize("path", PATHS)
def test_every_answer_has_its_policies(rig: WebRig, path: str) -> None:
    """Pages, files, API and refusals alike: strict policy, no sniffing, no referrer, no server's name."""
    for client in (rig.client(), rig.client("ana")):
        headers = client.get(path).headers
        policy = headers["content-security-policy"]
        assert "default-src 'none'" in policy
        assert "unsafe" not in policy
        assert "frame-ancestors 'none'" in policy
        assert headers["x-content-type-options"] == "nosniff"
        assert headers["referrer-policy"] == "no-referrer"
        assert headers["cross-origin-opener-policy"] == "same-origin"
        assert headers["permissions-policy"]
        assert "server" not in headers
        if path.startswith("/api"):
            assert headers["cache-control"] == "no-store"


def test_files_are_kept_by_browsers_and_asked_about(rig: WebRig) -> None:
    """A file that has not changed travels once; one that has is never mixed with older ones."""
    for path in ("/static/vendor/leaflet/leaflet.js", "/static/vendor/world.geojson"):
        answer = rig.client().get(path)
        assert answer.headers["cache-control"] == "no-cache"
        again = rig.client().get(path, headers={"If-None-Match": answer.headers["etag"]})
        assert (again.status_code, again.content) == (304, b"")


@pytest.mark.parametrize(
    ("method", "path", "status"),
    [
        ("GET", "/api/nowhere", 404),
        ("PUT", "/api/session", 405),
        ("TRACE", "/api/cases", 405),
        ("GET", "/api/cases/x/moves", 405),
        ("POST", "/api/live", 405),
        ("GET", "/api/docs", 404),
        ("GET", "/docs", 404),
        ("GET", "/static/..%2f..%2fapp.py", 404),
        ("GET", "/static/vendor/..%2f..%2f..%2fapp.py", 404),
        ("GET", "/static/templates/login.html", 404),
    ],
)
def test_what_is_not_there_is_refused_in_our_shape(rig: WebRig, method: str, path: str, status: int) -> None:
    """Unknown addresses and methods are problems like any other, and tell nothing."""
    answer = rig.client("sol").request(method, path)
    assert answer.status_code == status
    assert set(answer.json()) == {"reason", "message", "remedy"}


def test_a_wrong_method_is_told_the_right_ones(rig: WebRig) -> None:
    """Allow names every method of the address, not of its first route alone."""
    assert rig.client().put("/api/session").headers["allow"] == "DELETE, GET, POST"


@pytest.mark.parametrize(
    "path",
    ["/api/cases", "/api/setup", "/api/live", "/api/history", "/api/history.csv", "/api/cases/" + "a" * 32],
)
def test_without_a_session_the_api_says_nothing(rig: WebRig, path: str) -> None:
    """401 before anything is looked at."""
    answer = rig.client().get(path)
    assert (answer.status_code, answer.json()["reason"]) == (401, "not_logged_in")


@pytest.mark.parametrize(
    ("url", "origin"),
    [
        ("https://tile.example.org/{z}/{x}/{y}.png", "https://tile.example.org"),
        ("https://{s}.tile.example.org/{z}/{x}/{y}.png", "https://*.tile.example.org"),
        ("https://t{s}.example.org:8443/{z}/{x}/{y}.png", "https://*.example.org:8443"),
        ("http://user:pw@tiles:80/{z}/{x}/{y}", "http://tiles:80"),
    ],
)
def test_the_policy_names_the_tile_server_alone(url: str, origin: str, settings: Settings) -> None:
    """Pictures may come from the map's tile server, and nothing else from anywhere."""
    assert tile_origin(url) == origin
    assert f"img-src 'self' data: blob: {origin};" in content_security_policy(settings.override(tile_url=url))
    assert "http" not in content_security_policy(settings)


@pytest.mark.parametrize(
    ("headers", "ours"),
    [
        ({"host": "desk:8400"}, True),
        ({"host": "desk:8400", "origin": "http://desk:8400"}, True),
        ({"host": "desk:8400", "origin": "http://desk:8401"}, False),
        ({"host": "desk:8400", "origin": "http://desk:8400.evil.org"}, False),
        ({"host": "desk:8400", "origin": "https://desk:8400"}, False),
        ({"host": "desk:8400", "origin": "http://["}, False),
        ({"host": "desk:8400", "origin": "null"}, False),
        ({"host": "desk:8400", "origin": "null", "sec-fetch-site": "same-origin"}, True),
        ({"host": "desk:8400", "sec-fetch-site": "none"}, True),
        ({"host": "desk:8400", "sec-fetch-site": "cross-site"}, False),
    ],
)
def test_origins_are_compared_whole(headers: dict[str, str], ours: bool, settings: Settings) -> None:
    """Scheme, host and port; a browser that hides the origin still says whether it is the same."""
    assert same_origin(Headers(headers), settings) is ours


def test_behind_a_proxy_the_origin_is_the_proxys(settings: Settings) -> None:
    """Where ALMENARA_WEB_URL is set, that address alone is ours, whatever the host says."""
    settings = settings.override(web_url="https://desk.example.org")
    assert same_origin(Headers({"host": "x", "origin": "https://desk.example.org"}), settings)
    assert not same_origin(Headers({"host": "x", "origin": "http://x"}), settings)
    assert not same_origin(Headers({"host": "x", "origin": "http://desk.example.org"}), settings)


def test_an_origin_that_is_no_address_is_refused(rig: WebRig) -> None:
    """What a page calls itself may be anything, and is no fault of ours."""
    answer = rig.client("ana").delete("/api/session", headers={"Origin": "http://["})
    assert (answer.status_code, answer.json()["reason"]) == (403, "wrong_origin")


@pytest.mark.parametrize(
    ("host", "ours"),
    [
        ("127.0.0.1", True),
        ("127.0.0.1:1", True),
        ("LocalHost:8400", True),
        ("[::1]:8400", True),
        ("evil.example.org", False),
        ("evil.example.org:8400", False),
        ("127.0.0.1.evil.example.org", False),
        ("x@127.0.0.1", False),
        ("[::1", False),
        ("", False),
    ],
)
def test_on_this_machine_alone_no_other_name_is_served(rig: WebRig, host: str, ours: bool) -> None:
    """A site that points its own name at us gets nothing; who watches over us may call us anything."""
    answer = rig.client().get("/login", headers={"Host": host})
    assert answer.status_code == (200 if ours else 400)
    if not ours:
        assert answer.json()["reason"] == "wrong_host"
    assert rig.client().get("/livez", headers={"Host": host}).status_code == 200


def test_an_address_with_a_slash_too_many_leads_nowhere(rig: WebRig) -> None:
    """No redirect: it would lead wherever the Host header says."""
    answer = rig.client("ana").get("/api/cases/", headers={"Host": "localhost:99"})
    assert answer.status_code == 404
    assert "location" not in answer.headers
