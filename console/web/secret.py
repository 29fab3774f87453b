"""The secret that session cookies are signed with: made once, kept in a file that only its owner can read."""

import contextlib
import os
import secrets
import stat
import uuid
from pathlib import Path

from shared.durable import make_folders_durably, sync_path
from shared.errors import ConfigError

_LENGTH_BYTES = 32


def load_secret(path: Path) -> bytes:
    """The secret in a file, which is made where it is missing; of several that make it at once one wins.

    Raises:
        ConfigError: the file can't be made or read, is damaged, or is open to others than its owner.
    """
    try:
        make_folders_durably(path.parent)
        if not path.exists():
            _make(path)
        about = path.stat()
        if about.st_mode & (stat.S_IRWXG | stat.S_IRWXO):
            raise ConfigError(
                f"others than its owner can read the session secret {path}",
                reason="secret_open",
                remedy="remove it, so that another one is made; everybody has to log in again",
            )
        secret = path.read_bytes()
    except OSError as error:
        raise ConfigError(
            f"the session secret {path} can't be used: {error.strerror}",
            remedy="let the web console's user read and write there, or set ALMENARA_STATE_DIR",
        ) from error
    if len(secret) < _LENGTH_BYTES:
        raise ConfigError(f"the session secret {path} is damaged", remedy="remove it; another one is made")
    return secret


def _make(path: Path) -> None:
    temporary = path.with_name(f".{path.name}.{uuid.uuid4().hex[:8]}.tmp")
    descriptor = os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600)
    try:
        with os.fdopen(descriptor, "wb") as file:
            file.write(secrets.token_bytes(_LENGTH_BYTES))
            file.flush()
            os.fsync(file.fileno())
        # A link, not a rename: it never replaces the secret of a process that was faster.
        with contextlib.suppress(FileExistsError):
            os.link(temporary, path)
        sync_path(path.parent)
    finally:
        temporary.unlink(missing_ok=True)
