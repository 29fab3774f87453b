import contextlib
import json
import socket
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import httpx
import pytest
from conftest import picture_bytes, wait_until
from deployment import Deployment, free_port
from scraping import Scrape

from shared.broker import words
from shared.incidents import all_ids
from shared.keys import COUNTS

pytestmark = pytest.mark.timeout(1200)

SERVICES = ("ingest", "worker", "desk", "web")
PHOTOGRAPHS = 5
PASSWORD = "salmon under the bridge"  # noqa: S105 - of a user that the test makes


@dataclass
class Seen:
    """What became of five photographs and a file that is none, in real processes."""

    deployment: Deployment
    ports: dict[str, int]
    incident: str
    number: str

    def scrape(self, service: str) -> Scrape:
        """A service's metrics now."""
        return Scrape.of(self.ports[service])

    def lines(self) -> list[str]:
        """Everything that the services said; the last line may be half written."""
        text, _, _ = (self.deployment.folder / "said.log").read_text("utf-8", "replace").rpartition("\n")
        return text.splitlines()

    def of_incident(self) -> list[dict[str, Any]]:
        """The lines about one photograph."""
        return [json.loads(line) for line in self.lines() if self.incident in line]


@contextmanager
def running() -> Iterator[tuple[Deployment, dict[str, int]]]:
    """Broker and services, each with its metrics at a port of its own."""
    made = Deployment(cameras="cam 1=30, cam 99=20", sample_rate=1.0, users_file="")
    with made.log:
        made.start_broker()
    made.log = (made.folder / "said.log").open("ab")  # without the broker's own lines
    ports = {service: free_port() for service in SERVICES}
    secret = made.folder / "password"
    secret.write_text(PASSWORD)
    try:
        added = made.run(
            "user",
            "add",
            "ana",
            "--role",
            "supervisor",
            "--department",
            "all",
            "--password-file",
            str(secret),
        )
        assert added.returncode == 0, added.stderr
        for service, port in ports.items():
            made.extra_environ["ALMENARA_METRICS_PORT"] = str(port)
            made.start(service, service)
        yield made, ports
    finally:
        made.close()


def look(deployment: Deployment, incident: str) -> None:
    """Somebody logs in, opens the board and looks at a picture."""
    url = f"http://127.0.0.1:{deployment.settings.web_port}"
    with httpx.Client(base_url=url, trust_env=False, timeout=120) as browser:
        login = {"name": "ana", "password": PASSWORD}
        assert browser.post("/api/session", json=login, headers={"Origin": url}).status_code == 200
        wait_until(
            lambda: browser.get(f"/api/incidents/{incident}/picture").status_code == 200,
            within_s=120,
            what="the picture is shown",
        )
        with browser.stream("GET", "/api/live") as board:
            lines = board.iter_lines()  # kept: without it the client would hang up
            next(lines)
            listening = ("almenara:listening:review", "almenara:listening:firefighters")
            broker = deployment.client()
            wait_until(
                lambda: all(broker.exists(key) for key in listening), within_s=120, what="a page listens"
            )


def talk_nonsense(port: int) -> None:
    """A scanner: three connections that speak no HTTP."""
    for _ in range(3):
        with socket.create_connection(("127.0.0.1", port), timeout=120) as line:
            line.sendall(b"\x16\x03\x01 hello\r\n\r\n")
            with contextlib.suppress(ConnectionResetError):  # it hangs up, one way or the other
                line.recv(1000)


def answers(port: int, path: str) -> int:
    """The status of a probe; 0 while nobody listens there."""
    try:
        return httpx.get(f"http://127.0.0.1:{port}{path}", timeout=60, trust_env=False).status_code
    except httpx.TransportError:
        return 0


@pytest.fixture(scope="module")
def seen() -> Iterator[Seen]:
    """One photograph followed, with four others and a file that is none."""
    with running() as (deployment, ports):
        wait_until(
            lambda: all(answers(port, "/readyz") == 200 for port in ports.values()),
            within_s=300,
            what="all services are ready",
        )
        for seed in range(1, PHOTOGRAPHS + 1):
            deployment.drop(seed, data=picture_bytes(seed))
        deployment.drop(77, data=b"words " * 40)
        deployment.wait_decided(PHOTOGRAPHS, within_s=300)
        (followed, *_) = all_ids(deployment.client())
        number = next(each["number"] for each in deployment.incidents() if each["id"] == followed)
        look(deployment, followed)
        talk_nonsense(deployment.settings.web_port)
        found = Seen(deployment, ports, followed, number)
        wait_until(
            lambda: found.scrape("ingest").total("almenara_ingest_files_total", outcome="rejected") == 1,
            within_s=120,
            what="the file that is no picture is rejected",
        )
        yield found


def test_each_service_shows_its_own_metrics(seen: Seen) -> None:
    """And none of another's, but all of them who they are and that their loops turn."""
    for service in SERVICES:
        names = seen.scrape(service).names()
        others = tuple(f"almenara_{other}_" for other in SERVICES if other != service)
        assert {"almenara_build_info", "almenara_ready", "process_open_fds"} <= names
        assert not [name for name in names if name.startswith(others)]
        assert seen.scrape(service).total("almenara_loop_silent_seconds") < 60


def test_intake_is_counted(seen: Seen) -> None:
    """Five photographs are admitted, and one file is rejected with its reason."""
    wait_until(
        lambda: (
            seen.scrape("ingest").total("almenara_ingest_files_total", outcome="admitted") == PHOTOGRAPHS
            and seen.scrape("ingest").total("almenara_ingest_admission_seconds_count") == PHOTOGRAPHS
        ),
        within_s=120,
        what="the ingester has counted them",
    )
    ingest = seen.scrape("ingest")
    assert ingest.total("almenara_ingest_files_total", outcome="rejected", reason="not_an_image") == 1
    assert ingest.total("almenara_ingest_admission_seconds_count") == PHOTOGRAPHS
    assert ingest.total("almenara_ingest_store_seconds_count") >= 1


def test_work_is_counted(seen: Seen) -> None:
    """Five jobs end published, each in a batch whose stages were timed, and the model is named."""
    counts = words(seen.deployment.client().hgetall(COUNTS))
    told = int(counts.get("dispatched", 0)) + int(counts.get("unsure", 0))
    assert told + int(counts.get("no_emergency", 0)) == PHOTOGRAPHS

    def wrong() -> list[str]:
        worker = seen.scrape("worker")
        batches = worker.total("almenara_worker_batch_photographs_count")
        should = {
            f"almenara_worker_{stage}_seconds_count": batches for stage in ("fetch", "forward", "publish")
        }
        should["almenara_worker_batch_photographs_sum"] = PHOTOGRAPHS
        should["almenara_worker_dispatch_seconds_count"] = told
        found = [name for name, count in should.items() if worker.total(name) != count]
        published = worker.total("almenara_worker_jobs_total", ending="published")
        return found if published == PHOTOGRAPHS else [*found, "published"]

    # A worker counts once the broker has answered.
    wait_until(lambda: not wrong(), within_s=120, what="the worker has counted them")
    assert wrong() == []
    worker = seen.scrape("worker")
    assert worker.total("almenara_worker_model_info") == 1


def test_the_desk_counts_what_it_brings_in(seen: Seen) -> None:
    """Five incidents, and as many calls as it waits for."""
    wait_until(
        lambda: seen.scrape("desk").total("almenara_desk_entries_total", kind="incident") == PHOTOGRAPHS,
        within_s=120,
        what="the desk has all",
    )
    assert seen.scrape("desk").total("almenara_desk_unacknowledged", department="review") >= 1


@pytest.mark.parametrize("service", ["desk", "web"])
def test_any_survivor_tells_how_everything_is(seen: Seen, service: str) -> None:
    """Desk and web say the same of queue, services, cameras and broker, and it is what happened."""

    def alive() -> dict[str, float]:
        told = seen.scrape(service)
        return {each: told.total("almenara_services_alive", part=each) for each in SERVICES}

    # On a busy machine one may say so late.
    wait_until(lambda: set(alive().values()) == {1}, within_s=120, what="all have said that they live")
    wait_until(
        lambda: seen.scrape(service).total("almenara_broker_up") == 1, within_s=120, what="the broker is up"
    )
    told = seen.scrape(service)
    assert told.total("almenara_broker_memory_used_bytes") > 0
    assert told.total("almenara_queue_jobs") == 0
    assert told.total("almenara_incidents_known") == PHOTOGRAPHS
    assert told.total("almenara_incidents") == PHOTOGRAPHS
    assert told.total("almenara_incidents_undecided") == 0
    # Both count from when they were first watched; one has sent a picture since.
    assert told.total("almenara_camera_silent_seconds", label="cam 1") < told.total(
        "almenara_camera_silent_seconds", label="cam 99"
    )
    assert told.total("almenara_camera_limit_seconds", label="cam 99") == 1200


def test_visits_are_counted(seen: Seen) -> None:
    """A login, a picture, and three connections that spoke no HTTP, which are one line of the log."""
    web = seen.scrape("web")
    assert web.total("almenara_web_logins_total", outcome="accepted") == 1
    assert web.total("almenara_web_picture_views_total", kind="picture") >= 1
    picture = "GET /api/incidents/{incident}/picture"
    assert web.total("almenara_web_requests_total", route=picture, status="200") == 1
    assert web.total("almenara_web_invalid_requests_total") == 3
    lines = [line for line in seen.lines() if "speak no HTTP" in line or "Invalid HTTP" in line]
    assert len(lines) == 1


def test_every_line_is_json(seen: Seen) -> None:
    """Whoever wrote it: our services, or uvicorn, RQ and whatever else runs in them."""
    records = [json.loads(line) for line in seen.lines()]
    assert {record["service"] for record in records} == set(SERVICES)
    assert all({"event", "level", "timestamp"} <= set(record) for record in records)


def test_one_id_leads_through_all_services(seen: Seen) -> None:
    """A photograph's incident id is in a line of each service, with its number once it has one."""
    wait_until(
        lambda: {line["service"] for line in seen.of_incident()} == set(SERVICES),
        within_s=120,
        what="each has said something of it",
    )
    said = {(line["service"], line["event"]): line for line in seen.of_incident()}
    assert ("ingest", "taken in") in said
    assert ("worker", "decided") in said
    assert ("desk", "opened") in said
    assert ("web", "picture viewed") in said
    for (service, _), line in said.items():
        assert line["incident"] == seen.incident or "case" in line
        if service != "ingest" and line["incident"] == seen.incident:
            assert line["number"] == seen.number


def test_status_shows_the_same(seen: Seen) -> None:
    """`almenara status --json` has what the metrics have."""

    def shown() -> dict[str, Any]:
        told: dict[str, Any] = json.loads(seen.deployment.run_once_broker_answers("status", "--json").stdout)
        return told

    # On a busy machine one may say late that it lives.
    wait_until(
        lambda: all(shown()["alive"][service] == 1 for service in SERVICES), within_s=120, what="all live"
    )
    status = shown()
    assert status["incidents"]["known"] == PHOTOGRAPHS
    assert [camera["label"] for camera in status["cameras"]] == ["cam 1", "cam 99"]
    assert not any("no worker" in alarm for alarm in status["alarms"])


def test_a_worker_that_is_killed_is_missed(seen: Seen) -> None:
    """Seconds later desk, web and status say that none runs. (The last test: nothing comes after it.)"""
    seen.deployment.kill("worker")
    wait_until(
        lambda: all(
            seen.scrape(service).total("almenara_services_alive", part="worker") == 0
            for service in ("desk", "web")
        ),
        within_s=120,
        what="desk and web miss the worker",
    )
    lines = seen.deployment.run_once_broker_answers("status").stdout.splitlines()
    alarms = [line for line in lines if line.startswith("ALARM")]
    assert lines[: len(alarms)] == alarms  # first
    assert any("no worker runs" in alarm for alarm in alarms)
