"""Files behind an fsspec URL, S3 above all: bounded in time, and every fault told apart.

A write has ended when the store has answered that it has all of it; on S3 that is a completed PUT, which is
as durable as the bucket, and seen by every reader from then on. Nothing is cached: listings that s3fs keeps
would hide what other hosts write.

Source of the traps below: fsspec and s3fs 2026.9. `isfile` and `exists` there say no where the store does not
answer; `cat_file` asks for the size first; a fault is tried again by botocore, by the call and by what calls
it (5 x 5 x 5 times 15 s), so that a store that accepts connections and says nothing would hold a thread for
half an hour; and botocore's errors are no OSError.
"""

import asyncio
import time
from collections.abc import Iterator
from datetime import datetime
from typing import Any

import fsspec
import fsspec.asyn

from shared.errors import ConfigError

CONNECT_S = 5
READ_S = 10
"""Seconds without a byte after which a request is given up."""
CONNECTIONS = 64
TRIES = 2
"""Of one request, the first included; then the caller waits, and says so."""
DEADLINE_S = 30.0
"""For one file, whatever its connection does."""
LISTING_S = 3600.0
"""For a listing, of which each request has its own limit: a million files are a thousand requests."""
PAUSE_S = 1.0
"""After a fault nothing is asked for so long: pictures must not all wait in turn for the same."""
LARGE_BYTES_A_S = 1_000_000
"""A larger file may take its bytes at this speed more: a checkpoint has 43 MB."""

_S3 = ("s3", "s3a")
_PERMISSIONS = "let the key list the bucket, and read, write and remove objects"


class NoSuchFileError(OSError):
    """Raised when the store answers that there is no such file."""


class Objects:
    """One folder of a file system that is not the local disk. Safe to use from several threads.

    Every method raises OSError, whatever the driver's error is.
    """

    def __init__(self, url: str, *, read_s: float = READ_S, deadline_s: float = DEADLINE_S) -> None:
        """Ask the store once, if it answers, whether it can be used; that it is away is no error here.

        Args:
            url: fsspec's.
            read_s: without a byte, after which a request is given up.
            deadline_s: for one picture.

        Raises:
            ConfigError: the URL is not understood, its driver is not installed, the bucket is not there, or
                the key is wrong or may not look into it.
        """
        self._url = url
        self._asked_again_at_s, self._deadline_s = 0.0, deadline_s
        protocol = url.partition("://")[0]
        try:
            self._fs: Any
            self._fs, self._root = fsspec.core.url_to_fs(url, **_options(protocol, read_s))
        except (ValueError, ImportError, OSError) as error:
            raise ConfigError(
                f"image store {url!r} can't be opened: {error}",
                remedy="`pip install '.[s3]'` in the project's folder"
                if protocol in _S3 and isinstance(error, ImportError)
                else "set ALMENARA_IMAGE_STORE to a folder or URL",
            ) from error
        if protocol in _S3:
            self._fs.retries = 1  # botocore tries again; more would multiply
        self._check()

    def read(self, place: str, *, deadline_s: float | None = None, others: bool = False) -> bytes:
        """The whole file.

        Args:
            place: below the store's root.
            deadline_s: within which it is had; None for a picture's.
            others: there must be other files in its part of the store, or that is not the store.

        Raises:
            NoSuchFileError: the store answers, and has others, but not this one.
            OSError: anything else.
        """
        # By itself s3fs asks for the size first, to read large files in parts.
        whole = {"max_concurrency": 1} if hasattr(self._fs, "max_concurrency") else {}
        try:
            limit_s = deadline_s or self._deadline_s
            data: bytes = self._do("cat_file", self._path(place), deadline_s=limit_s, **whole)
        except FileNotFoundError as error:
            self._check_there(place.partition("/")[0], error, filled=others)
            raise NoSuchFileError(f"no file {place}") from error
        return data

    def write(self, place: str, data: bytes) -> None:
        """Write a file; durable, and whole for every reader, when this returns."""
        deadline_s = self._deadline_s + len(data) / LARGE_BYTES_A_S
        self._do("pipe_file", self._path(place), data, deadline_s=deadline_s)

    def has(self, place: str) -> bool:
        """Whether there is such a file; an OSError where the store does not say."""
        try:
            return bool(self._do("info", self._path(place))["type"] == "file")
        except FileNotFoundError as error:
            self._check_there(place.partition("/")[0], error)
            return False

    def remove(self, place: str) -> None:
        """Remove a file; what is gone already is fine."""
        try:
            self._do("rm_file", self._path(place))
        except FileNotFoundError:
            return

    def listed(self, part: str) -> Iterator[tuple[str, float | None]]:
        """(place, epoch seconds of its last change, or None) of every file below a part of the store."""
        # One request for a thousand files; each of them may take its time.
        found = self._do("find", self._path(part), detail=True, deadline_s=LISTING_S)
        for path, about in found.items():
            yield path[len(self._root) :].lstrip("/"), _changed_at_s(about)

    def _path(self, place: str) -> str:
        return f"{self._root}/{place}"

    def _do(self, name: str, *arguments: Any, deadline_s: float | None = None, **options: Any) -> Any:
        """Call the driver; every error comes out as an OSError."""
        if time.monotonic() < self._asked_again_at_s:
            raise OSError("it did not answer a moment ago")
        try:
            if self._fs.async_impl:
                work = getattr(self._fs, f"_{name}")
                limit_s = deadline_s or self._deadline_s
                return fsspec.asyn.sync(self._fs.loop, work, *arguments, timeout=limit_s, **options)
            return getattr(self._fs, name)(*arguments, **options)
        except (FileNotFoundError, PermissionError):
            raise
        except OSError:
            self._asked_again_at_s = time.monotonic() + PAUSE_S
            raise
        # Those of botocore, of an HTTP client, of other drivers: all of them say that it did not work.
        except (Exception, asyncio.CancelledError) as error:
            self._asked_again_at_s = time.monotonic() + PAUSE_S
            raise OSError(f"{type(error).__name__}: {error}") from error

    def _check_there(self, part: str, missing: FileNotFoundError, *, filled: bool = False) -> None:
        """A file is missing only where its bucket is; where its part must be filled, only beside others.

        Raises:
            OSError: the store is not the one that files were put into.
        """
        if not filled and _code(missing) == "NoSuchKey":
            return
        try:
            if self._do("ls", self._path(part), detail=False) or not filled:
                return
        except FileNotFoundError as error:
            if not filled and error.__cause__ is None:
                return
        raise OSError(f"{self._url} has no {part} at all") from missing

    def _check(self) -> None:
        try:
            self._do("ls", self._root, detail=False)
        except FileNotFoundError as error:
            if error.__cause__ is None:
                return  # a prefix under which nothing is yet; of a bucket s3fs gives S3's own error
            raise ConfigError(
                f"image store {self._url!r} can't be used: {error}",
                remedy="make the bucket, or set ALMENARA_IMAGE_STORE to one that is there",
            ) from error
        except PermissionError as error:
            raise ConfigError(
                f"image store {self._url!r} refuses us: {error}",
                remedy=f"check AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY; {_PERMISSIONS}",
            ) from error
        except OSError as error:
            if "NoCredentials" in str(error) or "PartialCredentials" in str(error):
                raise ConfigError(
                    f"image store {self._url!r} can't be used: there is no key for it",
                    remedy="set AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY, or run where a role gives one",
                ) from error
            # Away: it is waited for where pictures are put and got.


def _options(protocol: str, read_s: float) -> dict[str, Any]:
    """For the driver of a protocol."""
    if protocol not in _S3:
        return {}
    return {
        "skip_instance_cache": True,
        "use_listings_cache": False,
        "config_kwargs": {
            "connect_timeout": CONNECT_S,
            "read_timeout": read_s,
            "retries": {"total_max_attempts": TRIES, "mode": "standard"},
            "max_pool_connections": CONNECTIONS,
        },
    }


def _code(error: FileNotFoundError) -> str:
    """S3's word for what is missing, or an empty string."""
    response = getattr(error.__cause__, "response", None) or {}
    return str(response.get("Error", {}).get("Code", ""))


def _changed_at_s(about: dict[str, Any]) -> float | None:
    for name in ("LastModified", "mtime", "created", "last_modified", "updated"):
        moment = about.get(name)
        if isinstance(moment, datetime):
            return moment.timestamp()
        if isinstance(moment, int | float):
            return float(moment)
    return None
