"""What tests of the worker share: a model that costs nothing, admitted photographs, looks into the broker."""

import hashlib
import io
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image
from rq.job import Job
from rq.serializers import JSONSerializer
from schema_parts import check_dispatch

from ingest.admission import admit
from shared.broker import Broker, words
from shared.checkpoint import Checkpoint
from shared.coordinates import Coordinates
from shared.dispatches import Decision, Dispatch
from shared.images import ImageStore
from shared.incidents import Photograph, incident_id
from shared.keys import DISPATCH_PREFIX, LEASES, incident_key
from shared.preprocessing import Preprocessing
from shared.routing import Routing
from shared.settings import Settings
from shared.verdict import Thresholds, Verdict
from worker.batches import Classifier
from worker.executions import Execution, Terms, new_ids, start

COLOURS = {"fire": (230, 20, 20), "protest": (20, 230, 20), "normal": (20, 20, 230), "unclear": (90, 90, 90)}
DEADLY = b"this picture kills the process that decodes it"
POISON_LEVEL = 255
"""A picture with a channel this bright makes the engine raise."""


class ColourEngine:
    """Red is a fire, green a protest, blue a normal street; costs nothing.

    Attributes:
        batches: how many pictures each forward pass had.
    """

    name = "colours"

    def __init__(self, on_batch: Callable[[], None] = lambda: None, error: Exception | None = None) -> None:
        """Call `on_batch` in each forward pass; raise `error` where a picture of the batch is poison."""
        self.batches: list[int] = []
        self._on_batch = on_batch
        self._error = error or RuntimeError("the device rejects a picture")

    def scores(self, batch: NDArray[np.uint8]) -> NDArray[np.float32]:
        """See ``worker.engines.Engine.scores``."""
        self.batches.append(len(batch))
        self._on_batch()
        if int(batch.max()) >= POISON_LEVEL:
            raise self._error
        logits: NDArray[np.float32] = (batch.mean(axis=(1, 2)) / 10).astype(np.float32)  # (N, 3)
        return logits

    def warm_up(self) -> float:
        """See ``worker.engines.Engine.warm_up``."""
        return 0.01


def checkpoint() -> Checkpoint:
    """A checkpoint without weights, for engines that need none."""
    return Checkpoint(
        weights={},
        classes=("fire", "protest", "normal"),
        preprocessing=Preprocessing(size_px=32, mean=(0.5, 0.5, 0.5), std=(0.25, 0.25, 0.25)),
        temperature=1.0,
        thresholds=Thresholds(dispatch=0.6, no_emergency=0.6),
    )


def classifier(store: ImageStore, engine: ColourEngine | None = None) -> Classifier:
    """A classifier that knows colours."""
    return Classifier(checkpoint(), engine or ColourEngine(), store, max_pixels=1_000_000)


def picture(shows: str, seed: int = 0) -> bytes:
    """A picture of one colour that shows a word of COLOURS, another file for each seed."""
    red, green, blue = COLOURS[shows]
    image = Image.new("RGB", (40, 40), (red, green, blue))
    image.putpixel((seed % 40, seed // 40), (red ^ 1, green ^ 1, blue ^ 1))
    buffer = io.BytesIO()
    image.save(buffer, "PNG")
    return buffer.getvalue()


def poison() -> bytes:
    """A good picture that the engine rejects."""
    buffer = io.BytesIO()
    Image.new("RGB", (40, 40), (POISON_LEVEL, 0, 0)).save(buffer, "PNG")
    return buffer.getvalue()


def deadly() -> bytes:
    """A picture that kills the process of run_worker.py that decodes it."""
    return picture("fire") + DEADLY


def photograph(image: str, seed: int) -> Photograph:
    """What the ingester would say of a picture in the store."""
    coordinates = Coordinates(latitude_deg=10 + seed / 1000, longitude_deg=20.5)
    return Photograph(
        incident_id=incident_id(hashlib.sha256(image.encode()).hexdigest(), coordinates),
        image=image,
        coordinates=coordinates,
        label="",
        received_at="2026-11-24T10:02:03.000000Z",
        name=f"{coordinates.latitude_deg}, 20.5.png",
        place_from="name",
    )


def _absent(number: int) -> str:
    """Where a picture would lie that no store has."""
    digest = hashlib.sha256(str(number).encode()).hexdigest()
    return f"pictures/{digest[:2]}/{digest}.png"


def admit_names(broker: Broker, count: int, begin: int = 0) -> list[str]:
    """Ids of that many new incidents, in queue order; their pictures are in no store."""
    made = [photograph(_absent(number), number) for number in range(begin, begin + count)]
    admit(broker, [(f"claim-{each.incident_id}", each) for each in made])
    return [each.incident_id for each in made]


def admit_pictures(broker: Broker, store: ImageStore, pictures: Sequence[bytes]) -> list[str]:
    """Ids of new incidents of these pictures, in queue order."""
    made = []
    for seed, data in enumerate(pictures):
        place = store.put_picture(data, hashlib.sha256(data).hexdigest(), "png")
        made.append(photograph(place, seed))
    admit(broker, [(f"claim-{each.incident_id}", each) for each in made])
    return [each.incident_id for each in made]


def routing() -> Routing:
    """The default routing."""
    return Routing.load(Settings().routing)


def record(broker: Broker, incident: str) -> dict[str, str]:
    """An incident's record."""
    return words(broker.hgetall(incident_key(incident)))


def counts(broker: Broker) -> dict[str, int]:
    """What happened so far, by word."""
    return {word: int(number) for word, number in words(broker.hgetall("almenara:counts")).items()}


def told(broker: Broker, department: str) -> list[str]:
    """Incidents in a department's stream, in order."""
    entries: Any = broker.xrange(DISPATCH_PREFIX + department)
    for _, fields in entries:
        check_dispatch(fields[b"event"])
    return [str(Dispatch.decode(fields[b"event"]).data["incident_id"]) for _, fields in entries]


def waiting(broker: Broker) -> list[str]:
    """Ids in the queue, front first."""
    ids: Any = broker.lrange("rq:queue:classify", 0, -1)
    return [each.decode() for each in ids]


def in_flight(broker: Broker) -> int:
    """How many jobs RQ shows as executing."""
    return int(broker.zcard("rq:wip:classify"))


LEASE_S = 600.0
"""Longer than any test is held up: leases end, and sweeps have gaps, only where a test writes so."""


def terms() -> Terms:
    """What the ends of executions have in common."""
    return Terms(routing(), keep_s=1000, working_s=0.25)


def decision(verdict: Verdict = Verdict.DISPATCHED, situation: str | None = "fire") -> Decision:
    """What a model might say of a photograph."""
    return Decision(
        verdict=verdict, situation=situation, confidence=0.9, scores={}, model="m", reason="why", detail="how"
    )


def take(broker: Broker, count: int, worker: str = "w1", first: str = "") -> list[Execution]:
    """Start up to that many jobs."""
    return start(broker, worker, new_ids(count), LEASE_S, first)


def ids(executions: Sequence[Execution]) -> list[str]:
    """The jobs that these executions run."""
    return [each.job_id for each in executions]


def expire(broker: Broker, *executions: Execution) -> None:
    """As if their workers had been silent for longer than a lease."""
    broker.zadd(LEASES, {each.member: 1 for each in executions})


def clock_ms(broker: Broker) -> float:
    """The broker's clock."""
    seconds, microseconds = broker.time()
    return float(seconds * 1000 + microseconds / 1000)


def everything(broker: Broker) -> dict[bytes, Any]:
    """Every key and its content, but for the counters."""
    read: dict[bytes | str, Callable[[bytes], Any]] = {
        b"hash": broker.hgetall,
        b"stream": broker.xrange,
        b"set": broker.smembers,
        b"zset": lambda key: broker.zrange(key, 0, -1, withscores=True),
        b"list": lambda key: broker.lrange(key, 0, -1),
        b"string": broker.get,
    }
    keys = [key for key in broker.scan_iter() if key != b"almenara:counts"]
    return {key: read[broker.type(key)](key) for key in keys}


def job(broker: Broker, job_id: str) -> Job:
    """RQ's job."""
    return Job.fetch(job_id, connection=broker, serializer=JSONSerializer)


def glance(incident_id: str) -> dict[str, str]:
    """What a stock RQ worker runs in our worker's stead."""
    DURING_GLANCE[0]()
    return {"verdict": "dispatched"}


DURING_GLANCE: list[Callable[[], None]] = [lambda: None]
"""What `glance` does while its job is in flight."""
