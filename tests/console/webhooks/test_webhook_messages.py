"""CAP by webhook: every message of a chain, whatever fails. Desk, broker, record and receiver are real."""

import json
import os
import random
import re
import shutil
import signal
import subprocess
import sys
import xml.etree.ElementTree as ET
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import timedelta
from functools import cache
from pathlib import Path
from typing import Any

import pytest
import webhook_parts
import xmlschema
from conftest import wait_until
from database_parts import migrated
from desk_parts import Desk, open_desk
from sqlalchemy import Engine
from webhook_parts import Got, Receiver, delivering, webhook

from console.cap import NAMESPACE
from console.records import migrate, open_database
from console.webhooks import following
from console.webhooks.dead import dead_letters, disabled_since, hand_over, revive
from console.webhooks.following import Follower, events_since
from console.webhooks.forgetting import forget
from console.webhooks.hooks import Form, Webhook
from deploy.rights import rules
from deploy.status import gather, lines
from shared.broker import Broker, connect
from shared.incidents import utc_now
from shared.keys import (
    BOARD_VERSION,
    WEBHOOKS_FOLLOWING,
    dispatch_key,
    webhook_again_key,
    webhook_group,
    webhook_later_key,
    webhook_position_key,
)
from shared.moves import Action
from shared.settings import Settings
from shared.verdict import Verdict

RULES = xmlschema.XMLSchema(str(Path(__file__).parents[1] / "cap_rules.xsd"))


@pytest.fixture
def receiver() -> Iterator[Receiver]:
    """One that takes everything, until the test says otherwise."""
    made = Receiver()
    yield made
    made.close()


@pytest.fixture
def desk(settings: Settings, broker: Broker) -> Iterator[Desk]:
    """A desk on an empty record, at this hour: what is older than the retention is not sent."""
    with migrated(settings.database) as engine:
        yield open_desk(settings, broker, engine, sample_rate=0.0)


@pytest.fixture
def record(settings: Settings) -> Iterator[Engine]:
    """The desk's record as the service opens it."""
    engine = open_database(settings.database, read_only=True)
    yield engine
    engine.dispose()


@pytest.fixture(autouse=True)
def today(desk: Desk) -> None:
    """The desk's clock begins an hour ago, and each test lets time pass between what it does."""
    desk.now = utc_now() - timedelta(hours=1)


@dataclass(frozen=True)
class Message:
    """A CAP message as it came."""

    identifier: str
    kind: str
    case: str
    response: str
    references: str


def message(got: Got) -> Message:
    """One that is valid, is signed, and has its identifier in its header, too."""
    assert got.is_signed()
    found = parsed(got.body)
    assert got.message_id == found.identifier
    return found


@cache
def parsed(body: str) -> Message:
    """A valid body."""
    RULES.validate(body)
    alert = ET.fromstring(body)  # noqa: S314 - our own

    def text(name: str) -> str:
        return next((each.text or "" for each in alert.iter(f"{{{NAMESPACE}}}{name}")), "")

    identifier = text("identifier")
    names = [each.text for each in alert.iter(f"{{{NAMESPACE}}}valueName")]
    values = [each.text or "" for each in alert.iter(f"{{{NAMESPACE}}}value")]
    case = dict(zip(names, values, strict=True))["almenara:case"]
    return Message(identifier, text("msgType"), case, text("responseType"), text("references"))


def come(receiver: Receiver, case: str, *kinds: str) -> list[Message]:
    """Wait until messages of these kinds have come about a case, and no other."""

    def about() -> list[Message]:
        return [each for each in map(message, list(receiver.got)) if each.case == case]

    wait_until(
        lambda: len({each.identifier for each in about()}) >= len(kinds),
        within_s=100,
        what=f"{kinds} about {case}",
    )
    found = about()
    assert sorted(each.kind for each in found) == sorted(kinds)
    return found


def cap(receiver: Receiver, folder: Path, *departments: str, **more: Any) -> Webhook:
    """A webhook that is sent CAP about these departments' cases; the firefighters', if nothing is said."""
    return webhook(receiver, folder, departments=departments or ("firefighters",), form=Form.CAP, **more)


def lagging(desk: Desk) -> list[str]:
    """What `almenara status` says of who lags."""
    return [line for line in lines(gather(desk.broker, desk.settings)) if line.startswith("Consumer")]


def settled(broker: Broker, name: str = "cad") -> None:
    """Wait until nothing is on its way."""
    wait_until(lambda: not broker.xlen(webhook_again_key(name)), within_s=100, what="all is delivered")


def test_a_false_alarm_is_an_alert_and_then_its_cancel(
    desk: Desk, broker: Broker, record: Engine, receiver: Receiver, tmp_path: Path
) -> None:
    """The only department finds nothing: who was told Alert is told Cancel; that somebody goes is no news."""
    with delivering(broker, cap(receiver, tmp_path, "police-department"), engine=record):
        case = desk.arrive("altercation")
        [alert] = come(receiver, case, "Alert")
        for action in (Action.ACKNOWLEDGE, Action.NOTE, Action.EN_ROUTE, Action.ON_SCENE):
            desk.wait(30)
            desk.ask(action, "police-department", case)
        desk.wait(30)
        desk.ask(Action.FALSE_ALARM, "police-department", case)
        wait_until(lambda: len(receiver.got) > 1, within_s=100, what="the Cancel")
        settled(broker)
    first, cancel = map(message, receiver.got)
    assert first == alert
    assert (cancel.kind, cancel.response) == ("Cancel", "AllClear")
    assert alert.identifier in cancel.references


def test_the_end_of_a_case_is_an_update(
    desk: Desk, broker: Broker, record: Engine, receiver: Receiver, tmp_path: Path
) -> None:
    """Several departments of one webhook: each message once, the last when the last of them is done."""
    departments = ("transit-police", "firefighters", "ambulance")
    with delivering(broker, cap(receiver, tmp_path, *departments), engine=record):
        case = desk.arrive("fire")
        come(receiver, case, "Alert")
        for department in ("firefighters", "transit-police"):
            desk.wait(60)
            desk.ask(Action.ACKNOWLEDGE, department, case)
            desk.ask(Action.CLOSE, department, case)
        wait_until(lambda: len(receiver.got) > 2, within_s=100, what="both Updates")
        settled(broker)
    _, one_is_done, over = sorted(map(message, receiver.got), key=lambda each: each.identifier)
    assert (one_is_done.kind, over.kind, over.response) == ("Update", "Update", "AllClear")
    assert one_is_done.identifier in over.references


def test_a_case_that_goes_into_another_is_cancelled(
    desk: Desk, broker: Broker, record: Engine, receiver: Receiver, tmp_path: Path
) -> None:
    """And the other one is told anew, under another name, though nobody in it was called or sent home."""
    with delivering(broker, cap(receiver, tmp_path), engine=record):
        kept = desk.arrive("fire")
        desk.wait(5)
        gone = desk.arrive("fire")
        come(receiver, kept, "Alert")
        come(receiver, gone, "Alert")
        desk.wait(30)
        desk.ask(Action.MERGE, "firefighters", gone, other=kept)
        [_, cancel] = come(receiver, gone, "Alert", "Cancel")
        [_, update] = come(receiver, kept, "Alert", "Update")
    assert cancel.identifier != update.identifier
    assert f"The same emergency as case {kept}" in receiver.got[receiver.ids().index(cancel.identifier)].body


def test_others_cases_and_streets_without_emergency_are_passed_over(
    desk: Desk, broker: Broker, record: Engine, receiver: Receiver, tmp_path: Path
) -> None:
    """A webhook is sent what its departments have to do with, and nothing that was never an alarm."""
    desk.settings = desk.settings.override(sample_rate=1.0)
    with delivering(broker, cap(receiver, tmp_path, "police-department", "review"), engine=record):
        desk.arrive("flood_risk")
        desk.wait(1)
        desk.arrive(None, verdict=Verdict.NO_EMERGENCY)
        desk.wait(1)
        last = desk.arrive("altercation")
        come(receiver, last, "Alert")
        settled(broker)
    assert [message(got).case for got in receiver.got] == [last]


def test_what_comes_late_says_what_has_become_of_it(
    desk: Desk, broker: Broker, record: Engine, receiver: Receiver, tmp_path: Path
) -> None:
    """An Alert that is first sent after the false alarm sends nobody anywhere, and is cancelled."""
    case = desk.arrive("altercation")
    desk.wait(60)
    desk.ask(Action.FALSE_ALARM, "police-department", case)
    with delivering(broker, cap(receiver, tmp_path, "police-department"), engine=record):
        found = come(receiver, case, "Alert", "Cancel")
    assert {each.response for each in found} == {"AllClear"}


def test_a_new_webhook_is_not_sent_earlier_messages(
    desk: Desk, broker: Broker, record: Engine, receiver: Receiver, tmp_path: Path
) -> None:
    """Unless it begins at the beginning it begins now, goes on after a restart, and not twice."""
    hook = cap(receiver, tmp_path, from_beginning=False)
    desk.arrive("fire")
    with delivering(broker, hook, engine=record):
        wait_until(lambda: broker.exists(webhook_position_key("cad")), within_s=60, what="it has begun")
        desk.wait(5)
        second = desk.arrive("fire")
        come(receiver, second, "Alert")
        settled(broker)
    desk.wait(5)
    third = desk.arrive("fire")
    with delivering(broker, hook, engine=record):
        come(receiver, third, "Alert")
    assert [message(got).case for got in receiver.got] == [second, third]


def test_replicas_post_each_message_once(
    desk: Desk, broker: Broker, record: Engine, receiver: Receiver, tmp_path: Path
) -> None:
    """Three services that follow the same record: while nothing fails, nothing comes twice."""
    hook = cap(receiver, tmp_path)
    with (
        delivering(broker, hook, engine=record),
        delivering(broker, hook, engine=record),
        delivering(broker, hook, engine=record),
    ):
        cases = []
        for _ in range(12):
            desk.wait(5)
            cases.append(desk.arrive("fire"))
            desk.wait(5)
            desk.ask(Action.FALSE_ALARM, "firefighters", cases[-1])
        for case in cases:
            come(receiver, case, "Alert", "Update")
        settled(broker)
    assert len(receiver.ids()) == len(set(receiver.ids())) == 24


def test_a_message_that_is_refused_is_put_back_under_its_name(
    desk: Desk, broker: Broker, record: Engine, receiver: Receiver, tmp_path: Path
) -> None:
    """Given up after few tries, listed by its name; put back it comes as the case then stands."""
    hook = cap(receiver, tmp_path)
    receiver.answers = [400, 400, 400, 200]
    with delivering(broker, hook, engine=record):
        case = desk.arrive("fire")
        wait_until(lambda: list(dead_letters(broker, hook)), within_s=100, what="a dead letter")
        [letter] = dead_letters(broker, hook)
        assert (letter.reason, letter.tries, letter.department) == ("http_400", 3, "firefighters")
        name = json.loads(letter.event)["id"]
        assert revive(broker, hook) == 1
        wait_until(lambda: len(receiver.got) == 4, within_s=100, what="it comes again")
        settled(broker)
    assert receiver.ids() == [name] * 4
    assert message(receiver.got[0]).case == case


def test_a_person_has_messages_sent_again(
    desk: Desk, broker: Broker, record: Engine, receiver: Receiver, tmp_path: Path
) -> None:
    """All of a department's since a moment, each under the name that it had."""
    hook = cap(receiver, tmp_path)
    with delivering(broker, hook, engine=record):
        early = desk.arrive("fire")
        come(receiver, early, "Alert")
        desk.wait(60)
        since = desk.now
        late = desk.arrive("fire")
        desk.wait(60)
        desk.ask(Action.ACKNOWLEDGE, "firefighters", early)
        desk.ask(Action.CLOSE, "firefighters", early)
        come(receiver, early, "Alert", "Update")
        come(receiver, late, "Alert")
        settled(broker)
        before = receiver.ids()
        assert hand_over(broker, hook, "firefighters", events_since(record, "firefighters", since)) == 2
        wait_until(lambda: len(receiver.got) >= 5, within_s=100, what="they come again")
        settled(broker)
    assert sorted(receiver.ids()[3:]) == sorted(each for each in before if each != before[0])
    assert list(events_since(record, "ambulance", since)) == []


def test_what_is_not_in_the_record_is_given_up(
    desk: Desk, broker: Broker, record: Engine, receiver: Receiver, tmp_path: Path
) -> None:
    """The name of a message that there never was, put back by somebody, is signed as nothing."""
    hook = cap(receiver, tmp_path)
    case = desk.arrive("fire")
    forged = {"id": f"almenara-{case}-20000101T000000000000", "subject": case, "department": "firefighters"}
    hand_over(broker, hook, "firefighters", [json.dumps(forged)])
    with delivering(broker, hook, engine=record):
        come(receiver, case, "Alert")
        wait_until(lambda: list(dead_letters(broker, hook)), within_s=100, what="a dead letter")
    assert [each.reason for each in dead_letters(broker, hook)] == ["not_in_the_record"]


def test_an_upgrade_loses_nothing_and_leaves_no_group_behind(
    desk: Desk, broker: Broker, record: Engine, receiver: Receiver, tmp_path: Path
) -> None:
    """Where it followed dispatches it goes on at the oldest not delivered; what it gave up can come."""
    hook = cap(receiver, tmp_path, "ambulance", "firefighters", from_beginning=False)
    stream, group = dispatch_key("firefighters"), webhook_group("cad")
    done = desk.arrive("fire")
    broker.xtrim(stream, maxlen=0)  # of an hour that this machine's broker did not see
    desk.now = utc_now()
    cases = [desk.arrive("fire")]
    desk.wait(1)
    cases.append(desk.arrive("fire"))
    broker.xgroup_create(stream, group, "0")
    broker.xreadgroup(group, "almenara", {stream: ">"}, count=1)
    there: Any = broker.xrange(stream)
    [(first, fields), _] = there
    broker.zadd(webhook_later_key("cad"), {f"{stream} {first.decode()}": 1})
    desk.wait(1)
    desk.ask(Action.ACKNOWLEDGE, "firefighters", cases[0])
    desk.ask(Action.CLOSE, "firefighters", cases[0])
    assert lagging(desk) == ["Consumer   webhooks:cad has 2 dispatches of firefighters to go"]
    with delivering(broker, hook, engine=record):
        come(receiver, cases[0], "Alert", "Update")
        come(receiver, cases[1], "Alert")
        # A dispatch that was a dead letter before: it is its case, as that stands now.
        hand_over(broker, hook, "firefighters", [fields[b"event"].decode()])
        wait_until(lambda: len(receiver.got) > 3, within_s=100, what="what was put back")
        settled(broker)
        wait_until(lambda: not broker.xinfo_groups(stream), within_s=60, what="the group is gone")
        wait_until(lambda: not lagging(desk), within_s=60, what="nothing lags")
    assert receiver.ids()[-1] in receiver.ids()[:3]
    assert done not in [message(got).case for got in receiver.got]
    assert not broker.exists(webhook_later_key("cad"))


def test_a_broker_that_lost_its_memory_loses_no_message(
    desk: Desk, broker: Broker, record: Engine, receiver: Receiver, tmp_path: Path
) -> None:
    """The service knows how far it was; one that starts anew begins as a new webhook does."""
    hook = cap(receiver, tmp_path, from_beginning=False)
    with delivering(broker, hook, engine=record):
        wait_until(lambda: broker.exists(WEBHOOKS_FOLLOWING), within_s=60, what="it follows")
        come(receiver, desk.arrive("fire"), "Alert")
        settled(broker)
        broker.flushall()
        desk.wait(5)
        come(receiver, desk.arrive("fire"), "Alert")
        settled(broker)
    assert len(receiver.got) == 2


def test_a_record_from_a_backup_is_followed_where_it_stands(
    desk: Desk, broker: Broker, record: Engine, receiver: Receiver, tmp_path: Path
) -> None:
    """Entries are counted anew then: none is taken for one that was told, and no name is used twice."""
    hook = cap(receiver, tmp_path)
    file = Path(record.url.database.removeprefix("file:"))  # type: ignore[union-attr]
    with delivering(broker, hook, engine=record):
        come(receiver, desk.arrive("fire"), "Alert")
        settled(broker)
    desk.engine.dispose()
    record.dispose()
    shutil.copy(file, tmp_path / "backup.db")
    with delivering(broker, hook, engine=record):
        for _ in range(2):
            desk.wait(5)
            come(receiver, desk.arrive("fire"), "Alert")
        settled(broker)
    desk.engine.dispose()
    record.dispose()
    for beside in (file.with_name(f"{file.name}-wal"), file.with_name(f"{file.name}-shm")):
        beside.unlink(missing_ok=True)
    shutil.copy(tmp_path / "backup.db", file)
    desk.wait(5)
    after = desk.arrive("fire")
    with delivering(broker, hook, engine=record):
        come(receiver, after, "Alert")
        settled(broker)
    assert len(receiver.ids()) == len(set(receiver.ids())) == 4


def test_a_record_that_is_away_is_waited_for(
    broker: Broker, receiver: Receiver, tmp_path: Path, settings: Settings
) -> None:
    """Nothing is given up meanwhile, and it is said once that it is away, and that it is back."""
    path = tmp_path / "elsewhere.db"
    url = f"sqlite:///{path}"
    engine = open_database(url, read_only=True)
    try:
        with delivering(broker, cap(receiver, tmp_path), engine=engine):
            wait_until(lambda: broker.exists(webhook_again_key("cad")), within_s=60, what="it runs")
            writable = open_database(url)
            migrate(writable)
            case = open_desk(settings, broker, writable, sample_rate=0.0)
            case.now = utc_now()
            come(receiver, case.arrive("fire"), "Alert")
            writable.dispose()
    finally:
        engine.dispose()


def test_its_lag_is_seen_by_who_cannot_see_the_record(
    desk: Desk, record: Engine, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What waits in the broker counts; what nobody has read from the record counts once nobody reads."""
    broker, hook = desk.broker, webhook("http://127.0.0.1:9/", tmp_path, form=Form.CAP)
    follower = Follower(broker, hook, record, timedelta(days=30))
    follower.leave()
    follower.follow()
    assert lagging(desk) == []
    desk.arrive("fire")
    follower.follow()
    assert lagging(desk) == ["Consumer   webhooks:cad has 1 dispatches of firefighters to go"]
    broker.set(BOARD_VERSION, 5)
    assert lagging(desk) == ["Consumer   webhooks:cad has 1 dispatches of firefighters to go"]
    told: Any = broker.hget(WEBHOOKS_FOLLOWING, "cad")
    about = json.loads(told)
    broker.hset(WEBHOOKS_FOLLOWING, "cad", json.dumps(about | {"at": about["at"] - 300}))
    assert lagging(desk) == ["Consumer   webhooks:cad has 6 dispatches of firefighters to go"]
    for wrong in ("no JSON", "[]", json.dumps(about | {"department": "\x1b[2J"})):
        broker.hset(WEBHOOKS_FOLLOWING, "cad", wrong)
        assert lagging(desk) == []
    # As many as it may hold there and no more, until some are delivered.
    monkeypatch.setattr(following, "MOST_WAITING", 1)
    desk.wait(1)
    desk.arrive("fire")
    follower.follow()
    assert broker.xlen(webhook_again_key("cad")) == 1
    broker.xtrim(webhook_again_key("cad"), maxlen=0)
    follower.follow()
    assert broker.xlen(webhook_again_key("cad")) == 1
    assert forget(broker, hook) == 3
    assert not list(broker.scan_iter("webhooks:*"))


def test_its_users_of_the_broker_are_enough_for_cap(
    desk: Desk, broker: Broker, record: Engine, receiver: Receiver, tmp_path: Path
) -> None:
    """As `webhooks` it upgrades, follows, delivers and gives up; an operator puts back, replays, forgets."""
    roles = ("webhooks", "operator")
    for role in roles:
        words = re.findall(r"\([^)]*\)|\S+", rules(role))
        broker.execute_command("ACL", "SETUSER", role, "reset", "on", ">secret", *words)  # type: ignore[no-untyped-call]
    clients = [
        connect(
            desk.settings.override(
                redis_url=desk.settings.redis_url.replace("unix://", f"unix://{role}:secret@")
            )
        )
        for role in roles
    ]
    hook = cap(receiver, tmp_path)
    receiver.answers = [500, 410, 200]
    broker.xgroup_create(dispatch_key("firefighters"), webhook_group("cad"), "0", mkstream=True)
    try:
        with delivering(clients[0], hook, engine=record, abandoned_s=0.1):
            case = desk.arrive("fire")
            wait_until(lambda: disabled_since(clients[1], hook), within_s=100, what="it is disabled")
            wait_until(lambda: list(dead_letters(clients[1], hook)), within_s=100, what="a dead letter")
            assert revive(clients[1], hook) == 1
            wait_until(lambda: len(receiver.got) >= 3, within_s=100, what="it comes again")
            hand_over(clients[1], hook, "firefighters", events_since(record, "firefighters", desk.now))
            wait_until(lambda: len(receiver.got) >= 4, within_s=100, what="it is replayed")
            settled(broker)
        assert forget(clients[1], hook) >= 2
    finally:
        for client in clients:
            client.close()
        broker.acl_deluser(*roles)
    assert {message(got).case for got in receiver.got} == {case}
    assert len(set(receiver.ids())) == 1


@pytest.mark.fault
def test_a_service_that_is_killed_loses_no_message(
    desk: Desk, broker: Broker, record: Engine, receiver: Receiver, tmp_path: Path
) -> None:
    """Killed at random moments among failures, every Alert and Cancel arrives, each under its one name."""
    chance = random.Random(6)
    # It is well in the end: one letter that fails again and again by chance waits twice as long each time.
    receiver.answers = [chance.choice([200, 200, 500, "break"]) for _ in range(50)] + [200]
    hook = cap(receiver, tmp_path, "police-department")
    command = [sys.executable, webhook_parts.__file__, receiver.url, str(hook.secret_file)]
    command += [desk.settings.redis_url, desk.settings.database]
    environ = {**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)}
    cases: list[str] = []
    for _ in range(3):
        process = subprocess.Popen(command, env=environ, stderr=subprocess.DEVNULL, stdout=subprocess.DEVNULL)
        for _ in range(6):
            desk.wait(2)
            cases.append(desk.arrive("altercation"))
            desk.wait(2)
            desk.ask(Action.FALSE_ALARM, "police-department", cases[-1])
        try:
            enough = len(receiver.got) + chance.randrange(2, 8)
            wait_until(lambda: len(receiver.got) >= enough, within_s=30, what="it delivers")  # noqa: B023
        finally:
            process.send_signal(signal.SIGKILL)
            process.wait(timeout=30)
    with delivering(broker, hook, engine=record, abandoned_s=1.5):
        wait_until(lambda: len(set(receiver.ids())) == 36, within_s=100, what="all have come")
        settled(broker)
    for case in cases:
        kinds = {each.identifier: each.kind for each in map(message, receiver.got) if each.case == case}
        assert sorted(kinds.values()) == ["Alert", "Cancel"]
    assert list(dead_letters(broker, hook)) == []
