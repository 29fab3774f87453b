"""How the broker may be reached by others than us: without a password, or along a line that others read."""

import ipaddress
from collections.abc import Iterator
from dataclasses import replace
from urllib.parse import parse_qs, urlsplit, urlunsplit

from redis.exceptions import RedisError

from shared.broker import connect
from shared.settings import Settings


def weaknesses(settings: Settings) -> Iterator[tuple[str, str]]:
    """What is weak about the address, each with what to do; nothing of a socket, which its folder guards."""
    parts = urlsplit(settings.redis_url)
    if not parts.hostname and not parts.scheme.endswith("+sentinel"):
        return
    places = parts.netloc.rpartition("@")[2]
    asked = parse_qs(parts.query)
    if not parts.scheme.startswith("rediss"):
        if not all(_is_loopback(place) for place in places.split(",")):
            yield (
                "its password and all places and photographs' names cross the network unencrypted",
                "use rediss:// (docs/broker.md)",
            )
    elif asked.get("ssl_cert_reqs", ["required"]) != ["required"] or "ssl_check_hostname" in asked:
        yield (
            "its certificate is not checked: anybody may answer in its place",
            "leave out ssl_cert_reqs and ssl_check_hostname",
        )
    if _lets_in_without_a_password(settings):
        yield (
            "it lets in whoever reaches it, to do anything: forge dispatches, read and remove everything",
            "give it users with `almenara acl` (docs/broker.md)",
        )
    elif not parts.username:
        yield (
            "all services share one password, with which each may do anything",
            "give each its own user with `almenara acl` (docs/broker.md)",
        )


def _lets_in_without_a_password(settings: Settings) -> bool:
    """Asked by trying it."""
    parts = urlsplit(settings.redis_url)
    bare = urlunsplit(parts._replace(netloc=parts.netloc.rpartition("@")[2]))
    try:
        with connect(replace(settings, redis_url=bare)) as stranger:
            return bool(stranger.ping())
    except RedisError:
        return False


def _is_loopback(place: str) -> bool:
    host = urlsplit(f"//{place}").hostname or ""
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return host == "localhost"
