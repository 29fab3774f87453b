import json
import socket
import stat
import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path

import httpx
import limits
import pytest
from conftest import wait_until
from web_parts import PASSWORD, Stream, WebRig

import console.web.limits
import console.web.pulse
import console.web.sessions
from console.users import remove_user, set_password
from console.web.secret import load_secret
from console.web.sessions import COOKIE
from shared.broker import Broker
from shared.errors import ConfigError
from shared.settings import Settings


@pytest.fixture
def rig(settings: Settings, broker: Broker) -> Iterator[WebRig]:
    """A console with one user of each kind."""
    made = WebRig(settings, broker)
    made.add_everybody()
    with made.serving():
        yield made
    made.close()


def log_in(rig: WebRig, name: str = "ana", password: str = PASSWORD, **headers: str) -> httpx.Response:
    """Log in as a browser does."""
    credentials = {"name": name, "password": password}
    return rig.client().post("/api/session", json=credentials, headers=headers)


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
        answer = log_in(rig, **headers)
        assert "Secure" in answer.headers["set-cookie"].split("; ")
        assert answer.headers["strict-transport-security"]
        refused = rig.client().get("/api/session")
        assert (refused.status_code, refused.json()["reason"]) == (400, "wrong_host")
        assert rig.client().get("/livez").status_code == 200
    rig.close()


@pytest.mark.parametrize(
    ("name", "password"), [("ana", "not the password"), ("nobody", PASSWORD), ("", ""), ("ana\0", PASSWORD)]
)
def test_a_wrong_login_says_nothing_of_names(rig: WebRig, name: str, password: str) -> None:
    """A wrong password and an unknown name are answered alike."""
    answer = log_in(rig, name, password)
    assert (answer.status_code, answer.json()["reason"]) == (401, "wrong_password")
    assert answer.json()["message"] == "Name or password is wrong"
    assert "set-cookie" not in answer.headers


def test_attempts_are_limited_by_name_and_address(rig: WebRig) -> None:
    """After five wrong passwords a name has to wait, with the right one too; another name has not."""
    for attempt in range(5):
        assert log_in(rig, "ana" if attempt % 2 else "ANA", "wrong").status_code == 401
    answer = log_in(rig)
    assert (answer.status_code, answer.json()["reason"]) == (429, "too_many")
    assert 1 <= int(answer.headers["retry-after"]) <= 60
    assert log_in(rig, "tomas").status_code == 200


@pytest.mark.parametrize(("web_url", "believed"), [("", False), ("http://desk.example.org", True)])
def test_a_proxys_word_about_the_address_counts_where_there_is_one(
    settings: Settings, broker: Broker, web_url: str, believed: bool
) -> None:
    """Behind a proxy browsers are told apart by what it says; without one, nobody says who they are."""
    rig = WebRig(settings.override(web_url=web_url), broker)
    rig.add_everybody()
    headers = {"Host": "desk.example.org"} if web_url else {}
    with rig.serving():
        for _ in range(5):
            log_in(rig, "ana", "wrong", **headers, **{"X-Forwarded-For": "203.0.113.1"})
        elsewhere = log_in(rig, "ana", PASSWORD, **headers, **{"X-Forwarded-For": "203.0.113.2"})
        assert elsewhere.status_code == (200 if believed else 429)
        same = log_in(rig, "ana", PASSWORD, **headers, **{"X-Forwarded-For": "10.0.0.1, 203.0.113.1"})
        assert same.status_code == 429
    rig.close()


def proxied(settings: Settings, broker: Broker, **more: str) -> WebRig:
    """A console behind a proxy on this machine."""
    rig = WebRig(settings.override(web_url="http://desk.example.org", **more), broker)
    rig.add_everybody()
    return rig


def log_in_from(rig: WebRig, forwarded: str, name: str = "ana", password: str = PASSWORD) -> int:
    """The status of a login that the proxy says comes from there."""
    headers = {"Host": "desk.example.org", "X-Forwarded-For": forwarded}
    return log_in(rig, name, password, **headers).status_code


def test_only_a_proxy_says_where_a_browser_is(settings: Settings, broker: Broker) -> None:
    """What stands before the last address that a proxy saw is a browser's own word, and is not believed."""
    rig = proxied(settings, broker)
    with rig.serving():
        for attempt in range(5):
            assert log_in_from(rig, f"203.0.113.{attempt}, 10.0.0.9", "ana", "wrong") == 401
        assert log_in_from(rig, "203.0.113.77, 10.0.0.9") == 429
    rig.close()


def test_proxies_are_those_that_are_named(settings: Settings, broker: Broker) -> None:
    """Behind proxies of a network the address is the last that is none of them; others are not believed."""
    rig = proxied(settings, broker, web_proxies="127.0.0.1, 10.0.0.0/8")
    with rig.serving():
        for attempt in range(5):
            assert log_in_from(rig, f"198.51.100.{attempt}, 203.0.113.1, 10.0.0.9", "ana", "wrong") == 401
        assert log_in_from(rig, "203.0.113.1, 10.0.0.8") == 429
        assert log_in_from(rig, "203.0.113.2, 10.0.0.9") == 200
    rig.close()
    rig = proxied(settings, broker, web_proxies="192.0.2.1")
    with rig.serving():
        for attempt in range(5):
            assert log_in_from(rig, f"203.0.113.{attempt}", "ana", "wrong") == 401
        assert log_in_from(rig, "203.0.113.77") == 429
    rig.close()


def test_a_name_is_tried_so_often_from_anywhere(settings: Settings, broker: Broker) -> None:
    """Thirty wrong passwords from all addresses; where the user has logged in before they still can."""
    rig = proxied(settings, broker)
    with rig.serving():
        assert log_in_from(rig, "203.0.113.200") == 200
        for attempt in range(30):
            assert log_in_from(rig, f"203.0.113.{attempt}", "ana", "wrong") == 401
        assert log_in_from(rig, "203.0.113.100", "ana", "wrong") == 429
        assert log_in_from(rig, "203.0.113.101") == 429
        assert log_in_from(rig, "203.0.113.102", "tomas") == 200
        assert log_in_from(rig, "203.0.113.200") == 200
        assert log_in_from(rig, "203.0.113.101") == 200
    rig.close()


def test_a_right_password_clears_the_count_of_its_address(
    rig: WebRig, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A whole control room behind one gate logs in at the change of shift."""
    few = replace(console.web.limits.ADDRESS, item=limits.parse("3/minute"))
    monkeypatch.setattr(console.web.limits, "ADDRESS", few)
    for name in ("ana", "tomas", "vera", "rita", "sol"):
        assert log_in(rig, name, "wrong").status_code == 401
        assert log_in(rig, name).status_code == 200
    assert [log_in(rig, name, "wrong").status_code for name in "abcd"] == [401, 401, 401, 429]


class SlowHash:
    """Passwords are looked at once they may be.

    Attributes:
        names: whose were.
    """

    def __init__(self, rig: WebRig, monkeypatch: pytest.MonkeyPatch) -> None:
        self.names: list[str] = []
        self._go, self._check = threading.Event(), rig.users.check
        monkeypatch.setattr(rig.users, "check", self._slowly)

    def go_on(self) -> None:
        """They may."""
        self._go.set()

    def _slowly(self, name: str, password: str) -> object:
        self.names.append(name)
        assert self._go.wait(timeout=60)
        return self._check(name, password)


def test_one_address_takes_few_of_the_places_where_logins_wait(
    rig: WebRig, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Two are looked at, two wait, and who comes then is told when to come again; nothing is counted."""
    slow = SlowHash(rig, monkeypatch)
    with ThreadPoolExecutor(4) as pool:
        try:
            asked = [pool.submit(log_in, rig, name) for name in ("ana", "tomas")]
            wait_until(lambda: len(slow.names) == 2, within_s=20, what="two are looked at")
            asked += [pool.submit(log_in, rig, name) for name in ("vera", "rita")]
            wait_until(lambda: rig.parts.logins.waiting == 2, within_s=20, what="two wait")
            for _ in range(7):
                refused = log_in(rig, "sol")
                assert (refused.status_code, refused.json()["reason"]) == (503, "busy")
                assert refused.headers["retry-after"] == "2"
        finally:
            slow.go_on()
        assert [each.result().status_code for each in asked] == [200] * 4
    assert log_in(rig, "sol").status_code == 200


def test_so_many_logins_wait_and_no_more(
    settings: Settings, broker: Broker, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Ten from anywhere; then 503, whoever asks."""
    rig = proxied(settings, broker)
    with rig.serving(), ThreadPoolExecutor(12) as pool:
        slow = SlowHash(rig, monkeypatch)
        try:
            first = [pool.submit(log_in_from, rig, f"203.0.113.{host}") for host in range(2)]
            wait_until(lambda: len(slow.names) == 2, within_s=20, what="two are looked at")
            rest = [pool.submit(log_in_from, rig, f"203.0.113.{host}") for host in range(2, 12)]
            wait_until(lambda: rig.parts.logins.waiting == 10, within_s=20, what="ten wait")
            assert log_in_from(rig, "203.0.113.99") == 503
        finally:
            slow.go_on()
        assert {each.result() for each in first + rest} == {200}
    rig.close()


def test_who_has_gone_is_not_looked_at(rig: WebRig, monkeypatch: pytest.MonkeyPatch) -> None:
    """A login whose browser hung up while it waited costs no hash."""
    slow = SlowHash(rig, monkeypatch)
    with ThreadPoolExecutor(3) as pool:
        try:
            asked = [pool.submit(log_in, rig, name) for name in ("ana", "tomas")]
            wait_until(lambda: len(slow.names) == 2, within_s=20, what="two are looked at")
            with socket.create_connection(("127.0.0.1", httpx.URL(rig.url).port)) as sock:
                body = json.dumps({"name": "vera", "password": PASSWORD})
                head = "POST /api/session HTTP/1.1\r\nHost: 127.0.0.1\r\nContent-Type: application/json\r\n"
                sock.sendall(f"{head}Content-Length: {len(body)}\r\n\r\n{body}".encode())
                wait_until(lambda: rig.parts.logins.waiting == 1, within_s=20, what="it waits")
            assert rig.client().get("/livez").status_code == 200  # read after the other's end
        finally:
            slow.go_on()
        assert [each.result().status_code for each in asked] == [200] * 2
    assert log_in(rig, "rita").status_code == 200
    assert sorted(slow.names) == ["ana", "rita", "tomas"]


def test_who_logs_in_again_and_again_is_not_kept_waiting(rig: WebRig) -> None:
    """A right password clears the count: a page that is opened often is no attack."""
    assert [log_in(rig).status_code for _ in range(7)] == [200] * 7


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
        assert stream.ended.wait(timeout=10)


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
        assert stream.ended.wait(timeout=15)
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
    assert log_in(rig, **headers).json()["reason"] == "wrong_origin"


def test_our_own_page_may_change_things(rig: WebRig) -> None:
    """A page of this very host and port is ours; so is one that the browser says is of the same origin."""
    for headers in ({"Origin": rig.url}, {"Origin": "null", "Sec-Fetch-Site": "same-origin"}, {}):
        assert rig.client("ana").delete("/api/session", headers=headers).status_code == 204


def test_the_secret_is_made_once_and_kept_from_others(tmp_path: Path) -> None:
    """Processes that start at once agree on one secret, in a file that only its owner reads."""
    path = tmp_path / "state" / "web.secret"
    found: set[bytes] = set()
    threads = [threading.Thread(target=lambda: found.add(load_secret(path))) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert found == {path.read_bytes()}
    assert len(path.read_bytes()) == 32
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    assert [each.name for each in path.parent.iterdir()] == ["web.secret"]


def test_a_secret_that_others_can_read_is_refused(tmp_path: Path) -> None:
    """Whoever reads the secret could log in as anybody: the console does not start with one that is open."""
    path = tmp_path / "web.secret"
    load_secret(path)
    path.chmod(0o640)
    with pytest.raises(ConfigError, match="can read"):
        load_secret(path)
    path.chmod(0o600)
    path.write_bytes(b"short")
    with pytest.raises(ConfigError, match="damaged"):
        load_secret(path)


def test_old_ended_sessions_are_forgotten(rig: WebRig, monkeypatch: pytest.MonkeyPatch) -> None:
    """What is noted of ended sessions does not grow for ever."""
    rig.client("ana").delete("/api/session")
    folder = rig.settings.state_dir / "web.ended"
    assert len(list(folder.iterdir())) == 1
    console.web.sessions.Sessions(rig.settings, rig.users)
    assert len(list(folder.iterdir())) == 1
    monkeypatch.setattr(console.web.sessions, "SESSION_S", -10)
    console.web.sessions.Sessions(rig.settings, rig.users)
    wait_until(lambda: not list(folder.iterdir()), within_s=1, what="the folder is empty")
