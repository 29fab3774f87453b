from collections.abc import Iterator
from dataclasses import replace
from typing import Any

import pytest
from limits import parse
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


@pytest.mark.parametrize(
    ("name", "department", "action"),
    [
        ("vera", "firefighters", "acknowledge"),  # a viewer
        ("vera", "firefighters", "note"),
        ("ana", "transit-police", "acknowledge"),  # another department's move
        ("ana", "ambulance", "acknowledge"),  # nobody's
        ("ana", "review", "decide"),
        ("ana", "firefighters", "decide"),
        ("rita", "firefighters", "acknowledge"),
        ("rita", "review", "acknowledge"),
        ("sol", "ambulance", "acknowledge"),  # was not sent this case
        ("sol", "nobody-at-all", "acknowledge"),
        ("sol", "all", "acknowledge"),
    ],
)
def test_a_move_that_is_not_yours_is_refused(rig: WebRig, name: str, department: str, action: str) -> None:
    """Role, department and case must agree; nothing reaches the desk."""
    case = rig.arrive("fire", verdict=Verdict.UNSURE if name == "rita" else Verdict.DISPATCHED)
    move = {"note": "x", "situation": "fire", "other": case}
    answer = rig.move(rig.client(name), case, department=department, action=action, **move)
    assert (answer.status_code, answer.json()["reason"]) == (403, "not_yours")
    assert rig.moves_asked() == 0


def test_another_departments_case_cannot_be_moved_or_merged(rig: WebRig) -> None:
    """A robbery went to the police: firefighters can neither move it nor pull it into a case of theirs."""
    fire, robbery = rig.arrive("fire"), rig.arrive("robbery")
    client = rig.client("ana")
    answers = [
        rig.move(client, robbery, department="police-department", action="acknowledge"),
        rig.move(client, robbery, department="firefighters", action="acknowledge"),
        rig.move(client, fire, department="firefighters", action="merge", other=robbery),
        rig.move(client, fire, department="firefighters", action="split", other=robbery),
        client.get(f"/api/cases/{robbery}"),
    ]
    assert [answer.status_code for answer in answers] == [403] * 5
    assert rig.moves_asked() == 0


@pytest.mark.parametrize(
    "case", [FOREIGN_ID, "0" * 31, "..%2fsession", "x" * 32, "A" * 32, "%00" * 4, "é" * 32]
)
def test_a_forged_case_is_unknown(rig: WebRig, case: str) -> None:
    """An id that nothing has, or that is none, is 404; nothing reaches the desk."""
    client = rig.client("sol")
    answer = rig.move(client, case, department="firefighters", action="acknowledge")
    assert answer.status_code == 404
    assert client.get(f"/api/cases/{case}").status_code == 404
    assert {"reason", "message", "remedy"} == set(answer.json())
    assert rig.moves_asked() == 0


@pytest.mark.parametrize(
    "wrong",
    [
        {"note": "x" * 501},
        {"action": "explode"},
        {"action": ["acknowledge"]},
        {"department": "x" * 65},
        {"move_id": "1"},
        {"move_id": "G" * 32},
        {"revision": -1},
        {"revision": "many"},
        {"by": "somebody else"},
        {"action": "note"},
        {"action": "correct"},
        {"action": "correct", "situation": "earthquake"},
        {"action": "correct", "situation": "normal"},
        {"action": "add_department"},
        {"action": "add_department", "to": "navy"},
        {"action": "merge", "other": "no id"},
        {"action": "merge"},
    ],
)
def test_a_move_that_makes_no_sense_is_refused(rig: WebRig, wrong: dict[str, Any]) -> None:
    """What is too long, unknown or lacks something is 422, with a plain message; nothing reaches the desk."""
    case = rig.arrive("fire")
    move = {"department": "firefighters", "action": "acknowledge", **wrong}
    answer = rig.move(rig.client("ana"), case, **move)
    assert answer.status_code == 422
    assert set(answer.json()) == {"reason", "message", "remedy"}
    assert answer.json()["message"]
    assert rig.moves_asked() == 0


def test_an_oversized_note_is_told_its_limit(rig: WebRig) -> None:
    """The message names the limit; the limit itself is allowed."""
    case = rig.arrive("fire")
    client = rig.client("ana")
    answer = rig.move(client, case, department="firefighters", action="note", note="ñ" * 501)
    assert "500" in answer.json()["message"]
    with rig.desk():
        allowed = rig.move(client, case, department="firefighters", action="note", note="ñ" * 500)
        assert allowed.status_code == 200


@pytest.mark.parametrize(
    ("content", "kind", "status"),
    [
        (b"{", "application/json", 422),
        (b"[]", "application/json", 422),
        (b"null", "application/json", 422),
        (b'"x"', "application/json", 422),
        (b"\xff\xfe", "application/json", 422),
        (b"[" * 20_000, "application/json", 422),
        (b'{"department":"firefighters","action":"acknowledge"}', "text/plain", 422),
        (b"department=firefighters", "application/x-www-form-urlencoded", 422),
        (b" " * 70_000, "application/json", 413),
    ],
)
def test_a_body_that_is_none_is_refused(rig: WebRig, content: bytes, kind: str, status: int) -> None:
    """Broken JSON, another kind of content and a body beyond the limit have their statuses and our shape."""
    case = rig.arrive("fire")
    client = rig.client("ana")
    answer = client.post(f"/api/cases/{case}/moves", content=content, headers={"Content-Type": kind})
    assert answer.status_code == status
    assert set(answer.json()) == {"reason", "message", "remedy"}
    streamed = client.post(
        f"/api/cases/{case}/moves", content=iter([content]), headers={"Content-Type": kind}
    )
    assert streamed.status_code == status
    assert set(streamed.json()) == {"reason", "message", "remedy"}


def test_a_program_gone_wild_is_slowed_down(rig: WebRig, monkeypatch: pytest.MonkeyPatch) -> None:
    """Moves are counted by user; another user's are not held up."""
    allowance = replace(console.web.limits.MOVES, item=parse("5/hour"))
    monkeypatch.setattr(console.web.api_moves, "MOVES", allowance)
    client = rig.client("ana")
    statuses = [rig.move(client, FOREIGN_ID, department="x", action="note").status_code for _ in range(6)]
    assert statuses == [404] * 5 + [429]
    assert rig.move(rig.client("sol"), FOREIGN_ID, department="x", action="note").status_code == 404
