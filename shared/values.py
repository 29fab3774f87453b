"""How the text of a setting is read. Each raises ValueError, saying what is wrong with it."""

import ipaddress
import os
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit


def flag(text: str) -> bool:
    """Yes or no."""
    words = {
        "1": True,
        "true": True,
        "yes": True,
        "on": True,
        "0": False,
        "false": False,
        "no": False,
        "off": False,
    }
    if text.lower() not in words:
        raise ValueError("is not one of yes, no")
    return words[text.lower()]


def path(text: str) -> Path:
    """A file or folder, ~ being the home folder."""
    try:
        return Path(text).expanduser()
    except RuntimeError as error:
        raise ValueError("begins with the home folder of nobody") from error


def paths(text: str) -> tuple[Path, ...]:
    """Several, as in PATH."""
    return tuple(path(part) for part in text.split(os.pathsep) if part.strip())


def positive(kind: type[int] | type[float]) -> Callable[[str], Any]:
    """A number above zero."""

    def parse(text: str) -> Any:
        number = kind(text)
        if not 0 < number < float("inf"):
            raise ValueError("is not greater than zero")
        return number

    return parse


def share(text: str) -> float:
    """A number from 0 to 1."""
    number = float(text)
    if not 0 <= number <= 1:
        raise ValueError("is not between 0 and 1")
    return number


def port(text: str) -> int:
    """A TCP port, or 0."""
    number = int(text)
    if not 0 <= number <= 65535:
        raise ValueError("is no port from 0 to 65535")
    return number


def web_url(text: str) -> str:
    """A web console's address, without a path."""
    parts = urlsplit(text)
    if parts.scheme not in ("http", "https") or not parts.hostname or parts.path not in ("", "/"):
        raise ValueError("is no address such as https://desk.example.org")
    return text.rstrip("/")


def web_proxies(text: str) -> str:
    """Addresses and networks."""
    try:
        return ", ".join(str(ipaddress.ip_network(part.strip())) for part in text.split(","))
    except ValueError as error:
        raise ValueError("is no list of addresses or networks such as 192.0.2.7, 10.1.0.0/16") from error


def tile_url(text: str) -> str:
    """Where map tiles are."""
    if urlsplit(text).scheme not in ("http", "https") or not all(
        part in text for part in ("{z}", "{x}", "{y}")
    ):
        raise ValueError("is no address with {z}, {x} and {y} in it")
    return text


def cap_sender(text: str) -> str:
    """Whom CAP messages are from: CAP allows no spaces, commas, < and & in it."""
    if not re.fullmatch(r"[^\s,<&]{1,200}", text):
        raise ValueError("is no name such as dispatch.city.example, without spaces, commas, < and &")
    return text


def one_of(*words: str) -> Callable[[str], str]:
    """One of these words."""

    def parse(text: str) -> str:
        if text not in words:
            raise ValueError(f"is not one of {', '.join(words)}")
        return text

    return parse


def auto_or_positive(text: str) -> int | None:
    """None for auto, else a count."""
    return None if text == "auto" else int(positive(int)(text))


def count(text: str) -> int:
    """A whole number, 0 included."""
    number = int(text)
    if number < 0:
        raise ValueError("is less than zero")
    return number


def cameras(text: str) -> str:
    """Labels and minutes, in one form."""
    return ", ".join(f"{label}={minutes:g}" for label, minutes in minutes_of(text).items())


def minutes_of(text: str) -> dict[str, float]:
    """Label -> minutes, of a list such as ``north-bridge=30, plaza=10``."""
    found = {}
    for part in filter(None, (part.strip() for part in text.split(","))):
        label, equals, minutes = part.rpartition("=")
        if not equals or not label.strip():
            raise ValueError("is no list of labels and minutes such as north-bridge=30, plaza=10")
        if label.strip() in found:
            raise ValueError(f"has the label {label.strip()} twice")
        found[label.strip()] = float(positive(float)(minutes))
    return found
