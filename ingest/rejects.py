"""What can't be taken in: kept in a folder with the reason beside it, listed, and tried again on request."""

import errno
import json
import os
import shutil
import uuid
from dataclasses import asdict, dataclass
from pathlib import Path

from shared.errors import AlmenaraError, ConfigError
from shared.incidents import iso, utc_now

_ASIDE = ".almenara-"
"""How the name of a file begins that is still copied from another file system."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Reject:
    """One file that was not taken in.

    Attributes:
        name: as it came.
        path: where it is kept.
        reason: a stable word. `detail` and `remedy` say it in a person's words.
        inbox: where it came in, and where a retry puts it.
    """

    name: str
    path: str
    reason: str
    detail: str
    remedy: str
    inbox: str
    rejected_at: str


class Rejects:
    """The folder of rejected files: ``<id>/<original name>`` and ``<id>.json``."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder

    def add(self, path: Path, inbox: Path, error: AlmenaraError) -> Reject:
        """Move a file here with its reason.

        Raises:
            OSError: it could not be moved; it is still where it was.
        """
        reject_id = uuid.uuid4().hex[:12]
        folder = self.folder / reject_id
        folder.mkdir(parents=True)
        target = folder / path.name
        reject = Reject(
            name=shown(path.name),
            path=shown(str(target)),
            reason=error.reason,
            detail=error.detail,
            remedy=error.remedy,
            inbox=str(inbox),
            rejected_at=iso(utc_now()),
        )
        # The reason first: a file with a reason too many is harmless, one without a reason is a riddle.
        reason_path = self.folder / f"{reject_id}.json"
        try:
            reason_path.write_text(json.dumps(asdict(reject), indent=1), encoding="utf-8")
            _move(path, target)
        except OSError:
            reason_path.unlink(missing_ok=True)
            shutil.rmtree(folder, ignore_errors=True)
            raise
        return reject

    def listing(self) -> list[Reject]:
        """Every rejected file, oldest first."""
        found = []
        for path in self.folder.glob("*.json"):
            try:
                reject = Reject(**json.loads(path.read_text(encoding="utf-8")))
            except (OSError, ValueError, TypeError):
                continue
            if _has_file(path.with_suffix("")):
                found.append(reject)
        return sorted(found, key=lambda reject: reject.rejected_at)

    def count(self) -> int:
        """How many files are here."""
        return sum(1 for path in self.folder.glob("*.json") if _has_file(path.with_suffix("")))

    def retry(self, file: Path, new_name: str | None = None) -> Path:
        """Put a rejected file back into its inbox, under a better name if one is given; returns where.

        Raises:
            ConfigError: it is no rejected file, or the inbox has a file of that name.
        """
        file = file.absolute()
        folder = file.parent
        reason_path = folder.with_suffix(".json")
        if folder.parent != self.folder.absolute() or not reason_path.is_file() or not os.path.lexists(file):
            raise ConfigError(
                f"{file} is not a rejected file",
                remedy="`almenara status --rejected` lists those that there are",
            )
        name = new_name or file.name
        if "/" in name or name in {"", ".", ".."}:
            raise ConfigError(f"{name!r} is not a file name", remedy="give a name without folders")
        try:
            target = Path(json.loads(reason_path.read_text(encoding="utf-8"))["inbox"]) / name
        except (OSError, ValueError, LookupError, TypeError) as error:
            raise ConfigError(
                f"the reason {reason_path} can't be read, so nobody knows the inbox",
                remedy="move the file into the right inbox by hand",
            ) from error
        if os.path.lexists(target):
            raise ConfigError(f"{target} is there already", remedy="give another name with --as")
        try:
            _move(file, target)
        except OSError as error:
            raise ConfigError(f"{file} can't be moved to {target}: {error.strerror}") from error
        reason_path.unlink()
        folder.rmdir()
        return target


def shown(name: str) -> str:
    """A file name as text that every writer can encode: undecodable bytes stand as escapes."""
    return name.encode("utf-8", "backslashreplace").decode("utf-8")


def _has_file(folder: Path) -> bool:
    """Whether the file that a reason is about is here: it comes after the reason, a large one much later."""
    try:
        return any(not name.startswith(_ASIDE) for name in os.listdir(folder))  # noqa: PTH208 - names will do
    except (FileNotFoundError, NotADirectoryError):
        return False


def _move(source: Path, target: Path) -> None:
    """Rename, or across file systems copy durably under a temporary name, rename, and remove the source."""
    try:
        source.rename(target)
        return
    except OSError as error:
        if error.errno != errno.EXDEV:
            raise
    temporary = target.with_name(f"{_ASIDE}{uuid.uuid4().hex[:8]}.tmp")
    if source.is_symlink():
        temporary.symlink_to(source.readlink())
    else:
        try:
            shutil.copy2(source, temporary)
            with temporary.open("rb") as file:
                os.fsync(file.fileno())
        except shutil.SpecialFileError as error:
            raise OSError(
                errno.EXDEV, "a device, pipe or socket can't be moved to another file system"
            ) from error
    temporary.rename(target)
    source.unlink()
