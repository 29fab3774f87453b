"""Almenara as a contender: the real ingester and worker, as processes, with settings by the environment."""

import hashlib
import sys
import time
import uuid
from collections.abc import Sequence
from dataclasses import replace

from benchmarks.contenders import ContenderError, Ground, QueueContender
from ingest.admission import admit
from shared.broker import words
from shared.coordinates import Coordinates
from shared.images import ImageStore
from shared.incidents import Photograph, incident_id, iso, utc_now
from shared.keys import COUNTS

NAME = "Almenara"
ABOUT = (
    "`almenara ingest` and `almenara worker`, ALMENARA_ENGINE as said, all else as it comes. Flooded: jobs "
    "of pictures that are stored already, the ingester idle; latency: from the file closed in the inbox to "
    "the verdict published, all that the ingester does included"
)


class Almenara(QueueContender):
    """Flooded, pictures are stored and admitted to the queue; at a steady rate, files in the inbox."""

    def __init__(self, engine: str, workers: int = 1, threads: int | None = None) -> None:
        super().__init__(NAME, engine, ABOUT)
        self._workers = workers
        self._threads = threads

    def start(self, ground: Ground) -> None:
        """See `Contender.start`."""
        settings = replace(ground.settings, engine=self.engine, threads=self._threads)
        settings.inbox[0].mkdir(parents=True, exist_ok=True)
        store = ImageStore(settings.image_store_url)
        self._shas = [hashlib.sha256(data).hexdigest() for data in ground.album.pictures]
        self._places = [
            store.put_picture(data, sha, "jpeg")
            for sha, data in zip(self._shas, ground.album.pictures, strict=True)
        ]
        super().start(replace(ground, settings=settings))

    def commands(self, ground: Ground) -> list[list[str]]:
        """See `QueueContender.commands`."""
        return [[sys.executable, "-m", "deploy", name] for name in ("ingest", *["worker"] * self._workers)]

    def enqueue(self, numbers: Sequence[int]) -> list[str]:
        """See `QueueContender.enqueue`: as the ingester ends its work."""
        photographs = [self._photograph(number) for number in numbers]
        admit(self._client, [(uuid.uuid4().hex, photograph) for photograph in photographs])
        return [_key(photograph.incident_id) for photograph in photographs]

    def send(self, number: int) -> tuple[str, float]:
        """See `QueueContender.send`: the clock starts as the file is closed."""
        photograph = self._photograph(number)
        data = self._ground.album.picture(number)
        (self._ground.settings.inbox[0] / photograph.name).write_bytes(data)
        return _key(photograph.incident_id), time.perf_counter()

    def check(self) -> None:
        """See `QueueContender.check`: each picture has a verdict of the model."""
        counts = {name: int(count) for name, count in words(self._client.hgetall(COUNTS)).items()}
        decided = sum(counts.get(verdict, 0) for verdict in ("dispatched", "unsure", "no_emergency"))
        if counts.get("failed") or decided != self._sent:
            raise ContenderError(f"{decided} of {self._sent} pictures have a verdict: {counts}")

    def _photograph(self, number: int) -> Photograph:
        """Each number is another place, so that the same picture is another incident."""
        place = Coordinates(latitude_deg=number % 8000 / 100, longitude_deg=number // 8000 / 100)
        index = number % len(self._shas)
        return Photograph(
            incident_id=incident_id(self._shas[index], place),
            image=self._places[index],
            coordinates=place,
            label="",
            received_at=iso(utc_now()),
            name=f"{place.latitude_deg}, {place.longitude_deg}.jpeg",
            place_from="name",
        )


def _key(incident: str) -> str:
    """RQ's result record, which is written in the step that publishes the verdict."""
    return f"rq:results:{incident}"
