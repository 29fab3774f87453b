"""Which photographs show the same thing: a perceptual hash of each, compared block by block.

The hash is the signs of the 16 x 16 lowest coefficients of a discrete cosine transform: what is left of a
picture that has been scaled, compressed, lightened, captioned or lightly cropped. Turned left to right, only
the coefficients of odd columns change their sign, so mirror images are found from the same bits.

Source: Zauner 2010, "Implementation and benchmarking of perceptual image hash functions", the DCT hash,
with signs for its median (a mirror image is then exact) and 256 bits for its 64. Our own because the package
ImageHash brings SciPy and PyWavelets, 40 MB of wheels, for a transform that is one line of NumPy, reads
phone pictures as they lie rather than upright, and would have to read each twice to find mirror images.
"""

from collections.abc import Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from functools import lru_cache
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from rich.console import Console
from rich.progress import track

from shared.preprocessing import ImageError, Preprocessing, decode

NEAR_BITS = 72
"""Photographs whose hashes differ in so many of 256 bits, or fewer, are near duplicates.

Source: 12.4 million pairs of street photographs. Up to 72, every pair that was looked at was one scene: a
stock photograph twice, or one camera's frames. The first strangers are 76 (two films in one black frame) and
79 bits apart (two cars in a catalogue), and from 88 their number grows six to ten times every 4 bits: at 100,
chains of them join nine photographs in ten. Found at 72 were all that were compressed, halved, greyed,
darkened, lightened, captioned, mirrored or cropped by 2 % on every side, 96 % of those that lost 5 % on one
side, and 40 % of those that lost 5 % on every side.
"""

_SIDE = 32
_KEPT = 16
_HALF_BITS = _KEPT * _KEPT // 2
_LEAST_CONTRAST = 3.0
"""Standard deviation of 0 to 255: below, only noise decides the bits. Street photographs begin at 8."""

_SQUARE = Preprocessing(size_px=_SIDE, mean=(0.5, 0.5, 0.5), std=(0.5, 0.5, 0.5))
_LUMA = np.array([0.299, 0.587, 0.114])  # Source: ITU-R BT.601
_COSINES = np.cos(np.pi * np.outer(np.arange(_KEPT), 2 * np.arange(_SIDE) + 1) / (2 * _SIDE))  # (16, 32)
_THREADS = 4
_ROWS, _COLUMNS = 256, 2048  # 4 MB of 64-bit words at a time
_UNKNOWN = bytes(_KEPT * _KEPT // 8)


def hashes(paths: Iterable[Path], console: Console | None = None) -> NDArray[np.uint64]:
    """Hash photographs; a file is read once in the life of the process, unless it changes.

    Args:
        paths: N files.
        console: for progress; None for none.

    Returns:
        (N, 4) uint64: 128 bits that a mirror image has too, then 128 that it has the other way round. All
        zero where nothing can be compared: a file that can't be read, a picture of one plain colour.
    """
    files = list(paths)
    pool = ThreadPoolExecutor(_THREADS)
    try:
        found = pool.map(_hash_of_file, files)
        shown = track(found, "comparing", total=len(files), console=console, disable=console is None)
        return np.frombuffer(b"".join(shown), np.uint64).reshape(-1, 4)  # (N, 4)
    finally:
        pool.shutdown(cancel_futures=True)  # Ctrl-C would otherwise wait for every file that is left


def comparable(hashed: NDArray[np.uint64]) -> NDArray[np.bool_]:
    """(N,) whether there is anything to compare."""
    known: NDArray[np.bool_] = np.any(hashed, axis=1)  # (N,)
    return known


def clusters(hashed: NDArray[np.uint64]) -> NDArray[np.intp]:
    """Put photographs together that are near duplicates, or are joined by a chain of them.

    Args:
        hashed: (N, 4) from ``hashes``.

    Returns:
        (N,) position of the first member of each one's cluster; its own where it is alone.
    """
    known = np.flatnonzero(comparable(hashed))  # (K,)
    bits, count = hashed[known], len(known)  # (K, 4)
    first = np.arange(count)  # (K,)
    for begin in range(0, count, _ROWS):
        for column, distance in _compared(bits[begin : begin + _ROWS], bits[begin:]):
            near_rows, near_columns = np.nonzero(distance <= NEAR_BITS)
            one, other = first[near_rows + begin], first[near_columns + begin + column]
            # Thousands of frames of one camera make millions of pairs, and few that join anything anew.
            new = np.unique((one * count + other)[one != other])
            for pair in new.tolist():
                _join(first, *divmod(pair, count))
            while len(new) and (first != first[first]).any():
                first = first[first]  # (K,), until everyone points at the first member
    result = np.arange(len(hashed))
    result[known] = known[first]
    return result


def nearest(hashed: NDArray[np.uint64], among: NDArray[np.uint64]) -> NDArray[np.intp]:
    """Find each photograph's closest near duplicate among others.

    Args:
        hashed: (N, 4) from ``hashes``.
        among: (M, 4) likewise.

    Returns:
        (N,) positions in ``among``, the first of equals; -1 where there is no near duplicate.
    """
    closest = np.full(len(hashed), -1, np.intp)
    least = np.full(len(hashed), NEAR_BITS + 1, np.uint8)
    there, here = np.flatnonzero(comparable(among)), np.flatnonzero(comparable(hashed))
    for begin in range(0, len(here), _ROWS):
        rows = here[begin : begin + _ROWS]
        for column, distance in _compared(hashed[rows], among[there]):
            best = distance.argmin(axis=1)  # (R,)
            bits = distance[np.arange(len(rows)), best]  # (R,)
            closer = bits < least[rows]
            closest[rows[closer]] = there[column + best[closer]]
            least[rows[closer]] = bits[closer]
    return closest


def _compared(
    rows: NDArray[np.uint64], columns: NDArray[np.uint64]
) -> Iterator[tuple[int, NDArray[np.uint8]]]:
    """Block by block, its first column and (R, C) bits between the photographs, mirrored or not."""
    for column in range(0, len(columns), _COLUMNS):
        left, right = rows[:, None], columns[None, column : column + _COLUMNS]  # (R, 1, 4), (1, C, 4)
        apart = [np.bitwise_count(left[..., word] ^ right[..., word]) for word in range(4)]  # (R, C) each
        even, odd = apart[0] + apart[1], apart[2] + apart[3]  # 128 at most, so that uint8 holds their sum
        yield column, even + np.minimum(odd, _HALF_BITS - odd)


def _join(first: NDArray[np.intp], one: int, other: int) -> None:
    while first[one] != one:
        one = int(first[one])
    while first[other] != other:
        other = int(first[other])
    first[max(one, other)] = min(one, other)


def _hash_of_file(path: Path) -> bytes:
    try:
        status = path.stat()
    except OSError:
        return _UNKNOWN
    return _hash_of_version(path, status.st_size, status.st_mtime_ns)


# A run groups its photographs and checks its split: the second time is free, and is seconds to minutes else.
@lru_cache(maxsize=100_000)
def _hash_of_version(path: Path, _size_bytes: int, _changed_ns: int) -> bytes:
    try:
        pixels = decode(path.read_bytes(), _SQUARE)  # (32, 32, 3)
    except (ImageError, OSError):
        return _UNKNOWN
    grey = pixels @ _LUMA  # (32, 32)
    if grey.std() < _LEAST_CONTRAST:
        return _UNKNOWN
    positive = _COSINES @ grey @ _COSINES.T > 0  # (16, 16); the first is brightness, and so always set
    return np.packbits(np.concatenate([positive[:, ::2], positive[:, 1::2]])).tobytes()  # 32 bytes
