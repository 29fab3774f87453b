import subprocess
import sys
from collections.abc import Iterator

import psutil
import pytest
from conftest import wait_until

from benchmarks.processes import MemoryWatch, cpu_s, end, hold, let_go, memory_bytes

# A parent that has a child, which does what is asked and says so; the parent waits for ever.
FAMILY = """
import subprocess, sys, time
wait = "; print('done', flush=True); import time; time.sleep(600)"
subprocess.Popen([sys.executable, "-c", sys.argv[1] + wait])
time.sleep(600)
"""


@pytest.fixture
def family(request: pytest.FixtureRequest) -> Iterator["subprocess.Popen[bytes]"]:
    """A process whose child has done the work that the test names."""
    command = [sys.executable, "-c", FAMILY, request.param]
    with subprocess.Popen(command, stdout=subprocess.PIPE) as process:
        assert process.stdout is not None
        assert process.stdout.readline() == b"done\n"
        yield process
        end([process])


@pytest.mark.parametrize("family", ["sum(range(8_000_000))"], indirect=True)
def test_children_are_counted(family: "subprocess.Popen[bytes]") -> None:
    """CPU time of a contender is that of its whole tree."""
    alone = psutil.Process(family.pid).cpu_times()
    assert cpu_s([family.pid]) > alone.user + alone.system


@pytest.mark.parametrize("family", ["held = bytes(range(256)) * 400_000"], indirect=True)
def test_memory_of_children_is_seen(family: "subprocess.Popen[bytes]") -> None:
    """100 MB that a child holds are in the peak."""
    with MemoryWatch([family.pid]) as watch:
        pass
    assert watch.peak_bytes > 100e6
    assert memory_bytes([family.pid]) > 100e6


@pytest.mark.parametrize("family", ["pass"], indirect=True)
def test_a_tree_is_held_and_let_go(family: "subprocess.Popen[bytes]") -> None:
    """While a queue is filled, no process of a contender runs."""
    everyone = [psutil.Process(family.pid), *psutil.Process(family.pid).children()]
    hold([family.pid])
    wait_until(
        lambda: all(each.status() == psutil.STATUS_STOPPED for each in everyone),
        within_s=60,
        what="the tree to stop",
    )
    let_go([family.pid])
    wait_until(
        lambda: all(each.status() != psutil.STATUS_STOPPED for each in everyone),
        within_s=60,
        what="the tree to go on",
    )


@pytest.mark.parametrize("family", ["pass"], indirect=True)
def test_nothing_of_a_tree_is_left(family: "subprocess.Popen[bytes]") -> None:
    """A contender's children end with it, though nobody told them."""
    (child,) = psutil.Process(family.pid).children()
    end([family])
    assert not child.is_running() or child.status() == psutil.STATUS_ZOMBIE
