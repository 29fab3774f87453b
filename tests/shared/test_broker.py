import shutil
import subprocess
import tempfile
import threading
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest
import redis
import structlog
from conftest import make_photograph, wait_until
from redis.exceptions import AuthenticationError, NoPermissionError, NoScriptError, RedisError, ResponseError

from deploy.private_broker import PrivateBroker
from ingest.admission import job_fields
from shared.broker import Broker, BrokerAwayError, Script, check, connect, is_broker_fault, patiently, words
from shared.errors import ConfigError
from shared.incidents import utc_now
from shared.settings import Settings

AWAY = "redis://127.0.0.1:1/0"  # port 1 is nobody's


@pytest.fixture
def own() -> Iterator[tuple[PrivateBroker, Settings]]:
    """A private broker not yet started, in a folder with a short name."""
    folder = Path(tempfile.mkdtemp(prefix="almenara-test-"))
    settings = Settings(state_dir=folder)
    private = PrivateBroker(settings)
    private.prepare()
    yield private, settings
    shutil.rmtree(folder, ignore_errors=True)


@pytest.fixture
def bent(own: tuple[PrivateBroker, Settings]) -> Iterator[Broker]:
    """A client of a running broker that a test may bend out of shape."""
    private, settings = own
    process = subprocess.Popen(private.command())
    private.wait_until_ready(process)
    with connect(settings) as client:
        yield client
    process.kill()
    process.wait(timeout=60)


def fault_of(work: Callable[[], object]) -> RedisError:
    """The error that the broker answers with."""
    with pytest.raises(RedisError) as caught:
        work()
    return caught.value


def test_nobody_there_can_be_waited_for() -> None:
    """A refused connection and a missing socket pass by themselves."""
    for url in (AWAY, "unix:///tmp/nobody-listens-here.sock"):
        with connect(Settings(redis_url=url)) as client:
            assert is_broker_fault(fault_of(client.ping))


def test_a_full_broker_can_be_waited_for(bent: Broker) -> None:
    """Out of memory is a state, not a mistake, for a plain command and inside a script."""
    bent.config_set("maxmemory", 1)
    assert is_broker_fault(fault_of(lambda: bent.set("key", "value")))
    assert is_broker_fault(fault_of(lambda: bent.eval("return redis.call('SET', 'key', 1)", 0)))


def test_a_replica_can_be_waited_for(bent: Broker) -> None:
    """A failover leaves us with a replica for a while: read-only, or without data of its own."""
    bent.replicaof("127.0.0.1", "1")
    assert is_broker_fault(fault_of(lambda: bent.set("key", "value")))
    bent.config_set("replica-serve-stale-data", "no")
    assert is_broker_fault(fault_of(lambda: bent.get("key")))


def test_a_wait_that_a_failover_ends_can_begin_again(
    own: tuple[PrivateBroker, Settings], bent: Broker
) -> None:
    """Who blocks on a queue when the broker becomes a replica is sent away with an error that passes."""
    with connect(own[1]) as blocked, ThreadPoolExecutor(1) as pool:
        # Longer than it takes to look and to turn, on however busy a machine.
        blocked.connection_pool.connection_kwargs["socket_timeout"] = 100
        waits = pool.submit(fault_of, lambda: blocked.blmove("from", "to", 90))
        wait_until(lambda: bent.info("clients")["blocked_clients"], within_s=60, what="the client blocks")
        bent.replicaof("127.0.0.1", "1")
        assert is_broker_fault(waits.result(60))


def test_a_broker_without_its_replicas_can_be_waited_for(bent: Broker) -> None:
    """One that must not take writes alone will take them once a replica is back."""
    bent.config_set("min-replicas-to-write", 1)
    assert is_broker_fault(fault_of(lambda: bent.set("key", "value")))


def test_a_busy_broker_can_be_waited_for(own: tuple[PrivateBroker, Settings], bent: Broker) -> None:
    """Somebody's endless script ends one day."""
    bent.config_set("busy-reply-threshold", 1)
    endless = threading.Thread(target=lambda: fault_of(lambda: bent.eval("while true do end", 0)))
    with connect(own[1]) as other:
        other.ping()  # connected before: a busy broker lets nobody in
        endless.start()
        wait_until(lambda: is_busy(other), within_s=60, what="the broker is busy")
        assert is_broker_fault(fault_of(other.ping))
        other.script_kill()
    endless.join()


def is_busy(broker: Broker) -> bool:
    """Whether the broker refuses to answer because of a script."""
    try:
        broker.ping()
    except ResponseError:
        return True
    return False


def test_a_wrong_password_is_nobodys_fault_but_ours(
    bent: Broker, own: tuple[PrivateBroker, Settings]
) -> None:
    """Waiting does not cure what the broker refuses on purpose: password, permission."""
    bent.acl_setuser("desk", enabled=True, passwords=["+right"], commands=["+ping"])
    url = own[0].url.replace("unix://", "unix://desk:{}@")
    with connect(Settings(redis_url=url.format("wrong"))) as stranger:
        error = fault_of(stranger.ping)
        assert isinstance(error, AuthenticationError)
        assert not is_broker_fault(error)
    with connect(Settings(redis_url=url.format("right"))) as desk:
        error = fault_of(desk.flushall)
        assert isinstance(error, NoPermissionError)
        assert not is_broker_fault(error)


@pytest.mark.parametrize(
    ("error", "passes"),
    [
        (redis.exceptions.BusyLoadingError("Redis is loading the dataset in memory"), True),
        (redis.exceptions.TimeoutError("Timeout reading from socket"), True),
        (ResponseError("MISCONF Errors writing to the AOF file: No space left on device"), True),
        (NoScriptError("No matching script."), True),
        (ResponseError("unknown command 'FROB'"), False),
        (ResponseError("WRONGTYPE Operation against a key holding the wrong kind of value"), False),
        (ValueError("not the broker's"), False),
    ],
)
def test_which_faults_pass(error: Exception, passes: bool) -> None:
    """Those that are hard to bring about: loading, hanging and a full disk pass; our own mistakes don't."""
    assert is_broker_fault(error) is passes


def test_a_late_broker_is_waited_for(own: tuple[PrivateBroker, Settings]) -> None:
    """Work begun without a broker is done once there is one, and waiting is said once at either end."""
    private, settings = own
    slept: list[float] = []
    process: list[subprocess.Popen[bytes]] = []

    def sleep(seconds: float) -> None:
        slept.append(seconds)
        if len(slept) == 5:
            process.append(subprocess.Popen(private.command()))
            private.wait_until_ready(process[0])

    with structlog.testing.capture_logs() as lines, connect(settings) as client:
        assert patiently(lambda: client.incr("done"), sleep=sleep) == 1
    process[0].kill()
    process[0].wait(timeout=60)
    # Others' threads may have something to say of their own.
    said = [line["event"] for line in lines if line["event"].startswith("broker ")]
    assert said == ["broker away, waiting", "broker is back"]
    assert len(slept) == 5


def test_waiting_grows_and_has_a_limit() -> None:
    """A broker that is away for long is asked about every two seconds, not in a storm."""
    slept: list[float] = []
    with connect(Settings(redis_url=AWAY)) as client, pytest.raises(BrokerAwayError):
        patiently(client.ping, stop=lambda: len(slept) >= 12, sleep=slept.append)
    assert slept[0] <= 0.05
    assert 1.0 <= min(slept[-3:]) <= max(slept[-3:]) <= 2.0


def test_what_waiting_does_not_cure_is_raised(broker: Broker) -> None:
    """A command that is wrong fails at once."""
    broker.set("text", "no hash")
    with pytest.raises(ResponseError):
        patiently(lambda: broker.hget("text", "field"), sleep=lambda _: pytest.fail("it waited"))


def admit_call(broker: Broker, seed: int) -> tuple[dict[str, Any], list[Any]]:
    """Arguments of the admit script for a photograph."""
    photograph = make_photograph(seed)
    fields = job_fields(broker, photograph, utc_now())
    arguments = {"id": photograph.incident_id, "claim": f"claim-{seed}", "received_s": 1.0, "seen_at": "now"}
    return arguments | {"incident": photograph.to_fields()}, [
        part for pair in fields.items() for part in pair
    ]


def test_a_broker_that_forgot_its_scripts_is_given_them_again(broker: Broker) -> None:
    """A restarted broker has no scripts: each call is still answered, once, in order."""
    script = Script("admit")
    script.run_many(broker, [admit_call(broker, 1)])
    broker.script_flush()
    replies = script.run_many(broker, [admit_call(broker, seed) for seed in (2, 1, 3)])
    assert replies == [b"admitted", b"already", b"admitted"]
    assert broker.llen("rq:queue:classify") == 3


def test_one_failed_call_is_raised_and_the_others_ran(broker: Broker) -> None:
    """The error of a script that fails comes out; what came before and after it is done."""
    bad: tuple[dict[str, Any], list[Any]] = ({"id": "x"}, [])
    with pytest.raises(ResponseError):
        Script("admit").run_many(broker, [admit_call(broker, 1), bad, admit_call(broker, 2)])
    assert broker.llen("rq:queue:classify") == 2


def test_hashes_are_read_as_text() -> None:
    """A reply as dict or as flat list, with bytes that are no UTF-8, becomes text."""
    assert words({b"label": "Straße".encode()}) == {"label": "Straße"}
    assert words([b"label", b"\xff", b"number", b"0001"]) == {"label": "\ufffd", "number": "0001"}


def test_a_password_is_in_no_account_of_settings_or_client(settings: Settings) -> None:
    """A traceback or a log that shows either shows no secret."""
    secret = settings.override(
        redis_url="redis://desk:hunter2@localhost:1/0", database_url="sqlite://hunter2"
    )
    assert "hunter2" not in repr(secret)
    with connect(secret) as client:
        assert "hunter2" not in repr(client) + repr(client.connection_pool)


def test_a_sound_broker_passes_the_check(broker: Broker, settings: Settings) -> None:
    """The reply names the version."""
    assert check(broker, settings)["redis_version"]


def test_an_absent_broker_is_away() -> None:
    """Nobody answering is said as such, with what to look at for either kind of broker."""
    for settings, remedy in (
        (Settings(redis_url=AWAY), "ALMENARA_REDIS_URL"),
        (Settings(state_dir=Path("/nowhere")), "almenara up"),
    ):
        with connect(settings) as client, pytest.raises(BrokerAwayError, match=remedy):
            check(client, settings)


def test_a_broker_that_refuses_us_needs_a_person(broker_settings: Settings) -> None:
    """A wrong password is a setting to correct."""
    settings = Settings(redis_url=f"unix://nobody:wrong@{broker_settings.broker_socket}")
    with connect(settings) as client, pytest.raises(ConfigError, match="user and password in") as caught:
        check(client, settings)
    assert "wrong" not in str(caught.value)


class Told(redis.Redis):
    """A broker that gives another account of itself: neither kind can be started here."""

    def __init__(self, **about: Any) -> None:
        super().__init__()
        self._about = about

    def info(self, *_: object, **__: object) -> Any:
        """The INFO reply."""
        return {"redis_version": "7.2.4", **self._about}


@pytest.mark.parametrize(
    ("about", "named", "remedy"),
    [
        ({"redis_version": "6.2.14"}, "6.2.14", "use Redis 7"),
        ({"redis_version": "5.0"}, "5.0", "use Redis 7"),
        ({"cluster_enabled": 1}, "cluster", "one single or Sentinel broker per region"),
    ],
)
def test_a_broker_we_cannot_use_is_refused(about: dict[str, Any], named: str, remedy: str) -> None:
    """Too old a version and a cluster stop the start, and the message says what to use instead."""
    with Told(**about) as client, pytest.raises(ConfigError, match=named) as caught:
        check(client, Settings(redis_url="redis://elsewhere"))
    assert remedy in caught.value.remedy


@pytest.mark.parametrize(
    "url", ["broker:6379", "http://broker", "redis://broker:port", "redis://:hunter2/secret@broker:6379/0"]
)
def test_a_url_that_is_none_is_refused(url: str) -> None:
    """The setting is named, and no part of a password is shown."""
    with pytest.raises(ConfigError, match="ALMENARA_REDIS_URL") as caught:
        connect(Settings(redis_url=url))
    assert "hunter2" not in str(caught.value)
