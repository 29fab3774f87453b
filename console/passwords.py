"""Passwords: the rules for new ones, their Argon2id hashes, and good ones by chance."""

import secrets
import threading
import unicodedata

from argon2 import PasswordHasher
from argon2.exceptions import InvalidHashError, VerificationError

from shared.errors import ConfigError

MIN_CHARACTERS = 10
MAX_BYTES = 1024
"""In UTF-8; far above any password, and what a stranger sends is not hashed at any length."""

# Small letters and digits without those that look alike: 32 of them, so 5 bits each.
_READABLE = "23456789abcdefghijkmnpqrstuvwxyz"
_GROUPS, _GROUP_CHARACTERS = 4, 4

# RFC 9106, section 4, second recommended option, as argon2-cffi has it: 64 MiB, 3 passes, 4 lanes.
_HASHER = PasswordHasher()

# Each check takes 64 MiB: without a limit, whoever sends a hundred names at once takes 6 GiB.
_AT_ONCE = threading.BoundedSemaphore(2)


class PasswordError(ConfigError):
    """Raised when a new password is refused: too short, too long, not printable."""

    default_reason = "bad_password"


def hash_password(password: str) -> str:
    """The Argon2id hash of a new password, in its usual text form (``$argon2id$v=19$...``).

    Raises:
        PasswordError: it is under 10 characters, over 1024 bytes, or has control characters in it.
    """
    normal = _normalised(password)
    if normal is None:
        raise PasswordError(
            f"a password over {MAX_BYTES} bytes, or that is no text, is refused", remedy="choose another"
        )
    if any(unicodedata.category(character) == "Cc" for character in normal):
        raise PasswordError(
            "the password has a control character in it, which nobody can type", remedy="choose another"
        )
    if len(normal) < MIN_CHARACTERS:
        raise PasswordError(
            f"a password of {len(normal)} characters is too short",
            remedy=f"choose at least {MIN_CHARACTERS}; a few words are easier to keep than signs",
        )
    with _AT_ONCE:
        return _HASHER.hash(normal)


def matches(password_hash: str, password: str) -> bool:
    """Whether it is the password; takes as long when it is not.

    Safe to call from several threads; two at a time are looked at, the others wait.
    """
    normal = _normalised(password)
    with _AT_ONCE:
        try:
            _HASHER.verify(password_hash, normal or "")
        except (InvalidHashError, VerificationError):
            return False
    return normal is not None


def is_outdated(password_hash: str) -> bool:
    """Whether the hash was made with other parameters than new ones are."""
    return _HASHER.check_needs_rehash(password_hash)


def is_hash(text: str) -> bool:
    """Whether a text is a hash that passwords can be held against."""
    try:
        _HASHER.check_needs_rehash(text)
    except InvalidHashError:
        return False
    return text.startswith("$argon2id$")


def random_password() -> str:
    """A new password of 80 bits that can be read aloud, such as ``k7mp-4xqz-a9dh-w3ne``."""
    groups = ["".join(secrets.choice(_READABLE) for _ in range(_GROUP_CHARACTERS)) for _ in range(_GROUPS)]
    return "-".join(groups)


def _normalised(password: str) -> str | None:
    """In Unicode NFC, as keyboards differ in how they send an accent; None for what can't be a password."""
    if len(password) > MAX_BYTES:  # normalising a long run of combining marks takes quadratic time
        return None
    normal = unicodedata.normalize("NFC", password)
    try:
        return normal if len(normal.encode()) <= MAX_BYTES else None
    except UnicodeEncodeError:  # half a surrogate pair
        return None
