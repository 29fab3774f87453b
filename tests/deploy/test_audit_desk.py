"""`almenara audit` and the desk's record: each decided incident is in it, where a desk has run."""

from pathlib import Path

import pytest
from audit_parts import DECIDED, Street, meanwhile

import deploy.audit
from console.desk.book import writing
from console.desk.feed import apply, fetch
from console.outages import RecordAwayError
from console.records import migrate, open_database
from shared.broker import Broker
from shared.images import ImageStore
from shared.incidents import Incident
from shared.routing import Routing
from shared.settings import Settings


@pytest.fixture
def street(broker: Broker, store: ImageStore, settings: Settings, monkeypatch: pytest.MonkeyPatch) -> Street:
    """It, and an audit that does not wait long for what is on its way."""
    monkeypatch.setattr(deploy.audit, "ON_ITS_WAY_S", 0.05)
    return Street(broker, store, settings)


def desk_takes_in(street: Street, *seeds: int) -> None:
    """There is a desk's record, with cases of these photographs."""
    engine = open_database(street.settings.database)
    migrate(engine)
    routing = Routing.load(street.settings.routing)
    with writing(engine, street.broker, routing, street.settings) as book:
        apply(book, fetch(street.broker, [street.id_of(seed) for seed in seeds]))
    engine.dispose()


def test_a_desk_that_has_every_case_balances(street: Street) -> None:
    """The desk's record is compared where there is one; what no worker has decided it need not have."""
    assert "incidents in the desk's record" not in street.audit().counts
    desk_takes_in(street, *DECIDED)
    result = street.audit()
    assert result.findings == []
    assert result.counts["incidents in the desk's record"] == 3


def test_an_incident_that_the_desk_does_not_have_is_reported(street: Street) -> None:
    """It is named by its number, and what helps is a desk that runs."""
    desk_takes_in(street, 3, 5)
    ((kind, number, said),) = street.audit(repair=True).findings
    incident = Incident.fetch(street.broker, street.id_of(4))
    assert incident is not None
    assert (kind, number, "almenara desk" in said) == ("desk", incident.number, True)


def test_what_the_desk_is_taking_in_is_no_finding(street: Street, monkeypatch: pytest.MonkeyPatch) -> None:
    """A decided incident that comes into the record a moment later is not reported."""
    desk_takes_in(street, 3, 4)
    waiting = meanwhile(monkeypatch, lambda: desk_takes_in(street, 5))
    assert street.audit().findings == []
    assert waiting == []


def test_a_record_that_no_desk_has_made_is_no_fault(street: Street) -> None:
    """An empty database says that no desk has run, not that everything is missing."""
    (street.settings.state_dir / "desk.db").touch()
    assert street.audit().findings == []


def test_a_record_that_can_not_be_asked_ends_the_audit(street: Street, tmp_path: Path) -> None:
    """An audit does not say that the books balance when it could not look into one."""
    street.settings = street.settings.override(database_url=f"sqlite:///{tmp_path}/away/desk.db")
    with pytest.raises(RecordAwayError, match="does not answer"):
        street.audit()
