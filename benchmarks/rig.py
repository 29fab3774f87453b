"""What every benchmark needs: a scratch broker, pictures, and rows of figures."""

import io
import random
import shutil
import subprocess
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from PIL import Image

from deploy.private_broker import PrivateBroker
from shared.settings import Settings


@dataclass
class Row:
    """One contender's figures, one a repeat. Ratios are taken to the base of the same `what`."""

    what: str
    contender: str
    unit: str
    figures: list[float]
    is_base: bool = False


@contextmanager
def broker() -> Iterator[Settings]:
    """A private broker on a scratch folder, as `almenara up` runs it."""
    folder = Path(tempfile.mkdtemp(prefix="almenara-bench-"))
    settings = Settings(state_dir=folder / "state", inbox=(folder / "inbox",))
    private = PrivateBroker(settings)
    private.prepare()
    process = subprocess.Popen(private.command())
    try:
        private.wait_until_ready(process)
        yield settings
    finally:
        process.terminate()
        process.wait(timeout=60)
        shutil.rmtree(folder, ignore_errors=True)


def picture(seed: int, width_px: int = 400, height_px: int = 300) -> bytes:
    """A JPEG of about a small camera's size, another one for each seed."""
    chance = random.Random(seed)
    image = Image.new("RGB", (16, 12))
    image.putdata([tuple(chance.randrange(256) for _ in range(3)) for _ in range(192)])
    buffer = io.BytesIO()
    image.resize((width_px, height_px), Image.Resampling.BICUBIC).save(buffer, "JPEG", quality=88)
    return buffer.getvalue()
