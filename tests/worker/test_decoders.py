"""Decoding in processes of their own: the same pixels, and what kills or hangs one hurts itself alone."""

import io
import os
import signal
import socket
import struct
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from worker_parts import admit_pictures, checkpoint, classifier, picture

from shared.broker import Broker
from shared.confinement import DecoderKilledError
from shared.dispatches import Decision
from shared.errors import PermanentError
from shared.images import ImageStore
from shared.preprocessing import decode
from worker.decoders import Decoders
from worker.executions import new_ids, start

Make = Callable[..., Decoders]


@pytest.fixture
def decoders() -> Iterator[Make]:
    """Make decoders, which are ended with the test."""
    made: list[Decoders] = []

    def make(max_pixels: int = 10_000_000, **more: float) -> Decoders:
        made.append(Decoders(max_pixels, processes=1, **more))
        return made[-1]

    yield make
    for each in made:
        each.close()


def slow_bmp() -> bytes:
    """A bitmap of runs of one pixel, which are decoded one by one: seconds of work in 30 megabytes."""
    runs, side_px = b"\x01\x07" * 15_000_000, 3100
    header = struct.pack("<IiiHHIIiiII", 40, side_px, side_px, 1, 8, 1, len(runs), 0, 0, 256, 0)
    file = struct.pack("<2sIHHI", b"BM", 54 + 1024 + len(runs), 0, 0, 54 + 1024)
    return file + header + bytes(1024) + runs


@pytest.mark.parametrize("form", ["JPEG", "PNG", "WEBP", "BMP", "TIFF"])
def test_pixels_are_those_of_a_thread(decoders: Make, form: str) -> None:
    """A process gives what the same decoding gives here, writable, for each format."""
    file = io.BytesIO()
    Image.radial_gradient("L").convert("RGB").resize((300, 200)).save(file, form)
    shape = checkpoint().preprocessing
    pixels = decoders().decode(file.getvalue(), shape)
    assert pixels.flags.writeable
    assert np.array_equal(pixels, decode(file.getvalue(), shape))


def test_refusals_keep_their_reason(decoders: Make) -> None:
    """What can't be decoded is refused with the same reason as in a thread."""
    shape, pool = checkpoint().preprocessing, decoders(100)
    cases = ((b"no picture", "undecodable"), (b"", "truncated"), (picture("fire"), "too_many_pixels"))
    for data, reason in cases:
        with pytest.raises(PermanentError) as caught:
            pool.decode(data, shape)
        assert caught.value.reason == reason


def test_a_picture_that_hangs_is_refused_and_the_next_is_decoded(decoders: Make) -> None:
    """A picture that keeps its decoder busy is given up, and the next one is decoded in a new process."""
    pool = decoders(answer_s=0.5)
    pool.warm_up()
    with pytest.raises(DecoderKilledError, match="takes more than"):
        pool.decode(slow_bmp(), checkpoint().preprocessing)
    pool.processes.members[0]._answer_s = 60.0  # this machine may be slow
    assert pool.decode(picture("fire"), checkpoint().preprocessing).shape[2] == 3


def test_memory_of_a_process_is_bounded(decoders: Make) -> None:
    """A process may take what the largest picture needs, and no more: the system holds it to that."""
    pool = decoders(10_000_000)
    pool.warm_up()
    process = pool.processes.members[0]._process
    assert process is not None
    limits = Path(f"/proc/{process.pid}/limits").read_text()
    (line,) = (each for each in limits.splitlines() if each.startswith("Max address space"))
    assert int(line.split()[3]) == 2**30 + 24 * 10_000_000


def test_a_process_that_dies_is_started_again(decoders: Make) -> None:
    """The next picture finds a new process where the last one was killed."""
    shape, pool = checkpoint().preprocessing, decoders()
    pool.decode(picture("fire"), shape)
    process = pool.processes.members[0]._process
    assert process is not None
    os.kill(process.pid, signal.SIGKILL)
    assert pool.decode(picture("fire"), shape).shape[2] == 3


def test_mates_of_a_hanging_picture_are_judged(
    broker: Broker, store: ImageStore, decoders: Make, monkeypatch: pytest.MonkeyPatch
) -> None:
    """In a batch with a picture that hangs its decoder the others get their verdicts; it gets the reason."""
    made = decoders()
    (member,) = made.processes.members
    exchange = member._exchange

    def impatient(channel: socket.socket, request: bytes) -> bytes:
        # With the slow one alone: how long the others take is this machine's affair.
        member._answer_s = 0.5 if len(request) > 2**20 else 60.0
        return exchange(channel, request)

    monkeypatch.setattr(member, "_exchange", impatient)
    by = replace(classifier(store), decoders=made)
    admit_pictures(broker, store, [picture("fire", 1), slow_bmp(), picture("fire", 2)])
    batch = start(broker, "w1", new_ids(3), lease_s=8.0)
    with ThreadPoolExecutor(2) as pool:
        outcomes = by.judge(by.fetch(batch, pool))
    assert [each.situation if isinstance(each, Decision) else each.reason for each in outcomes] == [
        "fire",
        "kills_decoder",
        "fire",
    ]
