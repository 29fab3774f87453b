"""The processes of a contender: what they take, how they are held still, and how they end."""

import contextlib
import signal
import subprocess
import threading
from collections.abc import Sequence
from typing import Any, Self

import psutil

SAMPLE_EVERY_S = 0.5
END_S = 20.0


def tree(roots: Sequence[int]) -> list[psutil.Process]:
    """The processes with these ids and all that descend from them, those that still run."""
    found = []
    for root in roots:
        with contextlib.suppress(psutil.NoSuchProcess):
            process = psutil.Process(root)
            found += [process, *process.children(recursive=True)]
    return found


def cpu_s(roots: Sequence[int]) -> float:
    """CPU seconds that they and their descendants have used, children that have ended included."""
    total_s = 0.0
    for process in tree(roots):
        with contextlib.suppress(psutil.Error):
            times = process.cpu_times()
            total_s += times.user + times.system
            total_s += getattr(times, "children_user", 0.0) + getattr(times, "children_system", 0.0)
    return total_s


def memory_bytes(roots: Sequence[int]) -> int:
    """Memory of them and their descendants; what forks share is counted once (PSS, or else RSS)."""
    total = 0
    for process in tree(roots):
        with contextlib.suppress(psutil.Error):
            about = process.memory_full_info()
            total += getattr(about, "pss", about.rss)
    return total


class MemoryWatch:
    """Looks at the memory of some processes, twice a second, while it is entered.

    Attributes:
        peak_bytes: the most that was seen.
    """

    def __init__(self, roots: Sequence[int]) -> None:
        self.peak_bytes = 0
        self._roots = roots
        self._done = threading.Event()
        self._thread = threading.Thread(target=self._run, name="memory", daemon=True)

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(self, *_: Any) -> None:
        self._done.set()
        self._thread.join()

    def _run(self) -> None:
        while not self._done.wait(SAMPLE_EVERY_S):
            self._look()
        self._look()

    def _look(self) -> None:
        self.peak_bytes = max(self.peak_bytes, memory_bytes(self._roots))


def hold(roots: Sequence[int]) -> None:
    """Stop them where they are, until `let_go`."""
    _signal(roots, signal.SIGSTOP)


def let_go(roots: Sequence[int]) -> None:
    """Let them go on."""
    _signal(roots, signal.SIGCONT)


def end(started: Sequence["subprocess.Popen[bytes]"]) -> None:
    """Ask each to end, wait, and kill what is left of its descendants."""
    everyone = tree([process.pid for process in started])
    for process in started:
        process.terminate()
    for process in started:
        with contextlib.suppress(subprocess.TimeoutExpired):
            process.wait(timeout=END_S)
    left = psutil.wait_procs(everyone, timeout=1)[1]
    for each in left:
        with contextlib.suppress(psutil.NoSuchProcess):
            each.kill()
    psutil.wait_procs(left, timeout=END_S)
    for process in started:
        process.wait()
        for pipe in (process.stdin, process.stdout):
            if pipe is not None:
                with contextlib.suppress(BrokenPipeError):
                    pipe.close()


def _signal(roots: Sequence[int], which: signal.Signals) -> None:
    for process in tree(roots):
        with contextlib.suppress(psutil.NoSuchProcess):
            process.send_signal(which)
