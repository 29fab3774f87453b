"""What was injected, and what came of it, as a table."""

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field

from chaos.schedule import Kind


@dataclass
class Report:
    """The run so far.

    Attributes:
        seed: what makes the schedule.
        injected: how often each kind struck.
        skipped: kinds that this machine can't do -> why.
        commands: commands at which a connection was cut -> times.
        settled_s: how long each round took to settle.
        codes: (kind of service, exit code) -> times.
        counted: what happened to the photographs, by word.
    """

    seed: int
    injected: Counter[Kind] = field(default_factory=Counter)
    skipped: Mapping[Kind, str] = field(default_factory=dict)
    commands: Counter[str] = field(default_factory=Counter)
    settled_s: list[float] = field(default_factory=list)
    codes: Counter[tuple[str, int]] = field(default_factory=Counter)
    counted: Mapping[str, int] = field(default_factory=dict)
    took_s: float = 0.0

    def lines(self) -> list[str]:
        """The table, in Markdown."""
        rows = [(kind.value, f"{self.injected[kind]:,}") for kind in Kind if kind not in self.skipped]
        rows += [(kind.value, f"skipped: {why}") for kind, why in self.skipped.items()]
        settled = sorted(self.settled_s) or [0.0]
        return [
            f"Seed {self.seed}, {self.took_s / 60:.0f} minutes, {len(self.settled_s)} rounds.",
            "",
            *_table(("injected", "times"), [*rows, ("all", f"{self.injected.total():,}")]),
            "",
            *_table(
                ("what came of it", "count"), [(word, f"{count:,}") for word, count in self.counted.items()]
            ),
            "",
            f"To settle after a round: median {settled[len(settled) // 2]:.1f} s, "
            f"longest {settled[-1]:.1f} s.",
            f"Connections were cut at {len(self.commands)} different commands: "
            f"{', '.join(sorted(self.commands))}.",
            f"Exit codes: {'; '.join(_ends(self.codes))}.",
        ]


def _ends(codes: Counter[tuple[str, int]]) -> Iterable[str]:
    for (kind, code), times in sorted(codes.items()):
        yield f"{kind} {code} x{times}"


def _table(head: tuple[str, str], rows: Sequence[tuple[str, str]]) -> list[str]:
    return [f"| {head[0]} | {head[1]} |", "|---|---:|", *(f"| {name} | {count} |" for name, count in rows)]
