import contextlib
import http.client
import re
import socket
import threading
from collections.abc import Iterator

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
        answer = httpx.get(f"http://127.0.0.1:{self.port}{path}", trust_env=False, timeout=20)
        return answer.status_code, answer.text


@pytest.fixture
def asked(broker: Broker) -> Iterator[Asked]:
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
        threads = [thread for thread in threading.enumerate() if "process_request" in thread.name]
        assert len(threads) < 3 * probes.CONNECTIONS  # some may be about to end
        for one in slow[: 2 * probes.CONNECTIONS]:
            assert _is_ended(one)


def test_who_trickles_is_cut_off(asked: Asked, monkeypatch: pytest.MonkeyPatch) -> None:
    """The time is for the whole request: a byte now and then does not prolong it."""
    monkeypatch.setattr(probes, "REQUEST_S", 0.6)
    with socket.create_connection(("127.0.0.1", asked.port), timeout=0.1) as one:
        one.sendall(b"GET /livez HTTP/1.1\r\nX: ")

        def ended() -> bool:
            with contextlib.suppress(OSError):
                one.sendall(b"y")
            return _is_ended(one)

        wait_until(ended, within_s=30, what="it is cut off")


def _is_ended(one: socket.socket) -> bool:
    try:
        return one.recv(100) == b""
    except TimeoutError:
        return False
    except ConnectionError:
        return True
