import os
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
from conftest import make_photograph, picture_bytes

from ingest.admission import admit
from ingest.retention import prune
from shared.broker import Broker
from shared.coordinates import Coordinates
from shared.images import ImageStore, sidecar_place
from shared.incidents import Photograph, all_ids, iso, utc_now
from shared.keys import incident_key
from shared.settings import Settings

DAYS = 30.0
ELSEWHERE = Coordinates(latitude_deg=40.4168, longitude_deg=-3.7038)


class Keeper:
    """Puts photographs of any age into store and broker, as an ingester did back then."""

    def __init__(self, broker: Broker, store: ImageStore, folder: Path) -> None:
        self.broker, self.store, self.folder = broker, store, folder

    def keep(
        self, seed: int, *, days_ago: float, decided: bool = True, place: Coordinates | None = None
    ) -> Photograph:
        """Take one in."""
        received = utc_now() - timedelta(days=days_ago)
        changes = {"coordinates": place} if place else {}
        photograph = make_photograph(seed, received_at=iso(received), **changes)
        sha256 = photograph.image.rpartition("/")[2].partition(".")[0]
        assert self.store.put_picture(picture_bytes(seed), sha256, "jpeg") == photograph.image
        os.utime(self.folder / photograph.image, (received.timestamp(),) * 2)
        self.store.put_sidecar(photograph)
        admit(self.broker, [(photograph.incident_id, photograph)])
        if decided:
            self.broker.hset(incident_key(photograph.incident_id), "state", "decided")
        return photograph

    def left(self) -> tuple[set[str], set[str], set[str]]:
        """Ids with a sidecar, ids with a record, and places of pictures."""
        sidecars = {photograph.incident_id for _, photograph in self.store.sidecars() if photograph}
        records = {each for each in all_ids(self.broker) if self.broker.exists(incident_key(each))}
        return sidecars, records, {place for place, _ in self.store.pictures()}


@pytest.fixture
def keeper(broker: Broker, store: ImageStore, settings: Settings) -> Keeper:
    return Keeper(broker, store, settings.state_dir / "images")


def run(keeper: Keeper) -> int:
    """Prune now."""
    return prune(keeper.broker, keeper.store, DAYS, utc_now())


def test_old_incidents_are_removed_whole(keeper: Keeper) -> None:
    """Picture, sidecar and record of what is older than the retention go; the rest stays."""
    keeper.keep(1, days_ago=31)
    young = keeper.keep(2, days_ago=29)
    assert run(keeper) == 1
    assert keeper.left() == ({young.incident_id}, {young.incident_id}, {young.image})


def test_an_undecided_incident_is_kept_at_any_age(keeper: Keeper) -> None:
    """What nobody has looked at yet is not thrown away for being old."""
    waiting = keeper.keep(1, days_ago=400, decided=False)
    assert run(keeper) == 0
    assert keeper.left() == ({waiting.incident_id}, {waiting.incident_id}, {waiting.image})


def test_a_shared_picture_stays_while_somebody_needs_it(keeper: Keeper) -> None:
    """One picture of two incidents goes with the second of them."""
    keeper.keep(1, days_ago=31)
    young = keeper.keep(1, days_ago=29, place=ELSEWHERE)
    os.utime(keeper.folder / young.image, (0, 0))
    assert run(keeper) == 1
    assert keeper.left() == ({young.incident_id}, {young.incident_id}, {young.image})


class OrderedStore(ImageStore):
    """Notes what is removed, and whether the broker still had the incident then."""

    def __init__(self, url: str, broker: Broker) -> None:
        super().__init__(url)
        self.broker = broker
        self.removed: list[tuple[str, int]] = []

    def remove(self, place: str) -> None:
        """Remove, and note."""
        self.removed.append((place, len(all_ids(self.broker))))
        super().remove(place)


def test_the_record_goes_last(keeper: Keeper, settings: Settings, broker: Broker) -> None:
    """Sidecar, then picture, then record: cut anywhere, no audit finds a picture to queue again."""
    old = keeper.keep(1, days_ago=31)
    store = OrderedStore(settings.image_store_url, broker)
    prune(broker, store, DAYS, utc_now())
    assert store.removed == [(sidecar_place(old.incident_id), 1), (old.image, 1)]
    assert all_ids(broker) == []


def test_a_picture_without_a_sidecar_goes_when_it_is_old(keeper: Keeper) -> None:
    """What a crash left in the store does not stay for ever; a young one may be on its way in."""
    old, young = keeper.keep(1, days_ago=31), keeper.keep(2, days_ago=0)
    for photograph in (old, young):
        keeper.store.remove(sidecar_place(photograph.incident_id))
    run(keeper)
    assert keeper.left()[2] == {young.image}


def test_what_a_dead_writer_left_goes_when_it_is_old(keeper: Keeper) -> None:
    """Half-written files of ingesters that were killed do not pile up; a young one may be in use."""
    kept = keeper.keep(1, days_ago=0)
    folder = (keeper.folder / kept.image).parent
    for name in (".old.jpeg.0123abcd.tmp", ".young.jpeg.0123abcd.tmp"):
        (folder / name).write_bytes(b"half")
    os.utime(folder / ".old.jpeg.0123abcd.tmp", (0, 0))
    run(keeper)
    assert [path.name for path in folder.glob(".*")] == [".young.jpeg.0123abcd.tmp"]
    assert keeper.left()[2] == {kept.image}


def test_a_damaged_sidecar_stops_nothing(keeper: Keeper, settings: Settings) -> None:
    """One that can't be read is left for the audit, and the others are dealt with."""
    keeper.keep(1, days_ago=31)
    (settings.state_dir / "images" / "incidents" / "damaged.json").write_text("{")
    assert run(keeper) == 1


def test_an_incident_without_a_record_is_removed(keeper: Keeper, broker: Broker) -> None:
    """A record that has run out by itself keeps no picture."""
    old = keeper.keep(1, days_ago=31)
    broker.delete(incident_key(old.incident_id))
    assert run(keeper) == 1
    assert keeper.left() == (set(), set(), set())
    assert all_ids(broker) == []


def test_streams_lose_what_is_too_old(keeper: Keeper, broker: Broker) -> None:
    """Dispatches older than the retention are trimmed, in whole pages; younger ones all stay."""
    old_ms = int((utc_now() - timedelta(days=31)).timestamp() * 1000)
    with broker.pipeline(transaction=False) as pipeline:
        for number in range(300):
            pipeline.xadd("dispatch:ambulance", {"event": "old"}, id=f"{old_ms}-{number + 1}")
        for _ in range(50):
            pipeline.xadd("dispatch:ambulance", {"event": "young"})
        pipeline.execute()
    run(keeper)
    entries: Any = broker.xrange("dispatch:ambulance")
    events = [fields[b"event"] for _, fields in entries]
    assert events.count(b"young") == 50
    assert events.count(b"old") < 100
