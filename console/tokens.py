"""Tokens: with one, a program reads a viewer's feeds. Shown once, kept as a hash, taken away by a command."""

import hashlib
import secrets
from dataclasses import replace
from pathlib import Path

from console.userfile import Role, UserFile, UserRecord, name_key, normal_name
from shared.errors import ConfigError

PREFIX = "almenara_"
"""So that who finds one somewhere knows what it is, and scanners of secrets do."""
_BYTES = 32


def token_hash(token: str) -> str:
    """What the users file keeps. Plain SHA-256: 256 bits by chance are not guessed."""
    return hashlib.sha256(token.encode("utf-8", "replace")).hexdigest()


def make_token(path: Path, name: str) -> str:
    """Give a viewer another token; the one before is worth nothing from now on.

    Returns:
        The token, which is kept nowhere.

    Raises:
        ConfigError: nobody has that name, or they may do more than look.
    """
    token = PREFIX + secrets.token_urlsafe(_BYTES)
    with UserFile(path).changing() as users:
        record = _known(users, name)
        if record.roles != (Role.VIEWER,):
            raise ConfigError(
                f"user {record.name!r} may do more than look, and a program may not",
                reason="not_a_viewer",
                remedy="make a user for it: `almenara user add NAME --role viewer --department WORD`",
            )
        users[record.key] = replace(record, token_hash=token_hash(token))
    return token


def revoke_token(path: Path, name: str) -> str:
    """Take a user's token away, if there is one; their name.

    Raises:
        ConfigError: nobody has that name.
    """
    with UserFile(path).changing() as users:
        record = _known(users, name)
        users[record.key] = replace(record, token_hash="")
        return record.name


def _known(users: dict[str, UserRecord], name: str) -> UserRecord:
    record = users.get(name_key(name))
    if record is None:
        raise ConfigError(
            f"there is no user {normal_name(name)!r}",
            reason="unknown_user",
            remedy="`almenara user list` shows all",
        )
    return record
