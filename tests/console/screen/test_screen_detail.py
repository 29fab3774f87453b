from datetime import UTC, datetime, timedelta
from typing import Any

from screen_parts import (
    ROUTING,
    assignment_part,
    case_id,
    incident_part,
    make_row,
    timeline_part,
    unsure_row,
)

from console.screen.detail import View, choices, detail
from shared.board import Row
from shared.routing import Routing, Situation

NOW = datetime(2026, 11, 24, 12, 0, 0, tzinfo=UTC)
AT = NOW - timedelta(seconds=75)


def detail_of(row: Row, department: str = "firefighters", **view: Any) -> str:
    """The detail's text."""
    return detail(row, View(department, ROUTING, **view), NOW).plain


def test_the_detail_has_everything() -> None:
    """Units called, place, link, scores, pictures with their paths, notes and labels, and what happened."""
    row = make_row(
        3,
        opened_at=AT,
        incidents=[
            incident_part(4, NOW, label="bridge", note="place from EXIF", seen_count=3),
            incident_part(3, AT),
        ],
        timeline=[
            timeline_part("failed_open", AT, text="0003"),
            timeline_part("acknowledge", AT, actor="Ana", text="on my way"),
        ],
    )
    text = detail_of(row, image_store="/var/images/", web_url="https://desk.example.org")
    for part in (
        "0003 Fire",
        "1 min 15 s ago",
        "Fire => Firefighters and Transit Police",
        "33.8568, 151.2153   geo:33.8568,151.2153",
        f"https://desk.example.org/cases/{case_id(3)}",
        "Fire 91%  Accident 6%  No emergency 3%",
        "2 pictures",
        "sent 3 times  bridge",
        "place from EXIF",
        f"/var/images/pictures/ab/{case_id(4)}.jpeg",
        "Ana acknowledged (Firefighters): on my way",
        "desk failed open (Firefighters): 0003",
    ):
        assert part in text, part
    assert text.index("on my way") < text.index("failed open")


def test_other_departments_are_seen() -> None:
    """Each department's state, holder and time; one's own is marked; who came in another's place says so."""
    row = make_row(
        assignments=[
            assignment_part("firefighters", "dispatched", AT, repeats=1),
            assignment_part("transit-police", "on_scene", AT, holder="Bob"),
            assignment_part("police-department", "dispatched", NOW, fallback_of="firefighters"),
        ]
    )
    lines = detail_of(row).splitlines()
    assert "> Firefighters: dispatched, nobody has it for 1 min 15 s, called 2 times" in lines
    assert any(line.startswith("  Transit Police: on scene by Bob since ") for line in lines)
    assert "  Police Department: dispatched, nobody has it for 0 s (in place of Firefighters)" in lines


def test_on_all_departments_have_their_digits() -> None:
    """`all` numbers the departments, review not among them, and marks the one that is moved."""
    row = make_row(states={"review": "closed", "firefighters": "dispatched", "ambulance": "dispatched"})
    assert "press its digit" in detail_of(row, "all")
    chosen = detail_of(row, "all", acting="ambulance")
    assert "  1 Firefighters: " in chosen
    assert "> 2 Ambulance: " in chosen
    assert "press its digit" not in chosen


def test_a_reviewer_sees_what_each_digit_decides() -> None:
    """The digits mean the same in every case, with the model's score; 0 is no emergency."""
    part = assignment_part("review", "dispatched", AT, due_at=(NOW + timedelta(seconds=30)).isoformat())
    lines = [
        " ".join(line.split()) for line in detail_of(unsure_row(assignments=[part]), "review").splitlines()
    ]
    assert "Goes out UNVERIFIED in 30 s unless you decide:" in lines
    assert "1 Protest 30%" in lines
    assert "6 Robbery 45% likeliest" in lines
    assert "0 No emergency 25%" in lines


def test_a_reviewer_sees_why_there_are_no_scores() -> None:
    """A picture that broke its workers says so."""
    broken = incident_part(
        1, AT, verdict="unsure", scores={}, reason="quarantined", detail="it killed 2 workers"
    )
    assert "quarantined: it killed 2 workers" in detail_of(unsure_row(incidents=[broken]), "review")


def test_what_was_decided_names_who() -> None:
    """A reviewer sees whose decision it was, and that a check is one."""
    decided = make_row(
        states={"review": "closed", "firefighters": "dispatched"},
        incidents=[incident_part(1, AT, decided_by="Eva")],
    )
    assert "Decided. By Eva." in detail_of(decided, "review")
    assert "Scores By Eva; the model said: Fire 91%" in detail_of(decided)
    check = make_row(verdict="no_emergency", situation=None, states={"review": "dispatched"})
    assert "A check" in detail_of(check, "review")


def test_more_than_nine_situations_have_no_more_digits() -> None:
    """A tenth situation is decided from the list; no digit means two things."""
    many = Routing(
        departments=ROUTING.departments,
        situations={f"s{index}": Situation(f"s{index}", f"S{index}", ("ambulance",)) for index in range(12)},
        fallback={},
    )
    digits = [digit for digit, _ in choices(many) if digit != " "]
    assert digits == [*"1234567890"]


def test_hostile_text_stays_text() -> None:
    """Markup and escape codes in a label, note, name, reason or timeline are shown as they are."""
    evil = "[red]x[/red]\x1b]0;own\x07\u202e"
    row = make_row(
        incidents=[incident_part(1, AT, label=evil, note=evil, reason=evil, detail=evil, image=evil)],
        assignments=[assignment_part("firefighters", "acknowledged", AT, holder=evil)],
        timeline=[timeline_part("note", AT, actor=evil, text=evil)],
    )
    text = detail(row, View("firefighters", ROUTING), NOW, [evil]).plain
    assert text.count(r"[red]x[/red]\u001B]0;own\u0007\u202E") == 9
    assert {"\x1b", "\x07", "\u202e"} & set(text) == set()


def test_waiting_moves_come_first() -> None:
    """A move without an answer stands right below the title."""
    text = detail(
        make_row(), View("firefighters", ROUTING), NOW, ["0001 acknowledge waits for the desk, 5 s"]
    )
    assert text.plain.splitlines()[1] == "0001 acknowledge waits for the desk, 5 s"
