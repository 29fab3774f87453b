"""Every service as its own user of the broker: all of them work, and the broker refuses nothing."""

import base64
import fnmatch
import http.server
import json
import threading
from collections.abc import Iterator
from functools import partial
from pathlib import Path
from typing import Any, ClassVar

import httpx
import pytest
from conftest import wait_until
from deployment import free_port
from secured_parts import SecuredDeployment

from console.users import add_user
from deploy.rights import keys
from shared.board import changes, covers, open_rows
from shared.broker import Broker
from shared.heartbeats import DESK, listen, living
from shared.incidents import iso, utc_now
from shared.moves import Action, Move, append, new_move_id
from shared.routing import ALL, REVIEW, Routing

pytestmark = [pytest.mark.fault, pytest.mark.timeout(1200)]

PASSWORD = "salmon under the bridge"  # noqa: S105 - of a user that this test makes


SERVICES = ("ingest", "worker", "desk", "web", "webhooks")


class Receiver(http.server.BaseHTTPRequestHandler):
    """Takes what a webhook delivers."""

    received: ClassVar[list[bytes]] = []

    def do_POST(self) -> None:
        """Keep it, and say so."""
        self.received.append(self.rfile.read(int(self.headers["Content-Length"])))
        self.send_response(204)
        self.end_headers()

    def log_message(self, *_: object) -> None:
        """Nothing."""


@pytest.fixture(scope="module")
def receiver() -> Iterator[int]:
    """The port of somebody who is told by webhook."""
    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Receiver)
    thread = threading.Thread(target=server.serve_forever)
    thread.start()
    yield server.server_address[1]
    server.shutdown()
    thread.join()
    server.server_close()


def hooked(folder: Path, port: int, routing: Routing) -> str:
    """A webhooks file that has that port told of everything."""
    (folder / "secret").write_text(f"whsec_{base64.b64encode(b'k' * 32).decode()}\n")
    (folder / "secret").chmod(0o600)
    told_of = json.dumps([*routing.departments, REVIEW])
    file = folder / "webhooks.toml"
    file.write_text(
        f'[[webhook]]\nname = "city"\ndepartment = {told_of}\nsecret_file = "secret"\nstart = "beginning"\n'
        f'url = "http://127.0.0.1:{port}/"\n'
    )
    return str(file)


@pytest.fixture(scope="module")
def city(receiver: int) -> Iterator[SecuredDeployment]:
    """Every service, each as itself; what nobody reviews goes out at once."""
    made = SecuredDeployment(review_within_s=1.0, cameras="cam 1=30", sample_rate=1.0)
    routing = Routing.load(made.settings.routing)
    made.settings = made.settings.override(webhooks=hooked(made.folder, receiver, routing))
    made.ports = {service: free_port() for service in SERVICES}
    try:
        made.start_broker()
        roles_of_web: dict[str, Any] = {"roles": ["operator", "reviewer"], "departments": ["all"]}
        add_user(made.settings.users_path, "ana", PASSWORD, routing=routing, **roles_of_web)
        for service in SERVICES:
            made.start(service, service)
        for seed in range(4):
            made.drop(seed)
        made.wait_decided(4, within_s=1200)
        yield made
    finally:
        made.close()


def row_of(client: Broker, department: str) -> Any:
    """A row that is open for a department, once there is one."""
    wait_until(lambda: open_rows(client, department).rows, within_s=120, what=f"{department} has a row")
    return open_rows(client, department).rows[0]


def ask(client: Broker, department: str, case: str, action: Action) -> None:
    """A console asks for a move."""
    move = Move(
        move_id=new_move_id(), department=department, case=case, action=action, by="ana", at=iso(utc_now())
    )
    append(client, move)


def some_department(city: SecuredDeployment) -> str:
    """One that was told of something."""
    client = city.client(f"console-{ALL}")
    wait_until(
        lambda: any(row["assignments"] for row in open_rows(client, ALL).rows if told(row)),
        within_s=120,
        what="a department was told",
    )
    return next(told(row)[0] for row in open_rows(client, ALL).rows if told(row))


def told(row: Any) -> list[str]:
    """The departments, without review, that a row is open for."""
    return [each["department"] for each in row["assignments"] if each["department"] != REVIEW]


def test_a_photograph_goes_all_the_way_and_nobody_is_refused(city: SecuredDeployment) -> None:
    """Dropped, dispatched, on the board, moved and closed by its department's console, as that user alone."""
    department = some_department(city)
    console = city.client(f"console-{department}")
    case = row_of(console, department)["case"]
    listen(console, "a terminal", [department])
    wait_until(lambda: living(console, DESK) == 1, within_s=120, what="the desk has said that it lives")
    assert changes(console, department, 0)
    assert covers(console, department, 1)
    for action in (Action.ACKNOWLEDGE, Action.CLOSE):
        ask(console, department, case, action)
    wait_until(
        lambda: case not in [row["case"] for row in open_rows(console, department).rows],
        within_s=120,
        what="the case is closed",
    )
    shown = city.run_as(
        f"console-{department}", "console", department, "--json", "--since", "0", "--no-follow"
    )
    assert shown.returncode == 0, shown.stderr
    assert json.loads(shown.stdout.splitlines()[0])["data"]["incident_id"]
    assert city.denials() == []


def test_the_web_console_serves_everybody_as_one_user(city: SecuredDeployment) -> None:
    """It logs a person in, shows the board, and hands on a move of theirs."""
    department = some_department(city)
    base = f"http://127.0.0.1:{city.settings.web_port}"
    with httpx.Client(base_url=base, timeout=120) as browser:
        wait_until(lambda: is_ready(browser), within_s=120, what="the web console is ready")
        login = browser.post("/api/session", json={"name": "ana", "password": PASSWORD})
        assert login.status_code == 200, login.text
        csrf = {"X-CSRF-Token": login.json()["csrf"], "Origin": base}
        case = row_of(city.client(f"console-{department}"), department)["case"]
        move = {"move_id": new_move_id(), "department": department, "action": "acknowledge"}
        asked = browser.post(f"/api/cases/{case}/moves", json=move, headers=csrf)
        assert asked.json()["accepted"], asked.text
    assert city.denials() == []


def is_ready(browser: httpx.Client) -> bool:
    """Whether it serves."""
    try:
        return browser.get("/readyz").status_code == 200
    except httpx.TransportError:
        return False


def test_an_operator_sees_everything(city: SecuredDeployment) -> None:
    """Status, doctor, audit and the comparison of users work, and are refused nothing."""
    assert json.loads(city.run_once_broker_answers("status", "--json").stdout)["workers"]
    assert json.loads(city.run_once_broker_answers("audit", "--json").stdout)["balanced"]
    assert "append-only" not in city.run("doctor").stdout
    compared = city.run("acl", "--check", "--out", str(city.secrets))
    assert compared.returncode == 0, compared.stdout + compared.stderr
    assert city.denials() == []


def shows(scraper: httpx.Client, line: str) -> bool:
    """Whether a service's metrics have a line now: they are what it knew of the broker a while ago."""
    return line in scraper.get("/metrics").text


def test_webhooks_and_metrics_are_refused_nothing(city: SecuredDeployment) -> None:
    """A receiver is told, and whoever scrapes a service sees how the broker stands."""
    wait_until(lambda: Receiver.received, within_s=120, what="the receiver is told")
    for service, port in city.ports.items():
        with httpx.Client(base_url=f"http://127.0.0.1:{port}", timeout=120) as scraper:
            wait_until(partial(is_ready, scraper), within_s=120, what=f"{service} is ready")
            assert scraper.get("/metrics").status_code == 200
            if service in ("desk", "web"):
                nothing_waits = 'almenara_queue_jobs{state="waiting"} 0.0'
                wait_until(
                    partial(shows, scraper, nothing_waits), within_s=120, what=f"{service} shows the queue"
                )
    assert city.denials() == []


def test_a_service_with_the_wrong_rights_is_loud(city: SecuredDeployment) -> None:
    """A role that is mixed up is said, with what to do, and is not taken for a broker that is away."""
    for service, role in (("ingest", "console-review"), ("worker", "web")):
        ended = city.run_as(role, service, *([str(city.folder / "other")] if service == "ingest" else []))
        assert ended.returncode == 2, ended.stderr
        assert "does not let this user" in ended.stderr
        assert "almenara acl --check" in ended.stderr
        # A machine that is busy may keep it waiting before, for another reason.
        away = [line for line in ended.stderr.splitlines() if "broker away" in line]
        assert [line for line in away if "perm" in line.lower()] == []
    city.client().acl_log_reset()


def test_every_key_that_services_make_is_in_the_table(city: SecuredDeployment) -> None:
    """A key that the table of rights does not name would be nobody's."""
    client = city.client()
    kinds = {key.pattern(): key.kind for key in keys()}
    made = [key.decode() for key in client.scan_iter(count=1000)]
    assert len(made) > 10
    assert [key for key in made if not any(fnmatch.fnmatchcase(key, each) for each in kinds)] == []
