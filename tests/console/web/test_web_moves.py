import json
import uuid
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import Any, cast

import pytest
from conftest import wait_until
from sqlalchemy import func, select
from sqlalchemy.orm import Session
from web_parts import FOREIGN_ID, PATIENCE_S, WebRig

import console.web.api_moves
import console.web.limits
from console.tables import MoveRecord, Position
from shared.broker import Broker
from shared.coordinates import Coordinates
from shared.keys import moves_key
from shared.settings import Settings
from shared.verdict import Verdict

ESC = "\x1b"


PLACE = Coordinates(latitude_deg=3.0, longitude_deg=4.0)


@pytest.fixture
def rig(settings: Settings, broker: Broker) -> Iterator[WebRig]:
    """A console with one user of each kind, and no desk yet."""
    made = WebRig(settings, broker)
    made.add_everybody()
    with made.serving():
        yield made
    made.close()


def notes_asked(rig: WebRig, department: str) -> list[str]:
    """The notes of the moves in a department's stream, as they stand there."""
    entries: Any = rig.broker.xrange(moves_key(department))
    return [json.loads(fields[b"move"])["note"] for _, fields in entries]


def test_a_move_is_answered_with_what_the_desk_made_of_it(rig: WebRig) -> None:
    """Acknowledging works once; the second to press is told who has it."""
    case = rig.arrive("fire")
    rig.add_user("bea", "operator", departments=["firefighters"])
    with rig.desk():
        won = rig.move(rig.client("ana"), case, department="firefighters", action="acknowledge")
        assert (won.status_code, won.json()["accepted"]) == (200, True)
        lost = rig.move(rig.client("bea"), case, department="firefighters", action="acknowledge")
        assert (lost.status_code, lost.json()["reason"]) == (409, "taken")
        assert "ana has it" in lost.json()["message"]


def test_a_move_sent_again_counts_once(rig: WebRig) -> None:
    """The same move id gives the same answer, whether the first answer arrived or not."""
    case, move_id = rig.arrive("fire"), uuid.uuid4().hex
    move = {"move_id": move_id, "department": "firefighters", "action": "note", "note": "ladder"}
    client = rig.client("ana")
    with rig.desk():
        answers = [rig.move(client, case, **move) for _ in range(3)]
        assert [answer.status_code for answer in answers] == [200] * 3
        assert answers[0].json() == answers[1].json() == answers[2].json()
        stolen = rig.move(rig.client("sol"), case, **move)
        assert (stolen.status_code, stolen.json()["reason"]) == (409, "move_id_taken")
    timeline = client.get(f"/api/cases/{case}").json()["timeline"]
    assert [line["text"] for line in timeline if line["action"] == "note"] == ["ladder"]


@pytest.mark.parametrize("state", ["judged", "waiting"])
@pytest.mark.parametrize(
    "other",
    [
        {"note": "no ladder"},
        {"department": "transit-police"},
        {"action": "add_department", "to": "ambulance"},
        {"situation": "fire"},
        {"to": "ambulance"},
        {"other": FOREIGN_ID},
        {"revision": 1},
        {"case": "another"},
    ],
)
def test_an_id_stands_for_one_move(
    rig: WebRig, monkeypatch: pytest.MonkeyPatch, other: dict[str, Any], state: str
) -> None:
    """With whatever else it comes again it is 409, and nothing more is done; the first has its answer."""
    rig.add_user("ana", "operator", departments=["firefighters", "transit-police"])
    case, another, move_id = rig.arrive("fire"), rig.arrive("fire"), uuid.uuid4().hex
    first = {"move_id": move_id, "department": "firefighters", "action": "note", "note": "ladder"}
    second = {**first, **other}
    where = another if second.pop("case", "") else case
    client = rig.client("ana")
    if "other" in other:  # which has to be there, where nothing has been judged yet
        second["other"] = another
    if state == "waiting":  # both are before the desk when it begins
        monkeypatch.setattr(console.web.api_moves, "WAIT_S", 0.01)
        assert [
            rig.move(client, case, **first).status_code,
            rig.move(client, where, **second).status_code,
        ] == [
            202,
            202,
        ]
        with rig.desk():
            wait_until(lambda: everything_read(rig), within_s=PATIENCE_S, what="the desk has read both")
    else:
        with rig.desk():
            assert rig.move(client, case, **first).json()["accepted"]
    taken = rig.move(client, where, **second)
    assert (taken.status_code, taken.json()["reason"]) == (409, "move_id_taken")
    assert "move_id" in taken.json()["remedy"]
    assert rig.move(client, case, **first).json()["message"]
    assert _moves(rig) == 1
    lines = [
        (line["action"], line["text"])
        for each in (case, another)
        for line in client.get(f"/api/cases/{each}").json()["timeline"]
        if line["actor"] == "ana"
    ]
    assert lines == [("note", "ladder")]


def everything_read(rig: WebRig) -> bool:
    """Whether the desk is through with every stream of moves."""
    with Session(rig.engine) as session:
        stands = {each.stream: each.entry_id for each in session.scalars(select(Position))}
    last: dict[str, str] = {}
    for key in rig.broker.scan_iter(match="moves:*"):
        (newest,) = cast(Any, rig.broker.xrevrange(key, count=1))
        last[key.decode()] = newest[0].decode()
    return bool(last) and all(stands.get(stream) == entry for stream, entry in last.items())


def test_of_two_moves_with_one_id_the_one_that_waits_is_told(rig: WebRig) -> None:
    """One that was asked before the desk had judged the other is answered too, and not with the other's."""
    case, move_id = rig.arrive("fire"), uuid.uuid4().hex
    move = {"move_id": move_id, "department": "firefighters", "action": "note"}
    first, second = rig.client("ana"), rig.client("ana")
    with ThreadPoolExecutor(2) as pool:
        answers = [
            pool.submit(rig.move, client, case, note=note, **move)
            for client, note in ((first, "left"), (second, "right"))
        ]
        wait_until(lambda: rig.moves_asked() == 2, within_s=PATIENCE_S, what="both are asked")
        with rig.desk():
            statuses = sorted(answer.result().status_code for answer in answers)
    assert statuses == [200, 409]


def test_a_move_that_the_desk_could_not_read_is_answered(rig: WebRig) -> None:
    """A desk of another version notes no digest; who asked for that is told what it said, nobody else."""
    case, move_id = rig.arrive("fire"), uuid.uuid4().hex
    entry = {"schema_version": 99, "move_id": move_id, "case": case, "action": "note", "by": "ana"}
    rig.broker.xadd(moves_key("firefighters"), {"move": json.dumps(entry)})
    with rig.desk():
        wait_until(lambda: _moves(rig) == 1, within_s=PATIENCE_S, what="the desk has refused it")
    move = {"move_id": move_id, "department": "firefighters", "action": "note", "note": "x"}
    assert rig.move(rig.client("ana"), case, **move).json()["reason"] == "bad_move"
    assert rig.move(rig.client("sol"), case, **move).json()["reason"] == "move_id_taken"


def test_without_a_desk_a_move_waits(rig: WebRig, monkeypatch: pytest.MonkeyPatch) -> None:
    """The page is told that the move waits; when the desk is back it is applied, once, however often sent."""
    monkeypatch.setattr(console.web.api_moves, "WAIT_S", 0.2)
    case, move_id = rig.arrive("fire"), uuid.uuid4().hex
    move = {"move_id": move_id, "department": "firefighters", "action": "acknowledge"}
    for _ in range(2):
        answer = rig.move(rig.client("ana"), case, **move)
        assert answer.status_code == 202
        assert answer.json()["waiting"] is True
        assert answer.json()["move_id"] == move_id
        assert "waits for the desk" in answer.json()["message"]
    with rig.desk():
        wait_until(lambda: _moves(rig) == 1, within_s=PATIENCE_S, what="the desk has judged it")
    assert rig.move(rig.client("ana"), case, **move).json()["accepted"]
    assert _moves(rig) == 1


def _moves(rig: WebRig) -> int:
    with Session(rig.engine) as session:
        return session.scalars(select(func.count()).select_from(MoveRecord)).one()


def test_escape_codes_and_scripts_in_a_note_are_neutralised(rig: WebRig) -> None:
    """Control and bidirectional characters do not reach the record; what is left is text, in JSON."""
    case = rig.arrive("fire")
    client = rig.client("ana")
    hostile = f"<script>alert(1)</script>{ESC}[2J\u202e\r\n line 2\x00"
    with rig.desk():
        done = rig.move(client, case, department="firefighters", action="note", note=hostile)
    assert done.status_code == 200
    assert notes_asked(rig, "firefighters") == ["<script>alert(1)</script>[2J line 2"]
    answer = client.get(f"/api/cases/{case}")
    (note,) = [line for line in answer.json()["timeline"] if line["action"] == "note"]
    assert note["text"] == "<script>alert(1)</script>[2J line 2"
    assert answer.headers["content-type"] == "application/json"
    assert answer.headers["x-content-type-options"] == "nosniff"


def test_a_case_is_not_closed_over_a_picture_that_was_not_seen(rig: WebRig) -> None:
    """A page says which row it shows; where a picture has come since, whoever closes must look again."""
    case, client = rig.arrive("fire", place=PLACE), rig.client("ana")

    def shown(what: str) -> int:
        return int(client.get(f"/api/cases/{case}").json()["row"][what])

    with rig.desk():
        rig.move(client, case, department="firefighters", action="acknowledge")
        seen = shown("version")
        rig.arrive("fire", place=PLACE, hear=False)
        wait_until(lambda: shown("incident_count") == 2, within_s=PATIENCE_S, what="the desk has it")
        stale = rig.move(client, case, department="firefighters", action="close", seen=seen)
        assert (stale.status_code, stale.json()["reason"]) == (409, "stale")
        assert "new picture" in stale.json()["message"]
        closed = rig.move(client, case, department="firefighters", action="close", seen=shown("version"))
        assert (closed.status_code, closed.json()["accepted"]) == (200, True)
    assert rig.move(client, case, department="firefighters", action="close", seen=-1).status_code == 422


def test_a_correction_is_any_addressed_departments(rig: WebRig) -> None:
    """A department that was sent a case may say what it shows instead; who must go to that sees it."""
    case = rig.arrive("fire")
    with rig.desk():
        answer = rig.move(
            rig.client("ana"), case, department="firefighters", action="correct", situation="accident"
        )
        assert answer.status_code == 200, answer.text
        rig.add_user("amb", "operator", departments=["ambulance"])
        whole = rig.client("amb").get(f"/api/cases/{case}").json()
        assert whole["row"]["situation"] == "accident"


def test_what_a_user_may_do_is_said_by_department(rig: WebRig) -> None:
    """The case page is told the moves that this user may ask for as things stand."""
    case, unsure = rig.arrive("fire"), rig.arrive("fire", verdict=Verdict.UNSURE)

    def may(name: str, case: str) -> dict[str, list[str]]:
        found: dict[str, list[str]] = rig.client(name).get(f"/api/cases/{case}").json()["may"]
        return found

    on_cases = ["note", "correct", "add_department", "merge", "split"]
    assert may("ana", case) == {"firefighters": ["acknowledge", "false_alarm", *on_cases]}
    assert may("vera", case) == {}
    assert set(may("sol", case)) == {"firefighters", "transit-police", "review"}
    assert may("rita", unsure) == {"review": ["decide", "note"]}


def test_a_whole_case_has_everything(rig: WebRig) -> None:
    """The other departments' state is there to read, with every incident and line of the timeline."""
    case = rig.arrive("fire", label="<b>cam</b>")
    whole = rig.client("ana").get(f"/api/cases/{case}").json()
    assert {part["department"] for part in whole["row"]["assignments"]} == {"firefighters", "transit-police"}
    assert [each["label"] for each in whole["row"]["incidents"]] == ["<b>cam</b>"]
    assert [line["action"] for line in whole["timeline"]][:1] == ["opened"]
    assert whole["timeline"] == whole["row"]["timeline"]


def test_a_move_while_the_broker_is_away_is_not_lost_silently(rig: WebRig) -> None:
    """The page is told that nothing was recorded, and may send the same move again."""
    case = rig.arrive("fire")
    rig.broker.set(moves_key("firefighters"), "no stream")
    answer = rig.move(rig.client("ana"), case, department="firefighters", action="acknowledge")
    assert (answer.status_code, answer.json()["reason"]) == (503, "broker_away")


def test_setup_tells_words_times_and_rules(rig: WebRig) -> None:
    """What pages need beforehand is there for who is logged in, and for nobody else."""
    setup = rig.client("vera").get("/api/setup").json()
    assert setup["departments"]["firefighters"] == "Firefighters"
    assert setup["situations"]["fire"] == {"name": "Fire", "departments": ["firefighters", "transit-police"]}
    assert setup["allowed"]["dispatched"] == ["acknowledge", "false_alarm"]
    assert setup["clock"]["review_within_s"] == 120
    assert setup["note_max_characters"] == 500
    assert rig.client().get("/api/setup").status_code == 401
