"""Inbox folders watched for files that may be photographs."""

import logging
import os
import queue
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import structlog
from watchdog.events import FileSystemEvent, FileSystemEventHandler
from watchdog.observers import Observer
from watchdog.observers.api import BaseObserver, ObservedWatch
from watchdog.observers.polling import PollingObserver

from ingest.claims import CLAIMS_FOLDER

if sys.platform == "linux":
    from watchdog.observers.inotify import InotifyEmitter
    from watchdog.observers.inotify_c import InotifyConstants, Mask

    class _InboxEmitter(InotifyEmitter):
        """Asks the kernel for what matters here, and not for names that leave.

        watchdog holds every event behind a "moved from" back for 0.5 s, to pair it with a "moved to"; each
        claim of ours is such a move.
        """

        def get_event_mask_from_filter(self) -> Mask:
            return Mask(
                InotifyConstants.IN_CLOSE_WRITE
                | InotifyConstants.IN_CREATE
                | InotifyConstants.IN_MOVED_TO
                | InotifyConstants.IN_DELETE_SELF
            )


log = structlog.get_logger()

# What programs call a file that they have not finished, and what they lay beside a picture.
_UNFINISHED = (
    ".part",
    ".partial",
    ".tmp",
    ".temp",
    ".crdownload",
    ".download",
    ".filepart",
    ".swp",
    ".swx",
    "~",
)
_SIDECARS = (".xmp", ".thm", ".aae")


def is_candidate(name: str) -> bool:
    """Whether a file of this name may be a photograph: not a dotfile, not unfinished, not a sidecar."""
    return not name.startswith(".") and not name.lower().endswith(_UNFINISHED + _SIDECARS)


@dataclass(frozen=True, slots=True)
class Sighting:
    """A path that may hold a photograph. `closed`: its writer has just closed it."""

    inbox: Path
    path: Path
    closed: bool = False


class Watch:
    """Watches inboxes and puts sightings into a queue; `scan` finds what no event told of."""

    def __init__(self, inboxes: tuple[Path, ...], *, recursive: bool, polling: bool) -> None:
        self.sightings: queue.SimpleQueue[Sighting] = queue.SimpleQueue()
        self.overflows = 0
        self._inboxes = inboxes
        self._recursive = recursive
        self._observer = _observer(polling)
        self._passed_over: set[str] = set()
        self._watched: dict[Path, tuple[ObservedWatch, int]] = {}
        self._removed: set[Path] = set()
        self._overflow_handler = _OverflowHandler(self)

    def start(self) -> None:
        """Begin to watch. An inbox that can't be watched yet is tried again at each `scan`."""
        logging.getLogger("watchdog.observers").addHandler(self._overflow_handler)
        self._observer.start()
        for inbox in self._inboxes:
            self._ensure_watched(inbox)

    def stop(self) -> None:
        """Stop watching."""
        logging.getLogger("watchdog.observers").removeHandler(self._overflow_handler)
        self._observer.stop()
        self._observer.join(timeout=5)

    def scan(self) -> int:
        """Put every candidate now in the inboxes into the queue; how many."""
        found = 0
        for inbox in self._inboxes:
            self._ensure_watched(inbox)
            try:
                for path in find_candidates(inbox, self._recursive):
                    self.sightings.put(Sighting(inbox, path))
                    found += 1
                if not self._recursive:
                    self._say_passed_over(inbox)
            except OSError as error:
                log.warning("inbox can't be read, trying again", inbox=str(inbox), error=error.strerror)
        return found

    def _say_passed_over(self, inbox: Path) -> None:
        """Say once of each folder in an inbox that nothing looks into it."""
        with os.scandir(inbox) as entries:
            folders = {entry.path for entry in entries if entry.is_dir() and is_candidate(entry.name)}
        for folder in sorted(folders - self._passed_over):
            log.warning("a folder in the inbox is not looked into; set ALMENARA_RECURSIVE=yes", folder=folder)
        self._passed_over = folders

    def overflowed(self) -> None:
        """The system dropped events: look for what they would have told."""
        self.overflows += 1

    def removed(self, inbox: Path) -> None:
        """An inbox was removed, and nobody watches what is there now. From any thread."""
        self._removed.add(inbox)

    def _ensure_watched(self, inbox: Path) -> None:
        """Watch an inbox, anew if the folder was replaced."""
        try:
            inode = inbox.stat().st_ino
        except OSError:
            inode = 0
        watch, watched_inode = self._watched.get(inbox, (None, 0))
        # One that is removed and made anew at once often has the number of the one before.
        if inode == watched_inode and watch is not None and inbox not in self._removed:
            return
        self._removed.discard(inbox)
        if watch is not None:
            self._observer.unschedule(watch)
            del self._watched[inbox]
        if not inode:
            return
        try:
            watch = self._observer.schedule(_Handler(self, inbox), str(inbox), recursive=self._recursive)
        except OSError as error:
            log.warning("inbox can't be watched, scanning it instead", inbox=str(inbox), error=str(error))
            return
        self._watched[inbox] = (watch, inode)


class _Handler(FileSystemEventHandler):
    """Turns events into sightings. An exception would end watchdog's thread, so nothing here can raise."""

    def __init__(self, watch: Watch, inbox: Path) -> None:
        self._watch = watch
        self._inbox = inbox

    def on_closed(self, event: FileSystemEvent) -> None:
        self._saw(event.src_path, closed=True)

    def on_created(self, event: FileSystemEvent) -> None:
        if not event.is_directory:
            self._saw(event.src_path)

    def on_modified(self, event: FileSystemEvent) -> None:
        # Only the polling observer sends these here; it has no "closed".
        if not event.is_directory:
            self._saw(event.src_path)

    def on_moved(self, event: FileSystemEvent) -> None:
        if not event.is_directory:
            self._saw(event.dest_path)

    def on_deleted(self, event: FileSystemEvent) -> None:
        if Path(os.fsdecode(event.src_path)) == self._inbox:
            self._watch.removed(self._inbox)

    def _saw(self, path: bytes | str, *, closed: bool = False) -> None:
        found = Path(os.fsdecode(path))
        if is_candidate(found.name) and CLAIMS_FOLDER not in found.parts:
            self._watch.sightings.put(Sighting(self._inbox, found, closed))


class _OverflowHandler(logging.Handler):
    """watchdog says in its log, and nowhere else, that the kernel dropped events."""

    def __init__(self, watch: Watch) -> None:
        super().__init__(level=logging.WARNING)
        self._watch = watch

    def emit(self, record: logging.LogRecord) -> None:
        if "overflow" in record.getMessage().lower():
            self._watch.overflowed()


def _observer(polling: bool) -> BaseObserver:
    if polling:
        return PollingObserver(timeout=1)
    if sys.platform == "linux":
        return BaseObserver(_InboxEmitter)
    else:
        return Observer()


def find_candidates(inbox: Path, recursive: bool) -> Iterator[Path]:
    """Every path in an inbox that may be a photograph; links to folders are not followed."""
    with os.scandir(inbox) as entries:
        for entry in entries:
            if not is_candidate(entry.name):
                continue
            if entry.is_dir(follow_symlinks=False):
                if recursive:
                    yield from find_candidates(Path(entry.path), recursive)
            else:
                yield Path(entry.path)
