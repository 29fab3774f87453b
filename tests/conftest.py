"""What tests share: a real broker, settings in a scratch folder, pictures drawn on the spot."""

import io
import os
import random
import shutil
import subprocess
import tempfile
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
from PIL import Image

from deploy.private_broker import PrivateBroker
from shared.broker import Broker, connect
from shared.images import ImageStore
from shared.settings import Settings

if TYPE_CHECKING:
    from deployment import Deployment


def wait_until(condition: Callable[[], object], *, within_s: float, what: str) -> None:
    """Look at a condition until it is true.

    Raises:
        AssertionError: it is not, after `within_s` seconds; `what` says what was waited for.
    """
    deadline_s = time.monotonic() + within_s
    while not condition():
        if time.monotonic() > deadline_s:
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


def picture_bytes(seed: int, *, size_px: tuple[int, int] = (96, 72), kind: str = "JPEG") -> bytes:
    """A real picture file, another one for each seed."""
    chance = random.Random(seed)
    image = Image.new("RGB", (8, 6))
    image.putdata([(chance.randrange(256), chance.randrange(256), chance.randrange(256)) for _ in range(48)])
    buffer = io.BytesIO()
    image.resize(size_px, Image.Resampling.BICUBIC).save(buffer, kind)
    return buffer.getvalue()


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
