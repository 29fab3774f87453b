"""Small disks of their own for inbox, image store, state and broker, to be filled to the last byte."""

import os
import shutil
import subprocess
from pathlib import Path

SIZES_MB = {"state": 48, "images": 96, "broker": 256, "inbox": 32}
BALLAST = ".ballast"
"""A name that no service takes for one of its own."""


class Disks:
    """One tmpfs for each part of a deployment's folder. Mounting needs root, if only of a namespace."""

    def __init__(self, places: dict[str, Path]) -> None:
        """Mount what can be mounted.

        Attributes:
            places: name of a disk -> its folder; empty where none could be mounted.
            why_not: what kept us from mounting, or an empty string.
        """
        self.places: dict[str, Path] = {}
        self.why_not = ""
        mount = shutil.which("mount")
        if mount is None:
            self.why_not = "there is no `mount` here"
            return
        for name, folder in places.items():
            folder.mkdir(parents=True, exist_ok=True)
            made = subprocess.run(
                [mount, "-t", "tmpfs", "-o", f"size={SIZES_MB[name]}m", "almenara-chaos", str(folder)],
                capture_output=True,
                text=True,
                check=False,
            )
            if made.returncode:
                self.why_not = f"a tmpfs can't be mounted here: {' '.join(made.stderr.split())}"
                self.close()
                return
            self.places[name] = folder

    def fill(self, name: str) -> None:
        """Leave no room on a disk."""
        descriptor = os.open(self.places[name] / BALLAST, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o600)
        try:
            for size in (1 << 20, 4096):
                while _written(descriptor, size):
                    pass
        finally:
            os.close(descriptor)

    def empty(self, name: str) -> None:
        """Give the room back."""
        (self.places[name] / BALLAST).unlink(missing_ok=True)

    def close(self) -> None:
        """Unmount, now or when the last process that uses it has gone."""
        for folder in reversed(self.places.values()):
            subprocess.run(["umount", "--lazy", str(folder)], capture_output=True, check=False)
        self.places = {}


def _written(descriptor: int, size: int) -> bool:
    try:
        return os.write(descriptor, b"\0" * size) == size
    except OSError:
        return False
