"""`almenara acl`: one broker user for each role, with its password, and whether a running broker has them."""

import argparse
import functools
import hashlib
import os
import re
import secrets
import sys
from collections.abc import Callable, Iterable, Mapping, Set
from pathlib import Path
from urllib.parse import urlsplit, urlunsplit

from deploy import consumers
from deploy.rights import roles, rules
from shared.broker import Broker, connect
from shared.errors import ConfigError
from shared.routing import Routing
from shared.settings import Settings

PASSWORD_BYTES = 32
ACL_FILE = "users.acl"
DEFAULT_OFF = "user default reset off ~* &* +@all"
"""Who connects without a name may do nothing: nobody can log in as this user, for it is off.

It has every right all the same. A server that starts reads its append-only file back as this user, and would
leave out, with a line in its log, each transaction in there that the user has no right to: all of ours.
"""

Category = Callable[[str], Set[str]]

_CONSOLE = "console-"
_WORDS_OF_NO_CONSEQUENCE = {"reset", "resetchannels", "sanitize-payload"}


def acl(options: argparse.Namespace, settings: Settings) -> int:
    """Print, write or compare the broker's users; 1 where a running broker differs."""
    folder: Path = options.out or settings.state_dir / "acl"
    routing = Routing.load(settings.routing)
    programs = consumers.load(folder)
    if options.consumer:
        if options.out is None:
            raise ConfigError("--consumer needs --out DIR", remedy="name the folder that users.acl is in")
        name, departments = consumers.parsed(options.consumer, routing)
        programs[name] = departments
    known = users_of(roles(list(routing.departments), sentinel=options.sentinel)) | consumers.users(programs)
    gone = _gone(folder, known)
    if options.drop and options.drop not in gone:
        raise ConfigError(
            f"--drop {options.drop!r} is no department that the routing file has lost",
            remedy=f"lost are: {', '.join(gone) or 'none'}; ALMENARA_ROUTING names the file",
        )
    known |= users_of(f"{_CONSOLE}{word}" for word in gone if word != options.drop)
    if options.rotate and options.rotate not in known:
        raise ConfigError(f"there is no role {options.rotate!r}", remedy=f"use one of {', '.join(known)}")
    if options.check:
        return _check(connect(settings), expected(known, _passwords(folder, known)), folder)
    if options.out is None and not options.rotate and not options.drop:
        _print(acl_file(known, _passwords(folder, known)))
        return 0
    _write_all(folder, known, options.rotate, options.url or settings.redis_url, programs)
    for word in gone:
        if word == options.drop:
            for ending in ("password", "url"):
                (folder / f"{_CONSOLE}{word}.{ending}").unlink(missing_ok=True)
            _print(f"{_CONSOLE}{word} is dropped.")
        else:
            _print(
                f"{_CONSOLE}{word} is kept, though {settings.routing} has no such department: is "
                f"ALMENARA_ROUTING right? If it is gone for good: --drop {word}."
            )
    return 0


def _gone(folder: Path, known: Iterable[str]) -> list[str]:
    """Departments that have had a user here and are in the routing file no more."""
    found = {path.stem for path in folder.glob(f"{_CONSOLE}*.password")} - set(known)
    # What stands here becomes a line of the ACL file: nothing but words may.
    return sorted(name.removeprefix(_CONSOLE) for name in found if re.fullmatch(r"[a-z0-9_-]+", name))


def users_of(known: Iterable[str]) -> dict[str, str]:
    """Role -> what it may, in the words of an ACL file."""
    return {role: rules(role) for role in known}


def acl_file(known: Mapping[str, str], passwords: Mapping[str, str]) -> str:
    """The text of a file for `aclfile`; a role without a password can't log in.

    Args:
        known: role -> what it may.
        passwords: by role.
    """
    return "\n".join([*_lines(known, passwords), ""])


def _lines(known: Mapping[str, str], passwords: Mapping[str, str]) -> list[str]:
    lines = [DEFAULT_OFF]
    for role, may in known.items():
        login = f"on #{_sha256(passwords[role])}" if role in passwords else "off"
        lines.append(f"user {role} reset {login} {may}")
    return lines


def with_login(url: str, role: str, password: str) -> str:
    """A broker's address with this role's user and password in it.

    Raises:
        ConfigError: it is none.
    """
    parts = urlsplit(url)
    if not parts.scheme or not (parts.netloc or parts.path):
        raise ConfigError("--url is no broker's address", remedy="give one such as rediss://broker:6380/0")
    place = parts.netloc.rpartition("@")[2]
    return urlunsplit(parts._replace(netloc=f"{role}:{password}@{place}"))


def expected(known: Mapping[str, str], passwords: Mapping[str, str]) -> dict[str, frozenset[frozenset[str]]]:
    """User -> what it should be: its own words, and those of each of its selectors."""
    return dict(map(meaning, _lines(known, passwords)))


def meaning(line: str, category: Category = lambda _: frozenset()) -> tuple[str, frozenset[frozenset[str]]]:
    """A user and what a line says of it, however it is put: servers write it back in their own way.

    Args:
        category: the commands of a category, for Redis 7.0, which writes several as one.
    """
    selectors = re.findall(r"\(([^)]*)\)", line)
    _, name, *words = re.sub(r"\([^)]*\)", "", line).split()
    return name, frozenset(_meant(part, category) for part in (words, *(text.split() for text in selectors)))


def _meant(words: list[str], category: Category) -> frozenset[str]:
    commands, others = set[str](), set[str]()
    for word in words:
        if word == "-@all":
            commands.clear()
        elif word[0] in "+-" and word[1:] != "@all":
            named = category(word[2:]) if word[1] == "@" else {word[1:]}
            commands = commands | named if word[0] == "+" else commands - named
        else:
            others.add("&*" if word == "allchannels" else word)
    return frozenset(others - _WORDS_OF_NO_CONSEQUENCE) | {f"+{command}" for command in commands}


def differences(broker: Broker, wanted: Mapping[str, frozenset[frozenset[str]]]) -> list[str]:
    """What is not as it should be in a running broker; empty: nothing.

    Raises:
        RedisError: it is away, or does not let us look.
    """

    @functools.cache
    def category(name: str) -> frozenset[str]:
        return frozenset(map(_text, broker.acl_cat(name)))

    there = dict(meaning(_text(line), category) for line in broker.acl_list())
    found = []
    for name, means in wanted.items():
        if name not in there:
            found.append(f"{name}: the broker has no such user")
        elif _without_password(there[name]) != _without_password(means):
            found.append(f"{name}: may do other things than it should")
        elif _passwords_in(means) - _passwords_in(there[name]):
            found.append(f"{name}: has another password")
    found += [f"{name}: nobody asked for this user" for name in sorted(set(there) - set(wanted))]
    return found


def _without_password(means: frozenset[frozenset[str]]) -> frozenset[frozenset[str]]:
    return frozenset(
        frozenset(word for word in part if word[0] != "#" and word not in {"on", "off"}) for part in means
    )


def _passwords_in(means: frozenset[frozenset[str]]) -> set[str]:
    return {word for part in means for word in part if word[0] == "#"}


def _check(broker: Broker, wanted: Mapping[str, frozenset[frozenset[str]]], folder: Path) -> int:
    found = differences(broker, wanted)
    for line in found:
        _print(line)
    if found:
        _print(f"{len(found)} users differ. Write {folder / ACL_FILE} (--out), and let the broker load it.")
    else:
        _print(f"The broker has these {len(wanted)} users, and no other.")
    return int(bool(found))


def _write_all(
    folder: Path,
    known: Mapping[str, str],
    rotate: str | None,
    url: str,
    programs: dict[str, tuple[str, ...]],
) -> None:
    """Passwords that are missing, the ACL file, an address for each role, and which programs there are."""
    try:
        folder.mkdir(parents=True, exist_ok=True)
        folder.chmod(0o700)
        passwords = _passwords(folder, known)
        made = [role for role in known if role == rotate or role not in passwords]
        for role in made:
            # 256 bits: so long that its plain SHA-256 in the ACL file can't be undone.
            passwords[role] = secrets.token_hex(PASSWORD_BYTES)
            _write(folder / f"{role}.password", passwords[role] + "\n")
        if programs or (folder / consumers.FILE).exists():
            _write(folder / consumers.FILE, consumers.text_of(programs))
        _write(folder / ACL_FILE, acl_file(known, passwords))
        for role in known if url else ():
            _write(folder / f"{role}.url", with_login(url, role, passwords[role]) + "\n")
    except OSError as error:
        raise ConfigError(
            f"{folder} can't be written: {error.strerror or error}", remedy="name another folder with --out"
        ) from error
    _print(f"{len(known)} users are in {folder / ACL_FILE}; new passwords: {', '.join(made) or 'none'}.")
    _print(f"Their passwords are in {folder}/ROLE.password" + (" and ROLE.url." if url else "."))
    if not url:
        _print("With --url rediss://HOST:PORT/0 it writes the address for each, for ALMENARA_REDIS_URL_FILE.")
    left = {path.stem for path in folder.glob("*.password")} - set(known)
    left = {name for name in left if not name.startswith(_CONSOLE)}  # of these `_gone` tells
    if left:
        _print(
            f"No role of the routing file, and no consumer: {', '.join(sorted(left))}; remove their files."
        )


def _passwords(folder: Path, known: Iterable[str]) -> dict[str, str]:
    """The passwords that there are, by role.

    Raises:
        ConfigError: one can't be read, or is none of ours.
    """
    found = {}
    for role in known:
        path = folder / f"{role}.password"
        try:
            text = path.read_text(encoding="ascii").strip()
        except FileNotFoundError:
            continue
        except (OSError, UnicodeDecodeError) as error:
            raise ConfigError(
                f"{path} can't be read", remedy="run this as the user who made it, or remove the file"
            ) from error
        if not re.fullmatch(r"[0-9A-Za-z_-]{32,}", text):
            raise ConfigError(
                f"{path} holds no password of at least 32 letters and digits",
                remedy=f"make a new one with --rotate {role}" if not text else "remove the file",
            )
        found[role] = text
    return found


def _write(path: Path, text: str) -> None:
    """A whole file or none, for its owner alone."""
    aside = path.with_name(f".{path.name}.{os.getpid()}")
    aside.unlink(missing_ok=True)
    descriptor = os.open(aside, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600)
    with os.fdopen(descriptor, "w", encoding="ascii") as file:
        file.write(text)
        file.flush()
        os.fsync(file.fileno())
    aside.replace(path)


def _text(word: bytes | str) -> str:
    return word.decode() if isinstance(word, bytes) else word


def _sha256(password: str) -> str:
    return hashlib.sha256(password.encode()).hexdigest()


def _print(text: str) -> None:
    sys.stdout.write(text + "\n")
