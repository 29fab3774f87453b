"""A broker that Sentinels name: whichever of several servers is the master now."""

import contextlib
import threading
import time
from typing import Any
from urllib.parse import parse_qsl, unquote, urlencode, urlsplit

import redis
from redis.connection import parse_url
from redis.exceptions import ConnectionError as RedisConnectionError
from redis.exceptions import RedisError, ResponseError
from redis.sentinel import (
    MasterNotFoundError,
    Sentinel,
    SentinelConnectionPool,
    SentinelManagedConnection,
    SentinelManagedSSLConnection,
)

from shared.refusals import BrokerRefusesError, refusal

SCHEMES = ("redis+sentinel", "rediss+sentinel")
DEFAULT_PORT = 26379
ASK_TIMEOUT_S = 1.0
"""A Sentinel that does not answer by then is passed over for the next one."""
ASK_EVERY_S = 5.0
"""How often a client asks where the master is though its connections work."""
ASK_SELDOM = 20
"""Times as long as asking took, at least, until it asks again."""

_OF_SENTINELS = {"sentinel_username": "username", "sentinel_password": "password"}


class Watched(Sentinel):
    """Sentinels that say so where waiting won't help: a password, a certificate, a name that none knows."""

    def __init__(self, *arguments: Any, **named: Any) -> None:
        super().__init__(*arguments, **named)  # type: ignore[no-untyped-call]
        # redis-py moves whoever answered to the top of the list: two threads at once could lose one of it.
        self._turn = threading.Lock()
        self._counting = threading.Lock()  # not that one, which is held while Sentinels are asked
        self.led = 0
        """Connections to masters made so far."""

    def discover_master(self, service_name: str) -> tuple[str, int]:
        """Address and port of the master.

        Raises:
            BrokerRefusesError: no Sentinel lets us in, or those that do know no such master.
            MasterNotFoundError: there is none just now.
        """
        try:
            with self._turn:
                found: tuple[str, int] = super().discover_master(service_name)  # type: ignore[no-untyped-call]
        except MasterNotFoundError as error:
            raise self._why(service_name) or error from error
        return found

    def lead(self) -> None:
        """Somebody has connected to where we said."""
        with self._counting:
            self.led += 1

    def pass_over(self) -> None:
        """Ask another one first: a Sentinel that is cut off from the others goes on naming the old master."""
        with self._turn:
            self.sentinels.append(self.sentinels.pop(0))

    def _why(self, service_name: str) -> BrokerRefusesError | None:
        refusals, answers = [], []
        for sentinel in list(self.sentinels):
            try:
                answers.append(sentinel.sentinel_masters())
            except RedisError as error:
                refusals.append(refusal(error))
        if answers and not any(service_name in masters for masters in answers):
            return BrokerRefusesError(
                f"the Sentinels know no master {service_name!r}",
                remedy="use a name from their configuration in ALMENARA_REDIS_URL",
            )
        if answers:
            return None
        found = next(filter(None, refusals), None)
        return found and BrokerRefusesError(f"Sentinels: {found.detail}", remedy=found.remedy)


class _Connection(SentinelManagedConnection):
    """Leaves a master that has no replica: another one may have been put in its place without its knowledge.

    One that was only slow, or cut off from the Sentinels, goes on as a master until a Sentinel tells it to
    follow: after seconds, or after minutes where it is slow again and again. Its clients don't wait with it.
    """

    def connect_to(self, address: tuple[str, int]) -> None:
        """As redis-py does."""
        super().connect_to(address)  # type: ignore[no-untyped-call]
        self.connection_pool.sentinel_manager.lead()

    def read_response(self, *arguments: Any, **named: Any) -> Any:
        """As redis-py does; who is told of too few replicas asks another Sentinel before the next try.

        Raises:
            RedisConnectionError: the server has too few replicas.
        """
        # As of other connections: one that was given up in the middle of an answer is used no more.
        named.setdefault("disconnect_on_error", True)
        try:
            return super().read_response(*arguments, **named)
        except ResponseError as error:
            if not str(error).startswith("NOREPLICAS"):
                raise
            self.disconnect()  # type: ignore[no-untyped-call]
            self.connection_pool.sentinel_manager.pass_over()
            raise RedisConnectionError(str(error)) from error


class _TLSConnection(_Connection, SentinelManagedSSLConnection):
    """The same, with TLS."""


class _Pool(SentinelConnectionPool):
    """Asks the Sentinels now and then though its connections work: who only reads is refused nothing."""

    def __init__(self, *arguments: Any, **named: Any) -> None:
        self._ask_at_s = 0.0
        self._asking = threading.Lock()
        super().__init__(*arguments, **named)  # type: ignore[no-untyped-call]

    def get_connection(self, *arguments: Any, **named: Any) -> Any:
        """As redis-py does; idle connections to what is the master no longer are closed before."""
        is_due = self.master_address is not None and time.monotonic() >= self._ask_at_s
        if is_due and self._asking.acquire(blocking=False):  # one asks; the others go on meanwhile
            try:
                self._ask()
            finally:
                self._asking.release()
        return super().get_connection(*arguments, **named)

    def _ask(self) -> None:
        began_s = time.monotonic()
        with contextlib.suppress(RedisError):
            self.proxy.get_master_address()  # type: ignore[no-untyped-call]
        now_s = time.monotonic()
        # Sentinels that keep us waiting, while the master works, must not take much of the time.
        self._ask_at_s = now_s + max(ASK_EVERY_S, ASK_SELDOM * (now_s - began_s))


def is_sentinel_url(url: str) -> bool:
    """Whether a URL names Sentinels."""
    return url.partition("://")[0].lower() in SCHEMES


def is_watched(broker: redis.Redis) -> bool:
    """Whether Sentinels may put another server in this one's place."""
    return isinstance(broker.connection_pool, SentinelConnectionPool)


def times_led(broker: redis.Redis) -> int | None:
    """How often the Sentinels have led this client to a server so far; None where there are no Sentinels.

    While it stays the same, so has the master. Its address says less: one that was replaced may come back.
    """
    pool: Any = broker.connection_pool
    return pool.sentinel_manager.led if is_watched(broker) else None


def ask_again(broker: redis.Redis) -> None:
    """Have the next commands ask another Sentinel where the master is; those on their way go on."""
    pool: Any = broker.connection_pool
    pool.disconnect(inuse_connections=False)
    pool.sentinel_manager.pass_over()


def connect_by_sentinels(url: str, **options: Any) -> redis.Redis:
    """A client of the master; connects at its first command.

    Args:
        url: ``redis+sentinel://[user:password@]host[:port],host[:port].../master[/database][?...]``, the
            query being redis-py's own, and ``sentinel_username``, ``sentinel_password``.
            ``rediss+sentinel`` speaks TLS to servers and Sentinels.
        options: of redis-py's connections.

    Raises:
        ValueError: it is none; says nothing of what is in it.
    """
    hosts, name, plain = _taken_apart(url)
    kwargs: dict[str, Any] = parse_url(plain)  # type: ignore[no-untyped-call]
    for unwanted in ("host", "port", "connection_class", "path"):
        kwargs.pop(unwanted, None)
    of_sentinels = {ours: kwargs.pop(theirs) for theirs, ours in _OF_SENTINELS.items() if theirs in kwargs}
    tls = {key: value for key, value in kwargs.items() if key.startswith("ssl_")}
    if url.lower().startswith("rediss"):
        tls["ssl"] = kwargs["ssl"] = True
    timeouts = {"socket_timeout": ASK_TIMEOUT_S, "socket_connect_timeout": ASK_TIMEOUT_S}
    asked = {**{key: value for key, value in options.items() if key != "client_name"}, **tls, **timeouts}
    sentinels = Watched(hosts, sentinel_kwargs={**asked, **of_sentinels})
    kwargs["connection_class"] = _TLSConnection if tls.get("ssl") else _Connection
    kwargs["connection_pool_class"] = _Pool
    client: redis.Redis = sentinels.master_for(name, **{**options, **kwargs})  # type: ignore[no-untyped-call]
    return client


def _taken_apart(url: str) -> tuple[list[tuple[str, int]], str, str]:
    """Sentinels, the master's name, and a URL that redis-py can read the rest of."""
    parts = urlsplit(url)
    login, at, places = parts.netloc.rpartition("@")
    hosts = [_host(place) for place in places.split(",") if place]
    name, _, database = parts.path.strip("/").partition("/")
    if not hosts or not name or not (database.isdigit() or not database):
        raise ValueError("no Sentinels or no master's name")
    query = urlencode(parse_qsl(parts.query, keep_blank_values=True))
    return hosts, unquote(name), f"redis://{login}{at}sentinel/{database or 0}?{query}"


def _host(place: str) -> tuple[str, int]:
    parts = urlsplit(f"//{place}")
    if not parts.hostname:
        raise ValueError("a Sentinel without a name")
    return unquote(parts.hostname), parts.port or DEFAULT_PORT
