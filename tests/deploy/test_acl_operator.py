"""What an operator does with the broker: announce models, put dispatches back, change who may what."""

from collections.abc import Iterator
from pathlib import Path

import pytest
from acl_parts import PASSWORDS, ROLES, ROOT, Server
from redis.exceptions import NoPermissionError

from console.webhooks.dead import dead_letters, hand_over, revive
from console.webhooks.forgetting import forget
from console.webhooks.hooks import Webhook
from console.webhooks.letters import Letters
from deploy.acl import acl_file, differences, expected, meaning, users_of
from shared.announcements import Announcement, Model, announce, history, note, roll_back
from shared.broker import patiently
from shared.keys import dead_letters_key, dispatch_key, webhook_again_key
from shared.refusals import BrokerRefusesError


@pytest.fixture(scope="module")
def running() -> Iterator[Server]:
    """One for all tests of this file."""
    with Server.started() as made:
        yield made


@pytest.fixture
def server(running: Server) -> Iterator[Server]:
    """That one, with nothing in it, whatever a test has left there."""
    running.root.flushall()
    yield running
    running.root.flushall()


def test_an_operator_announces_models_and_workers_answer(server: Server) -> None:
    """Nobody else announces; a worker adds what became of it, and can't change what was announced."""
    model = Model("a" * 64, "street6")
    with server.client("operator") as operator, server.client("worker") as worker:
        announce(operator, model, "ana")
        announce(operator, Model("b" * 64, "street6"), "ana")
        assert roll_back(operator, "ana").model == model
        assert Announcement.fetch(worker).model == model
        note(worker, "swapped", model, "worker-1")
        assert len(history(operator, 10)) == 4
        with pytest.raises(NoPermissionError):
            announce(worker, model, "worker-1")
    with server.client("web") as web, pytest.raises(NoPermissionError):
        announce(web, model, "web")


def test_an_operator_puts_back_what_webhooks_gave_up(server: Server) -> None:
    """Dead letters are listed and put back by an operator, who can't forge a dispatch by that."""
    hook = Webhook(name="city", departments=("firefighters",), url="https://a.example", secret_file=Path("s"))
    letter = {"webhook": "city", "event": "{}", "reason": "gone", "tries": "3", "at": "2026-11-24T10:00:00Z"}
    with server.client("webhooks") as webhooks, server.client("operator") as operator:
        webhooks.xadd(dead_letters_key("firefighters"), letter)
        assert len(list(dead_letters(operator, hook, ""))) == 1
        assert revive(operator, hook, "") == 1
        assert hand_over(operator, hook, "firefighters", ["{}"]) == 1
        assert webhooks.xlen(webhook_again_key("city")) == 2


def test_an_operator_forgets_a_webhook(server: Server) -> None:
    """With all that the broker keeps for it; dispatches stay."""
    hook = Webhook(name="city", departments=("firefighters",), url="", secret_file=Path())
    stream = dispatch_key("firefighters")
    with server.client("webhooks") as webhooks, server.client("operator") as operator:
        Letters(webhooks, hook).prepare()
        server.root.xadd(stream, {"event": "{}"})
        webhooks.xadd(dead_letters_key("firefighters"), {"webhook": "city", "event": "{}"})
        hand_over(operator, hook, "firefighters", ["{}"])
        assert forget(operator, hook) == 3
        assert webhooks.xinfo_groups(stream) == []
        assert operator.xlen(stream) == 1


def test_a_running_broker_is_compared_with_the_file(server: Server) -> None:
    """Users that are missing, too many, or may do other things are named; what is right is not."""
    wanted = expected(users_of(ROLES), PASSWORDS)
    with server.client("operator") as operator:
        assert differences(operator, wanted) == ["root: nobody asked for this user"]
        more = expected(users_of([*ROLES, "console-police-force"]), PASSWORDS | {"web": "y" * 64})
        assert differences(operator, more) == [
            "web: has another password",
            "console-police-force: the broker has no such user",
            "root: nobody asked for this user",
        ]
        server.root.acl_setuser("desk", commands=["+flushall"], enabled=True)
        try:
            assert "desk: may do other things than it should" in differences(operator, wanted)
        finally:
            server.root.acl_load()


def test_a_changed_file_is_read_by_the_operator_who_cuts_old_lines(server: Server) -> None:
    """Without a restart: a new password counts, the old one does not, and the others go on."""
    users = server.settings.state_dir / "users.acl"
    before = users.read_text()
    old, other = server.client("web"), server.client("desk")
    with old, other, server.client("operator") as operator, server.client("web", "n" * 40) as new:
        assert old.ping()
        assert other.ping()
        users.write_text(acl_file(users_of(ROLES), PASSWORDS | {"web": "n" * 40}) + ROOT + "\n")
        try:
            operator.acl_load()
            operator.execute_command("CLIENT", "KILL", "USER", "web")
            with pytest.raises(BrokerRefusesError):
                patiently(old.ping)
            assert new.ping()
            assert patiently(other.ping)  # Redis before 7.2 cuts its line, too
        finally:
            users.write_text(before)
            server.root.acl_load()


def test_a_line_means_the_same_in_any_order() -> None:
    """Servers write users back in an order of their own."""
    ours = "user a reset on #12 &x -@all +get (%R~b -@all +get +xread)"
    theirs = (
        "user a on sanitize-payload #12 resetchannels &x -@all +get (%R~b resetchannels -@all +xread +get)"
    )
    assert meaning(ours) == meaning(theirs)
    assert meaning(ours) != meaning(ours.replace("%R~b", "~b"))
    assert meaning(ours) != meaning(ours.replace(" on ", " off "))
    shorter = theirs.replace("+xread +get", "+@some -hset")
    assert meaning(ours) == meaning(
        shorter, lambda name: {"xread", "get", "hset"} if name == "some" else set()
    )
