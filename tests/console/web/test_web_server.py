import json
import socket
from collections.abc import Iterator

import pytest
from web_parts import WebRig

from console.web.server import listen
from shared.broker import Broker
from shared.errors import ConfigError
from shared.settings import Settings


@pytest.fixture
def rig(settings: Settings, broker: Broker) -> Iterator[WebRig]:
    """A console with one user of each kind."""
    made = WebRig(settings, broker)
    made.add_everybody()
    yield made
    made.close()


def test_a_port_that_is_taken_is_told(settings: Settings) -> None:
    """The start stops with what to do about it."""
    with socket.create_server(("127.0.0.1", 0)) as taken, pytest.raises(ConfigError, match="--port"):
        listen("127.0.0.1", taken.getsockname()[1])
    with pytest.raises(ConfigError, match="can't listen"):
        listen("no.such.host.invalid", 0)


def test_readiness_names_what_is_missing(rig: WebRig) -> None:
    """Ready once broker, record and board are there; each that is not is named, to any machine."""
    with rig.serving():
        rig.read()
        ready = rig.client().get("/readyz")
        assert (ready.status_code, ready.json()) == (200, {"status": "ok", "faults": []})
        with rig.engine.execution_options(almenara_writes=True).begin() as connection:
            connection.exec_driver_sql("UPDATE alembic_version SET version_num = 'newer'")
        answer = rig.client().get("/readyz")
        assert answer.status_code == 503
        assert answer.json()["faults"] == ["the desk's record can't be read"]
        assert rig.client().get("/livez").status_code == 200


def test_a_record_that_cannot_be_read_is_told(rig: WebRig) -> None:
    """The database away is 503 with a plain message; the board goes on."""
    with rig.serving():
        case = rig.arrive("fire")
        rig.read(case)
        with rig.engine.execution_options(almenara_writes=True).begin() as connection:
            connection.exec_driver_sql("ALTER TABLE cases RENAME TO elsewhere")
        client = rig.client("ana")
        for path in (f"/api/cases/{case}", "/api/history", f"/api/incidents/{case}/picture"):
            answer = client.get(path)
            assert (answer.status_code, answer.json()["reason"]) == (503, "record_away")
            assert "sqlite" not in answer.text.lower()
        assert [row["case"] for row in client.get("/api/cases").json()["rows"]] == [case]


def test_a_record_that_may_only_be_read_is_enough(settings: Settings, broker: Broker) -> None:
    """The console works with a database connection that cannot write, as it is meant to be given."""
    rig = WebRig(settings, broker)
    rig.add_everybody()
    case = rig.arrive("fire")
    rig.read_only()
    with rig.serving():
        rig.read(case)
        client = rig.client("ana")
        statuses = [
            client.get(path).status_code
            for path in (
                f"/api/cases/{case}",
                "/api/history",
                "/api/history.csv",
                "/api/history/summary",
                "/readyz",
            )
        ]
        assert statuses == [200] * 5
    rig.close()


def test_the_api_is_described_whole(rig: WebRig) -> None:
    """Every route under /api says what it answers, refusals in the one shape included, and who may ask."""
    with rig.serving():
        described = rig.client().get("/openapi.json").json()
    assert "HTTPValidationError" not in json.dumps(described)
    problem = {"$ref": "#/components/schemas/Problem"}
    routes = {
        (path, method): about for path, each in described["paths"].items() for method, about in each.items()
    }
    assert len(routes) >= 15
    for (path, method), about in routes.items():
        assert about["summary"], path
        for status, answer in about["responses"].items():
            if path.startswith("/api/") and status in ("401", "403", "404", "413", "422", "429"):
                assert answer["content"]["application/json"]["schema"] == problem, (path, status)
        if path.startswith("/api/") and (path, method) != ("/api/session", "post"):
            assert about["security"] == [{"APIKeyCookie": []}], path
    rows = described["components"]["schemas"]["Row"]["properties"]
    assert {"case", "version", "assignments", "incidents", "timeline"} <= set(rows)
