from collections.abc import Iterator

import pytest
from web_parts import PASSWORD, PATIENCE_S, Stream, WebRig

import console.web.limits
import console.web.pulse
import console.web.sessions
from console.users import remove_user, set_password
from console.web.sessions import COOKIE
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


def test_a_login_gives_the_user_a_token_and_a_cookie_that_scripts_cannot_read(rig: WebRig) -> None:
    """Name and password give a session; its cookie is HttpOnly, SameSite=Strict, and ends with the shift."""
    client = rig.client()
    answer = client.post("/api/session", json={"name": "ana", "password": PASSWORD})
    assert answer.status_code == 200
    assert answer.json()["user"] == {"name": "ana", "roles": ["operator"], "departments": ["firefighters"]}
    cookie = answer.headers["set-cookie"]
    assert {"HttpOnly", "SameSite=strict", "Max-Age=43200", "Path=/"} <= set(cookie.split("; "))
    assert "Secure" not in cookie
    assert client.get("/api/session").json() == answer.json()


def test_behind_tls_the_cookie_is_secure(settings: Settings, broker: Broker) -> None:
    """Where browsers come by https, they never send the cookie another way, and no other name is served."""
    rig = WebRig(settings.override(web_url="https://desk.example.org"), broker)
    rig.add_user("ana", "operator", departments=["firefighters"])
    with rig.serving():
        headers = {"Host": "desk.example.org", "Origin": "https://desk.example.org"}
        answer = rig.log_in(**headers)
        assert "Secure" in answer.headers["set-cookie"].split("; ")
        assert answer.headers["strict-transport-security"]
        refused = rig.client().get("/api/session")
        assert (refused.status_code, refused.json()["reason"]) == (400, "wrong_host")
        assert rig.client().get("/livez").status_code == 200
    rig.close()


@pytest.mark.parametrize(
    "cookie",
    ["", "x", "eyJ1c2VyIjoiYW5hIn0.forged", "../../etc/passwd"],
)
def test_a_forged_cookie_is_nobody(rig: WebRig, cookie: str) -> None:
    """What was not signed here is no session."""
    client = rig.client()
    client.cookies.set(COOKIE, cookie, domain="127.0.0.1")
    answer = client.get("/api/session")
    assert (answer.status_code, answer.json()["reason"]) == (401, "not_logged_in")


def test_a_cookie_with_another_name_in_it_is_nobody(rig: WebRig) -> None:
    """The signature covers every part of the cookie."""
    payload, _, signature = rig.client("ana").cookies[COOKIE].rpartition(".")
    other, _, _ = rig.client("sol").cookies[COOKIE].rpartition(".")
    assert other != payload
    forger = rig.client()
    forger.cookies.set(COOKIE, f"{other}.{signature}", domain="127.0.0.1")
    assert forger.get("/api/session").status_code == 401


def test_a_session_ends_with_the_shift(rig: WebRig, monkeypatch: pytest.MonkeyPatch) -> None:
    """After twelve hours the cookie is worth nothing, whatever the browser does with it."""
    monkeypatch.setattr(console.web.sessions, "SESSION_S", -1)
    assert rig.client("ana").get("/api/session").status_code == 401


def test_logging_out_ends_every_copy_of_the_cookie(rig: WebRig) -> None:
    """A copy of the cookie is worth nothing from then on, after a restart neither; other sessions stay."""
    client, other = rig.client("ana"), rig.client("ana")
    copy = rig.client()
    copy.cookies.set(COOKIE, client.cookies[COOKIE], domain="127.0.0.1")
    assert copy.get("/api/session").status_code == 200
    answer = client.delete("/api/session")
    assert answer.status_code == 204
    assert COOKIE in answer.headers["set-cookie"]
    assert copy.get("/api/session").status_code == 401
    assert other.get("/api/session").status_code == 200
    again = console.web.sessions.Sessions(rig.settings, rig.users)
    assert again.find(copy.cookies[COOKIE]) is None
    assert again.find(other.cookies[COOKIE]) is not None


def test_logging_out_ends_the_event_streams(rig: WebRig) -> None:
    """No page goes on showing incidents after its logout."""
    client = rig.client("ana")
    rig.read()
    with Stream(client) as stream:
        stream.wait("open")
        client.delete("/api/session")
        assert stream.ended.wait(timeout=PATIENCE_S)


@pytest.mark.parametrize("change", ["removed", "password"])
def test_a_changed_user_loses_sessions_and_streams(
    rig: WebRig, change: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Who is removed, or whose password is changed, is out with the next request and the next pulse."""
    monkeypatch.setattr(console.web.pulse, "PULSE_S", 0.1)
    client, other = rig.client("ana"), rig.client("tomas")
    rig.read()
    with Stream(client) as stream, Stream(other) as stays:
        stream.wait("open")
        if change == "removed":
            remove_user(rig.settings.users_path, "ana")
        else:
            set_password(rig.settings.users_path, "ana", PASSWORD + "!")
        assert client.get("/api/session").status_code == 401
        assert stream.ended.wait(timeout=PATIENCE_S)
        assert other.get("/api/session").status_code == 200
        stays.wait("pulse", count=len(stays.of("pulse")) + 2)
        assert not stays.ended.is_set()


def test_what_changes_something_needs_the_sessions_own_token(rig: WebRig) -> None:
    """A wrong token, none, or another session's is refused with a plain message, and nothing happens."""
    client, other = rig.client("ana"), rig.client("tomas")
    for token in ("", "wrong", other.headers["X-CSRF-Token"], "ñandú"):
        answer = client.delete("/api/session", headers={b"X-CSRF-Token": token.encode()})
        assert (answer.status_code, answer.json()["reason"]) == (403, "wrong_token")
        assert "nothing was changed" in answer.json()["message"]
    assert client.get("/api/session").status_code == 200


@pytest.mark.parametrize(
    "headers",
    [
        {"Origin": "https://evil.example.org"},
        {"Origin": "null"},
        {"Origin": "http://127.0.0.1"},
        {"Origin": "null", "Sec-Fetch-Site": "cross-site"},
        {"Sec-Fetch-Site": "cross-site"},
        {"Sec-Fetch-Site": "same-site"},
    ],
)
def test_another_sites_page_changes_nothing(rig: WebRig, headers: dict[str, str]) -> None:
    """What another origin's page sends is refused, even with the token."""
    answer = rig.client("ana").delete("/api/session", headers=headers)
    assert (answer.status_code, answer.json()["reason"]) == (403, "wrong_origin")
    assert rig.log_in(**headers).json()["reason"] == "wrong_origin"


def test_our_own_page_may_change_things(rig: WebRig) -> None:
    """A page of this very host and port is ours; so is one that the browser says is of the same origin."""
    for headers in ({"Origin": rig.url}, {"Origin": "null", "Sec-Fetch-Site": "same-origin"}, {}):
        assert rig.client("ana").delete("/api/session", headers=headers).status_code == 204


def test_old_ended_sessions_are_forgotten(rig: WebRig, monkeypatch: pytest.MonkeyPatch) -> None:
    """What is noted of ended sessions does not grow for ever."""
    rig.client("ana").delete("/api/session")
    folder = rig.settings.state_dir / "web.ended"
    assert len(list(folder.iterdir())) == 1
    console.web.sessions.Sessions(rig.settings, rig.users)
    assert len(list(folder.iterdir())) == 1
    monkeypatch.setattr(console.web.sessions, "SESSION_S", -10)
    console.web.sessions.Sessions(rig.settings, rig.users)
    assert list(folder.iterdir()) == []
