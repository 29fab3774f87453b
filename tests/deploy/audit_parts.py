"""A system in the middle of its work, for the tests of `almenara audit`."""

from collections.abc import Callable
from types import SimpleNamespace

import pytest
from conftest import make_photograph, picture_bytes

import deploy.audit
from deploy.audit import Audit, audit
from ingest.admission import admit
from shared.broker import Broker
from shared.dispatches import Decision
from shared.images import ImageStore
from shared.incidents import Photograph
from shared.routing import Routing
from shared.settings import Settings
from shared.verdict import Verdict
from worker.executions import Terms, finish, new_ids, start

WAITING, DECIDED, IN_FLIGHT = range(0, 3), range(3, 6), range(6, 8)


class Street:
    """A system in the middle of its work: some incidents wait, some are decided, some are being worked on."""

    def __init__(self, broker: Broker, store: ImageStore, settings: Settings) -> None:
        self.broker, self.store, self.settings = broker, store, settings
        settings.inbox[0].mkdir()
        self.photographs = [self.stored(seed) for seed in range(8)]
        self.admit(DECIDED)
        routing = Routing.load(settings.routing)
        made = Decision(verdict=Verdict.DISPATCHED, situation="fire", confidence=1.0, scores={}, model="m@0")
        decided = [(execution, made) for execution in start(broker, "w", new_ids(3), 60.0)]
        finish(broker, decided, Terms(routing=routing, keep_s=3600))
        self.admit(IN_FLIGHT)
        start(broker, "w", new_ids(2), 60.0)
        self.admit(WAITING)

    def stored(self, seed: int) -> Photograph:
        """A photograph in the image store."""
        photograph = make_photograph(seed)
        sha256 = photograph.image.rpartition("/")[2].partition(".")[0]
        self.store.put_picture(picture_bytes(seed), sha256, "jpeg")
        self.store.put_sidecar(photograph)
        return photograph

    def admit(self, seeds: range) -> None:
        """Incidents of stored photographs."""
        admit(self.broker, [(f"claim-{seed}", self.photographs[seed]) for seed in seeds])

    def id_of(self, seed: int) -> str:
        """Id of an incident."""
        return self.photographs[seed].incident_id

    def audit(self, *, repair: bool = False) -> Audit:
        """Compare everything now."""
        return audit(self.broker, self.store, self.settings, repair=repair)

    def repaired(self) -> Audit:
        """Repair once, and see that nothing is left; what the repair found."""
        found = self.audit(repair=True)
        assert self.audit().findings == []
        return found


def meanwhile(monkeypatch: pytest.MonkeyPatch, work: Callable[[], object]) -> list[Callable[[], object]]:
    """Has somebody do `work` while an audit waits for what is on its way; empty once it is done."""
    waiting = [work]

    def sleep(seconds: float) -> None:
        if seconds >= deploy.audit.ON_ITS_WAY_S and waiting:
            waiting.pop()()

    monkeypatch.setattr(deploy.audit, "ON_ITS_WAY_S", 1000.0)  # longer than anything else that it waits for
    monkeypatch.setattr(deploy.audit, "time", SimpleNamespace(sleep=sleep))
    return waiting
