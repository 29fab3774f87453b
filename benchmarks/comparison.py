"""All contenders in turn on the same pictures, one at a time, in alternating order."""

import shutil
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path

from benchmarks.contenders import Contender, ContenderError, Ground
from benchmarks.engines import hand_over
from benchmarks.figures import Contest, Figures, flood_long_enough
from benchmarks.limit import Limit
from benchmarks.ours import Almenara
from benchmarks.photographs import Album
from benchmarks.processes import MemoryWatch, cpu_s
from benchmarks.queues import CeleryBatches, Script, StockRQ
from benchmarks.servers import LitServe, Mosec
from deploy.private_broker import PrivateBroker
from shared.broker import Broker, connect
from shared.settings import Settings

SLEEP_S = 5.0
"""Of the original script."""


@dataclass(frozen=True)
class Plan:
    """How long is measured.

    Attributes:
        repeats: of each contender; every second one goes through them in the opposite order.
        flood_s: about how long a flood lasts; at least half of it.
        rate: pictures a second at the steady rate, far below what any contender can do.
        steady_s: how long they come.
    """

    repeats: int = 3
    flood_s: float = 6.0
    rate: float = 2.0
    steady_s: float = 15.0


QUICK = Plan(repeats=1, flood_s=0.5, rate=4.0, steady_s=1.5)
"""To see that all works."""


def contenders(engines: Sequence[str]) -> list[Contender]:
    """Everyone: peers, and limit and ours with each engine."""
    return [
        Script(),
        Script(SLEEP_S),
        StockRQ("fork"),
        StockRQ("simple"),
        CeleryBatches(),
        LitServe(),
        Mosec(),
        *(make(engine) for engine in engines for make in (Limit, Almenara)),
    ]


def compare(settings: Settings, album: Album, entrants: Sequence[Contender], plan: Plan) -> list[Contest]:
    """Measure everyone as often and as long as the plan says."""
    contests = [Contest(each.name, each.engine, each.about) for each in entrants]
    for repeat in range(plan.repeats):
        pairs = list(zip(entrants, contests, strict=True))
        for contender, contest in pairs if repeat % 2 == 0 else reversed(pairs):
            if contest.reason:
                continue
            say(f"{repeat + 1}/{plan.repeats}  {contest.name}  ({contest.engine})")
            try:
                with ready(contender, settings, album):
                    contest.repeats.append(_measure(contender, broker_pid(settings), plan))
            # Of whatever kind: clients have errors of their own, and one contender must not end the run.
            except Exception as error:
                contest.reason = reason(error)
                say(f"      not measured: {contest.reason}")
    return contests


@contextmanager
def ready(contender: Contender, settings: Settings, album: Album) -> Iterator[None]:
    """A contender that has started, on an empty broker and with folders of its own.

    Raises:
        ContenderError: it did not start.
    """
    folder = Path(settings.state_dir).parent / f"contender-{time.monotonic_ns()}"
    folder.mkdir()
    address = PrivateBroker(settings).url
    connect(settings).flushall()
    own = replace(settings, redis_url=address, state_dir=folder / "state", inbox=(folder / "inbox",))
    hand_over(settings.state_dir, own.state_dir)
    try:
        contender.start(Ground(own, album, folder))
        yield
    finally:
        contender.stop()
        shutil.rmtree(folder, ignore_errors=True)


def flooded(contender: Contender, aim_s: float) -> float:
    """Images a second of a contender that has started."""
    count, took_s = flood_long_enough(contender.flood, aim_s)
    return count / took_s


def reason(error: Exception) -> str:
    """Why something could not be measured."""
    return str(error) if isinstance(error, ContenderError) else repr(error)


def broker_pid(settings: Settings) -> int:
    """The process that is the broker."""
    client: Broker = connect(settings)
    return int(client.info("server")["process_id"])


def say(line: str) -> None:
    """Tell how far it is, on standard error."""
    print(line, file=sys.stderr, flush=True)


def _measure(contender: Contender, broker: int, plan: Plan) -> Figures:
    at_work = [*contender.roots, *([broker] if contender.uses_broker else [])]
    rate = used_s = None
    with MemoryWatch(contender.roots) as memory:
        if contender.floods:
            count, took_s, used_s = _flood(contender.flood, at_work, plan.flood_s)
            rate, used_s = count / took_s, used_s / count
        latencies_ms = contender.steady(round(plan.rate * plan.steady_s), plan.rate)
    return Figures(rate, used_s, tuple(latencies_ms), memory.peak_bytes)


def _flood(flood: Callable[[int], float], at_work: Sequence[int], aim_s: float) -> tuple[int, float, float]:
    """Pictures, seconds and CPU seconds of a flood that is long enough."""
    used_s = 0.0

    def counted(count: int) -> float:
        nonlocal used_s
        before_s = cpu_s(at_work)
        took_s = flood(count)
        used_s = cpu_s(at_work) - before_s
        return took_s

    count, took_s = flood_long_enough(counted, aim_s)
    return count, took_s, used_s
