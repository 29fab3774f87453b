import csv
import hashlib
from collections.abc import Iterator
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
import structlog
from conftest import picture_bytes
from database_parts import migrated
from desk_parts import BEGIN
from sqlalchemy import Engine, create_engine
from sqlalchemy.orm import Session

from console.decisions import HEADER, export
from console.outages import RecordAwayError
from console.tables import Case, IncidentRecord
from shared.errors import ConfigError
from shared.images import ImageStore, StoreAwayError
from shared.settings import Settings
from training.dataset import Photograph, labels, of_split, read_folder


@pytest.fixture
def engine(settings: Settings) -> Iterator[Engine]:
    """An empty record."""
    with migrated(settings.database) as made:
        yield made


def decide(
    engine: Engine,
    store: ImageStore,
    number: int,
    *,
    situation: str | None = "fire",
    by: str = "Marta",
    case: int | None = None,
    picture: int | None = None,
    **changes: Any,
) -> str:
    """An incident with its picture, decided; in the case that the incident with another number opened."""
    data = picture_bytes(number if picture is None else picture)
    sha256 = hashlib.sha256(data).hexdigest()
    image = store.put_picture(data, sha256, "jpeg")
    incident, opened = f"{number:032x}", f"{number if case is None else case:032x}"
    verdict = "dispatched" if situation else "no_emergency"
    common = {"situation": situation, "verdict": verdict, "latitude_deg": 1.0, "longitude_deg": 2.0}
    with Session(engine) as session:
        if session.get(Case, opened) is None:
            times = {"opened_at": BEGIN, "last_incident_at": BEGIN}
            session.add(Case(id=opened, version=number, unverified=False, **common, **times))
        fields = {
            "number": f"{number:04d}",
            "confidence": 0.5,
            "scores": {},
            "label": "",
            "note": "",
            "image": image,
            "model": "test",
            "reason": "",
            "detail": "",
            "received_at": BEGIN,
            "decided_at": BEGIN + timedelta(minutes=1),
            "seen_count": 1,
            "last_seen_at": BEGIN,
            "revision": 2,
            "version": 1,
            "joined_at": BEGIN,
            "decided_by": by,
        }
        session.merge(IncidentRecord(id=incident, case_id=opened, **common | fields | changes))
        session.commit()
    return incident


def names(photographs: list[Photograph]) -> dict[str, str]:
    """incident -> class."""
    return {each.path.stem: each.label for each in photographs}


def test_decisions_are_labels_that_training_reads(engine: Engine, store: ImageStore, tmp_path: Path) -> None:
    """Every picture that a person decided, with what they said, and byte for byte."""
    fire = decide(engine, store, 1)
    nothing = decide(engine, store, 2, situation=None)
    decide(engine, store, 3, by="")
    decide(engine, store, 4, by="desk")
    folder = tmp_path / "decided"
    assert export(engine, store, folder) == 2
    photographs = read_folder(folder)
    assert names(photographs) == {fire: "fire", nothing: "normal"}
    assert {each.path.read_bytes() for each in photographs} == {picture_bytes(1), picture_bytes(2)}


def test_the_pictures_of_a_case_are_one_group(engine: Engine, store: ImageStore, tmp_path: Path) -> None:
    """Near duplicates are not parted: all of a case are on one side."""
    for number in range(40):
        decide(engine, store, number, case=number // 4 * 4)
    export(engine, store, tmp_path / "decided")
    photographs = read_folder(tmp_path / "decided")
    groups = {each.group for each in photographs}
    assert groups == {f"{number:032x}" for number in range(0, 40, 4)}
    split_of = {(each.group, each.split) for each in photographs}
    assert len(split_of) == len(groups)


def test_one_picture_in_two_cases_makes_them_one_group(
    engine: Engine, store: ImageStore, tmp_path: Path
) -> None:
    """The same bytes, taken in at two places, must not be in train and in val; nor what they link."""
    first = decide(engine, store, 1)
    for number, case, picture in ((2, 2, 1), (3, 2, 3), (4, 4, 3), (5, 5, 5)):
        decide(engine, store, number, case=case, picture=picture)
    export(engine, store, tmp_path / "decided")
    group_of = {each.path.stem: each.group for each in read_folder(tmp_path / "decided")}
    assert {group_of[f"{number:032x}"] for number in (1, 2, 3, 4)} == {first}
    assert group_of[f"{5:032x}"] == f"{5:032x}"


@pytest.mark.timeout(600)  # hundreds of files, each flushed to the disk
@pytest.mark.parametrize("count", [2, 3, 10, 200])
def test_there_is_something_to_learn_from_and_to_check_with(
    engine: Engine, store: ImageStore, tmp_path: Path, count: int
) -> None:
    """Every class is in train, and in val as soon as it has two groups; about a fifth is in val."""
    for number in range(count):
        decide(engine, store, number)
        decide(engine, store, 1000 + number, situation=None, picture=number + 5000)
    export(engine, store, tmp_path / "decided")
    photographs = read_folder(tmp_path / "decided")
    for split in ("train", "val"):
        assert labels(of_split(photographs, split)) == ["fire", "normal"]
    share = len(of_split(photographs, "val")) / len(photographs)
    assert count < 200 or 0.12 < share < 0.28


def test_a_class_with_one_group_is_there_to_learn_from(
    engine: Engine, store: ImageStore, tmp_path: Path
) -> None:
    """Whatever the draw says."""
    for number in range(12):
        decide(engine, store, number, situation=f"kind_{number}")
    export(engine, store, tmp_path / "decided")
    assert len(of_split(read_folder(tmp_path / "decided"), "train")) == 12


def test_exporting_again_adds_what_is_new(engine: Engine, store: ImageStore, tmp_path: Path) -> None:
    """The same again is the same; later decisions are followed, and pictures stay after their time."""
    folder = tmp_path / "decided"
    incident = decide(engine, store, 1)
    export(engine, store, folder)
    before = contents(folder)
    assert export(engine, store, folder) == 1
    assert contents(folder) == before
    for place, _ in list(store.pictures()):
        store.remove(place)
    decide(engine, store, 1, situation="accident", revision=3)
    decide(engine, store, 2)
    assert export(engine, store, folder) == 2
    assert names(read_folder(folder))[incident] == "accident"


def contents(folder: Path) -> dict[str, bytes]:
    """Every file in a folder."""
    return {str(path): path.read_bytes() for path in sorted(folder.rglob("*")) if path.is_file()}


def test_an_export_that_was_cut_short_is_taken_up(engine: Engine, store: ImageStore, tmp_path: Path) -> None:
    """Pictures were copied and the index was not written: the next one goes on."""
    folder = tmp_path / "decided"
    decide(engine, store, 1)
    export(engine, store, folder)
    (folder / "index.csv").unlink()
    assert export(engine, store, folder) == 1


def test_a_picture_that_is_gone_is_left_out(
    engine: Engine, store: ImageStore, tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    """Its time was over before it was exported: the others are there, and the log names it."""
    gone = decide(engine, store, 1)
    kept = decide(engine, store, 2)
    for place, _ in list(store.pictures()):
        if store.get(place) == picture_bytes(1):
            store.remove(place)
    assert export(engine, store, tmp_path / "decided") == 1
    assert names(read_folder(tmp_path / "decided")) == {kept: "fire"}
    assert gone in "".join(capfd.readouterr())


def test_nothing_decided_is_an_empty_index(engine: Engine, store: ImageStore, tmp_path: Path) -> None:
    """Not an error: there is nothing to learn yet."""
    assert export(engine, store, tmp_path / "decided") == 0
    with (tmp_path / "decided" / "index.csv").open(encoding="utf-8") as file:
        assert list(csv.reader(file)) == [list(HEADER)]


@pytest.mark.parametrize("image", ["../../etc/passwd", "/etc/passwd", "incidents/ab/cd.json", ""])
def test_a_place_outside_the_pictures_is_not_read(
    engine: Engine, store: ImageStore, tmp_path: Path, image: str
) -> None:
    """Whoever can write to the broker does not choose which file is copied."""
    decide(engine, store, 1, image=image)
    assert export(engine, store, tmp_path / "decided") == 0
    assert [path.name for path in (tmp_path / "decided").iterdir()] == ["index.csv"]


@pytest.mark.parametrize("kind", ["index", "file", "pictures"])
def test_another_folder_of_labels_is_not_touched(
    engine: Engine, store: ImageStore, tmp_path: Path, kind: str
) -> None:
    """A data set of other origin stays as it is, and the message says what to do."""
    folder = tmp_path / "photographs"
    folder.mkdir()
    if kind == "index":
        (folder / "index.csv").write_text("path,split,class\na.jpg,train,fire\n", encoding="utf-8")
    elif kind == "pictures":
        (folder / "fire").mkdir()
    else:
        folder = folder / "a.txt"
        folder.write_text("notes", encoding="utf-8")
    decide(engine, store, 1)
    before = contents(tmp_path / "photographs")
    with pytest.raises(ConfigError, match="new or an empty"):
        export(engine, store, folder)
    assert contents(tmp_path / "photographs") == before


def test_a_situation_that_no_checkpoint_takes_is_named(
    engine: Engine, store: ImageStore, tmp_path: Path
) -> None:
    """The routing file allows hyphens, a class name does not."""
    decide(engine, store, 1, situation="land-slide")
    with pytest.raises(ConfigError, match="land-slide"):
        export(engine, store, tmp_path / "decided")
    assert not (tmp_path / "decided").exists()


def test_a_record_without_tables_is_said_plainly(store: ImageStore, tmp_path: Path) -> None:
    """No desk has run yet."""
    engine = create_engine(f"sqlite:///{tmp_path / 'empty.db'}")
    with pytest.raises(ConfigError, match="almenara desk"):
        export(engine, store, tmp_path / "decided")
    engine.dispose()


def test_a_record_that_is_away_is_said_plainly(store: ImageStore, tmp_path: Path) -> None:
    """Trying again may help."""
    engine = create_engine(f"sqlite:///{tmp_path / 'missing' / 'desk.db'}")
    with pytest.raises(RecordAwayError, match="can't be read"):
        export(engine, store, tmp_path / "decided")
    engine.dispose()


def test_a_store_that_is_away_leaves_the_index_as_it_was(
    engine: Engine, store: ImageStore, tmp_path: Path
) -> None:
    """A mount that is gone does not empty a data set."""
    decide(engine, store, 1)
    folder = tmp_path / "decided"
    export(engine, store, folder)
    before = contents(folder)
    decide(engine, store, 2)
    pictures = next(Path(store.url).glob("pictures"))
    pictures.rename(pictures.with_name("gone"))
    with pytest.raises(StoreAwayError):
        export(engine, store, folder)
    assert contents(folder) == before


def test_every_copy_is_logged_with_who(engine: Engine, store: ImageStore, tmp_path: Path) -> None:
    """Each picture that leaves the store is logged with who took it; one that is there already is not."""
    incident = decide(engine, store, 1)
    for expected in ([("picture copied", "marta", incident)], []):
        with structlog.testing.capture_logs() as lines:
            export(engine, store, tmp_path / "copied", by="marta")
        assert [(line["event"], line["user"], line["incident"]) for line in lines] == expected
