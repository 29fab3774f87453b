import contextlib
import http.client
import re
import socket
import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import httpx
import pytest
from conftest import wait_until
from prometheus_client import CollectorRegistry, Counter
from scraping import Scrape

from shared import metrics, probes
from shared.broker import Broker, connect
from shared.errors import ConfigError
from shared.liveness import Liveness
from shared.probes import Probes
from shared.settings import Settings


class Asked:
    """Probes of a service that is made up, and a client."""

    def __init__(self, broker: Broker) -> None:
        self.liveness, registry = Liveness(), CollectorRegistry()
        Counter("almenara_things", "Things.", registry=registry).inc(3)
        self.probes = Probes(registry, self.liveness, broker)
        self.port = self.probes.listen("127.0.0.1", 0)

    def get(self, path: str) -> tuple[int, str]:
        """Status and text."""
        answer = httpx.get(f"http://127.0.0.1:{self.port}{path}", trust_env=False, timeout=60)
        return answer.status_code, answer.text


@pytest.fixture
def patient(monkeypatch: pytest.MonkeyPatch) -> None:
    """No limit of time ends anything before the test does, however busy the machine is."""
    monkeypatch.setattr(probes, "BROKER_S", 600.0)
    monkeypatch.setattr(probes, "REQUEST_S", 600.0)
    monkeypatch.setattr(probes._Handler, "timeout", 600.0)


@pytest.fixture
def asked(broker: Broker, patient: None) -> Iterator[Asked]:
    """Probes with a broker that answers."""
    made = Asked(broker)
    yield made
    made.probes.close()


def test_metrics_are_told_in_prometheus_own_form(asked: Asked) -> None:
    """What is counted can be read by Prometheus' parser."""
    assert Scrape.of(asked.port).total("almenara_things_total") == 3


def test_a_loop_that_hangs_is_not_alive(asked: Asked, monkeypatch: pytest.MonkeyPatch) -> None:
    """503 with since when, though the server's own threads answer; 200 once the loop turns."""
    assert asked.get("/livez") == (200, "ok\n")
    monkeypatch.setattr(probes, "SILENT_AFTER_S", -1.0)
    status, words = asked.get("/livez")
    assert status == 503
    assert re.search(r"has not turned for \d+ s, since 20\d\d-", words)
    monkeypatch.undo()
    assert asked.get("/livez")[0] == 200


def test_ready_is_who_has_begun_and_not_ended(asked: Asked) -> None:
    """503 while it starts and while it stops."""
    assert asked.get("/readyz")[0] == 503
    asked.liveness.begin()
    assert asked.get("/readyz") == (200, "ok\n")
    asked.liveness.end()
    assert asked.get("/readyz")[0] == 503


@pytest.mark.usefixtures("patient")
def test_without_a_broker_nobody_is_ready(settings: Settings) -> None:
    """It says so, and is alive all the same: a restart would not bring the broker back."""
    with connect(settings.override(redis_url="redis://127.0.0.1:1/0")) as away:
        asked = Asked(away)
        asked.liveness.begin()
        try:
            assert asked.get("/readyz") == (503, "the broker does not answer (ConnectionError)\n")
            assert asked.get("/livez")[0] == 200
        finally:
            asked.probes.close()


def test_a_broker_that_hangs_holds_up_no_probe(settings: Settings, monkeypatch: pytest.MonkeyPatch) -> None:
    """One that takes connections and says nothing is not waited for."""
    monkeypatch.setattr(probes, "BROKER_S", 0.2)
    with socket.create_server(("127.0.0.1", 0)) as deaf:
        url = f"redis://127.0.0.1:{deaf.getsockname()[1]}/0"
        with connect(settings.override(redis_url=url)) as client:
            asked = Asked(client)
            asked.liveness.begin()
            try:
                assert "has not answered" in asked.get("/readyz")[1]
            finally:
                asked.probes.close()


def test_other_addresses_lead_nowhere(asked: Asked) -> None:
    """404 with what there is; other methods are refused."""
    assert asked.get("/")[0] == 404
    client = http.client.HTTPConnection("127.0.0.1", asked.port, timeout=10)
    client.request("POST", "/metrics")
    assert client.getresponse().status == 501
    client.close()


def test_a_port_that_is_taken_is_a_wrong_setting(settings: Settings, broker: Broker) -> None:
    """The service ends at its start, and says which setting to change."""
    with socket.create_server(("127.0.0.1", 0)) as taken:
        chosen = settings.override(metrics_port=taken.getsockname()[1])
        with pytest.raises(ConfigError, match="ALMENARA_METRICS_PORT") as refused:
            probes.serve("webhooks", chosen, Liveness(), broker)
    assert refused.value.reason == "cant_listen"


def test_without_a_port_nobody_listens(settings: Settings, broker: Broker) -> None:
    """The default: nothing is opened that nobody asked for."""
    assert probes.serve("webhooks", settings, Liveness(), broker) is None
    assert metrics.REGISTRIES["webhooks"].get_sample_value("almenara_ready") == 0


def test_who_asks_slowly_keeps_nobody_from_asking(asked: Asked) -> None:
    """However many connect and say nothing, few are kept, and who says what they want is answered."""
    with contextlib.ExitStack() as held:
        slow = []
        for _ in range(4 * probes.CONNECTIONS):
            one = held.enter_context(socket.create_connection(("127.0.0.1", asked.port), timeout=30))
            one.sendall(b"GET /livez HT")
            slow.append(one)
        assert asked.get("/livez") == (200, "ok\n")
        wait_until(lambda: _threads() <= probes.CONNECTIONS, within_s=60, what="few threads")
        for one in slow[: 2 * probes.CONNECTIONS]:
            assert _is_ended(one)
    wait_until(lambda: not _threads(), within_s=60, what="none is left for the next test")


def _threads() -> int:
    return sum("process_request" in thread.name for thread in threading.enumerate())


def test_who_comes_while_ended_ones_have_yet_to_go_waits(
    asked: Asked, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A thread that notices late that it is ended costs nobody an answer."""
    monkeypatch.setattr(probes, "CONNECTIONS", 1)
    entered, go_on, came = threading.Event(), threading.Event(), threading.Semaphore(0)
    livez, get_request = Probes.livez, probes._Server.get_request

    def late(self: Probes) -> tuple[int, str, bytes]:
        if not entered.is_set():
            entered.set()
            assert go_on.wait(60)
        return livez(self)

    def taken(self: probes._Server) -> tuple[socket.socket, Any]:
        found = get_request(self)
        came.release()
        return found

    monkeypatch.setattr(Probes, "livez", late)
    monkeypatch.setattr(probes._Server, "get_request", taken)
    with contextlib.ExitStack() as held, ThreadPoolExecutor(1) as pool:
        held.callback(go_on.set)
        for words in (b"GET /livez HTTP/1.0\r\n\r\n", b"GET /livez HT"):
            one = held.enter_context(socket.create_connection(("127.0.0.1", asked.port), timeout=60))
            one.sendall(words)
            assert came.acquire(timeout=60)
            assert entered.wait(60)
        third = pool.submit(asked.get, "/livez")
        assert came.acquire(timeout=60)
        go_on.set()
        assert third.result(60) == (200, "ok\n")
    wait_until(lambda: not _threads(), within_s=60, what="none is left for the next test")


def test_who_trickles_is_cut_off(asked: Asked, monkeypatch: pytest.MonkeyPatch) -> None:
    """The time is for the whole request: a byte now and then does not prolong it."""
    monkeypatch.setattr(probes, "REQUEST_S", 0.6)
    with socket.create_connection(("127.0.0.1", asked.port), timeout=60) as one:
        one.sendall(b"GET /livez HTTP/1.1\r\nX: ")
        one.settimeout(0.1)

        def ended() -> bool:
            with contextlib.suppress(OSError):
                one.sendall(b"y")
            return _is_ended(one)

        wait_until(ended, within_s=60, what="it is cut off")


def _is_ended(one: socket.socket) -> bool:
    try:
        return one.recv(100) == b""
    except TimeoutError:
        return False
    except ConnectionError:
        return True
