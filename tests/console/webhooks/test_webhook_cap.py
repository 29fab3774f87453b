"""CAP by webhook, with desk, webhooks and web console as processes of their own, as an operator runs them."""

import xml.etree.ElementTree as ET
from collections.abc import Iterator
from pathlib import Path

import httpx
import pytest
import xmlschema
from conftest import make_photograph, wait_until
from database_parts import migrated
from deployment import Deployment
from desk_parts import move
from webhook_parts import Receiver, webhook

from console.cap import NAMESPACE
from console.records import open_database
from console.tokens import make_token
from console.users import add_user
from deploy.webhooks import await_record
from ingest.admission import admit
from shared.broker import Broker, StoppedError
from shared.dispatches import Decision
from shared.errors import ConfigError
from shared.moves import Action, append
from shared.routing import Routing
from shared.settings import Settings
from shared.verdict import Verdict
from worker.executions import Terms, finish, new_ids, start

RULES = xmlschema.XMLSchema(str(Path(__file__).parents[1] / "cap_rules.xsd"))


@pytest.fixture
def receiver() -> Iterator[Receiver]:
    """One that takes everything."""
    made = Receiver()
    yield made
    made.close()


def written(receiver: Receiver, folder: Path) -> Path:
    """A webhooks file whose one webhook is sent CAP about fires."""
    hook = webhook(receiver, folder)
    file = folder / "webhooks.toml"
    file.write_text(
        f'[[webhook]]\nname = "cad"\ndepartment = "firefighters"\nurl = "{receiver.url}"\n'
        f'secret_file = "{hook.secret_file.name}"\nstart = "beginning"\nformat = "cap"\n'
    )
    return file


def dispatch_fire(broker: Broker, routing: Routing) -> None:
    """A picture of a fire, taken in and decided by the ingester's and the worker's own steps."""
    admit(broker, [("claim", make_photograph(1))])
    decision = Decision(
        verdict=Verdict.DISPATCHED,
        situation="fire",
        confidence=0.9,
        scores={"fire": 0.9, "normal": 0.1},
        model="test@0 torch-cpu",
    )
    made = start(broker, "w", new_ids(1), 600.0)
    finish(broker, [(each, decision) for each in made], Terms(routing=routing, keep_s=3600))


def kinds(receiver: Receiver) -> list[str]:
    """Of what came, valid all of it."""
    found = []
    for got in list(receiver.got):
        RULES.validate(got.body)
        kind = ET.fromstring(got.body).findtext(f"{{{NAMESPACE}}}msgType")  # noqa: S314 - our own
        found.append(kind or "")
    return found


def test_a_case_is_posted_as_the_console_shows_it(
    deployment: Deployment, receiver: Receiver, tmp_path: Path
) -> None:
    """Webhook and `/api/cases/x/cap` say the same, from one sender, as an exercise; a false alarm is told."""
    settings = deployment.settings
    routing = Routing.load(settings.routing)
    deployment.extra_environ = {
        "ALMENARA_WEBHOOKS": str(written(receiver, tmp_path)),
        "ALMENARA_CAP_SENDER": "dispatch.city.example",
        "ALMENARA_CAP_STATUS": "exercise",
    }
    add_user(
        settings.users_path,
        "vera",
        "long enough 1234",
        roles=["viewer"],
        departments=["all"],
        routing=routing,
    )
    token = make_token(settings.users_path, "vera")
    deployment.start("webhooks", "webhooks")  # which waits for the record that the desk makes
    deployment.start("desk", "desk")
    deployment.start("web", "web")
    dispatch_fire(deployment.client(), routing)
    wait_until(lambda: receiver.got, within_s=100, what="a CAP message is posted")
    body = receiver.got[0].body
    RULES.validate(body)
    alert = ET.fromstring(body)  # noqa: S314 - our own
    assert alert.findtext(f"{{{NAMESPACE}}}sender") == "dispatch.city.example"
    assert alert.findtext(f"{{{NAMESPACE}}}status") == "Exercise"
    names = [each.text for each in alert.iter(f"{{{NAMESPACE}}}valueName")]
    values = [each.text for each in alert.iter(f"{{{NAMESPACE}}}value")]
    case = dict(zip(names, values, strict=True))["almenara:case"]
    url = f"http://127.0.0.1:{settings.web_port}/api/cases/{case}/cap"
    shown: list[str] = []

    def reads() -> bool:
        try:
            answer = httpx.get(url, headers={"Authorization": f"Bearer {token}"}, timeout=30)
        except httpx.TransportError:
            return False
        shown.append(answer.text)
        return answer.status_code == 200

    wait_until(reads, within_s=100, what=f"the console shows it; last {shown[-1:]}")
    assert shown[-1] == body
    client = deployment.client()
    for department in ("firefighters", "transit-police"):
        # What departments do makes no dispatch, and is told all the same.
        before = len(receiver.got)  # two in one transaction of the desk would be one message
        append(client, move(Action.FALSE_ALARM, department, case or ""))
        wait_until(lambda: len(receiver.got) > before, within_s=100, what="it is posted")  # noqa: B023
    assert kinds(receiver) == ["Alert", "Update", "Cancel"]
    since = "2026-11-24T10:00:00Z"
    said = deployment.run("replay", "firefighters", "--since", since, "--webhook", "cad").stdout
    assert said == "3 CAP messages are handed to webhook cad\n"
    wait_until(lambda: len(receiver.got) >= 6, within_s=100, what="they come again")
    assert len(set(receiver.ids())) == 3
    for name in ("webhooks", "web", "desk"):
        assert deployment.stop(name) == 0


def test_without_a_record_it_ends_and_says_what_to_do(settings: Settings) -> None:
    """Wrong settings end the service at its start; no dispatch is tried for hours and given up."""
    engine = open_database(settings.database, read_only=True)
    with pytest.raises(ConfigError, match=r"desk.db is not there.*ALMENARA_DATABASE_URL"):
        await_record(engine, lambda: False, patience_s=0.0)


def test_a_record_that_is_there_and_not_ready_is_waited_for(settings: Settings) -> None:
    """A file of nothing yet is the desk's to make ready: told to stop meanwhile, the service just stops."""
    with migrated(settings.database) as engine:
        await_record(engine, lambda: False, patience_s=0.0)
    (settings.state_dir / "desk.db").write_bytes(b"")
    asked = iter([False, False, True])
    with pytest.raises(StoppedError):
        await_record(
            open_database(settings.database, read_only=True), lambda: next(asked, True), patience_s=0.0
        )
