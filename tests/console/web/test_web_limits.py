import csv
import io
import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from typing import Any

import pytest
from conftest import wait_until
from limits import parse
from web_parts import PATIENCE_S, WebRig

import console.web.api_history
from console.web.history import History
from console.web.limits import HISTORY
from shared.broker import Broker
from shared.settings import Settings


@pytest.fixture
def rig(settings: Settings, broker: Broker) -> Iterator[WebRig]:
    """A console with one user of each kind, that does not serve yet."""
    made = WebRig(settings, broker)
    made.add_everybody()
    yield made
    made.close()


@pytest.mark.parametrize(
    ("web_url", "host"), [("", "localhost:99"), ("https://desk.example.org", "desk.example.org")]
)
def test_links_are_ours_whatever_the_host_says(rig: WebRig, web_url: str, host: str) -> None:
    """The Host header is a client's word: links begin with ALMENARA_WEB_URL, or are relative without one."""
    rig.settings = rig.settings.override(web_url=web_url)
    case = rig.arrive("fire")
    with rig.serving():
        client = rig.client("sol")
        (line,) = csv.DictReader(io.StringIO(client.get("/api/history.csv", headers={"Host": host}).text))
        (feature,) = client.get("/api/history.geojson", headers={"Host": host}).json()["features"]
    assert line["link"] == feature["properties"]["link"] == f"{web_url}/cases/{case}"


def test_slow_questions_hold_up_nothing_else(rig: WebRig, monkeypatch: pytest.MonkeyPatch) -> None:
    """However many search, two are answered at a time, and a case opens meanwhile."""
    case = rig.arrive("fire")
    go, running, page = threading.Event(), list[int](), History.page

    def slow(history: History, *args: int) -> Any:
        running.append(1)
        assert go.wait(timeout=100)
        return page(history, *args)

    monkeypatch.setattr(History, "page", slow)
    with rig.serving(), ThreadPoolExecutor(45) as pool:
        sol, ana, threads = rig.client("sol"), rig.client("ana"), rig.parts.searchers
        asked = [pool.submit(sol.get, "/api/history") for _ in range(45)]
        try:
            wait_until(lambda: threads.statistics().tasks_waiting == 43, within_s=PATIENCE_S, what="43 wait")
            assert len(running) == 2
            assert ana.get(f"/api/cases/{case}").status_code == 200
        finally:
            go.set()
        assert {each.result().status_code for each in asked} == {200}


def test_a_user_asks_the_history_so_often(rig: WebRig, monkeypatch: pytest.MonkeyPatch) -> None:
    """Sixty searches a minute; another user, and another kind of question, are not touched by them."""
    assert (HISTORY.item.amount, HISTORY.item.get_expiry()) == (60, 60)
    # They may take more than a minute here.
    monkeypatch.setattr(console.web.api_history, "HISTORY", replace(HISTORY, item=parse("60/hour")))
    with rig.serving():
        client = rig.client("sol")
        assert {client.get("/api/history").status_code for _ in range(60)} == {200}
        refused = client.get("/api/history")
        assert (refused.status_code, refused.json()["reason"]) == (429, "too_many")
        assert int(refused.headers["retry-after"]) >= 1
        assert client.get("/api/history/summary").status_code == 200
        assert rig.client("ana").get("/api/history").status_code == 200


@pytest.mark.parametrize("kind", ["csv", "geojson"])
def test_a_file_that_cannot_be_begun_is_told(rig: WebRig, kind: str) -> None:
    """With the record away an export is 503, not a file that ends in its first line."""
    with rig.serving():
        with rig.engine.execution_options(almenara_writes=True).begin() as connection:
            connection.exec_driver_sql("ALTER TABLE cases RENAME TO elsewhere")
        answer = rig.client("sol").get(f"/api/history.{kind}")
        assert (answer.status_code, answer.json()["reason"]) == (503, "record_away")
