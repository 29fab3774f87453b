from collections.abc import Iterator

import pytest
from web_parts import FOREIGN_ID, WebRig

import console.web.api_moves
import console.web.limits
from shared.broker import Broker
from shared.settings import Settings
from shared.verdict import Verdict


@pytest.fixture
def rig(settings: Settings, broker: Broker) -> Iterator[WebRig]:
    """A console with one user of each kind, and no desk yet."""
    made = WebRig(settings, broker)
    made.add_everybody()
    with made.serving():
        yield made
    made.close()


def test_a_stale_decision_is_refused(rig: WebRig) -> None:
    """Who decides on what another reviewer has decided since is told so."""
    rig.add_user("rob", "reviewer")
    case = rig.arrive("fire", verdict=Verdict.UNSURE)
    decide = {"department": "review", "action": "decide", "other": case, "revision": 1}
    with rig.desk():
        first = rig.move(rig.client("rita"), case, situation="fire", **decide)
        assert (first.status_code, first.json()["accepted"]) == (200, True)
        stale = rig.move(rig.client("rob"), case, situation="normal", **decide)
        assert (stale.status_code, stale.json()["reason"]) == (409, "stale")
        assert "rita" in stale.json()["message"]


def test_a_reviewer_cannot_decide_what_others_were_sent(rig: WebRig) -> None:
    """What never was for review is not a reviewer's to decide; what is not there, nobody's."""
    fire, unsure = rig.arrive("fire"), rig.arrive("fire", verdict=Verdict.UNSURE)
    decide = {"department": "review", "action": "decide", "situation": "fire"}
    client = rig.client("rita")
    assert rig.move(client, unsure, other=fire, **decide).status_code == 403
    assert rig.move(client, unsure, other=FOREIGN_ID, **decide).status_code == 404
    assert rig.moves_asked() == 0


@pytest.mark.parametrize(
    ("kind", "status"), [("fire", 403), ("for review", 202), ("decided", 202), ("no emergency", 202)]
)
def test_a_reviewer_decides_what_was_for_review_or_is_no_emergency(
    rig: WebRig, monkeypatch: pytest.MonkeyPatch, kind: str, status: int
) -> None:
    """Nothing else is theirs to decide, nor offered, in their department either; a supervisor decides all."""
    rig.add_user("both", "reviewer", "operator", departments=["firefighters"])
    verdicts = {"fire": Verdict.DISPATCHED, "no emergency": Verdict.NO_EMERGENCY}
    case = rig.arrive("fire", verdict=verdicts.get(kind, Verdict.UNSURE))
    decide = {"department": "review", "action": "decide", "situation": "fire", "other": case}
    if kind == "decided":
        with rig.desk():
            assert rig.move(rig.client("rita"), case, **decide).json()["accepted"]
    monkeypatch.setattr(console.web.api_moves, "WAIT_S", 0.01)
    for name, expected in (("both", status), ("sol", 202)):
        client = rig.client(name)
        answer = rig.move(client, case, **decide)
        assert answer.status_code == expected, answer.text
        may = client.get(f"/api/cases/{case}").json()["may"]
        assert ("decide" in may.get("review", [])) == (expected == 202)


def test_a_decision_is_checked_where_its_picture_is(rig: WebRig) -> None:
    """A case for review is no way to decide a picture of one that never was, though it is theirs to see."""
    rig.add_user("both", "reviewer", "operator", departments=["firefighters"])
    fire, unsure = rig.arrive("fire"), rig.arrive("fire", verdict=Verdict.UNSURE)
    decide = {"department": "review", "action": "decide", "situation": "fire", "other": fire}
    assert rig.move(rig.client("both"), unsure, **decide).status_code == 403
    assert rig.moves_asked() == 0
