import os
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
from conftest import picture_bytes, wait_until

import ingest.completeness
from ingest.completeness import Looks, Readiness, has_writer

WHOLE = picture_bytes(1)
HALF = WHOLE[: len(WHOLE) // 2]
SETTLE_S = 0.2

# Writes everything it is given, and closes the file only when its input ends.
WRITER = """
import sys
with open(sys.argv[1], "wb", buffering=0) as file:
    file.write(sys.stdin.buffer.readline().strip() and bytes.fromhex(sys.argv[2]))
    print("written", flush=True)
    sys.stdin.buffer.read()
"""

on_linux = pytest.mark.skipif(sys.platform != "linux", reason="read leases are Linux's")


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "33.8568, 151.2153.jpeg"


@pytest.fixture
def writer(path: Path) -> Iterator["subprocess.Popen[bytes]"]:
    """A process that has written a whole picture and still holds the file open."""
    process = subprocess.Popen(
        [sys.executable, "-c", WRITER, str(path), WHOLE.hex()], stdin=subprocess.PIPE, stdout=subprocess.PIPE
    )
    assert process.stdin is not None
    assert process.stdout is not None
    process.stdin.write(b"go\n")
    process.stdin.flush()
    assert process.stdout.readline() == b"written\n"
    yield process
    process.kill()
    process.communicate()


def settled_after_s(path: Path, looks: Looks) -> float:
    """Look until the path is ready; how long it took."""
    began_s = time.monotonic()
    wait_until(
        lambda: looks.look(path, closed=False) is Readiness.READY, within_s=30, what="the file settles"
    )
    return time.monotonic() - began_s


def is_open_for_writing(path: Path) -> bool | None:
    """What the system says of a path."""
    descriptor = os.open(path, os.O_RDONLY)
    try:
        return has_writer(descriptor)
    finally:
        os.close(descriptor)


@on_linux
def test_a_file_open_for_writing_waits(path: Path, writer: "subprocess.Popen[bytes]") -> None:
    """However whole it looks and however long it rests, a file is not taken from under its writer."""
    looks = Looks(settle_s=1e-9)
    assert {looks.look(path, closed=False) for _ in range(5)} == {Readiness.WAIT}
    writer.communicate()  # its input ends, so it closes the file
    assert looks.look(path, closed=False) is Readiness.READY


@on_linux
def test_a_writer_elsewhere_is_seen(path: Path, writer: "subprocess.Popen[bytes]") -> None:
    """Another process's open file counts until it is closed."""
    assert is_open_for_writing(path) is True
    writer.communicate()
    assert is_open_for_writing(path) is False


@on_linux
def test_a_reader_is_no_writer(path: Path) -> None:
    """A backup that reads the inbox holds up nothing."""
    path.write_bytes(WHOLE)
    with path.open("rb"):
        assert is_open_for_writing(path) is False


@on_linux
def test_looking_does_not_hold_up_a_writer(path: Path) -> None:
    """The lease is given back at once: a writer that would have to wait for it is not made to."""
    path.write_bytes(WHOLE)
    descriptor = os.open(path, os.O_RDONLY)
    assert has_writer(descriptor) is False
    os.close(os.open(path, os.O_WRONLY | os.O_NONBLOCK))  # would be refused under a lease
    os.close(descriptor)


def test_a_file_moved_in_is_ready_at_once(path: Path, tmp_path: Path) -> None:
    """`mv` brings a whole file, and the first look takes it, without any settling."""
    (tmp_path / "aside").write_bytes(WHOLE)
    (tmp_path / "aside").rename(path)
    assert Looks(settle_s=3600).look(path, closed=False) is Readiness.READY


def test_a_file_just_closed_is_ready_at_once(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Where the system can't tell who writes, the notifier's word that a file was closed is enough."""
    monkeypatch.setattr(ingest.completeness, "has_writer", lambda _: None)
    path.write_bytes(WHOLE)
    looks = Looks(settle_s=3600)
    assert looks.look(path, closed=False) is Readiness.WAIT
    assert looks.look(path, closed=True) is Readiness.READY


def test_half_a_picture_settles_first(path: Path) -> None:
    """A file whose end is missing waits for a writer that may open it again, then goes to be examined."""
    path.write_bytes(HALF)
    assert settled_after_s(path, Looks(SETTLE_S)) >= SETTLE_S


def test_a_file_that_grows_settles_anew(path: Path) -> None:
    """Each change starts the wait again; the end of the picture ends it."""
    looks = Looks(SETTLE_S)
    for length in range(10, 60, 10):
        path.write_bytes(HALF[:length])
        assert looks.look(path, closed=True) is Readiness.WAIT
    path.write_bytes(WHOLE)
    assert looks.look(path, closed=True) is Readiness.READY


def test_a_file_replaced_by_its_like_settles_anew(path: Path, tmp_path: Path) -> None:
    """Another file of the same size and time is another file."""
    looks = Looks(SETTLE_S)
    path.write_bytes(HALF)
    looks.look(path, closed=False)
    wait_until(lambda: looks.look(path, closed=False) is Readiness.READY, within_s=30, what="it settles")
    other = tmp_path / "other"
    other.write_bytes(HALF)
    os.utime(other, ns=(path.stat().st_atime_ns, path.stat().st_mtime_ns))
    other.replace(path)
    assert looks.look(path, closed=False) is Readiness.WAIT


def test_an_empty_file_waits_longest(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A name that a slow camera reserves is left alone far longer than half a picture, but not for ever."""
    monkeypatch.setattr(ingest.completeness, "EMPTY_FOR_S", SETTLE_S)
    path.touch()
    assert settled_after_s(path, Looks(settle_s=1e-9)) >= SETTLE_S


def test_a_picture_still_reserved_waits(path: Path) -> None:
    """Zeros are room set aside, not a picture."""
    path.write_bytes(bytes(5000))
    assert Looks(settle_s=3600).look(path, closed=True) is Readiness.WAIT


def test_what_is_forgotten_is_looked_at_anew(path: Path) -> None:
    """A name used again by another file does not inherit the old one's rest."""
    looks = Looks(SETTLE_S)
    path.write_bytes(HALF)
    looks.look(path, closed=False)
    wait_until(lambda: looks.look(path, closed=False) is Readiness.READY, within_s=30, what="it settles")
    looks.forget(path)
    assert looks.look(path, closed=False) is Readiness.WAIT


def test_what_is_gone_is_gone(path: Path, tmp_path: Path) -> None:
    """A path that leads nowhere, through a missing folder or a file, is not waited for."""
    looks = Looks(SETTLE_S)
    (tmp_path / "file").touch()
    for gone in (path, tmp_path / "no" / "folder.jpeg", tmp_path / "file" / "in it.jpeg"):
        assert looks.look(gone, closed=False) is Readiness.GONE


def test_what_is_no_file_is_never_ready(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Links, pipes, sockets and folders are told apart at once; a pipe without a writer does not block us."""
    (tmp_path / "secret").write_bytes(WHOLE)
    (tmp_path / "link.jpeg").symlink_to(tmp_path / "secret")
    (tmp_path / "dangling.jpeg").symlink_to(tmp_path / "nowhere")
    os.mkfifo(tmp_path / "pipe.jpeg")
    (tmp_path / "folder.jpeg").mkdir()
    listener = socket.socket(socket.AF_UNIX)
    monkeypatch.chdir(tmp_path)
    listener.bind("socket.jpeg")  # a whole path may be too long
    found = {path.name: Looks(SETTLE_S).look(path, closed=True) for path in tmp_path.glob("*.jpeg")}
    listener.close()
    assert found == dict.fromkeys(
        ("link.jpeg", "dangling.jpeg", "pipe.jpeg", "folder.jpeg", "socket.jpeg"), Readiness.NOT_A_FILE
    )
