"""Who else takes dispatches: programs with a consumer group, each a broker user. A file remembers them."""

import re
from pathlib import Path

from deploy.rights import CONSUMERS, consumer_rules
from shared.errors import ConfigError
from shared.routing import REVIEW, Routing

FILE = "consumers"
"""Beside users.acl: a line `NAME DEPARTMENT ...` for each. Whose line is taken out has no user any more."""

_NAME = re.compile(r"[a-z0-9][a-z0-9-]{0,39}")
_LINE = re.compile(r"[a-z0-9][a-z0-9-]{0,39}( [a-z][a-z0-9_-]*)+")


def parsed(text: str, routing: Routing) -> tuple[str, tuple[str, ...]]:
    """Name and departments of `NAME:DEPARTMENT[,DEPARTMENT]`.

    Raises:
        ConfigError: it is nothing of the kind, or there is no such department.
    """
    name, _, listed = text.partition(":")
    departments = tuple(dict.fromkeys(filter(None, listed.split(","))))
    if not _NAME.fullmatch(name) or not departments:
        raise ConfigError(
            f"--consumer {text!r} is no name and departments",
            remedy="write it as siren:firefighters or map:firefighters,ambulance, names of at most 40 small "
            "letters, digits and hyphens",
        )
    for word in departments:
        if word != REVIEW and word not in routing.departments:
            raise ConfigError(
                f"there is no department {word!r}",
                remedy=f"choose from {', '.join(routing.departments)}, {REVIEW}",
            )
    return name, departments


def load(folder: Path) -> dict[str, tuple[str, ...]]:
    """Name -> departments of those that there are.

    Raises:
        ConfigError: the file can't be read, or holds something else.
    """
    path = folder / FILE
    try:
        lines = path.read_text(encoding="ascii").splitlines()
    except FileNotFoundError:
        return {}
    except (OSError, UnicodeDecodeError) as error:
        raise ConfigError(
            f"{path} can't be read", remedy="run this as the user who made it, or remove the file"
        ) from error
    found = {}
    for line in filter(None, map(str.strip, lines)):
        # What stands here becomes a line of the ACL file: nothing but words may.
        if not _LINE.fullmatch(line):
            raise ConfigError(f"{path}: {line!r} is no name and departments", remedy="correct that line")
        name, *departments = line.split()
        found[name] = tuple(departments)
    return found


def text_of(consumers: dict[str, tuple[str, ...]]) -> str:
    """The file's text."""
    return "".join(f"{name} {' '.join(words)}\n" for name, words in sorted(consumers.items()))


def users(consumers: dict[str, tuple[str, ...]]) -> dict[str, str]:
    """Broker user -> what it may."""
    return {f"{CONSUMERS}{name}": consumer_rules(words) for name, words in consumers.items()}
