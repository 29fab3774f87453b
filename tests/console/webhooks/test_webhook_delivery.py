import json
import os
import random
import re
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import webhook_parts
from conftest import make_entries, wait_until
from deployment import Deployment
from webhook_parts import (
    OTHER_SECRET,
    SECRET,
    Receiver,
    certificate,
    delivering,
    pending,
    send,
    webhook,
    write_secret,
)

import console.webhooks.posting
from console.webhooks.dead import dead_letters, disabled_since, hand_over, revive
from console.webhooks.hooks import Webhook
from deploy.rights import rules
from shared.broker import Broker, connect
from shared.heartbeats import WEBHOOKS, living
from shared.keys import dispatch_key, webhook_again_key, webhook_disabled_key
from shared.settings import Settings


@pytest.fixture
def receiver() -> Iterator[Receiver]:
    """One that takes everything, until the test says otherwise."""
    made = Receiver()
    yield made
    made.close()


def fires(broker: Broker, *seeds: int) -> list[str]:
    """Fires, and the ids of what the firefighters are sent about them."""
    return [each for seed in seeds for each in send(broker, make_entries(seed, situation="fire"))]


def arrived(receiver: Receiver, ids: list[str]) -> None:
    """Wait until all of them have come."""
    wait_until(lambda: set(ids) <= set(receiver.ids()), within_s=100, what=f"{ids} in {receiver.ids()}")


def settled(broker: Broker, name: str = "cad") -> None:
    """Wait until nothing is on its way."""
    wait_until(lambda: pending(broker, name) == 0, within_s=60, what="nothing is pending")


def test_a_dispatch_is_posted_signed(broker: Broker, receiver: Receiver, tmp_path: Path) -> None:
    """The receiver gets the entry as it stands in the stream, with a signature that it can verify, once."""
    with delivering(broker, webhook(receiver, tmp_path)):
        [sent] = fires(broker, 1)
        arrived(receiver, [sent])
        settled(broker)
        wait_until(lambda: living(broker, WEBHOOKS), within_s=10, what="the service says that it lives")
    [got] = receiver.got
    assert got.verify()["id"] == sent == got.message_id
    entries: Any = broker.xrange(dispatch_key("firefighters"))
    [(_, fields)] = entries
    assert got.body == fields[b"event"].decode()
    assert got.headers["content-type"].startswith("application/cloudevents+json")
    assert living(broker, WEBHOOKS) == 0


def test_a_receiver_that_fails_is_tried_again(
    broker: Broker, receiver: Receiver, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Errors, silence and a broken answer: the same id each time, until it is taken."""
    monkeypatch.setattr(console.webhooks.posting, "TRY_S", 1.0)
    receiver.answers = [500, "hang", "break", 503, 204]
    with delivering(broker, webhook(receiver, tmp_path)):
        [sent] = fires(broker, 1)
        wait_until(lambda: len(receiver.got) >= 5, within_s=60, what="five tries")
        settled(broker)
    # On a busy machine an answer may come later than that short a time, and is tried for again.
    assert receiver.ids() == [sent] * len(receiver.got)
    for got in receiver.got:
        got.verify()


def test_a_receiver_says_when_it_is_tried_again(broker: Broker, receiver: Receiver, tmp_path: Path) -> None:
    """Too Many Requests with a time: not before it, though our own wait is far shorter."""
    receiver.answers = [(429, {"Retry-After": "1"}), 204]
    with delivering(broker, webhook(receiver, tmp_path)):
        [sent] = fires(broker, 1)
        wait_until(lambda: len(receiver.got) == 2, within_s=60, what="two tries")
        settled(broker)
    assert receiver.ids() == [sent] * 2
    first_s, second_s = (int(got.headers["webhook-timestamp"]) for got in receiver.got)
    assert second_s - first_s >= 1


def test_what_a_receiver_refuses_is_a_dead_letter(broker: Broker, receiver: Receiver, tmp_path: Path) -> None:
    """After few tries it is given up with its reason, and put back it is delivered under the same id."""
    hook = webhook(receiver, tmp_path)
    receiver.answers = [400, 400, 400, 200]
    with delivering(broker, hook):
        [sent] = fires(broker, 1)
        wait_until(lambda: list(dead_letters(broker, hook)), within_s=60, what="a dead letter")
        [letter] = dead_letters(broker, hook)
        assert (letter.reason, letter.tries, json.loads(letter.event)["id"]) == ("http_400", 3, sent)
        assert pending(broker) == 0
        assert revive(broker, hook, since="2999") == 0
        assert revive(broker, hook) == 1
        wait_until(lambda: len(receiver.got) == 4, within_s=60, what="it comes again")
    assert receiver.ids() == [sent] * 4
    assert list(dead_letters(broker, hook)) == []


def test_a_receiver_that_is_gone_is_left_alone(broker: Broker, receiver: Receiver, tmp_path: Path) -> None:
    """410 disables a webhook until a person says otherwise; what came meanwhile is delivered then."""
    hook = webhook(receiver, tmp_path)
    receiver.answers = [410, 200]
    first = fires(broker, 1)
    with delivering(broker, hook):
        wait_until(lambda: disabled_since(broker, hook), within_s=60, what="it is disabled")
        wait_until(lambda: list(dead_letters(broker, hook)), within_s=60, what="a dead letter")
    later = fires(broker, 2)
    beside = Receiver()
    try:
        with delivering(broker, hook, webhook(beside, tmp_path, "beside")):
            arrived(beside, [*first, *later])
    finally:
        beside.close()
    assert receiver.ids() == first
    assert revive(broker, hook) == 1
    assert not broker.exists(webhook_disabled_key("cad"))
    with delivering(broker, hook):
        arrived(receiver, later)
        wait_until(lambda: receiver.ids().count(first[0]) == 2, within_s=60, what="the first one too")


def test_a_slow_receiver_holds_up_nobody_else(broker: Broker, receiver: Receiver, tmp_path: Path) -> None:
    """While one webhook's receiver hangs at everything, another gets all of its own."""
    slow = Receiver(["hang"])
    try:
        hooks = [webhook(slow, tmp_path, "slow"), webhook(receiver, tmp_path)]
        with delivering(broker, *hooks):
            ids = fires(broker, *range(12))
            arrived(receiver, ids)
            settled(broker)
            assert pending(broker, "slow") > 0
            slow.close()
    finally:
        slow.close()


def test_a_redirect_is_not_followed(broker: Broker, receiver: Receiver, tmp_path: Path) -> None:
    """Where a receiver points elsewhere nothing is sent there."""
    elsewhere = Receiver()
    hook = webhook(receiver, tmp_path)
    receiver.answers = [(307, {"Location": elsewhere.url})]
    try:
        with delivering(broker, hook):
            fires(broker, 1)
            wait_until(lambda: list(dead_letters(broker, hook)), within_s=60, what="a dead letter")
    finally:
        elsewhere.close()
    assert elsewhere.got == []
    assert [letter.reason for letter in dead_letters(broker, hook)] == ["http_307"]


@pytest.mark.parametrize("trusted", [True, False])
def test_a_certificate_is_verified(broker: Broker, tmp_path: Path, trusted: bool) -> None:
    """A receiver with a certificate by an authority that nobody named is sent nothing."""
    tls, chain = certificate(tmp_path)
    receiver = Receiver(tls=tls)
    try:
        with delivering(broker, webhook(receiver, tmp_path, ca_file=chain if trusted else None)):
            ids = fires(broker, 1)
            if trusted:
                arrived(receiver, ids)
            else:
                wait_until(lambda: broker.zcard("webhooks:later:cad"), within_s=60, what="it failed")
    finally:
        receiver.close()
    assert bool(receiver.got) is trusted


def test_a_secret_changes_without_a_stop(broker: Broker, receiver: Receiver, tmp_path: Path) -> None:
    """With two secrets in the file both sign; with the old one gone the new one alone does."""
    hook = webhook(receiver, tmp_path)
    with delivering(broker, hook):
        arrived(receiver, fires(broker, 1))
        write_secret(hook.secret_file, OTHER_SECRET, SECRET)
        arrived(receiver, fires(broker, 2))
        write_secret(hook.secret_file, OTHER_SECRET)
        arrived(receiver, fires(broker, 3))
    first, both, last = receiver.got
    first.verify(SECRET)
    both.verify(SECRET)
    both.verify(OTHER_SECRET)
    last.verify(OTHER_SECRET)
    with pytest.raises(Exception, match="No matching signature"):
        last.verify(SECRET)


def test_replicas_share_the_work(broker: Broker, receiver: Receiver, tmp_path: Path) -> None:
    """Two services for the same webhook deliver everything once while nothing fails."""
    hook = webhook(receiver, tmp_path)
    with delivering(broker, hook), delivering(broker, hook):
        ids = fires(broker, *range(30))
        arrived(receiver, ids)
        settled(broker)
    assert sorted(receiver.ids()) == sorted(ids)


def test_what_is_no_dispatch_holds_up_nothing(broker: Broker, receiver: Receiver, tmp_path: Path) -> None:
    """An entry that nobody can read goes among the dead letters at once, the next one is delivered."""
    hook = webhook(receiver, tmp_path)
    broker.xadd(dispatch_key("firefighters"), {"event": b"\xff not a dispatch"})
    broker.xadd(dispatch_key("firefighters"), {"other": "field"})
    ids = fires(broker, 1)
    with delivering(broker, hook):
        arrived(receiver, ids)
        settled(broker)
    assert [letter.reason for letter in dead_letters(broker, hook)] == ["bad_dispatch"] * 2
    assert receiver.ids() == ids


def test_what_is_put_back_must_be_of_the_webhook(broker: Broker, receiver: Receiver, tmp_path: Path) -> None:
    """A department that is not its own, or not the event's, or another id: dropped, and not signed."""
    hook = webhook(receiver, tmp_path)
    [mine] = [event for word, event in make_entries(1, situation="fire") if word == "firefighters"]
    event = json.loads(mine)
    others = [event | {"department": "ambulance"}, event | {"id": "0" * 32 + ":firefighters:1"}]
    others += [event | {"subject": "x", "id": "x:firefighters:1"}, {}]
    forged = [("police-force\nx", mine), ("ambulance", json.dumps(event | {"department": "ambulance"}))]
    forged += [("firefighters", json.dumps(each)) for each in others] + [("firefighters", "no JSON")]
    for department, text in [*forged, ("firefighters", mine)]:
        broker.xadd(webhook_again_key("cad"), {"department": department, "event": text})
    with delivering(broker, hook):
        arrived(receiver, [event["id"]])
        wait_until(lambda: not broker.xlen(webhook_again_key("cad")), within_s=60, what="all are dealt with")
    assert receiver.ids() == [event["id"]]
    assert not list(broker.scan_iter("webhooks:dead:*"))


def test_a_stream_that_begins_anew_is_read_anew(broker: Broker, receiver: Receiver, tmp_path: Path) -> None:
    """After an id of the future, which an operator removes with its stream, what comes has an earlier one."""
    stream = dispatch_key("firefighters")
    [event] = [event for word, event in make_entries(1, situation="fire") if word == "firefighters"]
    with delivering(broker, webhook(receiver, tmp_path)):
        broker.xadd(stream, {"event": event}, id="99999999999999999-0")
        arrived(receiver, [json.loads(event)["id"]])
        settled(broker)
        broker.delete(stream)
        arrived(receiver, fires(broker, 2))


def test_a_new_webhook_is_not_sent_the_past(broker: Broker, receiver: Receiver, tmp_path: Path) -> None:
    """Unless it is told to begin at the beginning, it begins now, and goes on after a restart."""
    hook = webhook(receiver, tmp_path, from_beginning=False)
    fires(broker, 1)
    with delivering(broker, hook):
        wait_until(lambda: _group_is_there(broker), within_s=20, what="the group is there")
        arrived(receiver, fires(broker, 2))
        settled(broker)
    meanwhile = fires(broker, 3)
    with delivering(broker, hook):
        arrived(receiver, meanwhile)
    assert len(receiver.got) == 2


def _group_is_there(broker: Broker) -> bool:
    groups: Any = broker.xinfo_groups(dispatch_key("firefighters"))
    return bool(groups)


def test_its_users_of_the_broker_are_enough(
    broker: Broker, receiver: Receiver, tmp_path: Path, settings: Settings
) -> None:
    """As `webhooks` of `almenara acl` it delivers and gives up; an operator lists and puts back."""
    roles = ("webhooks", "operator")
    for role in roles:
        words = re.findall(r"\([^)]*\)|\S+", rules(role))
        broker.execute_command("ACL", "SETUSER", role, "reset", "on", ">secret", *words)  # type: ignore[no-untyped-call]
    clients = [
        connect(settings.override(redis_url=settings.redis_url.replace("unix://", f"unix://{role}:secret@")))
        for role in roles
    ]
    hook = webhook(receiver, tmp_path)
    receiver.answers = [500, 410, 200]
    try:
        with delivering(clients[0], hook, abandoned_s=0.1):
            ids = fires(broker, 1)
            wait_until(lambda: list(dead_letters(clients[1], hook)), within_s=60, what="a dead letter")
            wait_until(lambda: disabled_since(clients[1], hook), within_s=60, what="it is disabled")
            assert revive(clients[1], hook) == 1
            wait_until(lambda: len(receiver.got) == 3, within_s=60, what="it comes again")
            assert hand_over(clients[1], hook, "firefighters", []) == 0
    finally:
        for client in clients:
            client.close()
        broker.acl_deluser(*roles)
    assert receiver.ids() == ids * 3


@pytest.mark.fault
def test_a_service_that_is_killed_loses_nothing(
    broker: Broker, receiver: Receiver, tmp_path: Path, settings: Any
) -> None:
    """Killed at random moments among failures, every dispatch arrives, each time under its one id."""
    chance = random.Random(6)
    # It is well in the end: one letter that fails again and again by chance waits twice as long each time.
    receiver.answers = [chance.choice([200, 200, 500, "break"]) for _ in range(50)] + [200]
    hook = webhook(receiver, tmp_path)
    command = [
        sys.executable,
        webhook_parts.__file__,
        receiver.url,
        str(hook.secret_file),
        settings.redis_url,
    ]
    environ = {**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)}
    ids: list[str] = []
    for kill in range(3):
        process = subprocess.Popen(command, env=environ, stderr=subprocess.DEVNULL, stdout=subprocess.DEVNULL)
        ids += fires(broker, *range(100 * kill, 100 * kill + 12))
        try:
            enough = len(receiver.got) + chance.randrange(3, 15)
            wait_until(lambda: len(receiver.got) >= enough, within_s=30, what="it delivers")  # noqa: B023
        finally:
            process.send_signal(signal.SIGKILL)
            process.wait(timeout=30)
    with delivering(broker, hook, abandoned_s=1.5):
        arrived(receiver, ids)
        settled(broker)
    assert set(receiver.ids()) == set(ids)
    assert list(dead_letters(broker, hook)) == []


@pytest.mark.fault
def test_the_broker_may_restart(deployment: Deployment, receiver: Receiver, tmp_path: Path) -> None:
    """What is on its way while the broker is gone is delivered once it is back."""
    client = deployment.client()
    receiver.answers = [500, 500, 200]
    with delivering(client, webhook(receiver, tmp_path)):
        ids = fires(client, 1, 2)
        wait_until(lambda: len(receiver.got) >= 2, within_s=60, what="two tries failed")
        deployment.kill("broker")
        deployment.start_broker()
        ids += fires(client, 3)
        arrived(receiver, ids)
        settled(client)


def test_the_service_is_a_command(deployment: Deployment, receiver: Receiver, tmp_path: Path) -> None:
    """`almenara webhooks` delivers what its file says, stops when told, lists and puts back dead letters."""
    file = tmp_path / "webhooks.toml"
    hook: Webhook = webhook(receiver, tmp_path)
    file.write_text(
        f'[[webhook]]\nname = "cad"\ndepartment = "firefighters"\nurl = "{receiver.url}"\n'
        f'secret_file = "{hook.secret_file.name}"\nstart = "beginning"\n'
    )
    deployment.extra_environ["ALMENARA_WEBHOOKS"] = str(file)
    client = deployment.client()
    receiver.answers = [410, 200]
    ids = fires(client, 1)
    deployment.start("webhooks", "webhooks")
    wait_until(lambda: list(dead_letters(client, hook)), within_s=60, what="a dead letter")
    listed = deployment.run("webhooks", "--dead").stdout
    assert "cad is disabled since" in listed
    assert "http_410 after 1 tries" in listed
    assert deployment.run("webhooks", "--replay", "cad").stdout.startswith("1 dispatches are put back")
    wait_until(lambda: len(receiver.got) == 2, within_s=60, what="it is delivered")
    assert deployment.stop("webhooks") == 0
    assert receiver.ids() == ids * 2
