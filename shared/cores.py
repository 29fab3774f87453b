"""Processor cores that this process may use."""

import os
from pathlib import Path

_QUOTA = Path("/sys/fs/cgroup/cpu.max")


def usable_cores() -> int:
    """Cores by affinity, and by a container's quota (cgroup v2), rounded up."""
    try:
        cores = len(os.sched_getaffinity(0))
    except AttributeError:  # not on macOS
        cores = os.cpu_count() or 1
    return min(cores, _quota(_QUOTA) or cores)


def _quota(file: Path) -> int | None:
    """Cores in a file such as cpu.max, `QUOTA PERIOD` in microseconds or `max PERIOD`."""
    try:
        quota, period = file.read_text(encoding="ascii").split()
        return max(1, -(-int(quota) // int(period)))
    except (OSError, ValueError):
        return None
