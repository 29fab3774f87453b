"""The connection to the broker, its faults, and the atomic scripts that run in it."""

import functools
import hashlib
import json
import random
import ssl
import threading
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, TypeVar

import redis
import structlog
from redis.backoff import NoBackoff
from redis.exceptions import (
    ClusterDownError,
    NoScriptError,
    OutOfMemoryError,
    ReadOnlyError,
    RedisError,
    ResponseError,
    TryAgainError,
)
from redis.exceptions import (
    ConnectionError as RedisConnectionError,
)
from redis.exceptions import (
    TimeoutError as RedisTimeoutError,
)
from redis.retry import Retry
from rq.defaults import RQ_KEY_PREFIX

from shared.errors import ConfigError, TransientError
from shared.keys import QUEUE
from shared.refusals import refusal
from shared.sentinels import ask_again, connect_by_sentinels, is_sentinel_url, is_watched
from shared.settings import Settings

log = structlog.get_logger()

T = TypeVar("T")

Broker = redis.Redis

# Replies of a server that is failing over (it unblocks a waiting BLMOVE by an error), full, or still running
# somebody's script. redis-py has classes for some of them and takes their first word off the text; a server
# that is loading its file is a ConnectionError.
_PASSING = (
    RedisConnectionError,
    RedisTimeoutError,
    NoScriptError,
    OutOfMemoryError,
    ReadOnlyError,
    ClusterDownError,  # MasterDownError is one
    TryAgainError,
)
_PASSING_REPLIES = ("UNBLOCKED", "BUSY", "MISCONF", "NOREPLICAS")

SOCKET_TIMEOUT_S = 5.0
MAX_WAIT_S = 2.0
REPLICA_WAIT_MS = 2000
"""Well under the time that a reply may take."""


class BrokerAwayError(TransientError):
    """Raised when the broker can't serve just now."""

    default_reason = "broker_away"


class StoppedError(BrokerAwayError):
    """Raised when who waits for the broker is told to stop: not a fault of whoever waited."""

    default_reason = "stopped"


def is_broker_fault(error: BaseException) -> bool:
    """Whether waiting can cure it: away, loading, read-only, full. No wrong password or command."""
    if refusal(error) is not None:
        return False
    if isinstance(error, _PASSING):
        return True
    return isinstance(error, ResponseError) and str(error).startswith(_PASSING_REPLIES)


def connect(settings: Settings) -> Broker:
    """A client of the broker that the settings name; connects at its first command.

    Raises:
        ConfigError: the URL can't be understood.
    """
    url = settings.redis_url or f"unix://{settings.broker_socket}"
    options: dict[str, Any] = {
        "socket_timeout": SOCKET_TIMEOUT_S,
        "socket_connect_timeout": SOCKET_TIMEOUT_S,
        # Waiting out a fault is `patiently`'s work, so that every wait is logged; redis-py's own retries are
        # off.
        "retry": Retry(NoBackoff(), 0),
        "health_check_interval": 0,
        "client_name": "almenara",
        "driver_info": None,  # a courtesy that Redis 7.0 does not know, and so no ACL for it can allow
    }
    try:
        if is_sentinel_url(url):
            client: Broker = connect_by_sentinels(url, **options)
        else:
            client = redis.Redis.from_url(url, **options)
        _check_files(client.connection_pool.connection_kwargs)
    except (TypeError, ValueError, RedisError) as error:
        # The error's own text may hold a part of the password.
        raise ConfigError(
            "ALMENARA_REDIS_URL is no broker's address",
            remedy="use redis://, rediss://, redis+sentinel:// or unix://; in a password write / # @ as "
            "%2F %23 %40",
        ) from error
    return client


def _check_files(options: dict[str, Any]) -> None:
    """The files of TLS can be read: redis-py would take one that is missing for a broker that is away."""
    for name in ("ssl_ca_certs", "ssl_certfile", "ssl_keyfile"):
        if not (path := options.get(name)):
            continue
        try:
            if name == "ssl_ca_certs":
                ssl.create_default_context().load_verify_locations(cafile=path)
            else:
                Path(path).open("rb").close()
        except OSError as error:  # ssl.SSLError is one
            raise ConfigError(
                f"{name} of ALMENARA_REDIS_URL, {path}, can't be used: {error.strerror or error}",
                remedy="name a PEM file that this service's user may read",
            ) from error


def check(broker: Broker, settings: Settings, *, stop: Callable[[], bool] | None = None) -> dict[str, Any]:
    """Ask the broker who it is; the reply of INFO.

    Args:
        broker: which.
        settings: say where it is.
        stop: one that is away is waited for until this turns true; None does not wait.

    Raises:
        BrokerAwayError: it does not answer.
        ConfigError: it refuses us, is too old, or is a cluster.
    """
    where = (
        "the broker at ALMENARA_REDIS_URL"
        if settings.redis_url
        else f"the private broker ({settings.broker_socket})"
    )
    remedy = (
        "check that it runs and that the URL is right"
        if settings.redis_url
        else "start it with `almenara up`, run this where its state folder is, or set ALMENARA_REDIS_URL"
    )
    try:
        about: dict[str, Any] = broker.info() if stop is None else patiently(broker.info, stop=stop)
    except RedisError as error:
        if is_broker_fault(error):
            raise BrokerAwayError(f"{where} does not answer ({_words(error)})", remedy=remedy) from error
        raise refusal(error) or ConfigError(
            f"{where} refuses us: {error}", remedy="check user, password and ACL in the URL"
        ) from error
    if about.get("cluster_enabled"):
        raise ConfigError(
            f"{where} is a cluster; RQ's multi-key scripts can't run on one",
            reason="cluster",
            remedy="use one single or Sentinel broker per region",
        )
    version = tuple(int(part) for part in str(about["redis_version"]).split(".")[:2])
    if version < (7, 0):
        raise ConfigError(
            f"{where} is version {about['redis_version']}", remedy="use Redis 7, Valkey 7.2, or later"
        )
    return about


def patiently(
    work: Callable[[], T],
    *,
    stop: Callable[[], bool] = lambda: False,
    sleep: Callable[[float], None] = time.sleep,
) -> T:
    """Do `work`, again and again while the broker is away, saying so once and once more when it is back.

    Args:
        work: must be safe to repeat.
        stop: gives up waiting when true.
        sleep: seconds to wait; jittered, growing from 0.05 s to MAX_WAIT_S.

    Raises:
        StoppedError: `stop` turned true while the broker was away.
        BrokerRefusesError: a wrong password, right or certificate; a RedisError, too.
        RedisError: another fault that waiting does not cure.
    """
    away = back = False
    wait_s = 0.05
    try:
        while True:
            try:
                outcome = work()
            except RedisError as error:
                if not is_broker_fault(error):
                    raise refusal(error) or error from error
                if not away:
                    away = True
                    _outage.begin(error)
                if stop():
                    raise StoppedError(f"stopped while the broker was away ({error})") from error
                sleep(wait_s * random.uniform(0.5, 1.0))  # noqa: S311 - jitter, not a secret
                wait_s = min(wait_s * 2, MAX_WAIT_S)
            else:
                back = True
                return outcome
    finally:
        if away:
            _outage.end(back=back)


class _Outage:
    """Threads that wait for the broker: the first says that it is away, the last that it is back."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._waiting = 0
        self._since_s = 0.0

    def begin(self, error: Exception) -> None:
        """One more thread waits."""
        with self._lock:
            self._waiting += 1
            if self._waiting == 1:
                self._since_s = time.monotonic()
                log.warning("broker away, waiting", error=str(error) or type(error).__name__)

    def end(self, *, back: bool) -> None:
        """One thread less, because the broker is `back` or because it gave up."""
        with self._lock:
            self._waiting -= 1
            if back and self._waiting == 0:
                log.info("broker is back", away_s=round(time.monotonic() - self._since_s, 1))


_outage = _Outage()


def _words(error: Exception) -> str:
    """redis-py ends its messages with a full stop; ours go on."""
    return str(error).rstrip(". ") or type(error).__name__


class Script:
    """One file of shared/scripts: an atomic step, safe to repeat when its reply was lost."""

    def __init__(self, name: str) -> None:
        self.name = name

    @functools.cached_property
    def source(self) -> str:
        """The shared prelude and the script itself."""
        folder = Path(__file__).parent / "scripts"
        return "\n".join(
            (folder / f"{part}.lua").read_text(encoding="utf-8") for part in ("prelude", self.name)
        )

    @functools.cached_property
    def _sha(self) -> str:
        return hashlib.sha1(self.source.encode(), usedforsecurity=False).hexdigest()

    def __call__(self, broker: Broker, arguments: dict[str, Any]) -> Any:
        """Run once with `arguments` as the script's `a`."""
        return self.run_many(broker, [(arguments, ())])[0]

    def run_many(
        self,
        broker: Broker,
        calls: Sequence[tuple[dict[str, Any], Sequence[Any]]],
        *,
        outlives_master: bool = False,
    ) -> list[Any]:
        """Run once for each call, in one pipeline; the replies, in order.

        Args:
            broker: where.
            calls: the script's `a`, and what follows it in ARGV.
            outlives_master: with Sentinels, wait until a replica has it: a failover loses what none has.

        Raises:
            RedisError: the first error of any call; the other calls may have run.
        """
        replies = self._pipelined(broker, calls, outlives_master)
        if any(isinstance(reply, NoScriptError) for reply in replies):
            # A new or restarted broker: it learns the script, and runs what it could not.
            broker.script_load(self.source)
            redo = [index for index, reply in enumerate(replies) if isinstance(reply, NoScriptError)]
            again = self._pipelined(broker, [calls[index] for index in redo], outlives_master)
            for index, reply in zip(redo, again, strict=True):
                replies[index] = reply
        for reply in replies:
            if isinstance(reply, Exception):
                raise reply
        return replies

    def _pipelined(
        self, broker: Broker, calls: Sequence[tuple[dict[str, Any], Sequence[Any]]], outlives_master: bool
    ) -> list[Any]:
        confirm = outlives_master and is_watched(broker)
        with broker.pipeline(transaction=False) as pipeline:
            for arguments, more in calls:
                # Text from file names and EXIF may hold half a character, which Lua's JSON refuses.
                text = json.dumps({"rq": RQ_KEY_PREFIX, "queue": QUEUE, **arguments}, ensure_ascii=False)
                payload = text.encode("utf-8", "replace")
                pipeline.execute_command("EVALSHA", self._sha, 0, payload, *more)  # type: ignore[no-untyped-call]
            if confirm:  # of this connection's writes, so in this pipeline
                pipeline.execute_command("WAIT", 1, REPLICA_WAIT_MS)  # type: ignore[no-untyped-call]
            replies = list(pipeline.execute(raise_on_error=False))
        if confirm:
            replicas = replies.pop()
            if isinstance(replicas, Exception):
                raise replicas
            if replicas < 1:
                ask_again(broker)  # it may be no master any more, and not know it
                raise RedisTimeoutError("no replica has confirmed it; a failover would lose it")
        return replies


def words(flat: Any) -> dict[str, str]:
    """A hash reply (dict, or flat list from a script) as text, undecodable bytes replaced."""
    pairs = list(flat.items()) if isinstance(flat, dict) else list(zip(flat[::2], flat[1::2], strict=True))
    return {key.decode("utf-8", "replace"): value.decode("utf-8", "replace") for key, value in pairs}
