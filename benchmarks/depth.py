"""A deep queue, 1,000 to 100,000 jobs: what one costs a worker on a free model, and what its memory does."""

from collections.abc import Sequence

from benchmarks.free import free_worker
from benchmarks.rig import Row
from shared.settings import Settings

DEPTHS = (1_000, 10_000, 100_000)
COST = "jobs waiting, one worker process, free model"
MEMORY = "memory gained by the worker while it takes so many"


def measure(settings: Settings, repeats: int, depths: Sequence[int] = DEPTHS) -> list[Row]:
    """Jobs a second, and megabytes gained meanwhile, for each depth."""
    cost = {depth: Row(COST, f"{depth:,}", "jobs/s", [], is_base=depth == depths[0]) for depth in depths}
    gained = {depth: Row(MEMORY, f"{depth:,}", "MB", []) for depth in depths}
    for repeat in range(repeats):
        for depth in depths if repeat % 2 == 0 else reversed(depths):
            with free_worker(settings) as worker:
                before_bytes = worker.memory_bytes()
                cost[depth].figures.append(depth / worker.flood(depth))
                gained[depth].figures.append((worker.memory_bytes() - before_bytes) / 1e6)
    return [*cost.values(), *gained.values()]
