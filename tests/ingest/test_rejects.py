import itertools
import json
import os
import shutil
import tempfile
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

import ingest.rejects
from ingest.rejects import Rejects, shown
from shared.errors import ConfigError, PermanentError

NAME = "street.jpg"
ERROR = PermanentError("the name 'street.jpg' holds no place", reason="no_coordinates", remedy="name it")


@pytest.fixture
def inbox(tmp_path: Path) -> Path:
    folder = tmp_path / "inbox"
    folder.mkdir()
    return folder


@pytest.fixture
def rejects(tmp_path: Path) -> Rejects:
    return Rejects(tmp_path / "state" / "rejected")


@pytest.fixture
def elsewhere(tmp_path: Path) -> Iterator[Path]:
    """A folder on another file system."""
    memory = Path("/dev/shm")  # noqa: S108 - another file system is the point
    if not memory.is_dir() or memory.stat().st_dev == tmp_path.stat().st_dev:
        pytest.skip("there is no second file system")
    folder = Path(tempfile.mkdtemp(prefix="almenara-test-", dir=memory))
    yield folder
    shutil.rmtree(folder)


def put(folder: Path, name: str = NAME, data: bytes = b"picture") -> Path:
    """A file to reject."""
    path = folder / name
    path.write_bytes(data)
    return path


def test_a_rejected_file_is_kept_with_its_reason(rejects: Rejects, inbox: Path) -> None:
    """The file leaves the inbox unchanged, and the listing says why and what to do."""
    path = put(inbox)
    added = rejects.add(path, inbox, ERROR)
    assert not path.exists()
    assert Path(added.path).read_bytes() == b"picture"
    assert rejects.listing() == [added]
    assert (added.name, added.reason, added.remedy, added.inbox) == (
        NAME,
        "no_coordinates",
        "name it",
        str(inbox),
    )
    assert added.detail == ERROR.detail


def test_the_reason_can_be_read_without_us(rejects: Rejects, inbox: Path) -> None:
    """Beside each rejected file lies its reason as plain JSON."""
    added = rejects.add(put(inbox), inbox, ERROR)
    reason = json.loads(Path(added.path).parent.with_suffix(".json").read_text(encoding="utf-8"))
    assert (reason["name"], reason["reason"]) == (NAME, "no_coordinates")


def test_files_of_one_name_lie_side_by_side(
    rejects: Rejects, inbox: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A camera that sends bad files under one name loses none; the oldest is listed first."""
    seconds = itertools.count()
    began = datetime(2026, 11, 24, tzinfo=UTC)
    monkeypatch.setattr(ingest.rejects, "utc_now", lambda: began + timedelta(seconds=next(seconds)))
    added = [rejects.add(put(inbox, data=data), inbox, ERROR) for data in (b"one", b"two", b"three")]
    assert rejects.listing() == added
    assert [Path(each.path).read_bytes() for each in rejects.listing()] == [b"one", b"two", b"three"]
    assert rejects.count() == 3


@pytest.mark.parametrize(
    "name", ["\udcff\udcfe.jpg", "two\nlines.jpg", "\x1b[31mred.jpg", "n" * 251 + ".jpg"]
)
def test_any_name_can_be_rejected(rejects: Rejects, inbox: Path, name: str) -> None:
    """Bytes that are no text, control characters and the longest of names are kept and put back alike."""
    added = rejects.add(put(inbox, name), inbox, ERROR)
    added.name.encode()
    (folder,) = (path for path in rejects.folder.iterdir() if path.is_dir())
    assert rejects.retry(folder / name) == inbox / name
    assert rejects.listing() == []


def test_undecodable_names_are_shown_as_escapes() -> None:
    """A shown name can be written by anything that writes text, and told from others."""
    assert shown("caf\udce9 é.jpg") == "caf\\udce9 é.jpg"


def test_a_retry_puts_the_file_back(rejects: Rejects, inbox: Path) -> None:
    """The file lies in its inbox again as it came, and nothing of it is left among the rejected."""
    added = rejects.add(put(inbox), inbox, ERROR)
    assert rejects.retry(Path(added.path)) == inbox / NAME
    assert (inbox / NAME).read_bytes() == b"picture"
    assert list(rejects.folder.iterdir()) == []


def test_a_retry_may_give_a_better_name(rejects: Rejects, inbox: Path) -> None:
    """What was rejected for its name comes back under one that says where it was taken."""
    added = rejects.add(put(inbox), inbox, ERROR)
    assert rejects.retry(Path(added.path), "33.8568, 151.2153.jpg") == inbox / "33.8568, 151.2153.jpg"
    assert [path.name for path in inbox.iterdir()] == ["33.8568, 151.2153.jpg"]


@pytest.mark.parametrize("name", ["../outside.jpg", "sub/folder.jpg", "/etc/passwd", ".", ".."])
def test_a_retry_stays_in_the_inbox(rejects: Rejects, inbox: Path, name: str) -> None:
    """A new name that leads elsewhere is refused, and the file stays where it is."""
    added = rejects.add(put(inbox), inbox, ERROR)
    with pytest.raises(ConfigError, match="not a file name"):
        rejects.retry(Path(added.path), name)
    assert rejects.listing() == [added]


def test_a_retry_overwrites_nothing(rejects: Rejects, inbox: Path) -> None:
    """A name that the inbox has again, if only as a broken link, is refused with what to do."""
    added = rejects.add(put(inbox), inbox, ERROR)
    put(inbox, data=b"newer")
    (inbox / "link.jpg").symlink_to("nowhere")
    for name in (None, "link.jpg"):
        with pytest.raises(ConfigError, match="--as"):
            rejects.retry(Path(added.path), name)
    assert (inbox / NAME).read_bytes() == b"newer"
    assert rejects.listing() == [added]


def test_a_retry_into_an_inbox_that_is_gone_is_refused(rejects: Rejects, inbox: Path) -> None:
    """The file stays among the rejected, and the message names the inbox."""
    added = rejects.add(put(inbox), inbox, ERROR)
    inbox.rmdir()
    with pytest.raises(ConfigError, match="inbox"):
        rejects.retry(Path(added.path))
    assert rejects.listing() == [added]


def test_only_rejected_files_can_be_tried_again(rejects: Rejects, inbox: Path, tmp_path: Path) -> None:
    """Any other path is refused: retry is no way to move files about."""
    added = rejects.add(put(inbox), inbox, ERROR)
    reason = Path(added.path).parent.with_suffix(".json")
    for path in (put(tmp_path, "other.jpg"), reason, Path(added.path).with_name("none.jpg"), inbox):
        with pytest.raises(ConfigError, match="not a rejected file"):
            rejects.retry(path)


def test_a_damaged_reason_is_passed_over(rejects: Rejects, inbox: Path) -> None:
    """A reason that can't be read is not listed, and a retry of its file says so instead of crashing."""
    added = rejects.add(put(inbox), inbox, ERROR)
    Path(added.path).parent.with_suffix(".json").write_text("{")
    assert rejects.listing() == []
    with pytest.raises(ConfigError, match="reason"):
        rejects.retry(Path(added.path))
    assert Path(added.path).exists()


def test_a_file_that_is_on_its_way_is_not_listed_yet(
    rejects: Rejects, inbox: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The reason comes first; whoever sees it listed can try the file again at once."""
    move, seen = ingest.rejects._move, []

    def slowly(source: Path, target: Path) -> None:
        seen.append((rejects.listing(), rejects.count()))
        move(source, target)
        seen.append((rejects.listing(), rejects.count()))

    monkeypatch.setattr(ingest.rejects, "_move", slowly)
    added = rejects.add(put(inbox), inbox, ERROR)
    assert seen == [([], 0), ([added], 1)]


def test_a_file_that_is_copied_from_another_disk_is_not_listed_yet(
    rejects: Rejects, elsewhere: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A large one takes a while, under another name; it is listed when it is whole."""
    sync, seen = os.fsync, []

    def slowly(descriptor: int) -> None:
        seen.append((rejects.listing(), rejects.count()))
        sync(descriptor)

    monkeypatch.setattr(os, "fsync", slowly)
    added = rejects.add(put(elsewhere), elsewhere, ERROR)
    assert seen == [([], 0)]
    assert rejects.listing() == [added]


def test_nothing_rejected_is_an_empty_listing(rejects: Rejects) -> None:
    """Before the first reject there is no folder, and that is fine."""
    assert rejects.listing() == []
    assert rejects.count() == 0


def test_a_file_crosses_file_systems(rejects: Rejects, elsewhere: Path) -> None:
    """An inbox on another disk than the state folder: rejected and put back with bytes and time kept."""
    path = put(elsewhere, data=b"p" * 100_000)
    before = path.stat()
    added = rejects.add(path, elsewhere, ERROR)
    assert not path.exists()
    assert Path(added.path).read_bytes() == b"p" * 100_000
    assert Path(added.path).stat().st_mtime_ns == before.st_mtime_ns
    rejects.retry(Path(added.path))
    assert [each.name for each in elsewhere.iterdir()] == [NAME]


def test_a_link_crosses_file_systems_as_a_link(rejects: Rejects, elsewhere: Path) -> None:
    """What a link points to is never read or copied."""
    (elsewhere / NAME).symlink_to("/etc/hostname")
    added = rejects.add(elsewhere / NAME, elsewhere, ERROR)
    assert Path(added.path).readlink() == Path("/etc/hostname")
    assert not os.path.lexists(elsewhere / NAME)


def test_what_cannot_be_moved_stays(rejects: Rejects, elsewhere: Path) -> None:
    """A pipe can't cross file systems: it stays where it is, and no reason without a file is left."""
    os.mkfifo(elsewhere / NAME)
    with pytest.raises(OSError, match="another file system"):
        rejects.add(elsewhere / NAME, elsewhere, ERROR)
    assert (elsewhere / NAME).is_fifo()
    assert list(rejects.folder.iterdir()) == []


def test_a_reject_that_could_not_be_kept_leaves_nothing_behind(tmp_path: Path) -> None:
    """A reason that can't be written, as on a full disk, is no rejected file, however often it is tried."""
    rejects = Rejects(tmp_path / "rejected")
    with pytest.raises(OSError, match="missing"):
        rejects.add(tmp_path / "missing", tmp_path, PermanentError("bad", reason="bad"))
    assert (rejects.count(), list((tmp_path / "rejected").iterdir())) == (0, [])
