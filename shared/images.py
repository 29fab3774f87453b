"""The image store: pictures by content, and a sidecar for each incident. A local folder or any fsspec URL."""

import contextlib
import errno
import json
import os
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from shared.durable import Aside, make_folders_durably, make_last_folder, sync_path, write_durably
from shared.errors import AlmenaraError, PermanentError, TransientError
from shared.incidents import Photograph, RecordError, encoded
from shared.objects import NoSuchFileError, Objects

# Not too many open files, no memory, or a stale mount: these strike every picture.
_ONE_FILES_FAULT = (errno.EIO, errno.EISDIR, errno.EACCES, errno.EPERM, errno.ELOOP)

PICTURES = "pictures"
SIDECARS = "incidents"
MODELS = "models"
MODEL_S = 120.0
"""A checkpoint has 43 MB."""


class ImageMissingError(PermanentError):
    """Raised when the image store answers, and does not have the picture."""

    default_reason = "image_missing"


class ImageUnreadableError(AlmenaraError):
    """Raised when the image store serves, and this one picture can't be read: a bad sector, a wrong owner."""

    default_reason = "image_unreadable"


class StoreAwayError(TransientError):
    """Raised when the image store can't serve just now: away, full, not permitted."""

    default_reason = "image_store_away"


def sidecar_place(incident: str) -> str:
    """Where the sidecar of an incident is in the image store."""
    return f"{SIDECARS}/{incident[:2]}/{incident}.json"


class ImageStore:
    """Pictures under ``pictures/`` by their SHA-256, and sidecars under ``incidents/`` by incident id.

    Writing on a local folder is durable: temporary file, fsync, rename; then `sync` makes the names durable,
    once for many. Or many are put `aside`, and get their names together. Elsewhere, on S3, each is durable
    and there as soon as it is put. Announced models lie beside, under ``models/``. For several threads.
    """

    def __init__(self, url: str) -> None:
        """Open the store at a folder or fsspec URL, and make it where it is missing.

        Raises:
            ConfigError: the URL is not understood, its driver is not installed, or the store says that it is
                none of ours: no such bucket, a wrong key.
            StoreAwayError: the folder can't be made.
        """
        self.url = url
        self._unsynced: set[Path] = set()
        self._lock = threading.Lock()
        self._local = _local_folder(url)
        self._objects = Objects(url) if self._local is None else None
        if self._local is not None:
            for part in (PICTURES, SIDECARS):
                self._try_local(lambda part=part: make_folders_durably(self._folder() / part))

    @property
    def is_local(self) -> bool:
        """Whether it is a folder, where many files are kept faster together than one by one."""
        return self._local is not None

    @staticmethod
    def model_place(digest: str) -> str:
        """Where the file of an announced model is in the store."""
        return f"{MODELS}/{digest}.safetensors"

    def aside(self) -> Aside:
        """A place to put many pictures and sidecars; `commit` makes them all durable at once."""
        return Aside(self._local or Path())

    def commit(self, aside: Aside) -> None:
        """Make what was put aside durable, under its final names.

        Raises:
            StoreAwayError: a part of it is not durable; put all of it again.
        """
        if self._local is None:
            return  # each was durable when it was put
        self._try_local(aside.commit)

    def put_picture(self, data: bytes, sha256: str, extension: str, aside: Aside | None = None) -> str:
        """Keep a picture; returns its place in the store. The same bytes are kept once.

        Args:
            data: the whole file.
            sha256: of the data, hexadecimal.
            extension: without dot.
            aside: where it waits for `commit`; by default it is there at once, and durable after `sync`.

        Raises:
            StoreAwayError: it could not be written; nothing half-written is left under the final name.
        """
        place = f"{PICTURES}/{sha256[:2]}/{sha256}.{extension}"
        self._put(place, data, aside)
        return place

    def put_sidecar(self, photograph: Photograph, aside: Aside | None = None) -> None:
        """Keep what is known of a picture, so that the broker's records can be rebuilt from the store.

        The first to come stays, as in the incident's record; one that can't be read back is written anew.

        Raises:
            StoreAwayError: as `put_picture`.
        """
        place = sidecar_place(photograph.incident_id)
        if not self._reads_back(place):
            self._put(place, encoded(photograph.to_fields()).encode(), aside)
        elif aside is not None and self._local is not None:
            path = self._local / place
            self._try_local(lambda: aside.note(path))

    def put_model(self, data: bytes, digest: str) -> None:
        """Keep a checkpoint file by its SHA-256; durable when this returns.

        Raises:
            StoreAwayError: as `put_picture`.
        """
        place = self.model_place(digest)
        if self._objects is None:
            path = self._folder() / place
            self._try_local(lambda: self._put_alone(path, data, whole=False))
            self.sync()
        else:
            self._put(place, data)

    def sync(self) -> None:
        """Make the names of everything put so far durable.

        Raises:
            StoreAwayError: a folder could not be synchronised.
        """
        with self._lock:
            folders, self._unsynced = self._unsynced, set()
        try:
            for folder in sorted(folders):
                sync_path(folder)
        except OSError as error:
            with self._lock:
                self._unsynced |= folders
            raise _away(self.url, error) from error

    def get(self, place: str) -> bytes:
        """The picture kept at a place.

        Raises:
            ImageMissingError: the store does not have it.
            ImageUnreadableError: the store, a local folder, has it and can't read it.
            StoreAwayError: the store can't be read.
        """
        try:
            if self._objects is not None:
                limit_s = MODEL_S if place.startswith(MODELS) else None
                return self._objects.read(place, deadline_s=limit_s, others=place.startswith(PICTURES))
            return (self._folder() / place).read_bytes()
        except (FileNotFoundError, NotADirectoryError, NoSuchFileError) as error:
            # Not just the root: a mount point is there, and empty, while nothing is mounted on it.
            # Nor is a store without any picture the one that this picture was put into.
            if self._local is not None and not self._holds(place):
                raise _away(self.url, error) from error
            raise ImageMissingError(f"the image store {self.url} has no {place}") from error
        except OSError as error:
            if error.errno in _ONE_FILES_FAULT and self._local is not None and self._holds(place):
                raise ImageUnreadableError(
                    f"the image store {self.url} can't read {place}: {error.strerror}",
                    remedy="check the disk and who owns the file",
                ) from error
            raise _away(self.url, error) from error

    def has(self, place: str) -> bool:
        """Whether a picture or sidecar is there."""
        try:
            if self._objects is not None:
                return self._objects.has(place)
            return (self._folder() / place).is_file()
        except OSError as error:
            raise _away(self.url, error) from error

    def sidecars(self) -> Iterator[tuple[str, Photograph | None]]:
        """(place, photograph) of every sidecar; None where one can't be read back."""
        for place, _ in self._list(SIDECARS, ".json"):
            try:
                yield place, Photograph.from_fields(json.loads(self.get(place)))
            except ImageMissingError:
                continue  # pruned meanwhile
            except (ImageUnreadableError, RecordError, ValueError, AttributeError, RecursionError):
                yield place, None

    def pictures(self) -> Iterator[tuple[str, float]]:
        """(place, age in seconds) of every picture."""
        now_s = time.time()
        for place, changed_at_s in self._list(PICTURES, ""):
            if changed_at_s is not None:
                yield place, now_s - changed_at_s

    def models(self) -> Iterator[str]:
        """Digests of the models that were announced."""
        for place, _ in self._list(MODELS, ".safetensors"):
            yield place.rpartition("/")[2].removesuffix(".safetensors")

    def remove(self, place: str) -> None:
        """Remove a picture or sidecar; what is gone already is fine."""
        try:
            if self._objects is not None:
                self._objects.remove(place)
            else:
                (self._folder() / place).unlink()
        except FileNotFoundError:
            return
        except OSError as error:
            raise _away(self.url, error) from error

    def clear_leftovers(self, older_than_s: float) -> None:
        """Remove what writers that died have left half-written in a local folder, once it is so old."""
        if self._local is None:
            return
        oldest_s = time.time() - older_than_s
        try:
            found = [
                path
                for part in (PICTURES, SIDECARS)
                for path in (self._local / part).glob("??/.*.????????.tmp")
            ]
        except OSError as error:
            raise _away(self.url, error) from error
        for path in found:
            with contextlib.suppress(OSError):  # given its name meanwhile, or not ours to remove
                if path.stat().st_mtime < oldest_s:
                    path.unlink()

    def _list(self, part: str, suffix: str) -> Iterator[tuple[str, float | None]]:
        """(place, epoch seconds of its last change) of every whole file of a part."""
        try:
            found = self._objects.listed(part) if self._objects is not None else self._walked(part)
            for place, changed_at_s in found:
                name = place.rsplit("/", 1)[-1]
                if name.endswith(suffix) and not name.startswith("."):
                    yield place, changed_at_s
        except OSError as error:
            raise _away(self.url, error) from error

    def _walked(self, part: str) -> Iterator[tuple[str, float | None]]:
        root = self._folder()
        if part == MODELS and not (root / part).is_dir():
            return  # made with the first of them
        for folder, _, names in os.walk(root / part, onerror=_raise):
            for name in sorted(names):
                path = Path(folder, name)
                try:
                    changed_at_s = path.stat().st_mtime
                except FileNotFoundError:
                    continue  # pruned meanwhile
                yield path.relative_to(root).as_posix(), changed_at_s

    def _folder(self) -> Path:
        assert self._local is not None
        return self._local

    def _try_local(self, work: Any) -> None:
        try:
            work()
        except OSError as error:
            raise _away(self.url, error) from error

    def _holds(self, place: str) -> bool:
        assert self._local is not None
        folder = self._local / place.partition("/")[0]
        return _has_entries(folder) if place.startswith(PICTURES) else folder.is_dir()

    def _reads_back(self, place: str) -> bool:
        if self._local is not None and _size_bytes(self._local / place) is None:
            return False  # the usual case, told without the errors of `get`
        try:
            Photograph.from_fields(json.loads(self.get(place)))
        except (
            ImageMissingError,
            ImageUnreadableError,
            RecordError,
            ValueError,
            AttributeError,
            RecursionError,
        ):
            return False
        return True

    def _put(self, place: str, data: bytes, aside: Aside | None = None) -> None:
        if self._objects is not None:
            try:
                self._objects.write(place, data)
            except OSError as error:
                raise _away(self.url, error) from error
            return
        path = self._folder() / place
        # A picture's name is its content's digest, and a write cut short never gets the name.
        whole = path.suffix != ".json" and _size_bytes(path) == len(data)
        if aside is None:
            self._try_local(lambda: self._put_alone(path, data, whole))
        elif whole:
            self._try_local(lambda: aside.note(path))
        else:
            self._try_local(lambda: aside.write(path, data))

    def _put_alone(self, path: Path, data: bytes, whole: bool) -> None:
        if not whole:
            if make_last_folder(path.parent):
                sync_path(path.parent.parent)
            write_durably(path, data)
        with self._lock:
            self._unsynced.add(path.parent)


def _has_entries(folder: Path) -> bool:
    try:
        return any(True for _ in folder.iterdir())
    except OSError:
        return False


def _size_bytes(path: Path) -> int | None:
    try:
        return path.stat().st_size
    except OSError:
        return None


def _local_folder(url: str) -> Path | None:
    """The folder that a URL names, if it is one on this machine."""
    if "://" not in url:
        return Path(url).absolute()
    scheme, _, rest = url.partition("://")
    return Path("/" + rest.lstrip("/")) if scheme in ("file", "local") else None


def _raise(error: OSError) -> None:
    """`os.walk` would pass over a folder that can't be read, and an audit believe its pictures lost."""
    raise error


def _away(url: str, error: OSError) -> StoreAwayError:
    return StoreAwayError(
        f"image store {url} can't be used: {error.strerror or error}",
        remedy="check that it is there, writable and not full; Almenara tries again by itself",
    )
