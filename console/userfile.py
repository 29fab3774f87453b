"""The users file: who may log in, as JSON that only its owner can read, changed by one at a time."""

import contextlib
import fcntl
import json
import os
import re
import stat
import unicodedata
import uuid
from collections.abc import Collection, Iterator
from dataclasses import dataclass
from enum import StrEnum
from pathlib import Path
from typing import Any

from console.passwords import is_hash
from shared.durable import make_folders_durably, sync_path
from shared.errors import ConfigError
from shared.labels import escape_label, seen
from shared.moves import NAME_MAX_CHARACTERS
from shared.routing import ALL

FORMAT_VERSION = 1

# Names that records give to what is no person: `decided_by` of the desk, and of a model.
_TAKEN_NAMES = frozenset({"desk", "model", "almenara"})
_TOKEN_HASH = re.compile("[0-9a-f]{64}")
_OTHERS = stat.S_IRWXG | stat.S_IRWXO


class Role(StrEnum):
    """What a user may do."""

    VIEWER = "viewer"
    """See their departments' incidents."""
    OPERATOR = "operator"
    """Move them, too."""
    REVIEWER = "reviewer"
    """See and decide what the model is unsure of."""
    SUPERVISOR = "supervisor"
    """Everything, of every department."""


@dataclass(frozen=True, kw_only=True, slots=True)
class UserRecord:
    """One user as the file has them. Construction checks it.

    Attributes:
        name: at most 64 printable characters in Unicode NFC.
        password_hash: Argon2id, in its text form.
        roles: at least one, in the order of `Role`.
        departments: wire words, or `all` alone; may be empty for a reviewer.
        created_at: RFC 3339 UTC.
        token_hash: SHA-256 of their token in hexadecimal, or empty. Viewers alone have one.

    Raises:
        ConfigError: naming what is wrong.
    """

    name: str
    password_hash: str
    roles: tuple[Role, ...]
    departments: tuple[str, ...]
    created_at: str
    token_hash: str = ""

    def __post_init__(self) -> None:
        check_name(self.name)
        if not is_hash(self.password_hash):
            raise ConfigError(
                f"user {self.name!r} has no Argon2id hash", remedy=f"`almenara user passwd {self.name}`"
            )
        if not self.roles:
            raise ConfigError(f"user {self.name!r} has no role", remedy=f"choose from {', '.join(Role)}")
        if self.token_hash and (not _TOKEN_HASH.fullmatch(self.token_hash) or self.roles != (Role.VIEWER,)):
            raise ConfigError(
                f"user {self.name!r} has no token that a viewer can have",
                remedy=f"`almenara user token {self.name} --revoke`",
            )
        check_departments(self.name, self.roles, self.departments)

    @property
    def key(self) -> str:
        """What tells users apart."""
        return name_key(self.name)

    def to_json(self) -> dict[str, Any]:
        """As the file has it."""
        return {
            "name": self.name,
            "hash": self.password_hash,
            "roles": list(self.roles),
            "departments": list(self.departments),
            "created_at": self.created_at,
            **({"token": self.token_hash} if self.token_hash else {}),
        }

    @classmethod
    def from_json(cls, record: Any) -> "UserRecord":
        """The inverse of `to_json`.

        Raises:
            ConfigError: a field is missing or wrong.
        """
        try:
            token_hash = record.get("token", "")
            texts = [record["name"], record["hash"], record["created_at"], token_hash, *record["departments"]]
            if not all(isinstance(text, str) for text in texts):
                raise TypeError("a field is no text")
            if not isinstance(record["departments"], list) or not isinstance(record["roles"], list):
                raise TypeError("roles and departments are lists")
            return cls(
                name=record["name"],
                password_hash=record["hash"],
                roles=tuple(Role(word) for word in record["roles"]),
                departments=tuple(record["departments"]),
                created_at=record["created_at"],
                token_hash=token_hash,
            )
        except KeyError as error:
            raise ConfigError(f"a user has no {error}") from error
        except (AttributeError, TypeError, ValueError) as error:
            raise ConfigError(f"a user is damaged: {error}") from error


class UserFile:
    """A users file at a path; nobody is in one that is not there."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def signature(self) -> tuple[int, ...] | None:
        """Another one whenever the file has changed; None where there is none to be seen."""
        try:
            found = self.path.stat()
        except OSError:
            return None
        return found.st_mtime_ns, found.st_ctime_ns, found.st_size, found.st_ino

    def read(self) -> dict[str, UserRecord]:
        """Every user, by key.

        Raises:
            ConfigError: the file can't be read, is open to others than its owner, or is damaged.
        """
        try:
            with self.path.open("rb") as file:
                self._check_private(os.fstat(file.fileno()))
                content = file.read()
        except FileNotFoundError:
            return {}
        except OSError as error:
            raise self._unusable("can't be read", error) from error
        return self._parsed(content)

    @contextlib.contextmanager
    def changing(self) -> Iterator[dict[str, UserRecord]]:
        """Every user, by key, to be changed; written when the block ends without an error.

        Others who change the file wait meanwhile.

        Raises:
            ConfigError: as `read`, or it can't be written; then it is as it was.
        """
        try:
            make_folders_durably(self.path.parent)
            lock = os.open(self._beside("lock"), os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        except OSError as error:
            raise self._unusable("can't be changed", error) from error
        try:
            self._give_to_owner(lock)
            fcntl.flock(lock, fcntl.LOCK_EX)
            users = self.read()
            before = dict(users)
            yield users
            if users != before:
                self._write(users)
        finally:
            os.close(lock)

    def _write(self, users: dict[str, UserRecord]) -> None:
        records = [record.to_json() for record in users.values()]
        content = json.dumps({"format_version": FORMAT_VERSION, "users": records}, indent=2) + "\n"
        temporary = self._beside(f"{uuid.uuid4().hex[:8]}.tmp")
        target = self.path.resolve()  # the file that a link leads to, not the link
        try:
            descriptor = os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600)
            with os.fdopen(descriptor, "w", encoding="utf-8") as file:
                self._give_to_owner(descriptor)
                file.write(content)
                file.flush()
                os.fsync(descriptor)
            temporary.replace(target)
            sync_path(target.parent)
        except OSError as error:
            temporary.unlink(missing_ok=True)
            raise self._unusable("can't be written", error) from error

    def _give_to_owner(self, descriptor: int) -> None:
        """What root makes is for the file's owner, or else its folder's: services run as another user."""
        if os.geteuid() != 0:
            return
        target = self.path.resolve()
        owner = (target if target.exists() else target.parent).stat()
        os.fchown(descriptor, owner.st_uid, owner.st_gid)

    def _beside(self, ending: str) -> Path:
        target = self.path.resolve()
        return target.with_name(f".{target.name}.{ending}")

    def _check_private(self, found: os.stat_result) -> None:
        if not stat.S_ISREG(found.st_mode):
            raise ConfigError(
                f"{self.path} is no file", reason="users_file", remedy="set ALMENARA_USERS_FILE to one"
            )
        if found.st_mode & _OTHERS:
            raise ConfigError(
                f"the users file {self.path} is open to others than its owner "
                f"({stat.filemode(found.st_mode)})",
                reason="users_file_open",
                remedy=f"`chmod 600 {self.path}`",
            )

    def _parsed(self, content: bytes) -> dict[str, UserRecord]:
        try:
            table = json.loads(content)
            version, listed = table["format_version"], table["users"]
            if version != FORMAT_VERSION or not isinstance(listed, list):
                raise ValueError(f"format version {version!r} is not {FORMAT_VERSION}")
        except (KeyError, TypeError, ValueError, RecursionError) as error:
            raise self._damaged([f"it is no users file: {error}"]) from error
        users: dict[str, UserRecord] = {}
        faults = []
        for record in listed:
            try:
                user = UserRecord.from_json(record)
            except ConfigError as error:
                faults.append(error.detail)
                continue
            if user.key in users:
                faults.append(f"there are two users {user.name!r}")
            users[user.key] = user
        if faults:
            raise self._damaged(faults)
        return users

    def _damaged(self, faults: list[str]) -> ConfigError:
        return ConfigError(
            f"the users file {self.path} is refused: {'; '.join(faults)}",
            reason="users_file",
            remedy="put it right, or make the users again with `almenara user add`",
        )

    def _unusable(self, what: str, error: OSError) -> ConfigError:
        return ConfigError(
            f"the users file {self.path} {what}: {error.strerror or error}",
            reason="users_file",
            remedy="let this user read and write it and its folder, or set ALMENARA_USERS_FILE to another",
        )


def normal_name(text: str) -> str:
    """A name as it is kept: in Unicode NFC, so that all ways of typing an accent are one."""
    return unicodedata.normalize("NFC", text[: 4 * NAME_MAX_CHARACTERS])


def name_key(name: str) -> str:
    """What tells users apart: capitals and compatibility forms don't, so that Ana can't pose as ana."""
    return unicodedata.normalize("NFKC", seen(normal_name(name))).casefold()


def check_name(name: str) -> None:
    """Raises ConfigError for what can't be the name of a user, saying why."""
    fault = ""
    if not name or name != name.strip() or "  " in name:
        fault = "is empty, or has spaces at its ends or two together"
    elif len(name) > NAME_MAX_CHARACTERS:
        fault = f"has more than {NAME_MAX_CHARACTERS} characters"
    elif not name.isprintable() or not seen(name):
        fault = "has control or invisible characters in it"
    elif name != unicodedata.normalize("NFC", name):
        fault = "is not in Unicode NFC"
    elif name_key(name) in _TAKEN_NAMES:
        fault = "is what records call a part of Almenara"
    if fault:
        raise ConfigError(
            f"the name {escape_label(name[: 2 * NAME_MAX_CHARACTERS])!r} {fault}",
            reason="bad_name",
            remedy="choose another name",
        )


def check_departments(name: str, roles: Collection[str], departments: Collection[str]) -> None:
    """Raises ConfigError where a user would see nothing, or more than meant."""
    if ALL in departments and len(departments) > 1:
        raise ConfigError(
            f"user {name!r} has {ALL!r} and a department besides",
            reason="bad_departments",
            remedy=f"give one or the other; {ALL} is every department",
        )
    if not departments and not {Role.REVIEWER, Role.SUPERVISOR}.intersection(roles):
        raise ConfigError(
            f"user {name!r} has no department, and would see nothing",
            reason="bad_departments",
            remedy=f"give --department WORD, or --department {ALL}",
        )
