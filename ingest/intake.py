"""From a claimed file to a stored photograph: is it a whole picture, where was it taken, and keep it."""

import hashlib
import os
import stat
import threading
import time
from collections import OrderedDict
from collections.abc import Callable
from dataclasses import dataclass, field

from ingest.claims import Claim
from ingest.completeness import has_writer
from ingest.names import parse_name
from ingest.pictures import Picture, PictureError
from ingest.rejects import shown
from shared.coordinates import Coordinates
from shared.durable import Aside
from shared.errors import PermanentError
from shared.images import ImageStore
from shared.incidents import Photograph, incident_id, iso, utc_now
from shared.labels import clean_label
from shared.settings import Settings

PLACES_DIFFER_M = 1000.0
"""Name and EXIF further apart than this are worth a note: GPS and hand-typed places differ by less."""

_KNOWN = 1000
"""Pictures whose check took long, and is not done again for the next copy."""

HOW_TO_NAME = "name the file by its place, such as `33.8568, 151.2153.jpeg`, or send a picture with GPS in it"


class IntakeError(PermanentError):
    """Raised when a file can never become an incident."""

    default_reason = "not_taken"


class StillWritten(Exception):  # noqa: N818 - an outcome, not an error
    """Raised when somebody is still writing a claimed file: look again later."""


@dataclass(frozen=True)
class Intake:
    """Examines claimed files and stores their pictures. Safe to use from several threads."""

    settings: Settings
    store: ImageStore
    check: Callable[[bytes], Picture]
    """As `ingest.checks.Checks.check_quickly`."""
    check_slowly: Callable[[bytes], Picture]
    """As `ingest.checks.Checks.check`."""
    _found: "OrderedDict[str, Picture | PictureError]" = field(default_factory=OrderedDict, repr=False)
    """What `check_slowly` has said of the latest, by SHA-256."""
    _lock: threading.Lock = field(default_factory=threading.Lock, repr=False)

    def examine(self, claim: Claim, aside: Aside) -> Photograph:
        """Put the picture in a claim, and its sidecar, aside for the store (there after `store.commit`).

        Raises:
            PermanentError: it can't be taken in; the reason is for a person.
            StillWritten: not yet.
            SlowPictureError: `examine_slowly` must look at it first.
            StoreAwayError: it could not be stored now.
        """
        data, modified_ago_s = self._read(claim)
        sha256 = hashlib.sha256(data).hexdigest()
        try:
            picture = self._known(sha256) or self.check(data)
        except PictureError as error:
            if error.reason == "truncated" and 0 <= modified_ago_s < self.settings.settle_s:
                raise StillWritten from error
            raise
        coordinates, label, place_from, note = _place(claim, picture)
        photograph = Photograph(
            incident_id=incident_id(sha256, coordinates),
            image=self.store.put_picture(data, sha256, picture.extension, aside),
            coordinates=coordinates,
            label=label,
            received_at=iso(utc_now()),
            name=shown(claim.name),
            place_from=place_from,
            note=note,
            taken_at=picture.taken_at or "",
        )
        self.store.put_sidecar(photograph, aside)
        return photograph

    def examine_slowly(self, claim: Claim) -> None:
        """Check the picture in a claim for as long as that takes, so that `examine` need not.

        Raises:
            PermanentError, StillWritten: as `examine`.
            TransientError: not now.
        """
        data, _ = self._read(claim)
        sha256 = hashlib.sha256(data).hexdigest()
        with self._lock:
            if sha256 in self._found:
                return
        found: Picture | PictureError
        try:
            found = self.check_slowly(data)
        except PictureError as error:
            found = error
        with self._lock:
            self._found[sha256] = found
            if len(self._found) > _KNOWN:
                self._found.popitem(last=False)

    def _known(self, sha256: str) -> Picture | None:
        """What was found out about it. A fault is told once: tried again, it is looked at again."""
        with self._lock:
            found = self._found.get(sha256)
            if isinstance(found, PictureError):
                del self._found[sha256]
                raise found
        return found

    def _read(self, claim: Claim) -> tuple[bytes, float]:
        """The whole file and the seconds since it last changed."""
        about = claim.path.lstat()
        if not stat.S_ISREG(about.st_mode):
            kind = "a link" if stat.S_ISLNK(about.st_mode) else "a device, pipe or socket"
            raise IntakeError(
                f"{claim.name!r} is {kind}, which may lead out of the inbox",
                reason="not_a_file",
                remedy="copy the picture itself into the inbox",
            )
        try:
            descriptor = os.open(claim.path, os.O_RDONLY | os.O_NOFOLLOW | os.O_CLOEXEC)
        except PermissionError as error:
            raise IntakeError(
                f"{claim.name!r} can't be read",
                reason="not_readable",
                remedy="let the ingester's user read it",
            ) from error
        with os.fdopen(descriptor, "rb") as file:
            if has_writer(file.fileno()):
                raise StillWritten
            about = os.fstat(file.fileno())
            limit_bytes = self.settings.max_file_bytes
            if about.st_size > limit_bytes:
                raise IntakeError(
                    f"{claim.name!r} has {about.st_size:,} bytes, more than the {limit_bytes:,} allowed",
                    reason="too_large_bytes",
                    remedy="send a smaller picture, or raise ALMENARA_MAX_FILE_BYTES",
                )
            # One read: what is checked, hashed and stored is the same bytes whatever happens to the file.
            return file.read(limit_bytes + 1), time.time() - about.st_mtime


def _place(claim: Claim, picture: Picture) -> tuple[Coordinates, str, str, str]:
    """(coordinates, label, where they come from, what to say about them)."""
    parsed = parse_name(claim.name)
    label = parsed.label or clean_label(claim.subfolder)
    if parsed.coordinates is None:
        if picture.gps is None:
            raise IntakeError(
                f"the name {shown(claim.name)!r} holds no coordinates, and the picture no GPS position",
                reason="no_coordinates",
                remedy=HOW_TO_NAME,
            )
        return picture.gps, label, "exif", ""
    note = ""
    if picture.gps is not None:
        apart_m = parsed.coordinates.distance_m(picture.gps)
        if apart_m > PLACES_DIFFER_M:
            apart = f"{apart_m / 1000:,.0f} km away"
            note = f"the picture's own GPS says {picture.gps}, {apart}; the file name was used"
    return parsed.coordinates, label, "name", note
