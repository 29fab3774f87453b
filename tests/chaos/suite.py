"""The suite: cuts at every command in turn, then rounds of faults, and the books after each."""

import random
import shutil
import signal
import threading
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from chaos.books import SETTLES_WITHIN_S, Books, Unsettled
from chaos.faults import Faults
from chaos.people import People
from chaos.proxy import Side
from chaos.report import Report
from chaos.schedule import Kind, make_round
from chaos.street import Street
from chaos.town import COMMANDS, Town
from shared.routing import Routing

STARTS_WITHIN_S = 400.0
LONGEST_LOOP = 80
"""Commands for one photograph; no service needs so many."""
POPS, POP_TRIES = 2, 10


@dataclass(frozen=True, kw_only=True)
class Plan:
    """How much is done.

    Attributes:
        faults: in all, at least; 0 for as many as one round has.
        minutes: after which no new round begins, whatever is left to do.
        a_round: in one round.
        window_s: in which a round's faults begin.
        longest_s: none lasts longer.
        sides: where in each command in turn a connection is cut; loops of one photograph each.
        loops: at most so many commands in turn, of loops that go on.
        starts: and of loops that begin with the service's end and start.
        engine: ``colours``, which costs nothing, or ``real``.
        photographs: folder of real ones to mix in, if any.
    """

    seed: int
    faults: int
    minutes: float = 45.0
    a_round: int = 48
    window_s: float = 45.0
    longest_s: float = 60.0
    sides: Sequence[Side] = tuple(Side)
    loops: int = LONGEST_LOOP
    starts: int = LONGEST_LOOP
    engine: str = "colours"
    photographs: Path | None = None


class Suite:
    """One town and what is done to it.

    Attributes:
        wrong: everything that should not be; empty after a good run.
    """

    def __init__(self, plan: Plan, say: Callable[[str], None]) -> None:
        self.wrong: list[str] = []
        self.report = Report(plan.seed)
        self._plan = plan
        self._say = say
        self._town = Town(engine=plan.engine)
        chance = random.Random(plan.seed)
        real = sorted(plan.photographs.rglob("*.jpg"))[::97] if plan.photographs else []
        self._street = Street(self._town.inbox, chance, real)
        routing = Routing.load(self._town.settings.routing)
        self._people = People(self._town.client(), routing, random.Random(plan.seed + 1))
        self._books = Books(self._town, self._street, self._people)
        self._faults = Faults(self._town)
        self.report.skipped = self._faults.skipped

    def run(self) -> Report:
        """Do all of it, up to the first round that does not settle."""
        began_s = time.monotonic()
        try:
            self._town.begin()
            self._street.send(4)
            self._settle("start", STARTS_WITHIN_S)
            for side in self._plan.sides:
                self._cut_each(side, self._plan.loops)
                self._settle(f"cuts {side}")
                self._cut_each(side, self._plan.starts, anew=True)
                self._settle(f"cuts {side}, starting anew")
                self._cut_pops(side)
                self._settle(f"pops cut {side}")
            number = 0
            enough_at_s = began_s + self._plan.minutes * 60
            while not number or (self._done() < self._plan.faults and time.monotonic() < enough_at_s):
                self._round(number)
                self._settle(f"round {number}")
                number += 1
        except Unsettled as error:
            self.wrong.append(str(error))
        finally:
            self._town.calm()
            self.report.took_s = time.monotonic() - began_s
            self._sum_up()
        return self.report

    def close(self) -> Path | None:
        """End the town; the folder of what is left, if something was wrong."""
        kept = None
        self._town.end()  # so that nothing changes while it is copied
        if self.wrong:
            kept = self._town.folder.with_name(self._town.folder.name + "-kept")
            shutil.copytree(self._town.folder, kept, ignore=shutil.ignore_patterns("*.sock", ".ballast"))
        self._books.close()
        self._town.close()
        return kept

    def _done(self) -> int:
        return self._faults.injected.total()

    def _round(self, number: int) -> None:
        schedule = make_round(
            self._plan.seed,
            number,
            self._town.names,
            faults=self._plan.a_round,
            window_s=self._plan.window_s,
            longest_s=self._plan.longest_s,
        )
        over = threading.Event()
        busy = [
            threading.Thread(target=self._street.send_while, args=(over, 0.8)),
            threading.Thread(target=self._people.ask_while, args=(over, 1.5)),
        ]
        for thread in busy:
            thread.start()
        try:
            self._faults.play(schedule)
        finally:
            over.set()
            for thread in busy:
                thread.join(60)

    def _cut_each(self, side: Side, most: int, *, anew: bool = False) -> None:
        """Cut at the first command of each service's loop, then at the second, until its loop went by.

        Args:
            side: of the command.
            most: commands, at most.
            anew: each loop begins with the service's end by SIGTERM, what it says then, and its next start.
        """
        going = {name for name in self._town.names if not name.endswith("-2")}
        for name in self._town.names:
            if name not in going:
                self._town.rest(name)  # so that the photograph comes to the one that is cut
        for command in range(1, most + 1):
            for name in going:
                self._town.proxies[name].cut_at(command, side)
                if anew:
                    self._faults.injected[Kind.TERM] += self._town.strike(name, signal.SIGTERM, 0.0)
            self._street.send()
            self._people.ask()
            self._books.settle()
            cut = {name for name in going if not self._town.proxies[name].disarm()}
            self._faults.injected[Kind.CUT_EACH] += len(cut)
            if not cut:
                break
            going = cut
        self._town.calm()

    def _cut_pops(self, side: Side) -> None:
        """Cut at the blocking pop by which the one worker waits: with it a photograph may be gone."""
        worker, proxy = "worker-1", self._town.proxies["worker-1"]
        self._town.rest("worker-2")
        for _ in range(POPS):
            for _ in range(POP_TRIES):  # a worker that is busy takes the next one without a pop
                proxy.cut_pop(side)
                self._street.send()
                self._books.settle()
                if not proxy.disarm():
                    self._faults.injected[Kind.CUT_POP] += 1
                    break
            else:
                self.wrong.append(f"{worker} took {POP_TRIES} photographs without a pop")
        self._town.calm()

    def _settle(self, what: str, within_s: float = SETTLES_WITHIN_S) -> None:
        took_s = self._books.settle(within_s)
        self.report.settled_s.append(took_s)
        wrong = self._books.faults()
        self.wrong += [f"{what}: {each}" for each in wrong if each not in self.wrong]
        self._say(
            f"{what}: {self._done():,} faults, {len(self._street.sent):,} photographs, "
            f"settled in {took_s:.1f} s; {wrong or 'right'}"
        )

    def _sum_up(self) -> None:
        town, street, counts = self._town, self._street, self._books.counts()
        commands = sum((proxy.cuts for proxy in town.proxies.values()), start=self.report.commands)
        counted = {
            "photographs": len(street.sent),
            "sent again": street.landings.total() - len(street.sent),
            "bad files, all rejected": len(street.bad),
            "incidents": sum(counts.get(word, 0) for word in ("dispatched", "unsure", "no_emergency")),
            "dispatches": counts.get("entries", 0),
            "decided again by people or the clock": counts.get("amended", 0),
            "moves asked for and answered": len(self._people.asked),
            "webhooks delivered": len(set(town.receiver.ids())),
            "webhooks delivered again": len(town.receiver.ids()) - len(set(town.receiver.ids())),
            "jobs taken back from the dead": counts.get("recovered", 0),
            "late endings refused (superseded)": counts.get("superseded", 0),
            "quarantined: twice killed alone": len(self._books.quarantined),
            "violations": len(self.wrong),
        }
        self.report = replace(
            self.report,
            injected=self._faults.injected,
            commands=commands,
            codes=town.ends.codes,
            counted=counted,
        )


__all__ = ["COMMANDS", "Plan", "Suite"]
