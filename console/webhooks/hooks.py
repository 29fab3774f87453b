"""Webhooks as their file has them: who is told, where, in which form, and signed with what."""

import re
import tomllib
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from enum import StrEnum
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import httpx

from console.web.security import is_loopback
from shared.errors import ConfigError
from shared.routing import REVIEW, Routing

_NAME = re.compile(r"[a-z0-9][a-z0-9-]{0,39}")
_KEYS = {
    "name": str,
    "department": (str, list),
    "url": str,
    "secret_file": str,
    "format": str,
    "start": str,
    "insecure": bool,
    "allow_link_local": bool,
    "ca_file": str,
}
_NEEDED = ("name", "department", "url", "secret_file")


class Form(StrEnum):
    """What a webhook is sent."""

    CLOUDEVENTS = "cloudevents"
    """The dispatch as it stands in the stream."""
    CAP = "cap"
    """The case as a CAP 1.2 message, made from the desk's record."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Webhook:
    """One receiver.

    Attributes:
        name: small letters, digits and hyphens.
        departments: wire words, ``review`` among them.
        url: https, or http to this machine, or to anywhere where `insecure` says so.
        secret_file: with one secret, or while they are changed two.
        form: of what is sent.
        from_beginning: a new webhook gets all that is still in the streams, and not only what comes.
        allow_link_local: addresses that only a machine's own network, or its cloud, answers at may be used.
        ca_file: who is believed beside the usual authorities to say whose certificate is whose, or None.
    """

    name: str
    departments: tuple[str, ...]
    url: str
    secret_file: Path
    form: Form = Form.CLOUDEVENTS
    from_beginning: bool = False
    allow_link_local: bool = False
    ca_file: Path | None = None


def load_webhooks(path: Path, routing: Routing) -> list[Webhook]:
    """Read and check a webhooks file.

    Raises:
        ConfigError: it can't be read, or something in it is wrong; all faults at once.
    """
    table = _table(path)
    listed = table.get("webhook", [])
    if not isinstance(listed, list) or not listed or not all(isinstance(each, dict) for each in listed):
        raise ConfigError(f"webhooks file {path} has no [[webhook]]", remedy="see docs/integrations.md")
    faults = [f"it has {word!r}, which nothing here knows" for word in table.keys() - {"webhook"}]
    names = set[str]()
    for number, each in enumerate(listed, 1):
        name = str(each.get("name", f"number {number}"))
        faults += [f"webhook {name!r}: {fault}" for fault in _faults(each, routing)]
        faults += [f"there are two webhooks {name!r}"] if name in names else []
        names.add(name)
    if faults:
        raise ConfigError(f"webhooks file {path}: {'; '.join(faults)}", remedy="see docs/integrations.md")
    return [_webhook(each, path.parent) for each in listed]


def names_in(path: Path) -> set[str]:
    """The webhooks that a file has, however faulty they are otherwise.

    Raises:
        ConfigError: it can't be read.
    """
    listed = _table(path).get("webhook", [])
    return {str(each.get("name")) for each in listed if isinstance(each, dict)}


def _table(path: Path) -> dict[str, Any]:
    try:
        return tomllib.loads(path.read_text(encoding="utf-8"))
    except OSError as error:
        raise ConfigError(
            f"webhooks file {path} can't be read: {error.strerror}", remedy="correct ALMENARA_WEBHOOKS"
        ) from error
    except (tomllib.TOMLDecodeError, UnicodeDecodeError, RecursionError) as error:
        raise ConfigError(f"webhooks file {path} is not TOML: {error}", remedy="correct that line") from error


def _faults(each: Mapping[str, Any], routing: Routing) -> Iterator[str]:
    for word in sorted(each.keys() - _KEYS.keys()):
        yield f"{word!r} is nothing that a webhook has"
    for word, kind in _KEYS.items():
        if word in each and not isinstance(each[word], kind):  # type: ignore[arg-type]
            yield f"{word} is of the wrong kind"
            return
    for word in _NEEDED:
        if not each.get(word):
            yield f"{word} is missing"
            return
    if not _NAME.fullmatch(each["name"]):
        yield "its name is not of at most 40 small letters, digits and hyphens"
    for department in _departments(each):
        if department != REVIEW and department not in routing.departments:
            yield f"there is no department {department!r}"
    if each.get("format", Form.CLOUDEVENTS) not in set(Form):
        yield f"format is not one of {', '.join(Form)}"
    if each.get("start", "now") not in ("now", "beginning"):
        yield "start is not one of now, beginning"
    yield from _url_faults(each["url"], insecure=each.get("insecure", False))


def _url_faults(url: str, *, insecure: bool) -> Iterator[str]:
    try:
        parts = urlsplit(url)
        _ = parts.port
        httpx.URL(url)  # as it will be used
    except (ValueError, httpx.InvalidURL):
        yield "url is none"
        return
    if parts.scheme not in ("http", "https") or not parts.hostname:
        yield "url is not https://..."
    elif parts.username or parts.password:
        yield "url has a password in it, and it would be seen in logs"
    elif parts.scheme == "http" and not insecure and not is_loopback(parts.hostname):
        yield "url is not https; `insecure = true` allows http to another machine, for all to read on the way"


def _departments(each: Mapping[str, Any]) -> tuple[str, ...]:
    named = each["department"]
    return (named,) if isinstance(named, str) else tuple(dict.fromkeys(map(str, named)))


def _webhook(each: Mapping[str, Any], folder: Path) -> Webhook:
    return Webhook(
        name=each["name"],
        departments=_departments(each),
        url=each["url"],
        secret_file=folder / each["secret_file"],
        form=Form(each.get("format", Form.CLOUDEVENTS)),
        from_beginning=each.get("start") == "beginning",
        allow_link_local=each.get("allow_link_local", False),
        ca_file=folder / each["ca_file"] if each.get("ca_file") else None,
    )
