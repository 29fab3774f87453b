import hashlib
import json
import shutil
import threading
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
import structlog
from conftest import checking, picture_bytes, wait_until

from ingest.claiming import Claimer
from ingest.claims import claimed_files
from ingest.rejects import Reject, Rejects
from ingest.service import IngestService
from shared.broker import Broker, words
from shared.durable import Aside
from shared.errors import ConfigError
from shared.images import ImageStore, StoreAwayError
from shared.incidents import Incident, all_ids
from shared.keys import COUNTS, INGESTER_PREFIX
from shared.settings import Settings

# watchdog warns where a new folder's own event comes after it was found by looking; it is watched once.
pytestmark = pytest.mark.filterwarnings("ignore:Callback with id:RuntimeWarning")

NAME = "33.8568, 151.2153.jpeg"


@contextmanager
def running(service: IngestService) -> Iterator[None]:
    """Run a service in a thread; at the end stop it and pass on what it raised."""
    stop = threading.Event()
    raised: list[BaseException] = []

    def run() -> None:
        try:
            service.run(stop.is_set)
        except BaseException as error:
            raised.append(error)

    thread = threading.Thread(target=run)
    thread.start()
    try:
        yield
    finally:
        stop.set()
        thread.join(timeout=60)
    assert raised == []
    assert not thread.is_alive(), "it goes on, beside the tests that follow"


@pytest.fixture
def inbox(settings: Settings) -> Path:
    folder = settings.inbox[0]
    folder.mkdir()
    return folder


@pytest.fixture
def rejects(settings: Settings) -> Rejects:
    return Rejects(settings.rejected_dir)


Service = Callable[..., IngestService]


@pytest.fixture
def service(settings: Settings, broker: Broker, store: ImageStore) -> Service:
    """Make a service, with other settings or another store if the test wants."""

    def make(other_store: ImageStore | None = None, **changes: Any) -> IngestService:
        changed = settings.override(**changes)
        return IngestService(changed, broker, other_store or store, checking(changed))

    return make


@pytest.fixture
def hasty(monkeypatch: pytest.MonkeyPatch) -> None:
    """Whoever has to wait before it is tried again waits a tenth of the time."""
    later = Claimer.later
    monkeypatch.setattr(Claimer, "later", lambda self, claim, after_s: later(self, claim, after_s / 10))


def drop(inbox: Path, name: str, data: bytes) -> None:
    """Put a whole file into the inbox, as a careful sender does."""
    temporary = inbox / f".{name}.part"
    temporary.write_bytes(data)
    temporary.rename(inbox / name)


def place(number: int) -> str:
    """A file name with a place of its own."""
    return f"33.{number:04d}, 151.2153.jpeg"


def wait_admitted(broker: Broker, count: int) -> None:
    """Wait until there are as many incidents."""
    wait_until(lambda: len(all_ids(broker)) >= count, within_s=30, what=f"{count} incidents")


def wait_rejected(rejects: Rejects, count: int) -> list[Reject]:
    """Wait until as many files are rejected; what they are."""
    wait_until(lambda: len(rejects.listing()) >= count, within_s=30, what=f"{count} rejected files")
    return rejects.listing()


def test_files_become_incidents(service: Service, broker: Broker, store: ImageStore, inbox: Path) -> None:
    """What lands in the inbox is stored and queued, and neither there nor among the claims any more."""
    with running(service()):
        for number in range(10):
            drop(inbox, place(number), picture_bytes(number))
        wait_admitted(broker, 10)
        wait_until(lambda: not claimed_files(inbox), within_s=30, what="the claims are released")
    assert broker.llen("rq:queue:classify") == 10
    incidents = [Incident.fetch(broker, incident) for incident in all_ids(broker)]
    assert {each.photograph.name for each in incidents if each} == {place(number) for number in range(10)}
    assert len(list(store.pictures())) == 10
    assert [path.name for path in inbox.iterdir()] == [".almenara"]


def test_what_landed_before_is_taken_in(service: Service, broker: Broker, inbox: Path) -> None:
    """Files that came while nothing ran are found at the start."""
    for number in range(3):
        drop(inbox, place(number), picture_bytes(number))
    with running(service(rescan_s=600.0)):
        wait_admitted(broker, 3)


def test_a_missing_inbox_is_made(service: Service, broker: Broker, settings: Settings) -> None:
    """The first start makes the folder that it watches."""
    with running(service()):
        drop(settings.inbox[0], NAME, picture_bytes(1))
        wait_admitted(broker, 1)


def test_an_inbox_that_cannot_be_used_is_refused(service: Service, settings: Settings) -> None:
    """A file where the inbox should be stops the start, with the setting to change."""
    settings.inbox[0].write_bytes(b"")
    with pytest.raises(ConfigError, match="ALMENARA_INBOX"):
        service()


def test_bad_files_are_set_aside_with_their_reasons(
    service: Service, broker: Broker, inbox: Path, rejects: Rejects
) -> None:
    """Each goes to the rejected folder with its reason, counted; the good one among them is taken in."""
    (inbox / "link.jpeg").symlink_to("/etc/hostname")
    drop(inbox, "street.jpg", picture_bytes(1))
    drop(inbox, "33.1, 151.1.jpeg", b"no picture")
    drop(inbox, NAME, picture_bytes(2))
    with running(service()):
        listing = wait_rejected(rejects, 3)
        wait_admitted(broker, 1)
        wait_until(lambda: len(words(broker.hgetall(COUNTS))) == 4, within_s=30, what="all is counted")
    assert {each.name: each.reason for each in listing} == {
        "link.jpeg": "not_a_file",
        "street.jpg": "no_coordinates",
        "33.1, 151.1.jpeg": "not_an_image",
    }
    assert words(broker.hgetall(COUNTS))["rejected:no_coordinates"] == "1"
    assert claimed_files(inbox) == []


def test_a_retried_file_is_taken_in(service: Service, broker: Broker, inbox: Path, rejects: Rejects) -> None:
    """What was rejected for its name becomes an incident under a better one."""
    drop(inbox, "street.jpg", picture_bytes(1))
    with running(service()):
        (reject,) = wait_rejected(rejects, 1)
        rejects.retry(Path(reject.path), NAME)
        wait_admitted(broker, 1)
    assert rejects.count() == 0


def test_a_camera_may_use_its_name_again(service: Service, broker: Broker, inbox: Path) -> None:
    """Pictures that replace each other under one name, each as soon as the last was taken, all count."""
    with running(service()):
        for number in range(6):
            drop(inbox, NAME, picture_bytes(number))
            wait_until(lambda: not (inbox / NAME).exists(), within_s=30, what="the file is claimed")
        wait_admitted(broker, 6)


def test_a_resend_makes_no_second_incident(service: Service, broker: Broker, inbox: Path) -> None:
    """The same picture of the same place under another name is counted as seen again."""
    with running(service()):
        drop(inbox, "33.8568, 151.2153 one.jpeg", picture_bytes(1))
        wait_admitted(broker, 1)
        drop(inbox, "33.8568, 151.2153 two.jpeg", picture_bytes(1))
        wait_until(lambda: broker.hget(COUNTS, "seen") == b"1", within_s=30, what="the resend is counted")
    assert len(all_ids(broker)) == broker.llen("rq:queue:classify") == 1


class FaultyStore(ImageStore):
    """A store that fails on one picture, and only on that: by default with a mistake of ours."""

    fault: Exception = ZeroDivisionError("a fault of ours")

    def put_picture(self, data: bytes, sha256: str, extension: str, aside: Aside | None = None) -> str:
        """Fail on the picture with seed 13."""
        if data == picture_bytes(13):
            raise self.fault
        return super().put_picture(data, sha256, extension, aside)


@pytest.mark.usefixtures("hasty")
def test_a_file_that_makes_us_fail_hurts_only_itself(
    service: Service, settings: Settings, broker: Broker, inbox: Path, rejects: Rejects
) -> None:
    """A mistake of ours costs its file three tries and its place; the others are taken in."""
    for number in range(10, 16):
        drop(inbox, place(number), picture_bytes(number))
    with structlog.testing.capture_logs() as said, running(service(FaultyStore(settings.image_store_url))):
        wait_admitted(broker, 5)
        (reject,) = wait_rejected(rejects, 1)
    assert [line["event"] for line in said].count("a file could not be examined") == 3
    assert (reject.name, reject.reason) == (place(13), "internal_error")
    assert "ZeroDivisionError" in reject.detail
    assert Path(reject.path).read_bytes() == picture_bytes(13)
    assert claimed_files(inbox) == []


@pytest.mark.usefixtures("hasty")
def test_a_picture_whose_place_is_taken_holds_up_no_other(
    service: Service, settings: Settings, broker: Broker, inbox: Path
) -> None:
    """Where one name can't be given, those that share its batch are kept in smaller and smaller batches."""
    blocked = hashlib.sha256(picture_bytes(3)).hexdigest()
    (settings.state_dir / "images" / "pictures" / blocked[:2] / f"{blocked}.jpeg").mkdir(parents=True)
    for number in range(12):
        drop(inbox, place(number), picture_bytes(number))
    with running(service()):
        wait_admitted(broker, 11)
        wait_until(
            lambda: [file.name for file in claimed_files(inbox)] == [place(3)],
            within_s=30,
            what="the others are let go",
        )


@pytest.mark.usefixtures("hasty")
def test_a_store_that_is_away_is_waited_for(
    service: Service, settings: Settings, broker: Broker, inbox: Path, rejects: Rejects
) -> None:
    """While pictures can't be stored nothing is lost or rejected; when they can, work goes on."""
    store = ImageStore(settings.image_store_url)
    pictures = settings.state_dir / "images" / "pictures"
    pictures.rmdir()  # as where a mount has gone
    with pytest.raises(StoreAwayError):
        store.put_picture(b"", "00", "jpeg")
    with running(service(store)):
        drop(inbox, NAME, picture_bytes(1))
        wait_until(lambda: claimed_files(inbox), within_s=30, what="the file is claimed")
        assert not pictures.exists()
        pictures.mkdir()
        wait_admitted(broker, 1)
    assert rejects.count() == 0


def test_two_ingesters_share_an_inbox(
    service: Service, broker: Broker, inbox: Path, rejects: Rejects
) -> None:
    """Each photograph is taken in by one of them: none twice, none by neither."""
    with running(service()), running(service()):
        for number in range(60):
            drop(inbox, place(number), picture_bytes(number))
        wait_admitted(broker, 60)
        wait_until(lambda: not claimed_files(inbox), within_s=30, what="the claims are released")
    assert words(broker.hgetall(COUNTS)) == {"admitted": "60"}
    assert broker.llen("rq:queue:classify") == 60
    assert rejects.count() == 0


def test_subfolders_name_the_camera(service: Service, broker: Broker, inbox: Path) -> None:
    """With ALMENARA_RECURSIVE a camera's own folder becomes the label of its photographs."""
    (inbox / "gate 7").mkdir()
    with running(service(recursive=True)):
        drop(inbox / "gate 7", NAME, picture_bytes(1))
        wait_admitted(broker, 1)
    incident = Incident.fetch(broker, all_ids(broker)[0])
    assert incident is not None
    assert incident.photograph.label == "gate 7"


@pytest.mark.usefixtures("hasty")
def test_a_claim_cleared_away_by_a_person_stops_nothing(
    service: Service, settings: Settings, broker: Broker, inbox: Path
) -> None:
    """Whoever empties the claims folder takes that file; this is said, and the next one is taken in."""
    store = FaultyStore(settings.image_store_url)
    store.fault = StoreAwayError("the store has no room for this one")
    with structlog.testing.capture_logs() as said, running(service(store)):
        drop(inbox, place(13), picture_bytes(13))  # it is looked at again, for as long as it is there
        wait_until(
            lambda: "photographs can't be stored, trying again" in events(said), within_s=30, what="said"
        )
        shutil.rmtree(claimed_files(inbox)[0].parent)
        wait_until(lambda: "a claimed file is gone" in events(said), within_s=30, what="it is missed")
        drop(inbox, NAME, picture_bytes(1))
        wait_admitted(broker, 1)


def events(said: Sequence[Mapping[str, Any]]) -> set[str]:
    """What log lines say."""
    return {line["event"] for line in said}


def heartbeats(broker: Broker) -> list[tuple[dict[str, Any], int]]:
    """What each ingester says of itself, and for how many milliseconds more."""
    found = []
    for key in set(broker.scan_iter(match=INGESTER_PREFIX + "*")):
        with broker.pipeline(transaction=True) as pipeline:
            pipeline.get(key)
            pipeline.pttl(key)
            about, left_ms = pipeline.execute()
        if about is not None:  # it has not run out meanwhile
            found.append((json.loads(about), left_ms))
    return found


def test_an_ingester_says_that_it_lives(service: Service, broker: Broker, inbox: Path) -> None:
    """The broker knows each ingester by name with its inboxes, for a while only."""
    seen: list[tuple[dict[str, Any], int]] = []

    def heard() -> bool:
        seen[:] = heartbeats(broker)
        return bool(seen)

    with running(service()):
        wait_until(heard, within_s=30, what="a heartbeat")
    ((beat, left_ms),) = seen
    assert beat["inboxes"] == [str(inbox.resolve())]
    assert 0 <= left_ms <= 20_000


def test_an_ingester_that_ends_leaves_no_litter(service: Service, broker: Broker, inbox: Path) -> None:
    """After a clean stop the claims folder is empty, and another instance may start."""
    for number in (1, 2):
        with running(service()):
            drop(inbox, place(number), picture_bytes(number))
            wait_admitted(broker, number)
            wait_until(lambda: not claimed_files(inbox), within_s=30, what="the claim is released")
    assert list((inbox / ".almenara").iterdir()) == []


def test_every_byte_arrives(service: Service, broker: Broker, store: ImageStore, inbox: Path) -> None:
    """A picture written slowly, in pieces, is stored whole."""
    data = picture_bytes(1, size_px=(640, 480))
    with running(service()):
        with (inbox / NAME).open("wb", buffering=0) as file:
            for begin in range(0, len(data), 4096):
                file.write(data[begin : begin + 4096])
                assert (inbox / NAME).exists()  # it is left alone meanwhile
        wait_admitted(broker, 1)
    incident = Incident.fetch(broker, all_ids(broker)[0])
    assert incident is not None
    assert hashlib.sha256(store.get(incident.photograph.image)).digest() == hashlib.sha256(data).digest()


def test_an_inbox_that_can_hold_no_note_is_emptied_all_the_same(
    service: Service, broker: Broker, inbox: Path
) -> None:
    """A full disk refuses the note of what is examined; taking the files in is what frees it."""
    made = service()
    (instance,) = (path for path in (inbox / ".almenara").iterdir() if path.is_dir())
    (instance / "examined.json").mkdir()  # nothing can be written there now
    with running(made):
        drop(inbox, NAME, picture_bytes(1))
        wait_admitted(broker, 1)
    assert claimed_files(inbox) == []


def test_a_folder_in_the_inbox_is_said_to_be_passed_over(service: Service, inbox: Path) -> None:
    """Whoever drags a folder in is told, once, that nobody looks into it."""
    (inbox / "holiday").mkdir(parents=True)
    with structlog.testing.capture_logs() as said, running(service()):
        wait_until(lambda: any("not looked into" in line["event"] for line in said), within_s=30, what="said")
    assert [line["folder"] for line in said if "not looked into" in line["event"]] == [str(inbox / "holiday")]
