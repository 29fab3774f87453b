import contextlib
import logging
import os
import queue
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from conftest import wait_until
from watchdog.observers.inotify_move_event_grouper import InotifyMoveEventGrouper

from ingest.claims import CLAIMS_FOLDER, Claims
from ingest.watching import Sighting, Watch, find_candidates, is_candidate

# watchdog warns where a new folder's own event comes after it was found by looking; it is watched once.
pytestmark = pytest.mark.filterwarnings("ignore:Callback with id:RuntimeWarning")

NAME = "33.8568, 151.2153.jpeg"

# Watches an inbox, says when it is ready, and then when the system has dropped events.
WATCHER = """
import sys, threading
from pathlib import Path
from ingest.watching import Watch
watch = Watch((Path(sys.argv[1]),), recursive=False, polling=False)
watch.start()
print("ready", flush=True)
while not watch.overflows:  # the test's own patience has an end
    threading.Event().wait(0.01)
print("overflow", flush=True)
watch.stop()
"""
MAX_QUEUED = Path("/proc/sys/fs/inotify/max_queued_events")

on_linux = pytest.mark.skipif(sys.platform != "linux", reason="inotify is Linux's")


@pytest.fixture
def inbox(tmp_path: Path) -> Path:
    folder = tmp_path / "inbox"
    folder.mkdir()
    return folder


Start = Callable[..., Watch]


@pytest.fixture
def start(inbox: Path) -> Iterator[Start]:
    """Start to watch the inbox."""
    watches = []

    def begin(*, recursive: bool = False, polling: bool = False) -> Watch:
        watch = Watch((inbox,), recursive=recursive, polling=polling)
        watches.append(watch)
        watch.start()
        return watch

    yield begin
    for watch in watches:
        watch.stop()


def until(watch: Watch, path: Path, *, closed: bool | None = None, within_s: float = 30.0) -> list[Sighting]:
    """Sightings up to the first of a path (as closed or not, if it matters); fails where it does not come."""
    seen: list[Sighting] = []
    deadline_s = time.monotonic() + within_s
    while True:
        try:
            seen.append(watch.sightings.get(timeout=max(0.001, deadline_s - time.monotonic())))
        except queue.Empty:
            raise AssertionError(f"{path} was not seen within {within_s:g} s, but {seen}") from None
        if seen[-1].path == path and closed in (None, seen[-1].closed):
            return seen


def test_a_copied_file_is_seen_when_it_is_closed(inbox: Path, tmp_path: Path, start: Start) -> None:
    """`cp` writes for a while: the sighting that counts says that the file was closed."""
    watch = start()
    (tmp_path / "source.jpeg").write_bytes(b"p" * 300_000)
    subprocess.run(["cp", str(tmp_path / "source.jpeg"), str(inbox / NAME)], check=True)
    assert until(watch, inbox / NAME, closed=True)[-1].inbox == inbox
    assert (inbox / NAME).stat().st_size == 300_000


def test_a_file_moved_in_is_seen(inbox: Path, tmp_path: Path, start: Start) -> None:
    """`mv` from outside, as careful senders do, is seen under the new name."""
    watch = start()
    (tmp_path / "aside").write_bytes(b"picture")
    (tmp_path / "aside").rename(inbox / NAME)
    until(watch, inbox / NAME)


def test_a_file_renamed_in_place_is_seen(inbox: Path, start: Start) -> None:
    """A file uploaded under a temporary name is seen when it gets its own, and not before."""
    watch = start()
    (inbox / f".{NAME}.part").write_bytes(b"picture")
    (inbox / f".{NAME}.part").rename(inbox / NAME)
    assert {sighting.path for sighting in until(watch, inbox / NAME)} == {inbox / NAME}


@on_linux
def test_a_slow_writer_is_not_called_done(inbox: Path, start: Start) -> None:
    """While a file is being written there is no sighting of its close, then there is one."""
    watch = start()
    with (inbox / NAME).open("wb", buffering=0) as file:
        until(watch, inbox / NAME)
        file.write(b"first half")
        (inbox / "marker.jpeg").write_bytes(b"")
        during = until(watch, inbox / "marker.jpeg", closed=True)
        file.write(b"second half")
    assert Sighting(inbox, inbox / NAME, closed=True) not in during
    until(watch, inbox / NAME, closed=True)


def test_subfolders_are_left_alone(inbox: Path, start: Start) -> None:
    """Unless asked for, what lies in a subfolder of the inbox is not ours."""
    (inbox / "north").mkdir()
    watch = start()
    (inbox / "north" / NAME).write_bytes(b"picture")
    (inbox / "marker.jpeg").write_bytes(b"")
    assert inbox / "north" / NAME not in {each.path for each in until(watch, inbox / "marker.jpeg")}
    assert list(find_candidates(inbox, recursive=False)) == [inbox / "marker.jpeg"]


def test_subfolders_are_watched_on_request(inbox: Path, start: Start) -> None:
    """Folders that are there and folders that come later, and what is in them, are seen."""
    (inbox / "north").mkdir()
    watch = start(recursive=True)
    (inbox / "north" / NAME).write_bytes(b"picture")
    until(watch, inbox / "north" / NAME, closed=True)
    (inbox / "south" / "gate").mkdir(parents=True)
    wait_until(
        lambda: touched(watch, inbox / "south" / "gate" / NAME), within_s=30, what="a new folder is watched"
    )


def touched(watch: Watch, path: Path) -> bool:
    """Write a file, and see whether that was seen: a folder made just now is watched a moment later."""
    path.write_bytes(b"picture")
    try:
        return watch.sightings.get(timeout=0.1).path == path
    except queue.Empty:
        return False


def test_our_own_claims_are_not_seen(inbox: Path, start: Start) -> None:
    """Files that are claimed stay below the inbox, and are not taken for new ones."""
    watch = start(recursive=True)
    claims = Claims(inbox, "this")
    (inbox / NAME).write_bytes(b"picture")
    assert claims.take(inbox / NAME)
    (inbox / "marker.jpeg").write_bytes(b"")
    seen = {each.path for each in until(watch, inbox / "marker.jpeg", closed=True)}
    assert {path for path in seen if CLAIMS_FOLDER in path.parts} == set()
    assert list(find_candidates(inbox, recursive=True)) == [inbox / "marker.jpeg"]
    claims.close()


@pytest.mark.parametrize(
    "name",
    [".hidden.jpeg", "a.jpeg.part", "a.JPEG.PART", "a.tmp", "a.crdownload", "a.filepart", "a.jpeg~", "a.xmp"],
)
def test_unfinished_names_are_ignored(name: str, inbox: Path, start: Start) -> None:
    """What programs call a file that they still write, or lay beside one, is neither seen nor found."""
    watch = start()
    (inbox / name).write_bytes(b"picture")
    (inbox / "marker.jpeg").write_bytes(b"")
    assert {sighting.path.name for sighting in until(watch, inbox / "marker.jpeg")} == {"marker.jpeg"}
    assert list(find_candidates(inbox, recursive=False)) == [inbox / "marker.jpeg"]


@pytest.mark.parametrize(
    "name", [NAME, "partial.jpeg", "tmp.png", "no extension", "caf\udce9.jpg", "a~b.jpg"]
)
def test_other_names_may_be_photographs(name: str) -> None:
    """The name alone rejects nothing else: a bad picture must be rejected with its reason."""
    assert is_candidate(name)


def test_linked_folders_are_not_entered(inbox: Path, tmp_path: Path) -> None:
    """A link to a folder is found as itself, to be rejected; what it leads to is not searched."""
    (tmp_path / "private").mkdir()
    (tmp_path / "private" / NAME).write_bytes(b"picture")
    (inbox / "link").symlink_to(tmp_path / "private")
    assert list(find_candidates(inbox, recursive=True)) == [inbox / "link"]


@on_linux
def test_claims_do_not_delay_what_comes_next(
    inbox: Path, start: Start, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A file renamed away holds up no later event: watchdog would wait half a second for its other half."""
    # A minute in place of half a second: told apart from a busy machine's delays.
    monkeypatch.setattr(InotifyMoveEventGrouper, "delay", 60.0)
    watch = start()
    claims = Claims(inbox, "this")
    before, after = inbox / "0.jpeg", inbox / "1.jpeg"
    before.write_bytes(b"picture")
    until(watch, before, closed=True)
    assert claims.take(before)
    after.write_bytes(b"picture")
    until(watch, after, closed=True)
    claims.close()


@on_linux
def test_dropped_events_are_noticed(inbox: Path) -> None:
    """A flood that is more than the kernel keeps for us is counted, so that the inbox is searched."""
    process = subprocess.Popen([sys.executable, "-c", WATCHER, str(inbox)], stdout=subprocess.PIPE)
    try:
        assert process.stdout is not None
        assert process.stdout.readline() == b"ready\n"
        process.send_signal(signal.SIGSTOP)
        os.waitpid(process.pid, os.WUNTRACED)  # from here on it reads nothing
        for number in range(int(MAX_QUEUED.read_text()) + 2000):
            os.close(os.open(inbox / f"{number % 2}.jpeg", os.O_WRONLY | os.O_CREAT))
        process.send_signal(signal.SIGCONT)
        assert process.communicate(timeout=60)[0] == b"overflow\n"
    finally:
        process.kill()
        process.communicate()


def test_other_warnings_of_the_notifier_are_no_overflow(start: Start) -> None:
    """Only dropped events make us search; nothing is counted once the watch has ended."""
    watch = start()
    logging.getLogger("watchdog.observers.inotify_c").warning("something else")
    assert watch.overflows == 0
    watch.stop()
    logging.getLogger("watchdog.observers.inotify_c").warning("Inotify queue overflowed")
    assert watch.overflows == 0


def test_a_folder_without_events_can_be_polled(inbox: Path, start: Start) -> None:
    """On a network file system the inbox is looked through every second: new files and changes are seen."""
    watch = start(polling=True)
    (inbox / NAME).write_bytes(b"picture")
    until(watch, inbox / NAME)
    (inbox / NAME).write_bytes(b"a longer picture")
    until(watch, inbox / NAME)


def test_a_scan_finds_what_no_event_told(inbox: Path, start: Start) -> None:
    """What landed while nothing watched is found."""
    (inbox / NAME).write_bytes(b"picture")
    watch = start()
    assert watch.scan() == 1
    until(watch, inbox / NAME)


def test_an_inbox_that_comes_later_is_watched(inbox: Path, start: Start) -> None:
    """A folder that is not mounted yet is no failure; once a scan has found it, its events count."""
    inbox.rmdir()
    watch = start()
    assert watch.scan() == 0
    inbox.mkdir()
    watch.scan()
    (inbox / NAME).write_bytes(b"picture")
    until(watch, inbox / NAME, closed=True)


@on_linux
def test_an_inbox_that_was_removed_and_made_anew_is_watched_anew(inbox: Path, start: Start) -> None:
    """Many file systems give the new folder the number of the old one: that tells nobody."""
    watch = start()
    inbox.rmdir()
    inbox.mkdir()

    def seen_closed() -> bool:
        watch.scan()
        (inbox / NAME).write_bytes(b"picture")
        with contextlib.suppress(queue.Empty):
            while True:
                if watch.sightings.get(timeout=0.1).closed:
                    return True
        return False

    wait_until(seen_closed, within_s=30, what="a close is told, which no scan can")


def test_an_inbox_that_was_replaced_is_watched_anew(inbox: Path, tmp_path: Path, start: Start) -> None:
    """A folder moved away and made again has the same name and is another one."""
    watch = start()
    inbox.rename(tmp_path / "old")
    inbox.mkdir()
    watch.scan()
    (inbox / NAME).write_bytes(b"picture")
    until(watch, inbox / NAME, closed=True)
