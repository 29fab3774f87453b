"""Sessions: who is logged in, as a signed cookie says and the users file still confirms."""

import contextlib
import hashlib
import hmac
import secrets
import time
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from itsdangerous import BadData, URLSafeSerializer

from console.users import User, Users
from console.web.secret import load_secret
from shared.durable import make_folders_durably, sync_path
from shared.settings import Settings

COOKIE = "almenara"
SESSION_S = 12 * 3600
"""A night's shift."""


@dataclass(frozen=True, slots=True)
class Session:
    """Somebody who has logged in.

    Attributes:
        user: as they stood when the request came.
        session_id: this login's own.
        ends_at_s: epoch seconds.
        csrf: what unsafe requests of this session bring along.
    """

    user: User
    session_id: str
    ends_at_s: float
    csrf: str


class Sessions:
    """Begins, recognises and ends sessions. Safe to use from several threads and processes.

    A cookie alone is not enough: the user must be in the file as they were at login, and the session must not
    have been ended.
    """

    def __init__(self, settings: Settings, users: Users) -> None:
        """Sessions of the users of a file.

        Raises:
            ConfigError: the secret can't be used.
        """
        secret = load_secret(settings.state_dir / "web.secret")
        self._users = users
        self._signer = URLSafeSerializer(
            secret, salt="almenara.session", signer_kwargs={"digest_method": hashlib.sha256}
        )
        self._csrf_key = hmac.digest(secret, b"almenara.csrf", "sha256")
        self._ended = _Ended(settings.state_dir / "web.ended")

    def begin(self, user: User) -> tuple[Session, str]:
        """A new session, and the cookie that says so."""
        session_id, ends_at_s = secrets.token_hex(16), time.time() + SESSION_S
        claim = {"user": user.name, "as": user.fingerprint, "id": session_id, "ends": ends_at_s}
        return Session(user, session_id, ends_at_s, self._csrf(session_id)), str(self._signer.dumps(claim))

    def find(self, cookie: str | None) -> Session | None:
        """The session of a cookie, or None: forged, too old, ended, or of a user who was changed."""
        claim = self._claim(cookie)
        if claim is None:
            return None
        user = self._users.find(claim["user"])
        if user is None or not hmac.compare_digest(user.fingerprint, claim["as"]):
            return None
        session = Session(user, claim["id"], claim["ends"], self._csrf(claim["id"]))
        return session if self._lasts(session) else None

    def stands(self, session: Session) -> bool:
        """Whether a session that was found is one still."""
        user = self._users.find(session.user.name)
        return user is not None and user.fingerprint == session.user.fingerprint and self._lasts(session)

    def end(self, session: Session) -> None:
        """End a session: its cookie, wherever a copy of it is, is worth nothing from now on."""
        self._ended.add(session)

    def _lasts(self, session: Session) -> bool:
        return time.time() < session.ends_at_s and session not in self._ended

    def _claim(self, cookie: str | None) -> Mapping[str, Any] | None:
        if not cookie:
            return None
        try:
            claim: Mapping[str, Any] = self._signer.loads(cookie)
        except BadData:
            return None
        return claim

    def _csrf(self, session_id: str) -> str:
        return hmac.digest(self._csrf_key, session_id.encode(), "sha256").hex()


class _Ended:
    """Sessions that were ended before their time: an empty file for each, which every process sees."""

    def __init__(self, folder: Path) -> None:
        make_folders_durably(folder)
        folder.chmod(0o700)
        self._folder = folder
        self._forget_old()

    def add(self, session: Session) -> None:
        self._path(session).touch(mode=0o600)
        sync_path(self._folder)

    def __contains__(self, session: Session) -> bool:
        return self._path(session).exists()

    def _path(self, session: Session) -> Path:
        # A digest: whoever lists the folder learns nothing of a session.
        return self._folder / hashlib.sha256(session.session_id.encode()).hexdigest()[:32]

    def _forget_old(self) -> None:
        for path in self._folder.iterdir():
            with contextlib.suppress(FileNotFoundError):  # another process forgets too
                if path.stat().st_mtime < time.time() - SESSION_S:
                    path.unlink()
