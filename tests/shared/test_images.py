import hashlib
import json
import shutil
import subprocess
import sys
import threading
import uuid
from pathlib import Path

import fsspec
import pytest
from conftest import make_photograph, picture_bytes

from shared.errors import ConfigError
from shared.images import SIDECARS, ImageMissingError, ImageStore, StoreAwayError

STORE_ONE_TOO_MANY = """
import resource, sys
from shared.images import ImageStore, StoreAwayError
store = ImageStore(sys.argv[1])
resource.setrlimit(resource.RLIMIT_FSIZE, (4096, 4096))  # as a full disk: the write stops half-way
store.put_picture(b"s" * 4000, "5" * 64, "jpeg")
try:
    store.put_picture(b"l" * 10000, "1" * 64, "jpeg")
except StoreAwayError as error:
    print(error)
"""


@pytest.fixture(params=["folder", "memory"])
def any_store(request: pytest.FixtureRequest, tmp_path: Path) -> ImageStore:
    """A store in a local folder, and one behind an fsspec URL."""
    return ImageStore(
        str(tmp_path / "images") if request.param == "folder" else f"memory://{uuid.uuid4().hex}/images"
    )


def put(store: ImageStore, data: bytes) -> str:
    """Store a picture under its digest."""
    return store.put_picture(data, hashlib.sha256(data).hexdigest(), "jpeg")


def files_of(folder: Path) -> list[str]:
    """Names of every file below a folder, hidden ones too."""
    return sorted(path.name for path in folder.rglob("*") if path.is_file())


def test_a_picture_comes_back_as_it_was(any_store: ImageStore) -> None:
    """The bytes that were put are the bytes that are got."""
    place = put(any_store, picture_bytes(1))
    any_store.sync()
    assert any_store.has(place)
    assert any_store.get(place) == picture_bytes(1)


def test_the_same_bytes_are_kept_once(any_store: ImageStore) -> None:
    """A picture sent twice takes the room of one, and its place says so."""
    assert put(any_store, picture_bytes(1)) == put(any_store, picture_bytes(1))
    put(any_store, picture_bytes(2))
    assert len(list(any_store.pictures())) == 2


def test_the_same_bytes_are_written_once(tmp_path: Path) -> None:
    """The second time, the file on disk is left alone."""
    store = ImageStore(str(tmp_path))
    path = tmp_path / put(store, picture_bytes(1))
    before = path.stat()
    put(store, picture_bytes(1))
    assert (path.stat().st_ino, path.stat().st_mtime_ns) == (before.st_ino, before.st_mtime_ns)


def test_a_sidecar_comes_back_as_it_was(any_store: ImageStore) -> None:
    """What the ingester knew of a photograph can be read from the store alone."""
    photographs = [make_photograph(1), make_photograph(2, label="Straße 7", note="far away")]
    for photograph in photographs:
        any_store.put_sidecar(photograph)
    found = {each for _, each in any_store.sidecars() if each}
    assert found == set(photographs)


@pytest.mark.parametrize("damage", [b"", b"{", b"[]", b"null", b"\xff", b'{"id": 1}'])
def test_a_damaged_sidecar_is_told_apart(any_store: ImageStore, damage: bytes) -> None:
    """One that can't be read back is listed as such, and the others as usual."""
    photograph = make_photograph(1)
    any_store.put_sidecar(photograph)
    any_store._put(f"{SIDECARS}/00/damaged.json", damage)
    found = dict(any_store.sidecars())
    assert found.pop(f"{SIDECARS}/00/damaged.json") is None
    assert list(found.values()) == [photograph]


def test_a_sidecar_of_numbers_is_damaged(any_store: ImageStore) -> None:
    """Text where text belongs: a time that is a number would fail whoever compares it."""
    fields = {**make_photograph(1).to_fields(), "received_at": 20261124}
    any_store._put(f"{SIDECARS}/00/damaged.json", json.dumps(fields).encode())
    assert [photograph for _, photograph in any_store.sidecars()] == [None]


def test_what_is_removed_is_gone(any_store: ImageStore) -> None:
    """Removing works, and works again when somebody was faster."""
    place = put(any_store, picture_bytes(1))
    any_store.remove(place)
    any_store.remove(place)
    assert not any_store.has(place)
    assert list(any_store.pictures()) == []


def test_a_picture_that_is_not_there_is_missing(any_store: ImageStore) -> None:
    """Waiting would not bring it back, so it is no transient fault."""
    put(any_store, picture_bytes(1))
    with pytest.raises(ImageMissingError, match="none"):
        any_store.get("pictures/00/none.jpeg")


def test_a_store_that_is_not_there_is_away(tmp_path: Path) -> None:
    """A file system that is not mounted may come back: every picture in it is not lost but away."""
    store = ImageStore(str(tmp_path / "images"))
    place = put(store, picture_bytes(1))
    shutil.rmtree(tmp_path / "images")
    with pytest.raises(StoreAwayError):
        store.get(place)


def test_a_write_that_fails_leaves_nothing(tmp_path: Path) -> None:
    """A picture that could not be written whole is not there in part, and those before it stay."""
    ran = subprocess.run(
        [sys.executable, "-c", STORE_ONE_TOO_MANY, str(tmp_path)], capture_output=True, text=True, check=True
    )
    assert "File too large" in ran.stdout
    assert "tries again" in ran.stdout
    assert files_of(tmp_path) == ["5" * 64 + ".jpeg"]


def test_a_folder_that_is_a_file_is_away(tmp_path: Path) -> None:
    """A store that can't be made is a fault to wait for, with what to check."""
    (tmp_path / "images").write_bytes(b"")
    with pytest.raises(StoreAwayError, match="writable"):
        ImageStore(str(tmp_path / "images"))


def test_a_url_without_a_driver_is_refused() -> None:
    """A store that this installation can't reach stops the start, and the remedy names the setting."""
    fsspec.register_implementation("carrier-pigeon", "no_such_package.Loft", clobber=True)
    for url in ("carrier-pigeon://loft/pictures", "no-such-protocol://loft/pictures"):
        with pytest.raises(ConfigError, match="ALMENARA_IMAGE_STORE"):
            ImageStore(url)


def test_what_a_crash_left_half_written_is_no_picture(tmp_path: Path) -> None:
    """Temporary files of a writer that died are not listed."""
    store = ImageStore(str(tmp_path))
    place = put(store, picture_bytes(1))
    (tmp_path / place).with_name(".half.jpeg.0123abcd.tmp").write_bytes(b"half")
    assert [found for found, _ in store.pictures()] == [place]


def test_a_folder_that_could_not_be_synced_is_tried_again(tmp_path: Path) -> None:
    """Names that are not durable yet stay on the list until they are."""
    store = ImageStore(str(tmp_path))
    folder = (tmp_path / put(store, picture_bytes(1))).parent
    folder.rename(tmp_path / "aside")
    with pytest.raises(StoreAwayError):
        store.sync()
    (tmp_path / "aside").rename(folder)
    store.sync()


def test_a_picture_that_failed_holds_up_no_other(tmp_path: Path) -> None:
    """What could not be stored, and is not tried again, leaves nothing to wait for."""
    store = ImageStore(str(tmp_path))
    (tmp_path / "pictures" / "00").write_bytes(b"")  # a file where a folder should be
    with pytest.raises(StoreAwayError):
        store.put_picture(b"picture", "00" * 32, "jpeg")
    put(store, picture_bytes(1))
    store.sync()


def test_threads_may_store_the_same_picture(tmp_path: Path) -> None:
    """Two cameras sending one picture at one moment do not get into each other's way."""
    store = ImageStore(str(tmp_path))
    data = picture_bytes(1, size_px=(800, 600))
    together = threading.Barrier(4)
    places: list[str] = []

    def run() -> None:
        together.wait()
        places.append(put(store, data))

    threads = [threading.Thread(target=run) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(places) == 4
    assert len(files_of(tmp_path)) == 1
    assert store.get(places[0]) == data


def test_the_first_sidecar_stays_and_a_damaged_one_is_written_anew(tmp_path: Path) -> None:
    """A resend changes nothing that is known of a picture; a sidecar that can't be read back is healed."""
    store = ImageStore(str(tmp_path))
    store.put_sidecar(make_photograph(1, label="first"))
    store.put_sidecar(make_photograph(1, label="again"))
    [(place, kept)] = store.sidecars()
    assert kept is not None
    assert kept.label == "first"
    (tmp_path / place).write_bytes(b"\0" * (tmp_path / place).stat().st_size)
    store.put_sidecar(make_photograph(1, label="again"))
    [(_, healed)] = store.sidecars()
    assert healed is not None
    assert healed.label == "again"


def test_a_store_without_any_picture_is_away(tmp_path: Path) -> None:
    """An empty folder where the store should be is a mount that has gone, not a lost picture."""
    store = ImageStore(str(tmp_path / "images"))
    place = store.put_picture(b"x", "00" * 32, "jpeg")
    (tmp_path / "images").rename(tmp_path / "gone")
    with pytest.raises(StoreAwayError):
        ImageStore(str(tmp_path / "images")).get(place)
