"""What tests share: a real broker, settings in a scratch folder, pictures drawn on the spot."""

import hashlib
import io
import os
import random
import shutil
import subprocess
import tempfile
import time
from collections.abc import Callable, Iterator, Mapping
from dataclasses import replace
from functools import partial
from pathlib import Path
from types import MappingProxyType
from typing import TYPE_CHECKING, Any

import hypothesis
import pytest
import structlog
from PIL import Image

from deploy.private_broker import PrivateBroker
from ingest.pictures import Picture, check_picture
from shared.broker import Broker, connect
from shared.coordinates import Coordinates
from shared.dispatches import Decision, entries
from shared.images import ImageStore
from shared.incidents import Incident, Photograph, incident_id, iso, utc_now
from shared.routing import Routing
from shared.settings import Settings
from shared.verdict import Verdict

if TYPE_CHECKING:
    from deployment import Deployment

# The same examples each time, however long one takes: chance must not decide whether a change may go in.
# What only other inputs would find is the fuzzer's work (tests/fuzz).
hypothesis.settings.register_profile("almenara", parent=hypothesis.settings.get_profile("ci"))
hypothesis.settings.load_profile("almenara")

# As structlog writes by itself, but for tracebacks: a drawn one takes half a second of a busy machine.
structlog.configure(
    processors=[
        *structlog.get_config()["processors"][:-1],
        structlog.dev.ConsoleRenderer(colors=False, exception_formatter=structlog.dev.plain_traceback),
    ]
)


def wait_until(condition: Callable[[], object], *, within_s: float, what: str) -> None:
    """Look at a condition until it is true.

    Raises:
        AssertionError: it is not, after `within_s` seconds; `what` says what was waited for.
    """
    deadline_s = time.monotonic() + within_s
    while True:
        over = time.monotonic() > deadline_s  # before the look: whoever was held up looks once more
        if condition():
            return
        if over:
            raise AssertionError(f"not within {within_s:g} s: {what}")
        time.sleep(0.02)


@pytest.fixture(scope="session")
def broker_settings() -> Iterator[Settings]:
    """A private broker for the whole session, as `almenara up` starts it."""
    folder = Path(tempfile.mkdtemp(prefix="almenara-test-"))  # short: a socket's path has a limit
    settings = Settings(state_dir=folder)
    private = PrivateBroker(settings)
    private.prepare()
    process = subprocess.Popen(private.command())
    try:
        private.wait_until_ready(process)
        yield settings
    finally:
        process.terminate()
        process.wait(timeout=30)
        shutil.rmtree(folder, ignore_errors=True)


@pytest.fixture
def settings(broker_settings: Settings, tmp_path: Path) -> Settings:
    """Settings with a scratch inbox and state folder, and the session's broker."""
    return Settings(
        redis_url=f"unix://{broker_settings.broker_socket}",
        inbox=(tmp_path / "inbox",),
        state_dir=tmp_path / "state",
        settle_s=0.3,
        rescan_s=0.5,
    )


@pytest.fixture
def broker(settings: Settings) -> Iterator[Broker]:
    """A client of an empty broker."""
    client = connect(settings)
    client.flushall()
    yield client
    client.close()


@pytest.fixture
def store(settings: Settings) -> ImageStore:
    """An empty image store on the local disk."""
    return ImageStore(settings.image_store_url)


def checking(settings: Settings) -> Callable[[bytes], Picture]:
    """The check of pictures, in this process: what `ingest.checks` has done in others."""
    return partial(check_picture, max_bytes=settings.max_file_bytes, max_pixels=settings.max_pixels)


def picture_bytes(seed: int, *, size_px: tuple[int, int] = (96, 72), kind: str = "JPEG") -> bytes:
    """A real picture file, another one for each seed."""
    chance = random.Random(seed)
    image = Image.new("RGB", (8, 6))
    image.putdata([(chance.randrange(256), chance.randrange(256), chance.randrange(256)) for _ in range(48)])
    buffer = io.BytesIO()
    image.resize(size_px, Image.Resampling.BICUBIC).save(buffer, kind)
    return buffer.getvalue()


def make_photograph(seed: int, **changes: Any) -> Photograph:
    """What the ingester would know of the picture with this seed; `changes` are fields by name."""
    sha256 = hashlib.sha256(picture_bytes(seed)).hexdigest()
    place = changes.pop("coordinates", Coordinates(latitude_deg=33.8568, longitude_deg=151.2153))
    photograph = Photograph(
        incident_id=incident_id(sha256, place),
        image=f"pictures/{sha256[:2]}/{sha256}.jpeg",
        coordinates=place,
        label="cam 7",
        received_at=iso(utc_now()),
        name=f"{place} cam 7.jpeg",
        place_from="name",
    )
    return replace(photograph, **changes)


def make_incident(seed: int, *, number: str = "0001", **changes: Any) -> Incident:
    """An incident that a worker holds, of the photograph with this seed."""
    photograph = make_photograph(seed, **changes)
    more = {"number": number, "state": "in_flight", "seen_count": "1", "last_seen_at": photograph.received_at}
    return Incident.from_fields(photograph.to_fields() | more)


def make_entries(
    seed: int,
    *,
    number: str = "0001",
    situation: str | None = "protest",
    verdict: Verdict = Verdict.DISPATCHED,
    decision: Mapping[str, Any] = MappingProxyType({}),
    **changes: Any,
) -> list[tuple[str, str]]:
    """What a worker sends about the photograph with this seed: (department, CloudEvents JSON) each."""
    scores = {"protest": 0.62, "fire": 0.2, "normal": 0.18}
    fields = {"confidence": 0.62, "scores": scores, "model": "test@0 torch-cpu", **decision}
    decided = Decision(verdict=verdict, situation=situation, **fields)
    routing = Routing.load(Settings().routing)
    return entries(make_incident(seed, number=number, **changes), decided, routing, utc_now())


def photographs_folder() -> Path:
    """The folder of real photographs; skips the test where there is none."""
    folder = os.environ.get("ALMENARA_PHOTOS", "")
    if not folder:
        pytest.skip("ALMENARA_PHOTOS is not set: no real photographs to test with")
    return Path(folder)


@pytest.fixture
def deployment() -> Iterator["Deployment"]:
    """A scratch deployment whose broker runs; services are the test's to start."""
    from deployment import Deployment

    made = Deployment()
    made.start_broker()
    try:
        yield made
    finally:
        made.close()
