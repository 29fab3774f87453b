"""What the project set out to reach, checked against the figures of a run."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from benchmarks import depth, limit, live, ours
from benchmarks.figures import Contest
from benchmarks.rig import Row

EAGER = "torch-cpu"
OF_LIMIT = {"torch-cpu": 0.95, "openvino-f32": 0.95, "openvino-bf16": 0.95, "openvino-int8": 0.85}
OF_PEER = 1.0
DEFAULT_OF_PEER = 3.0
MORE_THAN_BARE_MS = 15.0
FLAT_MB = 16.0
"""Less than a kilobyte for six photographs: nothing that is kept for each."""


@dataclass(frozen=True)
class Target:
    """One aim and what was measured.

    Attributes:
        aim: in words.
        measured: in the unit of `bound`.
        bound: what was aimed at.
        at_least: whether more is better.
    """

    aim: str
    measured: float
    bound: float
    unit: str
    at_least: bool

    @property
    def met(self) -> bool:
        """Whether it was reached."""
        return self.measured >= self.bound if self.at_least else self.measured <= self.bound

    @property
    def line(self) -> str:
        """For a list."""
        outcome = "met" if self.met else f"MISSED by {abs(self.measured - self.bound):.2f}{self.unit}"
        sign = ">=" if self.at_least else "<="
        return f"{self.aim}: {self.measured:.2f}{self.unit}, aim {sign} {self.bound:g}{self.unit}: {outcome}"


def targets(contests: Sequence[Contest], rows: Sequence[Row], default_engine: str) -> list[Target]:
    """Every target that the figures allow to check."""
    return [
        *_of_limit(contests),
        *_of_best_peer(contests, default_engine),
        *_latency(contests),
        *_memory(rows),
        *_live(rows),
    ]


def best_peer(contests: Sequence[Contest]) -> Contest | None:
    """The fastest peer when flooded; all of them run eager PyTorch."""
    peers = [each for each in contests if each.name not in (ours.NAME, limit.NAME) and each.images_per_s]
    return max(peers, key=_rate, default=None)


def contest(contests: Sequence[Contest], name: str, engine: str) -> Contest | None:
    """The one with that name and engine, if it was measured."""
    return next(
        (each for each in contests if (each.name, each.engine) == (name, engine) and each.repeats), None
    )


def _of_limit(contests: Sequence[Contest]) -> Iterator[Target]:
    for engine, bound in OF_LIMIT.items():
        mine, bare = contest(contests, ours.NAME, engine), contest(contests, limit.NAME, engine)
        if mine and bare:
            share = _rate(mine) / _rate(bare)
            yield Target(f"flooded, share of the limit, {engine}", share, bound, "", at_least=True)


def _of_best_peer(contests: Sequence[Contest], default_engine: str) -> Iterator[Target]:
    peer = best_peer(contests)
    if peer is None:
        return
    if eager := contest(contests, ours.NAME, EAGER):
        times = _rate(eager) / _rate(peer)
        yield Target(f"eager PyTorch, times the best peer ({peer.name})", times, OF_PEER, "", at_least=True)
    if mine := contest(contests, ours.NAME, default_engine):
        times = _rate(mine) / _rate(peer)
        aim = f"default engine ({default_engine}), times the best peer ({peer.name})"
        yield Target(aim, times, DEFAULT_OF_PEER, "", at_least=True)


def _latency(contests: Sequence[Contest]) -> Iterator[Target]:
    for engine in OF_LIMIT:
        mine, bare = contest(contests, ours.NAME, engine), contest(contests, limit.NAME, engine)
        if mine and bare:
            ours_ms, bare_ms = mine.latency_ms(0.5), bare.latency_ms(0.5)
            assert ours_ms and bare_ms
            more_ms = ours_ms.middle - bare_ms.middle
            aim = f"p50 at a low rate, above the bare single image, {engine}"
            yield Target(aim, more_ms, MORE_THAN_BARE_MS, " ms", at_least=False)


def _memory(rows: Sequence[Row]) -> Iterator[Target]:
    for row in rows:
        if row.what == depth.MEMORY and row.contender == f"{max(depth.DEPTHS):,}":
            aim = f"memory gained over {row.contender} photographs"
            yield Target(aim, max(row.figures), FLAT_MB, " MB", at_least=False)


def _live(rows: Sequence[Row]) -> Iterator[Target]:
    for row in rows:
        if (row.what, row.contender) == (live.WHAT, live.TAIL):
            aim = f"dispatch to each of {live.BROWSERS} browsers, {row.contender}"
            yield Target(aim, max(row.figures), live.AIM_P99_MS, " ms", at_least=False)


def _rate(each: Contest) -> float:
    assert each.images_per_s
    return each.images_per_s.middle
