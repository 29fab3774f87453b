"""The limit of each label: what is too much waits, in its order, and nobody else does."""

import json
from functools import partial
from pathlib import Path

import pytest
import structlog
from conftest import checking, picture_bytes, wait_until
from hypothesis import given
from hypothesis import settings as terms
from hypothesis import strategies as st
from test_ingest_service import drop, running

import ingest.rates
import ingest.service
from deploy.status import gather, lines
from ingest.claims import Claim, claimed_files
from ingest.rates import BURST_MIN, Rates, label_of
from ingest.service import IngestService
from shared.broker import Broker
from shared.heartbeats import INGEST, beat
from shared.images import ImageStore
from shared.incidents import Incident, all_ids
from shared.keys import INGESTER_PREFIX
from shared.settings import Settings

pytestmark = pytest.mark.filterwarnings("ignore:Callback with id:RuntimeWarning")

INBOX = Path("/inbox")


class Clock:
    """Seconds that pass when a test says so."""

    def __init__(self) -> None:
        self.now_s = 1000.0

    def __call__(self) -> float:
        return self.now_s


def claim(number: int, label: str = "cam") -> Claim:
    """A claim of one label."""
    return Claim(f"{number:032x}", INBOX / f"33.{number:05d}, 151.2153 {label}.jpeg", INBOX)


def numbers(claims: list[Claim]) -> list[int]:
    """Which claims these are."""
    return [int(each.claim_id, 16) for each in claims]


def test_label_is_the_incidents_own() -> None:
    """A label is read from the name, else from the folder; a name that can't be read has none."""
    assert label_of("33.8568, 151.2153 cam-7.jpeg", "north") == "cam-7"
    assert label_of("33.8568, 151.2153.jpeg", "north/west") == "north/west"
    assert label_of("33.8568, 151.2153.jpeg") == ""
    assert label_of("99.0, 151.2153.jpeg", "north") == "north"


def test_burst_passes_and_the_rest_waits_in_order() -> None:
    """Ten minutes' worth come in at once; what is more comes at the rate, first come first."""
    clock = Clock()
    rates = Rates(60, clock=clock)
    passed = [rates.admit(claim(number)) for number in range(60 * BURST_MIN + 5)]
    assert passed == [True] * 60 * BURST_MIN + [False] * 5
    assert rates.due() == []
    clock.now_s += 2.5
    assert numbers(rates.due()) == [600, 601]
    assert not rates.admit(claim(700))
    clock.now_s += 60
    assert numbers(rates.due()) == [602, 603, 604, 700]
    assert rates.held == 0
    assert rates.held_back() == {}


def test_zero_is_no_limit() -> None:
    """Where the limit is 0 everything passes."""
    rates = Rates(0)
    assert all(rates.admit(claim(number)) for number in range(50_000 // 10))
    assert not rates.leaves(claim(1).path, INBOX)


def test_other_labels_pass_a_flood_by() -> None:
    """A label that is held back holds no other up, one that it has never seen among them."""
    rates = Rates(1, clock=Clock())
    for number in range(1000):
        rates.admit(claim(number, "stuck"))
    assert rates.admit(claim(1, "other"))
    assert rates.admit(claim(2, ""))
    assert not rates.leaves(claim(3, "other").path, INBOX)


def test_more_than_may_be_held_stays_in_the_inbox() -> None:
    """Past a minute's worth a label's files are left where they are, until some of it has gone in."""
    clock = Clock()
    rates = Rates(60, clock=clock)
    taken = 0
    while not rates.leaves(claim(taken).path, INBOX):
        rates.admit(claim(taken))
        taken += 1
    assert taken == 60 * BURST_MIN + 60
    assert rates.held_back() == {"cam": 61}
    clock.now_s += 1.1
    assert len(rates.due()) == 1
    assert not rates.leaves(claim(taken).path, INBOX)
    rates.rescan()
    assert rates.held_back() == {"cam": 59}


def test_endless_labels_stay_in_bounds(monkeypatch: pytest.MonkeyPatch) -> None:
    """Ever new labels are remembered up to a number, and held claims up to another, of all together."""
    monkeypatch.setattr(ingest.rates, "LABELS_MOST", 100)
    monkeypatch.setattr(ingest.rates, "HELD_MOST", 200)
    rates = Rates(1, clock=Clock())
    for label in range(1000):
        for number in range(BURST_MIN + 3):
            if not rates.leaves(claim(number, f"cam{label}x").path, INBOX):
                rates.admit(claim(number, f"cam{label}x"))
    assert rates.held <= 200
    assert len(rates._buckets) <= 100 + 200  # those that hold something are not forgotten
    assert len(rates.held_back()) == 5


def test_it_is_said_once() -> None:
    """One warning for a label however many wait; another where it does so again after a quiet time."""
    clock = Clock()
    rates = Rates(1, clock=clock)
    with structlog.testing.capture_logs() as lines:
        for number in range(30):
            rates.admit(claim(number, "plaza"))
        clock.now_s += 7200
        assert len(rates.due()) == 10
        clock.now_s += 7200
        assert len(rates.due()) == 10
        clock.now_s += 7200
        for number in range(30):
            rates.admit(claim(number, "plaza"))
    assert [line["label"] for line in lines] == ["plaza", "plaza"]
    assert {line["log_level"] for line in lines} == {"warning"}


@given(st.lists(st.tuples(st.sampled_from("abc"), st.floats(0, 40)), max_size=200))
@terms(max_examples=100, deadline=None)
def test_nothing_is_lost_or_doubled_and_no_label_is_faster(steps: list[tuple[str, float]]) -> None:
    """Whatever comes when: each claim passes once, in its label's order, and never faster than the limit."""
    clock, passed = Clock(), []
    rates = Rates(6, clock=clock)
    for number, (label, wait_s) in enumerate(steps):
        clock.now_s += wait_s
        passed += [(each.name[-6], *numbers([each])) for each in rates.due()]
        if rates.admit(claim(number, label)):
            passed.append((label, number))
    elapsed_s = clock.now_s - 1000
    for label in "abc":
        assert sum(each[0] == label for each in passed) <= 60 + elapsed_s / 10 + 1e-6
    for _ in range(3):  # 200 of one label are more than two bursts and what came before
        clock.now_s += 3600
        passed += [(each.name[-6], *numbers([each])) for each in rates.due()]
    for label in "abc":
        expected = [number for number, step in enumerate(steps) if step[0] == label]
        assert [number for of, number in passed if of == label] == expected


def test_a_stuck_camera_waits_and_is_not_lost(
    settings: Settings, broker: Broker, store: ImageStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Over its limit a label's files wait on disk, the others come in, and the next ingester has them all."""
    inbox = settings.inbox[0]
    inbox.mkdir()
    limited = settings.override(label_rate=1, rescan_s=0.2)
    monkeypatch.setattr(ingest.service, "Rates", partial(Rates, clock=Clock()))  # else one more in a minute
    service = IngestService(limited, broker, store, checking(limited))
    for number in range(40):
        drop(inbox, f"33.{number:04d}, 151.2153 stuck.jpeg", picture_bytes(number))
    with running(service):
        wait_until(lambda: len(all_ids(broker)) == 10, within_s=30, what="ten minutes' worth")
        wait_until(lambda: service.held_back() == {"stuck": 30}, within_s=30, what="the rest is counted")
        drop(inbox, "34.5, 151.2153 other.jpeg", picture_bytes(100))
        wait_until(lambda: len(all_ids(broker)) == 11, within_s=30, what="another label")
        wait_until(lambda: len(claimed_files(inbox)) == 10, within_s=30, what="those admitted are let go")
        assert len([path for path in inbox.iterdir() if path.suffix == ".jpeg"]) == 20
    with running(IngestService(settings.override(label_rate=0), broker, store, checking(settings))):
        wait_until(lambda: len(all_ids(broker)) == 41, within_s=30, what="all")
        wait_until(lambda: not claimed_files(inbox), within_s=30, what="the claims are released")
    found = [Incident.fetch(broker, each) for each in all_ids(broker)]
    assert sum(each is not None and each.photograph.label == "stuck" for each in found) == 40


def test_status_tells_what_is_held_back(broker: Broker, settings: Settings) -> None:
    """`almenara status` says of each ingester which labels wait, with what a label holds made harmless."""
    held_back = {"stuck\u202e": 30, "": 2}
    about = {"instance": "tower-1", "inboxes": ["/srv/cameras"], "held": 32, "held_back": held_back}
    broker.set(INGESTER_PREFIX + "tower-1", json.dumps(about))
    beat(broker, INGEST, "tower-1")
    text = "\n".join(lines(gather(broker, settings)))
    assert r"holds back 30 of label 'stuck\\u202E'" in text
    assert "holds back 2 of those without a label" in text
