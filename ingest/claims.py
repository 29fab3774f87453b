"""Claims: files taken out of the inbox by an atomic rename, and kept until the broker has them.

``INBOX/.almenara/<instance>/<claim>/<original name>``: the rename that takes the file also keeps its name, so
no crash can part the two. ``<instance>.lock`` beside the folder is locked while the instance lives; another
instance that gets the lock adopts what is in the folder.
"""

import fcntl
import os
import time
import uuid
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

import structlog

log = structlog.get_logger()

CLAIMS_FOLDER = ".almenara"


@dataclass(frozen=True, slots=True)
class Claim:
    """One file in our hands.

    Attributes:
        claim_id: unique; tells the broker a repeat of this very file from a second file like it.
        path: where the file is now.
        inbox: the inbox that it came into.
        subfolder: the folder inside the inbox that it was in, or an empty string.
        claimed_at_s: monotonic.
    """

    claim_id: str
    path: Path
    inbox: Path
    subfolder: str = ""
    claimed_at_s: float = field(default_factory=time.monotonic, compare=False)

    @property
    def name(self) -> str:
        """The file's name as it came."""
        return self.path.name


class Claims:
    """The claims of one instance on one inbox."""

    def __init__(self, inbox: Path, instance: str) -> None:
        """Make the instance's folder and take its lock.

        Raises:
            OSError: the inbox is not writable.
        """
        self.inbox = inbox
        self._root = inbox / CLAIMS_FOLDER
        self._folder = self._root / instance
        self._root.mkdir(exist_ok=True)
        self._lock_path = self._root / f"{instance}.lock"
        # The lock before the folder: a folder without a held lock is anybody's.
        self._lock = _locked(self._lock_path)
        if self._lock is None:
            raise FileExistsError(f"another ingester is called {instance}")
        self._folder.mkdir(exist_ok=True)

    def take(self, path: Path) -> Claim | None:
        """Claim a file; None where somebody else was faster.

        Raises:
            OSError: it is there and can't be renamed.
        """
        claim_id = uuid.uuid4().hex
        folder = self._folder / claim_id
        subfolder = ""
        try:
            folder.mkdir()
        except FileNotFoundError:  # a person emptied or replaced the inbox
            self._root.mkdir(exist_ok=True)
            if not self._lock_path.exists():
                self._lock_again()
            folder.mkdir(parents=True)
        if path.parent != self.inbox:
            subfolder = path.parent.relative_to(self.inbox).as_posix()
            folder /= subfolder
            folder.mkdir(parents=True)
        target = folder / path.name
        try:
            path.rename(target)
        except OSError as error:
            _remove_folders(folder, self._folder)
            if isinstance(error, FileNotFoundError | NotADirectoryError):
                return None
            raise
        return Claim(claim_id, target, self.inbox, subfolder)

    def release(self, claim: Claim) -> None:
        """The broker has it: forget the claim and its file."""
        claim.path.unlink(missing_ok=True)
        _remove_folders(claim.path.parent, self._folder)

    def held(self) -> int:
        """How many claims this instance has; 0 where the inbox was moved away from under it."""
        try:
            return sum(1 for entry in os.scandir(self._folder) if entry.is_dir())
        except OSError:
            return 0

    def adopt(self) -> list[Claim]:
        """Take over the claims of instances that are dead."""
        adopted = []
        for entry in sorted(self._root.iterdir()):
            if not entry.is_dir() or entry == self._folder:
                continue
            lock_path = self._root / f"{entry.name}.lock"
            lock = None
            try:
                lock = _locked(lock_path)
                if lock is None:
                    continue  # it lives
                if not entry.is_dir():
                    # It has just ended, or was adopted by another: the lock may be a new file, made by us.
                    lock_path.unlink(missing_ok=True)
                    continue
                for claim in self._adopt_from(entry):
                    adopted.append(claim)  # at once: it is in our folder now, whatever fails next
                lock_path.unlink(missing_ok=True)
            except OSError as error:
                log.warning("claims can't all be adopted, trying again", folder=str(entry), error=str(error))
            finally:
                if lock is not None:
                    os.close(lock)
        return adopted

    def close(self) -> None:
        """Give up the lock; what is still claimed is for the next instance to adopt."""
        if self._lock is None:
            return
        try:
            self._folder.rmdir()
            self._lock_path.unlink(missing_ok=True)
        except OSError:
            log.debug("claims are left for the next ingester", folder=str(self._folder))
        os.close(self._lock)
        self._lock = None

    def _lock_again(self) -> None:
        """The lock's file is gone, and what we hold is no lock for others any more."""
        if self._lock is not None:
            os.close(self._lock)
        self._lock = _locked(self._lock_path)

    def _adopt_from(self, folder: Path) -> Iterator[Claim]:
        for source in sorted(folder.iterdir()):
            if not source.is_dir():
                continue
            target = self._folder / source.name
            source.rename(target)
            files = [path for path in target.rglob("*") if path.is_symlink() or not path.is_dir()]
            if not files:  # died between making the folder and the rename
                for path in sorted(target.rglob("*"), reverse=True):
                    path.rmdir()
                target.rmdir()
                continue
            subfolder = files[0].parent.relative_to(target).as_posix()
            yield Claim(source.name, files[0], self.inbox, "" if subfolder == "." else subfolder)
        folder.rmdir()


def claimed_files(inbox: Path) -> list[Path]:
    """Every claimed file in an inbox, of every instance, dead or alive.

    Folders come and go meanwhile, which os.walk passes over and Path.glob does not.
    """
    root = inbox / CLAIMS_FOLDER
    return [
        Path(folder) / name for folder, _, names in os.walk(root) if Path(folder) != root for name in names
    ]


def _locked(path: Path) -> int | None:
    descriptor = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o644)
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError:
        os.close(descriptor)
        return None
    return descriptor


def _remove_folders(folder: Path, above: Path) -> None:
    """Remove empty folders from `folder` up to, and without, `above`."""
    while folder != above:
        try:
            folder.rmdir()
        except FileNotFoundError:
            pass  # a person was faster
        except OSError:
            return  # somebody has put something beside the file; it stays
        folder = folder.parent
