"""Signatures of what webhooks send, as Standard Webhooks has them: HMAC-SHA256 over id, time and body."""

import base64
import binascii
import os
import stat
from datetime import datetime
from pathlib import Path

import structlog
from standardwebhooks import Webhook as Signature

from shared.errors import ConfigError

log = structlog.get_logger()

_PREFIX = "whsec_"
_LEAST_BYTES, _MOST_BYTES = 24, 64
_MOST_SECRETS = 2
_FILE_BYTES = 4096
_REMEDY = "`umask 077; printf 'whsec_%s\\n' \"$(openssl rand -base64 32)\" > FILE` makes one"


class Signer:
    """Signs with the secrets of a file, which is read again whenever it changes.

    While a secret is changed the file has two, a line each, and both sign: the receiver may check either.
    """

    def __init__(self, path: Path) -> None:
        """Read the file.

        Raises:
            ConfigError: it can't be read, is open to others, or holds no secret; never with what is in it.
        """
        self._path = path
        self._signature = self._seen()
        self._keys = _keys(path)

    def headers(self, message_id: str, body: str, now: datetime) -> dict[str, str]:
        """Headers of one try: the same id each time, its own time and signatures."""
        self._renew()
        signed = " ".join(Signature(key).sign(message_id, now, body) for key in self._keys)
        return {
            "webhook-id": message_id,
            "webhook-timestamp": str(int(now.timestamp())),
            "webhook-signature": signed,
        }

    def _renew(self) -> None:
        seen = self._seen()
        if seen == self._signature:
            return
        self._signature = seen
        try:
            self._keys = _keys(self._path)
        except ConfigError as error:
            # Half of a change must not stop what goes out; it is read again once it changes again.
            log.error("the secret is refused, the one before stays", error=str(error))

    def _seen(self) -> tuple[int, ...]:
        try:
            about = self._path.stat()
        except OSError:
            return ()
        return about.st_mtime_ns, about.st_ctime_ns, about.st_size, about.st_ino


def _keys(path: Path) -> list[bytes]:
    try:
        with path.open("rb") as file:
            about = os.fstat(file.fileno())
            content = file.read(_FILE_BYTES)
    except OSError as error:
        raise ConfigError(f"the secret {path} can't be read: {error.strerror}", remedy=_REMEDY) from error
    if not stat.S_ISREG(about.st_mode) or about.st_mode & (stat.S_IRWXG | stat.S_IRWXO):
        raise ConfigError(
            f"the secret {path} is open to others than its owner ({stat.filemode(about.st_mode)})",
            reason="secret_open",
            remedy=f"`chmod 600 {path}`",
        )
    lines = [line.strip() for line in content.decode("latin-1").splitlines() if line.strip()]
    try:
        if not 1 <= len(lines) <= _MOST_SECRETS:
            raise ValueError
        return [_key(line) for line in lines]
    except ValueError:  # not `from` it: nothing of a secret is in a traceback
        raise ConfigError(
            f"{path} does not hold one or two secrets of {_LEAST_BYTES} to {_MOST_BYTES} bytes, a line each, "
            f"as {_PREFIX} and base64",
            reason="bad_secret",
            remedy=_REMEDY,
        ) from None


def _key(line: str) -> bytes:
    if not line.startswith(_PREFIX):
        raise ValueError
    try:
        key = base64.b64decode(line.removeprefix(_PREFIX), validate=True)
    except binascii.Error:
        raise ValueError from None
    if not _LEAST_BYTES <= len(key) <= _MOST_BYTES:
        raise ValueError
    return key
