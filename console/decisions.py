"""Decisions: what people said pictures show, as a folder of labelled photographs to train on."""

import csv
import hashlib
import io
import re
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import structlog
from sqlalchemy import Engine, select
from sqlalchemy.exc import DBAPIError
from sqlalchemy.orm import Session

from console.outages import RecordAwayError, is_record_fault, said
from console.tables import DESK, IncidentRecord
from shared.checkpoint import CLASS_NAME
from shared.durable import make_folders_durably, sync_path, write_durably
from shared.errors import ConfigError
from shared.images import PICTURES, ImageMissingError, ImageStore, ImageUnreadableError
from shared.incidents import iso
from shared.routing import NORMAL
from shared.verdict import Verdict

log = structlog.get_logger()

INDEX_NAME = "index.csv"
HEADER = ("path", "split", "class", "group", "number", "decided_at", "revision")
"""`almenara train` reads the first four. The whole line also tells a folder of ours from others."""

VAL_SHARE = 0.2
_PAGE = 500
_PLACE = re.compile(rf"{PICTURES}/[0-9a-f]{{2}}/[0-9a-f]{{64}}\.[a-z0-9]{{1,8}}")


@dataclass(frozen=True, kw_only=True, slots=True)
class Decided:
    """One picture that a person decided.

    Attributes:
        incident: its id.
        case: the emergency that it belongs to.
        image: where it is in the image store.
        label: a situation, or ``normal``.
        number: the incident's, for people.
        decided_at: the model's time, RFC 3339 UTC.
        revision: how many decisions it has had.
    """

    incident: str
    case: str
    image: str
    label: str
    number: str
    decided_at: str
    revision: int

    @property
    def path(self) -> str:
        """Where its copy lies in the folder: by incident, for one picture may have come from two places."""
        return f"{PICTURES}/{self.incident[:2]}/{self.incident}{Path(self.image).suffix}"


def export(engine: Engine, store: ImageStore, folder: Path, *, by: str = "") -> int:
    """Copy every picture that a person decided into a folder, with an ``index.csv`` that says what it shows.

    The pictures of one emergency are one group, and so are emergencies that share a picture; a group is
    wholly in ``train`` or in ``val``. Repeating adds what was decided since, and follows decisions that were
    changed; what is copied stays, even after its picture has left the image store.

    Args:
        engine: the desk's record.
        store: where the pictures are.
        folder: new, empty, or one that this made before.
        by: who copies them, for the log: every view of a picture is logged.

    Returns:
        How many pictures the index lists.

    Raises:
        ConfigError: the folder is somebody else's or can't be written, the record can't be used, or a
            situation has a name that no checkpoint takes.
        RecordAwayError: the database does not answer just now.
        StoreAwayError: the image store can't be read just now.
    """
    decided = list(_decided(engine))
    _check_names(decided)
    try:
        _check_folder(folder)
        copied = [each for each in decided if _copy(each, store, folder, by)]
        for place in sorted({(folder / each.path).parent for each in copied}):
            sync_path(place)
        # The index last: it names no picture that is not there.
        write_durably(folder / INDEX_NAME, _index(copied).encode())
        sync_path(folder)
    except OSError as error:
        raise ConfigError(
            f"{error.filename or folder} can't be written: {error.strerror or error}",
            remedy="see to its permissions and to the space on its disk",
        ) from error
    return len(copied)


def _decided(engine: Engine) -> Iterator[Decided]:
    query = (
        select(IncidentRecord)
        # What the desk sent out because nobody decided in time is a guess, and no label.
        .where(IncidentRecord.decided_by.not_in(("", DESK)))
        .order_by(IncidentRecord.id)
        .execution_options(yield_per=_PAGE)
    )
    try:
        with Session(engine) as session:
            for record in session.scalars(query):
                label = NORMAL if record.verdict == Verdict.NO_EMERGENCY else record.situation
                if label:
                    yield Decided(
                        incident=record.id,
                        case=record.case_id,
                        image=record.image,
                        label=label,
                        number=record.number,
                        decided_at=iso(record.decided_at),
                        revision=record.revision,
                    )
    except DBAPIError as error:
        fault, about = f"the desk's record can't be read: {said(error)}", "check ALMENARA_DATABASE_URL"
        if is_record_fault(error):
            raise RecordAwayError(fault, remedy=about) from error
        raise ConfigError(fault, remedy=f"{about}, and that `almenara desk` has run") from error


def _check_names(decided: Sequence[Decided]) -> None:
    for label in sorted({each.label for each in decided}):
        if not CLASS_NAME.fullmatch(label):
            raise ConfigError(
                f"the situation {label!r} is no name for a class of a checkpoint",
                remedy=f"name it {label.replace('-', '_')!r} in the routing file",
            )


def _check_folder(folder: Path) -> None:
    """Make it where it is missing; never write into a folder of labelled photographs of another origin."""
    if folder.exists() and not folder.is_dir():
        raise ConfigError(f"{folder} is no folder", remedy="name a new or an empty one")
    make_folders_durably(folder)
    index = folder / INDEX_NAME
    if index.is_file():
        with index.open(newline="", encoding="utf-8", errors="replace") as file:
            ours = next(csv.reader(file), []) == list(HEADER)
    else:
        # Pictures alone are an export of ours that was cut short.
        ours = {path.name for path in folder.iterdir()} <= {PICTURES}
    if not ours:
        raise ConfigError(
            f"{folder} holds something else than decisions", remedy="name a new or an empty folder"
        )


def _copy(decided: Decided, store: ImageStore, folder: Path, by: str) -> bool:
    """Whether its picture is in the folder now."""
    path = folder / decided.path
    if not _PLACE.fullmatch(decided.image):
        log.warning("a decided picture has no place in the image store", incident=decided.incident)
        return False
    if path.is_file():
        return True  # named only once it is whole
    try:
        picture = store.get(decided.image)
    except (ImageMissingError, ImageUnreadableError) as error:
        log.warning("a decided picture can't be copied", incident=decided.incident, error=str(error))
        return False
    make_folders_durably(path.parent)
    write_durably(path, picture)
    log.info("picture copied", user=by, incident=decided.incident, number=decided.number, to=str(path))
    return True


def _index(decided: Sequence[Decided]) -> str:
    group_of = _groups(decided)
    val = _drawn(Counter((group_of[each.incident], each.label) for each in decided))
    text = io.StringIO()
    rows = csv.writer(text, lineterminator="\n")
    rows.writerow(HEADER)
    for each in decided:
        group = group_of[each.incident]
        split = "val" if group in val else "train"
        rows.writerow((each.path, split, each.label, group, each.number, each.decided_at, str(each.revision)))
    return text.getvalue()


def _groups(decided: Sequence[Decided]) -> dict[str, str]:
    """Incident -> group: the first, by id, of the cases that are linked by pictures they share."""
    leads_to: dict[str, str] = {}

    def group(case: str) -> str:
        while (nearer := leads_to.get(case, case)) != case:
            case = nearer
        return case

    case_of_image: dict[str, str] = {}
    for each in decided:
        pair = sorted((group(each.case), group(case_of_image.setdefault(each.image, each.case))))
        leads_to[pair[1]] = pair[0]
    return {each.incident: group(each.case) for each in decided}


def _drawn(counts: Counter[tuple[str, str]]) -> set[str]:
    """Groups for ``val``: about a fifth by their names, so that most stay where they were; then what training
    needs: every class in ``train``, and in ``val`` each that has enough groups for both."""
    groups_of: dict[str, set[str]] = {}
    for group, label in counts:
        groups_of.setdefault(label, set()).add(group)
    every = sorted({group for group, _ in counts}, key=_order)
    val = {group for group in every if _order(group) < VAL_SHARE}
    for label in sorted(groups_of):
        if groups_of[label] <= val:
            val.remove(max(groups_of[label], key=_order))
    for label in sorted(groups_of):
        if groups_of[label] & val:
            continue
        for group in sorted(groups_of[label], key=_order):
            if all(not groups <= val | {group} for groups in groups_of.values()):
                val.add(group)
                break
    return val


def _order(group: str) -> float:
    """Where a group stands in the draw, in [0, 1)."""
    return int.from_bytes(hashlib.sha256(group.encode()).digest()[:6]) / 2**48
