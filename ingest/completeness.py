"""Whether a file is whole, or somebody is still writing it."""

import errno
import fcntl
import os
import signal
import stat
import sys
import time
from enum import Enum
from pathlib import Path

from ingest.pictures import looks_complete

EMPTY_FOR_S = 60.0
"""An empty file may be a name that a slow camera reserves; after this long it is just empty."""


class Readiness(Enum):
    """What a look at a path says."""

    READY = "ready"
    """Whole as far as can be told from outside: take it."""
    WAIT = "wait"
    """Being written, or not yet known to be whole: look again."""
    GONE = "gone"
    """There is nothing (any more) to take."""
    NOT_A_FILE = "not_a_file"
    """A link, device, pipe or socket: never a photograph."""


def has_writer(descriptor: int) -> bool | None:
    """Whether any process has this file open for writing; None where the system can't tell.

    Linux grants a read lease only on a file that nobody has open for writing (fcntl(2), F_SETLEASE). It is
    given back at once. A writer that comes in between waits that long, and the signal that tells us of it is
    set to one that is ignored by default.
    """
    if sys.platform != "linux":
        return None
    try:
        fcntl.fcntl(descriptor, fcntl.F_SETSIG, signal.SIGURG)
        fcntl.fcntl(descriptor, fcntl.F_SETLEASE, fcntl.F_RDLCK)
    except OSError as error:
        return True if error.errno == errno.EAGAIN else None
    fcntl.fcntl(descriptor, fcntl.F_SETLEASE, fcntl.F_UNLCK)
    return False


class Looks:
    """Repeated looks at paths, remembering when each last changed."""

    def __init__(self, settle_s: float) -> None:
        self._settle_s = settle_s
        self._seen: dict[Path, tuple[tuple[int, int, int], float]] = {}

    def forget(self, path: Path) -> None:
        """Stop remembering a path that was taken or is gone."""
        self._seen.pop(path, None)

    def look(self, path: Path, *, closed: bool) -> Readiness:
        """Look at a path once.

        Args:
            path: in an inbox; never followed where it is a link.
            closed: the notifier has just said that a writer closed it.
        """
        try:
            about = path.lstat()
            if not stat.S_ISREG(about.st_mode):
                return Readiness.NOT_A_FILE
            descriptor = os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC)
        except OSError as error:
            if error.errno in {errno.ENOENT, errno.ENOTDIR}:
                return Readiness.GONE
            if error.errno == errno.ELOOP:
                return Readiness.NOT_A_FILE
            return self._settled(
                path, about, self._settle_s
            )  # not readable: taken and rejected with that reason
        try:
            return self._look_inside(path, descriptor, closed)
        except OSError:  # a failing disk: the same as a file that can't be opened
            return self._settled(path, about, self._settle_s)
        finally:
            os.close(descriptor)

    def _look_inside(self, path: Path, descriptor: int, closed: bool) -> Readiness:
        about = os.fstat(descriptor)
        if about.st_size == 0:
            return self._settled(path, about, EMPTY_FOR_S)
        writer = has_writer(descriptor)
        if writer:
            return Readiness.WAIT
        head = os.pread(descriptor, 32, 0)
        tail = os.pread(descriptor, 64, max(0, about.st_size - 64))
        known_closed = closed or writer is False

        def read(at: int, count: int) -> bytes:
            return os.pread(descriptor, count, at)

        if known_closed and looks_complete(head, tail, about.st_size, read):
            return Readiness.READY
        # Nobody has it open but its end is missing (a writer that re-opens?), or the system can't tell.
        return self._settled(path, about, self._settle_s)

    def _settled(self, path: Path, about: os.stat_result, for_s: float) -> Readiness:
        # The inode too: a camera may replace a file by another of the same size and time.
        state = (about.st_ino, about.st_size, about.st_mtime_ns)
        now_s = time.monotonic()
        previous = self._seen.get(path)
        if previous is None or previous[0] != state:
            self._seen[path] = (state, now_s)
            return Readiness.WAIT
        return Readiness.READY if now_s - previous[1] >= for_s else Readiness.WAIT
