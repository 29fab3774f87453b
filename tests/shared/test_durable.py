import errno
import os
import threading
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from shared import durable
from shared.durable import FEW, Aside


@pytest.fixture
def aside(tmp_path: Path) -> Iterator[Aside]:
    made = Aside(tmp_path)
    yield made
    made.discard()


@pytest.fixture(params=["at once", "one by one"])
def either_flush(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> str:
    """The flush of a whole file system where there is one, and that of each file."""
    if request.param == "one by one":
        monkeypatch.setattr(durable, "_kernel", lambda: (5, 7))
    return str(request.param)


def write(aside: Aside, root: Path, count: int) -> dict[Path, bytes]:
    """Put files aside, spread over folders; what there will be."""
    files = {root / f"{number % 3}" / f"{number}.jpeg": b"%d" % number * 1000 for number in range(count)}
    for path, data in files.items():
        aside.write(path, data)
    return files


def names(root: Path) -> set[Path]:
    """Every final name below a folder."""
    return {path for path in root.rglob("*") if path.is_file() and not path.name.startswith(".")}


def litter(root: Path) -> list[Path]:
    """What has no final name."""
    return list(root.rglob(".*.tmp"))


@pytest.mark.usefixtures("either_flush")
@pytest.mark.parametrize("count", [1, FEW, 5 * FEW])
def test_files_put_aside_get_their_names_together(aside: Aside, tmp_path: Path, count: int) -> None:
    """Before `commit` none is there, after it every one, whole."""
    files = write(aside, tmp_path, count)
    assert names(tmp_path) == set()
    aside.commit()
    assert {path: path.read_bytes() for path in names(tmp_path)} == files
    assert litter(tmp_path) == []


Flushes = list[tuple[set[Path], set[Path]]]


@pytest.fixture
def flushes(aside: Aside, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Flushes:
    """What each flush was asked for, and which final names there were at that moment."""
    seen: Flushes = []
    flush = aside._flush

    def spy(paths: set[Path]) -> None:
        seen.append((set(paths), names(tmp_path)))
        flush(paths)

    monkeypatch.setattr(aside, "_flush", spy)
    return seen


def test_bytes_are_durable_before_names_and_names_at_the_end(
    aside: Aside, tmp_path: Path, flushes: Flushes
) -> None:
    """The first flush is of every file, while none has its name; the last of every folder, when all have."""
    before = write(aside, tmp_path, 40)
    temporaries = set(litter(tmp_path))
    aside.commit()
    folders = {tmp_path, *(path.parent for path in before)}  # tmp_path has the names of the folders
    assert flushes == [(temporaries, set()), (folders, set(before))]


def synced(monkeypatch: pytest.MonkeyPatch, root: Path) -> set[int]:
    """Inodes of a folder, and below it, that fsync was asked for, from now on."""
    inodes: set[int] = set()
    fsync = os.fsync

    def spy(descriptor: int) -> None:
        if is_below(descriptor, root):  # other threads of this process sync what is theirs
            inodes.add(os.fstat(descriptor).st_ino)
        fsync(descriptor)

    monkeypatch.setattr(os, "fsync", spy)
    return inodes


@pytest.mark.parametrize("count", [1, 5 * FEW])
def test_without_a_flush_of_all_each_file_and_folder_is_synced(
    aside: Aside, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, count: int
) -> None:
    """Where the file system is none that is known to flush at once, no file and no name is left out."""
    monkeypatch.setattr(durable, "_SYNCFS_SOUND", frozenset())
    inodes = synced(monkeypatch, tmp_path)
    files = write(aside, tmp_path, count)
    aside.commit()
    expected = {path.stat().st_ino for each in files for path in (each, each.parent, each.parent.parent)}
    assert inodes == expected


def test_a_name_that_was_there_is_made_durable_too(
    aside: Aside, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Whoever wrote it may have died before its folder, or the folder's own name, was flushed."""
    (tmp_path / "0").mkdir()
    (tmp_path / "0" / "0.jpeg").write_bytes(b"there")
    inodes = synced(monkeypatch, tmp_path)
    aside.note(tmp_path / "0" / "0.jpeg")
    aside.commit()
    assert inodes == {(tmp_path / "0").stat().st_ino, tmp_path.stat().st_ino}


def test_a_commit_that_fails_leaves_nothing_half_done(
    aside: Aside, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A disk that can't flush gives no file its name; once it can, the same files are written anew."""

    def fail(_: object) -> None:
        raise OSError(5, "Input/output error")

    with monkeypatch.context() as broken:
        broken.setattr(aside, "_flush", fail)
        write(aside, tmp_path, 20)
        with pytest.raises(OSError, match="Input"):
            aside.commit()
    assert (names(tmp_path), litter(tmp_path)) == (set(), [])
    again = Aside(tmp_path)
    files = write(again, tmp_path, 20)
    again.commit()
    assert names(tmp_path) == set(files)


def test_a_folder_that_has_gone_fails_the_commit(aside: Aside, tmp_path: Path) -> None:
    """Files that can't get their names are never taken for durable."""
    write(aside, tmp_path, 3)
    (tmp_path / "1").rename(tmp_path / "elsewhere")
    with pytest.raises(OSError, match="No such file"):
        aside.commit()


def test_what_is_discarded_leaves_nothing(aside: Aside, tmp_path: Path) -> None:
    """A batch that is given up leaves no files and no open descriptor."""
    write(aside, tmp_path, 5)
    assert descriptors(tmp_path) != []
    aside.discard()
    assert (names(tmp_path), litter(tmp_path)) == (set(), [])
    assert descriptors(tmp_path) == []


def is_below(descriptor: int | str, root: Path) -> bool:
    """Whether an open descriptor is of a folder, or of something in it; one that was just closed is not."""
    try:
        return Path(f"/proc/self/fd/{descriptor}").readlink().is_relative_to(root)
    except OSError:
        return False


def descriptors(root: Path) -> list[str]:
    """Those of this process that are of a folder or of something in it."""
    return [each.name for each in Path("/proc/self/fd").iterdir() if is_below(each.name, root)]


def test_threads_may_write_one_name(aside: Aside, tmp_path: Path) -> None:
    """Two that put the same file aside at one moment leave one file, and no litter."""
    together = threading.Barrier(4)

    def run() -> None:
        together.wait()
        write(aside, tmp_path, 12)

    threads = [threading.Thread(target=run) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    aside.commit()
    assert len(names(tmp_path)) == 12
    assert litter(tmp_path) == []


def test_a_folder_is_made_only_in_one_that_is_there(aside: Aside, tmp_path: Path) -> None:
    """Below a mount point whose file system has gone nothing is written."""
    with pytest.raises(FileNotFoundError):
        aside.write(tmp_path / "gone" / "00" / "0.jpeg", b"picture")


@pytest.mark.parametrize("fault", [lambda root: root / "no" / "0.jpeg", lambda root: root / ("n" * 300)])
def test_a_write_that_fails_holds_up_no_other(
    aside: Aside, tmp_path: Path, fault: Callable[[Path], Path]
) -> None:
    """What could not be put aside is forgotten, and the others get their names."""
    (tmp_path / "no").write_bytes(b"")  # a file where a folder should be
    with pytest.raises(OSError, match=r"Not a directory|File exists|too long"):
        aside.write(fault(tmp_path), b"picture")
    (tmp_path / "no").unlink()
    files = write(aside, tmp_path, 3)
    aside.commit()
    assert names(tmp_path) == set(files)


def test_folders_on_a_disk_of_their_own_are_synced_one_by_one(
    aside: Aside, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The flush of one file system says nothing about another that is mounted below it."""
    files = write(aside, tmp_path, 4 * FEW)
    aside._devices.add(-1)
    inodes = synced(monkeypatch, tmp_path)
    aside.commit()
    assert {path.stat().st_ino for path in files} <= inodes


def test_a_file_system_that_turned_read_only_fails_the_commit(
    aside: Aside, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The flush of a whole one succeeds there and does nothing: that must not count as durable."""
    descriptor = os.open(tmp_path, os.O_RDONLY)
    whole = durable._flush_all(descriptor)
    os.close(descriptor)
    if not whole:
        pytest.skip("this file system is flushed file by file")
    write(aside, tmp_path, 4 * FEW)

    def read_only(_: int) -> os.statvfs_result:
        return os.statvfs_result((0,) * 8 + (os.ST_RDONLY, 255))

    monkeypatch.setattr(os, "fstatvfs", read_only)
    with pytest.raises(OSError) as raised:
        aside.commit()
    assert raised.value.errno == errno.EROFS
    assert names(tmp_path) == set()
