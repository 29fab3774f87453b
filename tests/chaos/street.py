"""The street: photographs that land in the inbox, and what must become of each."""

import hashlib
import io
import random
import threading
import time
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

from PIL import Image

from ingest.names import format_name
from shared.coordinates import Coordinates
from shared.incidents import incident_id

COLOURS = {"fire": (230, 20, 20), "protest": (20, 230, 20), "normal": (20, 20, 230), "unclear": (90, 90, 90)}
"""What the model of these tests sees in a picture of one colour."""

PLACES = 40
"""So few that some photographs are of one emergency."""


@dataclass(frozen=True)
class Sent:
    """A good photograph.

    Attributes:
        shows: a word of COLOURS, or an empty string for a real one, of which nobody knows what is seen in it.
    """

    shows: str
    data: bytes
    place: Coordinates

    @property
    def incident(self) -> str:
        """Its incident's id."""
        return incident_id(hashlib.sha256(self.data).hexdigest(), self.place)


@dataclass
class Street:
    """Sends photographs, good ones, the same ones again, and what is none.

    Attributes:
        sent: every good photograph by its incident's id.
        landings: how often each was sent.
        bad: names of what can't be taken in.
        refused: how often the disk of the inbox had no room.
    """

    inbox: Path
    chance: random.Random
    real: Sequence[Path] = ()
    sent: dict[str, Sent] = field(default_factory=dict)
    landings: Counter[str] = field(default_factory=Counter)
    bad: list[str] = field(default_factory=list)
    refused: int = 0
    _count: int = 0

    def send(self, number: int = 1) -> None:
        """Send something; returns once it is in the inbox."""
        for _ in range(number):
            dice = self.chance.random()
            if dice < 0.08:
                self._send_bad()
            elif dice < 0.2 and self.sent:
                self._send(self.chance.choice(list(self.sent.values())))
            else:
                self._send(self._make())

    def send_while(self, over: threading.Event, every_s: float) -> None:
        """Send until it is over, at random intervals of about `every_s`."""
        while not over.wait(self.chance.uniform(0, 2 * every_s)):
            self.send(self.chance.choice((1, 1, 1, 2, 6)))

    def _make(self) -> Sent:
        place = Coordinates(
            latitude_deg=round(40 + self.chance.randrange(PLACES) * 0.01, 4),
            longitude_deg=round(2 + self.chance.randrange(4) * 0.00001, 5),
        )
        if self.real and self.chance.random() < 0.1:
            return Sent("", self.chance.choice(self.real).read_bytes(), place)
        shows = self.chance.choice(list(COLOURS))
        return Sent(shows, _drawn(COLOURS[shows], self.chance), place)

    def _send(self, photograph: Sent) -> None:
        self._count += 1
        extension = "png" if photograph.shows else "jpeg"
        # A name of its own: two files of one name are one file to whoever looks second.
        self._land(format_name(photograph.place, f"cam {self._count}x", extension), photograph.data)
        self.sent[photograph.incident] = photograph
        self.landings[photograph.incident] += 1

    def _send_bad(self) -> None:
        self._count += 1
        kind = self.chance.choice(("no place", "no picture", "cut off"))
        good = _drawn(COLOURS["fire"], self.chance)
        data = {"no place": good, "no picture": b"hello " * 40, "cut off": good[: len(good) // 2]}[kind]
        name = f"bad {self._count}x.png"
        if kind != "no place":
            place = Coordinates(latitude_deg=41.5, longitude_deg=3.5)
            name = format_name(place, f"bad {self._count}x", "png")
        self._land(name, data)
        self.bad.append(name)

    def _land(self, name: str, data: bytes) -> None:
        """Write it in the inbox under another name and give it its own, as careful senders do."""
        hidden = self.inbox / f".{self._count}.part"
        while True:
            try:
                hidden.write_bytes(data)
                hidden.rename(self.inbox / name)
                return
            except OSError:
                hidden.unlink(missing_ok=True)
                self.refused += 1
                time.sleep(0.2)


def _drawn(colour: tuple[int, int, int], chance: random.Random) -> bytes:
    """A picture of one colour with a few points that make its bytes unlike any other's."""
    image = Image.new("RGB", (48, 36), colour)
    for _ in range(12):
        at = chance.randrange(48), chance.randrange(36)
        image.putpixel(at, tuple(part ^ chance.randrange(8) for part in colour))
    buffer = io.BytesIO()
    image.save(buffer, "PNG")
    return buffer.getvalue()
