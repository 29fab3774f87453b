import json
import socket
import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace

import httpx
import limits
import pytest
from conftest import wait_until
from web_parts import PASSWORD, PATIENCE_S, WebRig

import console.web.limits
import console.web.pulse
import console.web.sessions
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


@pytest.mark.parametrize(
    ("name", "password"), [("ana", "not the password"), ("nobody", PASSWORD), ("", ""), ("ana\0", PASSWORD)]
)
def test_a_wrong_login_says_nothing_of_names(rig: WebRig, name: str, password: str) -> None:
    """A wrong password and an unknown name are answered alike."""
    answer = rig.log_in(name, password)
    assert (answer.status_code, answer.json()["reason"]) == (401, "wrong_password")
    assert answer.json()["message"] == "Name or password is wrong"
    assert "set-cookie" not in answer.headers


def test_attempts_are_limited_by_name_and_address(rig: WebRig) -> None:
    """After five wrong passwords a name has to wait, with the right one too; another name has not."""
    for attempt in range(5):
        assert rig.log_in("ana" if attempt % 2 else "ANA", "wrong").status_code == 401
    answer = rig.log_in()
    assert (answer.status_code, answer.json()["reason"]) == (429, "too_many")
    assert 1 <= int(answer.headers["retry-after"]) <= 3600
    assert rig.log_in("tomas").status_code == 200


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
            rig.log_in("ana", "wrong", **headers, **{"X-Forwarded-For": "203.0.113.1"})
        elsewhere = rig.log_in("ana", PASSWORD, **headers, **{"X-Forwarded-For": "203.0.113.2"})
        assert elsewhere.status_code == (200 if believed else 429)
        same = rig.log_in("ana", PASSWORD, **headers, **{"X-Forwarded-For": "10.0.0.1, 203.0.113.1"})
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
    return rig.log_in(name, password, **headers).status_code


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
    few = replace(console.web.limits.ADDRESS, item=limits.parse("3/hour"))
    monkeypatch.setattr(console.web.limits, "ADDRESS", few)
    for name in ("ana", "tomas", "vera", "rita", "sol"):
        assert rig.log_in(name, "wrong").status_code == 401
        assert rig.log_in(name).status_code == 200
    assert [rig.log_in(name, "wrong").status_code for name in "abcd"] == [401, 401, 401, 429]


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
        assert self._go.wait(timeout=100)
        return self._check(name, password)


def test_one_address_takes_few_of_the_places_where_logins_wait(
    rig: WebRig, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Two are looked at, two wait, and who comes then is told when to come again; nothing is counted."""
    slow = SlowHash(rig, monkeypatch)
    with ThreadPoolExecutor(4) as pool:
        try:
            asked = [pool.submit(rig.log_in, name) for name in ("ana", "tomas")]
            wait_until(lambda: len(slow.names) == 2, within_s=PATIENCE_S, what="two are looked at")
            asked += [pool.submit(rig.log_in, name) for name in ("vera", "rita")]
            wait_until(lambda: rig.parts.logins.waiting == 2, within_s=PATIENCE_S, what="two wait")
            for _ in range(7):
                refused = rig.log_in("sol")
                assert (refused.status_code, refused.json()["reason"]) == (503, "busy")
                assert refused.headers["retry-after"] == "2"
        finally:
            slow.go_on()
        assert [each.result().status_code for each in asked] == [200] * 4
    assert rig.log_in("sol").status_code == 200


def test_so_many_logins_wait_and_no_more(
    settings: Settings, broker: Broker, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Ten from anywhere; then 503, whoever asks."""
    rig = proxied(settings, broker)
    with rig.serving(), ThreadPoolExecutor(12) as pool:
        slow = SlowHash(rig, monkeypatch)
        try:
            first = [pool.submit(log_in_from, rig, f"203.0.113.{host}") for host in range(2)]
            wait_until(lambda: len(slow.names) == 2, within_s=PATIENCE_S, what="two are looked at")
            rest = [pool.submit(log_in_from, rig, f"203.0.113.{host}") for host in range(2, 12)]
            wait_until(lambda: rig.parts.logins.waiting == 10, within_s=PATIENCE_S, what="ten wait")
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
            asked = [pool.submit(rig.log_in, name) for name in ("ana", "tomas")]
            wait_until(lambda: len(slow.names) == 2, within_s=PATIENCE_S, what="two are looked at")
            with socket.create_connection(("127.0.0.1", httpx.URL(rig.url).port)) as sock:
                sock.settimeout(PATIENCE_S)
                body = json.dumps({"name": "vera", "password": PASSWORD})
                head = "POST /api/session HTTP/1.1\r\nHost: 127.0.0.1\r\nContent-Type: application/json\r\n"
                sock.sendall(f"{head}Content-Length: {len(body)}\r\n\r\n{body}".encode())
                wait_until(lambda: rig.parts.logins.waiting == 1, within_s=PATIENCE_S, what="it waits")
                sock.shutdown(socket.SHUT_WR)
                assert sock.recv(1) == b"", "the server has seen that nobody is there, and ended it too"
        finally:
            slow.go_on()
        assert [each.result().status_code for each in asked] == [200] * 2
    assert rig.log_in("rita").status_code == 200
    assert sorted(slow.names) == ["ana", "rita", "tomas"]


def test_who_logs_in_again_and_again_is_not_kept_waiting(rig: WebRig) -> None:
    """A right password clears the count: a page that is opened often is no attack."""
    assert [rig.log_in().status_code for _ in range(7)] == [200] * 7
