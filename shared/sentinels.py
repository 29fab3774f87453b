"""A broker that Sentinels name: whichever of several servers is the master now."""

from typing import Any
from urllib.parse import parse_qsl, unquote, urlencode, urlsplit

import redis
from redis.connection import parse_url
from redis.exceptions import RedisError
from redis.sentinel import MasterNotFoundError, Sentinel, SentinelConnectionPool

from shared.refusals import BrokerRefusesError, refusal

SCHEMES = ("redis+sentinel", "rediss+sentinel")
DEFAULT_PORT = 26379
ASK_TIMEOUT_S = 1.0
"""A Sentinel that does not answer by then is passed over for the next one."""

_OF_SENTINELS = {"sentinel_username": "username", "sentinel_password": "password"}


class Watched(Sentinel):
    """Sentinels that say so where waiting won't help: a password, a certificate, a name that none knows."""

    def discover_master(self, service_name: str) -> tuple[str, int]:
        """Address and port of the master.

        Raises:
            BrokerRefusesError: no Sentinel lets us in, or those that do know no such master.
            MasterNotFoundError: there is none just now.
        """
        try:
            found: tuple[str, int] = super().discover_master(service_name)  # type: ignore[no-untyped-call]
        except MasterNotFoundError as error:
            raise self._why(service_name) or error from error
        return found

    def _why(self, service_name: str) -> BrokerRefusesError | None:
        refusals, answers = [], []
        for sentinel in self.sentinels:
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


def is_sentinel_url(url: str) -> bool:
    """Whether a URL names Sentinels."""
    return url.partition("://")[0].lower() in SCHEMES


def is_watched(broker: redis.Redis) -> bool:
    """Whether Sentinels may put another server in this one's place."""
    return isinstance(broker.connection_pool, SentinelConnectionPool)


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
    sentinels = Watched(hosts, sentinel_kwargs={**asked, **of_sentinels})  # type: ignore[no-untyped-call]
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
