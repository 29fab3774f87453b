"""Users: who may log in to the web console, what they may see and do, and whether it is them."""

import hashlib
import hmac
import secrets
import threading
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import structlog

from console.passwords import hash_password, is_outdated, matches, random_password
from console.tokens import token_hash
from console.userfile import (
    Role,
    UserFile,
    UserRecord,
    check_departments,
    check_name,
    name_key,
    normal_name,
)
from shared.errors import ConfigError
from shared.incidents import iso, utc_now
from shared.routing import ALL, REVIEW, Routing

__all__ = [
    "Role",
    "User",
    "Users",
    "add_user",
    "check_user",
    "find_user",
    "first_user",
    "remove_user",
    "set_password",
]

log = structlog.get_logger()


@dataclass(frozen=True, kw_only=True, slots=True)
class User:
    """Somebody who may log in.

    Attributes:
        name: as they are shown, and as moves are signed.
        roles: at least one.
        departments: wire words; `all` alone for every one.
        created_at: RFC 3339 UTC.
        fingerprint: another one whenever their password, roles or departments change: a session that
            remembers it ends with that.
        has_token: whether a program reads feeds in their name.
    """

    name: str
    roles: tuple[Role, ...]
    departments: tuple[str, ...]
    created_at: str
    fingerprint: str = field(repr=False)
    has_token: bool = False

    def has(self, role: Role) -> bool:
        """Whether they have this very role; a supervisor does not have the others by that."""
        return role in self.roles

    def belongs_to(self, department: str) -> bool:
        """Whether this is one of their departments; all are a supervisor's. `review` is no department."""
        everywhere = ALL in self.departments or self.has(Role.SUPERVISOR)
        return department != REVIEW and (everywhere or department in self.departments)

    def to_json(self) -> dict[str, Any]:
        """What a browser may know: ``{"name", "roles", "departments"}``."""
        return {"name": self.name, "roles": list(self.roles), "departments": list(self.departments)}


class Users:
    """The users of a file, read again whenever it changes. Safe to use from several threads."""

    def __init__(self, file: UserFile) -> None:
        self._file = file
        self._lock = threading.Lock()
        self._signature = file.signature()
        self._refused: tuple[int, ...] | None = ()
        self._records: Mapping[str, UserRecord] = file.read()
        # Whoever tries a name that nobody has waits as long as for a wrong password.
        self._nobodys_hash = hash_password(secrets.token_urlsafe())

    @classmethod
    def load(cls, path: Path) -> "Users":
        """The users of the file at a path; nobody where there is none yet.

        Raises:
            ConfigError: the file can't be read, is open to others than its owner, or is damaged.
        """
        return cls(UserFile(path))

    def names(self) -> list[str]:
        """Names of all users, in the order of the file."""
        return [record.name for record in self._current().values()]

    def all(self) -> list[User]:
        """Every user, in the order of the file."""
        return [_user(record) for record in self._current().values()]

    def find(self, name: str) -> User | None:
        """The user of that name as they are now, or None: for every request of a session."""
        record = self._current().get(name_key(name))
        return _user(record) if record else None

    def find_by_token(self, token: str) -> User | None:
        """The user whose token it is, as they are now, or None. A token is long enough to be looked up."""
        wanted = token_hash(token)
        for record in self._current().values():
            if record.token_hash and hmac.compare_digest(record.token_hash, wanted):
                return _user(record)
        return None

    def check(self, name: str, password: str) -> User | None:
        """The user, if it is their password; else None, after the same time for a name that nobody has.

        Takes about 0.1 s of processor time and 64 MiB; two are looked at at once, others wait. A hash of
        older parameters is replaced by a new one.
        """
        record = self._current().get(name_key(name))
        if record is None:
            matches(self._nobodys_hash, password)
            return None
        if not matches(record.password_hash, password):
            return None
        if is_outdated(record.password_hash):
            renewed = self._renewed(record, password)
            if renewed is None:
                return self.check(name, password)
            record = renewed
        return _user(record)

    def check_departments(self, departments: Iterable[str]) -> None:
        """Every department of a user is in the routing file.

        Raises:
            ConfigError: naming users and departments that it has not.
        """
        known = {ALL, *departments}
        lost = {
            record.name: sorted(set(record.departments) - known)
            for record in self._current().values()
            if not known.issuperset(record.departments)
        }
        if lost:
            raise ConfigError(
                "the routing file has no department "
                + "; ".join(f"{', '.join(words)} (of {name})" for name, words in lost.items()),
                reason="unknown_department",
                remedy="make these users again with `almenara user remove` and `almenara user add`",
            )

    def _current(self) -> Mapping[str, UserRecord]:
        with self._lock:
            signature = self._file.signature()
            if signature == self._signature:
                return self._records
            try:
                self._records = self._file.read()
                self._signature = signature
            except ConfigError as error:
                # A slip of the pen in the middle of a night must not log every dispatcher out.
                if signature != self._refused:
                    log.error("users file is refused, the users before it stay", error=str(error))
                self._refused = signature
            return self._records

    def _renewed(self, record: UserRecord, password: str) -> UserRecord | None:
        """The record with a new hash of the same password, written back where that can be.

        None where the record has changed meanwhile: what it is now counts.
        """
        try:
            renewed = replace(record, password_hash=hash_password(password))
            with self._file.changing() as users:
                if users.get(record.key) != record:
                    return None
                users[record.key] = renewed
        except ConfigError as error:
            log.warning("a password's hash stays as it is", user=record.name, error=str(error))
            return record
        log.info("a password's hash is renewed", user=record.name)
        return renewed


def add_user(
    path: Path,
    name: str,
    password: str,
    *,
    roles: Sequence[str],
    departments: Sequence[str],
    routing: Routing,
) -> User:
    """Add a user to the file, which is made where it is missing.

    Args:
        path: of the users file.
        name: at most 64 printable characters.
        password: at least 10 characters.
        roles: words of `Role`, at least one.
        departments: words of the routing file, or `all`; none needed for a reviewer, and a supervisor's are
            all whatever is given.
        routing: says which departments there are.

    Raises:
        ConfigError: naming what is refused, and what to do.
    """
    check_user(path, name, roles=roles, departments=departments, routing=routing)
    everywhere = ALL in departments or Role.SUPERVISOR in roles
    record = UserRecord(
        name=normal_name(name),
        password_hash=hash_password(password),
        roles=tuple(role for role in Role if role in roles),
        departments=(ALL,) if everywhere else tuple(dict.fromkeys(departments)),
        created_at=iso(utc_now()),
    )
    with UserFile(path).changing() as users:
        _check_free(users, name)
        users[record.key] = record
    return _user(record)


def check_user(
    path: Path, name: str, *, roles: Sequence[str], departments: Sequence[str], routing: Routing
) -> None:
    """What `add_user` would refuse whatever the password, known before anybody thinks of one.

    Raises:
        ConfigError: as `add_user`.
    """
    check_name(normal_name(name))
    wrong = [word for word in roles if word not in set(Role)]
    if wrong or not roles:
        raise ConfigError(
            f"there is no role {', '.join(map(repr, wrong))}" if wrong else "a user needs a role",
            reason="unknown_role",
            remedy=f"choose --role from {', '.join(Role)}",
        )
    unknown = [word for word in departments if word not in routing.departments and word != ALL]
    if unknown:
        raise ConfigError(
            f"there is no department {', '.join(map(repr, unknown))}",
            reason="unknown_department",
            remedy=f"choose --department from {', '.join(routing.departments)}, {ALL}",
        )
    check_departments(name, roles, departments)
    _check_free(UserFile(path).read(), name)


def find_user(path: Path, name: str) -> User:
    """The user of that name.

    Raises:
        ConfigError: nobody has it.
    """
    return _user(_known(UserFile(path).read(), name))


def set_password(path: Path, name: str, password: str) -> User:
    """Give a user another password; their sessions end.

    Raises:
        ConfigError: nobody has that name, or the password is refused.
    """
    password_hash = hash_password(password)
    with UserFile(path).changing() as users:
        record = _known(users, name)
        users[record.key] = replace(record, password_hash=password_hash)
        return _user(users[record.key])


def remove_user(path: Path, name: str) -> User:
    """Remove a user; their sessions end. What they did stays in the record under their name.

    Raises:
        ConfigError: nobody has that name.
    """
    with UserFile(path).changing() as users:
        return _user(users.pop(_known(users, name).key))


def first_user(path: Path, name: str, roles: Sequence[Role]) -> str | None:
    """Where nobody may log in yet, make a user of all departments with a password by chance.

    Returns:
        The password, which is kept nowhere; None where there is a user already.

    Raises:
        ConfigError: the file can't be used.
    """
    if UserFile(path).read():
        return None
    password = random_password()
    record = UserRecord(
        name=name,
        password_hash=hash_password(password),
        roles=tuple(role for role in Role if role in roles),
        departments=(ALL,),
        created_at=iso(utc_now()),
    )
    with UserFile(path).changing() as users:
        if users:  # somebody was faster
            return None
        users[record.key] = record
    return password


def _check_free(users: Mapping[str, UserRecord], name: str) -> None:
    if taken := users.get(name_key(name)):
        raise ConfigError(
            f"there is a user {taken.name!r} already",
            reason="name_taken",
            remedy="choose another name, or change the password with `almenara user passwd`",
        )


def _known(users: Mapping[str, UserRecord], name: str) -> UserRecord:
    try:
        return users[name_key(name)]
    except KeyError as error:
        raise ConfigError(
            f"there is no user {normal_name(name)!r}",
            reason="unknown_user",
            remedy="`almenara user list` shows all",
        ) from error


def _user(record: UserRecord) -> User:
    parts = [record.name, record.password_hash, *record.roles, "", *record.departments]
    return User(
        name=record.name,
        roles=record.roles,
        departments=record.departments,
        created_at=record.created_at,
        fingerprint=hashlib.sha256("\0".join(parts).encode()).hexdigest()[:32],
        has_token=bool(record.token_hash),
    )
