"""Files that survive a power cut: written aside, flushed, named, and the names flushed."""

import contextlib
import ctypes
import errno
import os
import sys
import threading
import uuid
from collections.abc import Collection
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

FEW = 8
"""More are flushed by one call for the whole file system: a lone file does not wait for what others write."""

_FLUSHERS = 8  # file systems let flushes that wait at one time share one command to the disk

# ext2 to 4, XFS, btrfs. Elsewhere syncfs may be less than the sum of its fsyncs: FUSE does not pass it on.
_SYNCFS_SOUND = frozenset({0xEF53, 0x58465342, 0x9123683E})
_SYNCFS_SINCE = (5, 17)  # before, Linux did not say when the journal had failed


class Aside:
    """Files written beside their final names, which all get them together in `commit`.

    A flush costs the disk about the same for one file as for hundreds. Whatever happens at whatever instant,
    a final name has its whole file or the one that it had before. `write` may be called from several threads.
    """

    def __init__(self, root: Path) -> None:
        """Collect files that are all on the file system of `root`."""
        self._root = root
        self._temporaries: dict[Path, Path] = {}
        self._folders: set[Path] = set()
        self._devices: set[int] = set()
        self._descriptor: int | None = None
        self._lock = threading.Lock()

    def write(self, path: Path, data: bytes) -> None:
        """Write a file, durable and there after `commit`. Of several under one name the first counts.

        Raises:
            OSError: it could not be written; nothing is left of it.
        """
        if path in self._temporaries:
            return
        with self._lock:
            if self._descriptor is None:
                # Before the first byte: syncfs tells of what failed since its descriptor was opened.
                self._descriptor = os.open(self._root, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
        self.note(path)
        temporary = _write_temporary(path, data, durably=False)
        with self._lock:
            kept = self._temporaries.setdefault(path, temporary) is temporary
        if not kept:
            temporary.unlink()

    def note(self, path: Path) -> None:
        """Make the name of a file that is there, or will be, durable in `commit` too."""
        folder = path.parent
        if folder in self._folders:
            return
        make_last_folder(folder)
        devices = {each.stat().st_dev for each in (folder, folder.parent)}
        with self._lock:
            self._devices |= devices
            # And the folder's own name: whoever made it may have died before that was durable.
            self._folders |= {folder, folder.parent}

    def commit(self) -> None:
        """Flush every file, then give each its name, then flush the names.

        Raises:
            OSError: at least one is not durable. What has no name yet is gone: write it again.
        """
        try:
            self._flush(self._temporaries.values())
            while self._temporaries:
                path, temporary = next(iter(self._temporaries.items()))
                temporary.replace(path)
                del self._temporaries[path]
            self._flush(self._folders)
        finally:
            self.discard()

    def discard(self) -> None:
        """Remove what has no name yet; the end of this collection, as `commit` is."""
        for temporary in self._temporaries.values():
            with contextlib.suppress(OSError):  # what stays is no picture, and is cleared away some day
                temporary.unlink()
        self._temporaries.clear()
        if self._descriptor is not None:
            os.close(self._descriptor)
            self._descriptor = None

    def _flush(self, paths: Collection[Path]) -> None:
        descriptor = self._descriptor
        if (
            len(paths) > FEW
            and descriptor is not None
            and self._devices == {os.fstat(descriptor).st_dev}  # a folder may be a disk of its own
            and _flush_all(descriptor)
        ):
            return
        with ThreadPoolExecutor(_FLUSHERS) as pool:
            list(pool.map(sync_path, paths))


def write_durably(path: Path, data: bytes) -> None:
    """Write one file and give it its name, which `sync_path` of its folder makes durable.

    Raises:
        OSError: it could not be written; nothing is left of it.
    """
    temporary = _write_temporary(path, data, durably=True)
    try:
        temporary.replace(path)
    except OSError:
        temporary.unlink(missing_ok=True)
        raise


def make_last_folder(folder: Path) -> bool:
    """Make a folder where it is missing; whether it was.

    Only the last of its path: where a mount has gone, writing below its empty mount point is losing.
    """
    if folder.is_dir():
        return False
    folder.mkdir(exist_ok=True)
    return True


def make_folders_durably(folder: Path) -> None:
    """Make a folder, and those above it, where they are missing."""
    if folder.is_dir():
        return
    folder.mkdir(parents=True, exist_ok=True)
    sync_path(folder.parent)


def sync_path(path: Path) -> None:
    """Make a file's bytes, or the names in a folder, durable."""
    descriptor = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def _write_temporary(path: Path, data: bytes, *, durably: bool) -> Path:
    temporary = path.with_name(f".{path.name}.{uuid.uuid4().hex[:8]}.tmp")
    try:
        with temporary.open("xb") as file:
            file.write(data)
            if durably:
                file.flush()
                os.fsync(file.fileno())
    except OSError:
        temporary.unlink(missing_ok=True)
        raise
    return temporary


def _flush_all(descriptor: int) -> bool:
    """Flush the whole file system of a folder; False where that may be less than the fsync of each file.

    Raises:
        OSError: something on it could not be written.
    """
    if sys.platform != "linux" or _kernel() < _SYNCFS_SINCE:
        return False
    libc = ctypes.CDLL(None, use_errno=True)  # Python has no name for these two calls
    about = (ctypes.c_long * 64)()  # struct statfs is shorter, and begins with the kind
    if libc.fstatfs(descriptor, about) or about[0] & 0xFFFFFFFF not in _SYNCFS_SOUND:
        return False
    if libc.syncfs(descriptor):
        error = ctypes.get_errno()
        raise OSError(error, os.strerror(error))
    # syncfs passes over a file system that has turned read-only or was shut down; these tell of it.
    os.fsync(descriptor)
    if os.fstatvfs(descriptor).f_flag & os.ST_RDONLY:
        raise OSError(errno.EROFS, os.strerror(errno.EROFS))
    return True


def _kernel() -> tuple[int, ...]:
    return tuple(int(part) for part in os.uname().release.split(".")[:2] if part.isdecimal())
