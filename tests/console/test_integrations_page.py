import json
import re
import shlex
import subprocess
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from conftest import make_entries
from redis.exceptions import NoPermissionError
from standardwebhooks.webhooks import WebhookVerificationError
from webhook_parts import SECRET, send

from console.webhooks.hooks import load_webhooks
from console.webhooks.signing import Signer
from deploy.cli import main
from deploy.private_broker import PrivateBroker
from deploy.status import gather, lines
from shared.broker import Broker, connect, patiently
from shared.incidents import utc_now
from shared.keys import dispatch_key
from shared.routing import Routing
from shared.settings import Settings

PAGE = (Path(__file__).parents[2] / "docs/integrations.md").read_text(encoding="utf-8")
CONSUMER, VERIFIER = re.findall(r"```python\n(.*?)```", PAGE, re.DOTALL)
[HOOKS] = re.findall(r"```toml\n(.*?)```", PAGE, re.DOTALL)
STREAM = "dispatch:firefighters"


class Program:
    """The page's consumer, run as it stands there. `act` is what it does with a dispatch."""

    def __init__(self, url: str, act: Callable[[Any], None], *, crashed_ms: int = 0) -> None:
        self.seen: set[str] = set()
        self.rounds = 2
        names: dict[str, Any] = {
            "URL": url,
            "CRASHED_MS": crashed_ms,
            "act": act,
            "remember": self._remember,
            "running": self._running,
        }
        exec(compile(CONSUMER, "docs/integrations.md", "exec"), names)  # noqa: S102 - our own page

    def _remember(self, event_id: str) -> bool:
        is_new = event_id not in self.seen
        self.seen.add(event_id)
        return is_new

    def _running(self) -> bool:
        self.rounds -= 1
        return self.rounds >= 0


def _crash(_: Any) -> None:
    raise KeyError("crashed")


def groups(broker: Broker) -> dict[str, Any]:
    """The page's group, as the broker reports it."""
    [found] = broker.xinfo_groups(STREAM)
    return dict(found)


def test_the_pages_consumer_takes_each_dispatch_once(broker: Broker, settings: Settings) -> None:
    """What was there and what was sent twice, acted on once each; nothing is left pending or behind."""
    ids = send(broker, make_entries(1, situation="fire")) + send(broker, make_entries(2, situation="fire"))
    send(broker, make_entries(1, situation="fire"))
    acted: list[str] = []
    Program(settings.redis_url, lambda event: acted.append(event["id"]))
    assert acted == ids
    assert (groups(broker)["pending"], groups(broker)["lag"]) == (0, 0)


def test_what_a_crashed_consumer_was_at_is_taken_by_the_next(broker: Broker, settings: Settings) -> None:
    """It crashes before it acknowledges: the entry stays pending, and comes again."""
    ids = send(broker, make_entries(1, situation="fire"))
    with pytest.raises(KeyError, match="crashed"):
        Program(settings.redis_url, _crash)
    assert groups(broker)["pending"] == 1
    acted: list[str] = []
    Program(settings.redis_url, lambda event: acted.append(event["id"]))
    assert acted == ids
    assert groups(broker)["pending"] == 0


def test_a_group_that_lags_is_reported(broker: Broker, settings: Settings) -> None:
    """`almenara status` says whose, and how far: read and not acknowledged, and not read."""
    send(broker, make_entries(1, situation="fire"))
    with pytest.raises(KeyError, match="crashed"):
        Program(settings.redis_url, _crash)
    send(broker, make_entries(2, situation="fire"))
    assert "Consumer   siren has 2 dispatches of firefighters to go" in lines(gather(broker, settings))
    Program(settings.redis_url, lambda _: None)
    assert not any(line.startswith("Consumer") for line in lines(gather(broker, settings)))


def test_what_was_trimmed_in_between_ends_nothing(broker: Broker, settings: Settings) -> None:
    """A group that lags past the trimming goes on with what there is."""
    send(broker, make_entries(1, situation="fire"))
    with pytest.raises(ZeroDivisionError):
        Program(settings.redis_url, lambda _: 1 // 0)  # type: ignore[arg-type]
    broker.xtrim(STREAM, maxlen=0)
    later = send(broker, make_entries(2, situation="fire"))
    acted: list[str] = []
    Program(settings.redis_url, lambda event: acted.append(event["id"]))
    assert acted == later


def test_the_pages_commands_are_the_brokers(broker: Broker, settings: Settings) -> None:
    """Every redis-cli line of the page is taken, in their order."""
    [text] = re.findall(r"```\n(redis-cli.*?)```", PAGE, re.DOTALL)
    lines = [line.split(" ", 3)[3] for line in text.splitlines()]
    assert len(lines) == 5
    send(broker, make_entries(1, situation="fire"))
    for line in lines:
        words = line.replace("'", "").split()
        reply = broker.execute_command(*words)  # type: ignore[no-untyped-call]
        assert reply is not None, line
    assert broker.exists(dispatch_key("firefighters"))


@pytest.fixture
def almenara(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Callable[[str], int]:
    """Runs one of the page's commands in a scratch folder; its exit code."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("ALMENARA_STATE_DIR", str(tmp_path / "state"))

    def run(line: str) -> int:
        program, *words = shlex.split(line, comments=True)
        assert program == "almenara"
        return main(words)

    return run


@pytest.fixture
def guarded(almenara: Callable[[str], int], tmp_path: Path) -> Iterator[Settings]:
    """A broker that knows the users that the page's command made, and nobody without a name."""
    with tempfile.TemporaryDirectory(prefix="almenara-test-", ignore_cleanup_errors=True) as folder:
        settings = Settings(state_dir=Path(folder))
        private = PrivateBroker(settings)
        private.prepare()
        [line] = re.findall(r"```\n(almenara acl.*?)\n", PAGE)
        url = f"unix://{settings.broker_socket}"
        assert almenara(line.replace("/etc/almenara/acl", "acl").replace("URL", url)) == 0
        process = subprocess.Popen([*private.command(), "--aclfile", str(tmp_path / "acl" / "users.acl")])
        try:
            yield settings
        finally:
            process.kill()
            process.wait(timeout=30)


def address(role: str) -> str:
    """What the command wrote for a user."""
    return Path("acl", f"{role}.url").read_text(encoding="ascii").strip()


def test_the_pages_consumer_has_a_user_that_can_consume_and_nothing_else(
    guarded: Settings, almenara: Callable[[str], int], monkeypatch: pytest.MonkeyPatch
) -> None:
    """It runs the page's snippet, is expected by --check, and outlives another `acl --out` and its reload."""
    with connect(guarded.override(redis_url=address("worker"))) as worker:
        patiently(worker.ping)
        ids = send(worker, make_entries(1, situation="fire"))
    acted: list[str] = []
    Program(address("consumer-siren"), lambda event: acted.append(event["id"]))
    assert acted == ids
    with connect(guarded.override(redis_url=address("consumer-siren"))) as consumer:
        refused: list[Callable[[], Any]] = [
            lambda: consumer.xadd(STREAM, {"event": "{}"}),
            lambda: consumer.xgroup_create("dispatch:ambulance", "siren", "0", mkstream=True),
            lambda: consumer.xreadgroup("siren", "siren-1", {"dispatch:ambulance": ">"}),
            lambda: consumer.xgroup_destroy(STREAM, "siren"),
            lambda: consumer.delete(STREAM),
            lambda: consumer.keys("*"),
        ]
        for forbidden in refused:
            with pytest.raises(NoPermissionError):
                forbidden()
        with monkeypatch.context() as patch:
            patch.setenv("ALMENARA_REDIS_URL", address("operator"))
            assert almenara("almenara acl --out acl --rotate web") == 0
            with connect(guarded.override(redis_url=address("operator"))) as operator:
                operator.acl_load()
            assert almenara("almenara acl --out acl --check") == 0
        assert patiently(consumer.ping)
    Program(address("consumer-siren"), lambda event: acted.append(event["id"]))


def test_the_pages_webhooks_file_is_good(tmp_path: Path) -> None:
    """As it stands there, and with what is commented out."""
    routing = Routing.load(Settings().routing)
    path = tmp_path / "webhooks.toml"
    for text in (HOOKS, re.sub(r"(?m)^# (?=[a-z_]+ =)", "", HOOKS)):
        path.write_text(text)
        [hook] = load_webhooks(path, routing)
        assert hook.name == "cad"
    assert hook.allow_link_local
    assert hook.ca_file == tmp_path / "city-ca.pem"


def test_the_pages_verifier_takes_what_we_sign(tmp_path: Path) -> None:
    """And refuses what somebody changed."""
    secret = tmp_path / "secret"
    secret.write_text(SECRET)
    secret.chmod(0o600)
    body = make_entries(1, situation="fire")[0][1]
    headers = Signer(secret).headers(json.loads(body)["id"], body, utc_now())
    acted: list[Any] = []
    names = {"SECRET": SECRET, "headers": headers, "remember": lambda _: True, "act": acted.append}
    exec(VERIFIER, {**names, "body": body})  # noqa: S102 - our own page
    assert [event["id"] for event in acted] == [headers["webhook-id"]]
    with pytest.raises(WebhookVerificationError):
        exec(VERIFIER, {**names, "body": body.replace("cam 7", "cam 8")})  # noqa: S102
