"""What the contenders look at: a fixed sample of real photographs, or drawings where there are none."""

import io
import math
import statistics
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from PIL import Image

from benchmarks.rig import picture

COUNT = 200
QUALITY = 88


@dataclass(frozen=True)
class Album:
    """Pictures in a folder of files and in memory, in the same order; repeated as often as needed.

    Attributes:
        about: what they are, for the head of a table.
    """

    about: str
    paths: tuple[Path, ...]
    pictures: tuple[bytes, ...]

    def path(self, index: int) -> Path:
        """The file of picture `index`, of any number."""
        return self.paths[index % len(self.paths)]

    def picture(self, index: int) -> bytes:
        """The bytes of picture `index`, of any number."""
        return self.pictures[index % len(self.pictures)]


def make_album(folder: Path, photographs: Path | None, count: int = COUNT) -> Album:
    """Up to `count` pictures written into a folder.

    Args:
        folder: made if it is not there.
        photographs: real ones, evenly taken from its folder `val`, or from all of it where there is none;
            None draws them.
    """
    if photographs is None:
        pictures = [picture(seed) for seed in range(count)]
        kind = "drawn pictures"
    else:
        found = sorted((photographs / "val").rglob("*.jp*g")) or sorted(photographs.rglob("*.jp*g"))
        pictures = [path.read_bytes() for path in found[:: max(1, len(found) // count)][:count]]
        kind = "photographs"
    return _written(folder, kind, pictures)


def resized(album: Album, folder: Path, megapixels: float, count: int) -> Album:
    """The first `count` of the pictures, at another size and the same shape."""
    return _written(
        folder,
        f"pictures of {megapixels:g} megapixels",
        [_resized(album.picture(index), megapixels) for index in range(count)],
    )


def _resized(data: bytes, megapixels: float) -> bytes:
    with Image.open(io.BytesIO(data)) as image:
        factor = math.sqrt(megapixels * 1e6 / (image.width * image.height))
        size = round(image.width * factor), round(image.height * factor)
        buffer = io.BytesIO()
        image.convert("RGB").resize(size, Image.Resampling.BICUBIC).save(buffer, "JPEG", quality=QUALITY)
    return buffer.getvalue()


def _written(folder: Path, kind: str, pictures: Sequence[bytes]) -> Album:
    folder.mkdir(parents=True, exist_ok=True)
    paths = []
    for index, data in enumerate(pictures):
        paths.append(folder / f"{index:04d}.jpeg")
        paths[-1].write_bytes(data)
    megapixels = statistics.median(map(_megapixels, pictures))
    size_kb = statistics.median(map(len, pictures)) / 1000
    about = f"{len(pictures)} {kind} (median {megapixels:.2g} megapixels, {size_kb:.0f} kB)"
    return Album(about, tuple(paths), tuple(pictures))


def _megapixels(data: bytes) -> float:
    with Image.open(io.BytesIO(data)) as image:
        return image.width * image.height / 1e6
