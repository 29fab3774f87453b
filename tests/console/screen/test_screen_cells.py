from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from rich.cells import cell_len
from screen_parts import ROUTING, assignment_part, incident_part, make_row, unsure_row

from console.screen.cases import label_of, number_of, situation_of, sureness
from console.screen.cells import TITLES, Line, drawn, header, line, widths
from console.screen.moments import age, clock, spell
from shared.board import Row

NOW = datetime(2026, 11, 24, 12, 0, 0, tzinfo=UTC)
AT = NOW - timedelta(seconds=75)


def cells_of(row: Row, department: str = "firefighters", **more: Any) -> dict[str, str]:
    """A row's cells by the titles of their columns."""
    return dict(zip(TITLES, line(row, department, ROUTING, NOW, **more).cells, strict=True))


def test_a_row_is_one_line() -> None:
    """Number, situation, how sure, age, state, holder, place, pictures and label, in that order."""
    assert cells_of(make_row(7, opened_at=AT)) == {
        "": "!",
        "no.": "0007",
        "situation": "Fire",
        "sure": "91%",
        "age": "1m",
        "state": "dispatched",
        "holder": "",
        "place": "33.8568,151.2153",
        "pics": "1",
        "label": "cam 7",
    }


def test_a_department_sees_how_far_itself_is() -> None:
    """The state and the holder are its own, whatever others do."""
    parts = [
        assignment_part("firefighters", "en_route", AT, holder="Ana"),
        assignment_part("transit-police", "closed", AT, holder="Bob"),
    ]
    row = make_row(assignments=parts)
    assert [cells_of(row, word)["state"] for word in ("firefighters", "transit-police")] == [
        "en route",
        "closed",
    ]
    assert [cells_of(row, word)["holder"] for word in ("firefighters", "transit-police")] == ["Ana", "Bob"]


def test_all_shows_the_least_advanced() -> None:
    """`all` shows how far it is at least, how many wait, and everybody who has a part of it."""
    states = {"firefighters": "on_scene", "transit-police": "dispatched", "ambulance": "dispatched"}
    cells = cells_of(make_row(states=states), "all")
    assert (cells["state"], cells["holder"]) == ("dispatched 2/3", "Ana")


def test_who_is_not_needed_is_not_waited_for() -> None:
    """A correction sent a department home: its board says so, quietly, and `all` shows who must go."""
    home = assignment_part("firefighters", "dispatched", AT, due_at="", repeats=2)
    row = make_row(assignments=[home, assignment_part("ambulance", "on_scene", AT)])
    own = cells_of(row, "firefighters")
    assert (own["state"], own[""]) == ("not needed", "")
    assert line(row, "firefighters", ROUTING, NOW).style == ""
    assert cells_of(row, "all")["state"] == "on scene"


def test_what_was_called_again_is_marked() -> None:
    """Nobody has it: one mark; it was called again: two; somebody has it: none; something new: a star."""
    again = make_row(assignments=[assignment_part("firefighters", "dispatched", AT, repeats=2)])
    held = make_row(states={"firefighters": "acknowledged"})
    assert [cells_of(row)[""] for row in (make_row(), again, held)] == ["!", "!!", ""]
    assert cells_of(held, unseen=True)[""] == "*"


def test_what_nobody_verified_says_so() -> None:
    """The word stands in the line, and the guess has a question mark."""
    cells = cells_of(make_row(verdict="unsure", situation="accident", unverified=True))
    assert (cells["situation"], cells["sure"]) == ("Accident?", "UNVERIFIED")


@pytest.mark.parametrize(
    ("due_in_s", "state"), [(45.0, "due in 45s"), (-1.0, "due now"), (3000.0, "due in 50m")]
)
def test_a_reviewer_sees_until_when(due_in_s: float, state: str) -> None:
    """What is undecided counts down to when it goes out by itself."""
    part = assignment_part("review", "dispatched", AT, due_at=(NOW + timedelta(seconds=due_in_s)).isoformat())
    assert cells_of(unsure_row(assignments=[part]), "review")["state"] == state


def test_a_sample_is_a_check() -> None:
    """A picture that is sure to show nothing waits for nobody."""
    row = make_row(verdict="no_emergency", situation=None, states={"review": "dispatched"})
    cells = cells_of(row, "review")
    assert (cells[""], cells["situation"], cells["state"]) == ("", "No emergency", "check")


def test_a_decision_by_a_person_is_not_a_percentage() -> None:
    """Once a person said what it shows, the model's confidence says nothing; the desk is no person."""
    decided = make_row(incidents=[incident_part(1, AT, decided_by="Ana")])
    by_desk = make_row(incidents=[incident_part(1, AT, decided_by="desk")])
    no_scores = make_row(incidents=[incident_part(1, AT, scores={}, confidence=0.0)])
    assert [sureness(row) for row in (decided, by_desk, no_scores)] == ["person", "91%", "-"]


def test_a_move_without_an_answer_shows() -> None:
    """What was asked for stands in place of the state, as a question."""
    assert cells_of(make_row(), asked="acknowledge")["state"] == "acknowledge?"


def test_the_number_is_that_of_the_first_picture() -> None:
    """More pictures change neither the case's number nor, where they have none, its label."""
    row = make_row(2, incidents=[incident_part(9, NOW, label=""), incident_part(2, AT, label="bridge")])
    assert (number_of(row), label_of(row)) == ("0002", "bridge")
    trimmed = make_row(2, incidents=[incident_part(9, NOW), incident_part(8, AT)])
    assert number_of(trimmed) == "0008"


def test_words_that_left_the_routing_file_are_shown() -> None:
    """A situation that nobody knows any more is shown by its word."""
    assert situation_of(make_row(situation="land_slide"), ROUTING) == "Land Slide"
    assert situation_of(make_row(situation=None, incidents=[]), ROUTING) == "Unknown"


HOSTILE = "\x1b[31m[bold]x[/bold]\u202e\n\ud800"


def test_text_from_outside_is_escaped() -> None:
    """Escape codes, line ends and direction marks of a label or a name are shown, not obeyed."""
    parts = [assignment_part("firefighters", "acknowledged", AT, holder=HOSTILE)]
    row = make_row(assignments=parts, incidents=[incident_part(1, AT, label=HOSTILE, number=HOSTILE)])
    cells = cells_of(row)
    for name in ("no.", "holder", "label"):
        assert cells[name] == r"\u001B[31m[bold]x[/bold]\u202E\u000A\uD800"
    text = drawn(line(row, "firefighters", ROUTING, NOW), [60] * len(TITLES), selected=False)
    assert "[bold]x[/bold]" in text.plain


@pytest.mark.parametrize("width", [40, 60, 80, 100, 160])
def test_a_line_fits_the_terminal(width: int) -> None:
    """Whatever the row holds, the line is no wider than the screen where that is 60 cells or more."""
    wide = make_row(
        situation="flood_risk",
        unverified=True,
        assignments=[assignment_part("firefighters", "acknowledged", AT, holder="名" * 40)],
        incidents=[incident_part(1, AT, label="写" * 40)],
        latitude_deg=-33.85681234,
        longitude_deg=-151.21534321,
    )
    lines = [line(row, "firefighters", ROUTING, NOW) for row in (wide, make_row())]
    columns = widths(lines, width)
    found = {drawn(each, columns, selected=True).cell_len for each in lines} | {header(columns).cell_len}
    assert len(found) == 1
    assert width < 60 or max(found) <= width


def test_on_80_columns_the_word_stays_whole() -> None:
    """UNVERIFIED, the state and the whole situation are there on a small terminal."""
    row = make_row(situation="altercation", verdict="unsure", unverified=True, opened_at=AT)
    lines = [line(row, "firefighters", ROUTING, NOW)]
    text = drawn(lines[0], widths(lines, 80), selected=False).plain
    assert text.split()[:6] == ["!", "0001", "Altercation?", "UNVERIFIED", "1m", "dispatched"]


def test_a_column_that_has_no_room_goes() -> None:
    """Rather no label than two letters of one; the line has its gaps between what is left."""
    wanted = line(make_row(), "firefighters", ROUTING, NOW)
    columns = widths([wanted], 70)
    assert columns[-1] == 0
    assert drawn(wanted, columns, selected=True).plain.startswith(">!  0001 Fire ")


def test_no_lines_are_titles_alone() -> None:
    """An empty list has its columns all the same."""
    assert header(widths([], 80)).plain.split() == [title for title in TITLES if title]


def test_the_marks_say_what_the_colours_do() -> None:
    """Lines that look different without colours are also written differently."""
    again = line(
        make_row(assignments=[assignment_part("firefighters", "dispatched", AT, repeats=1)]),
        "firefighters",
        ROUTING,
        NOW,
    )
    new, held = (
        line(make_row(states={"firefighters": state}), "firefighters", ROUTING, NOW)
        for state in ("dispatched", "acknowledged")
    )
    styles: dict[str, Line] = {each.style: each for each in (again, new, held)}
    assert len(styles) == len({each.cells for each in styles.values()}) == 3


@pytest.mark.parametrize(
    ("seconds", "short", "long"),
    [
        (-5, "0s", "0 s"),
        (59.9, "59s", "59 s"),
        (60, "1m", "1 min 0 s"),
        (3599, "59m", "59 min 59 s"),
        (11100, "3h05", "3 h 5 min"),
        (172799, "47h59", "47 h 59 min"),
        (172800, "2d", "48 h 0 min"),
    ],
)
def test_lengths_of_time(seconds: float, short: str, long: str) -> None:
    """Short for the list, in words for the detail; a clock that is ahead shows none."""
    assert (age(seconds), spell(seconds)) == (short, long)
    assert cell_len(age(seconds)) <= 5


def test_a_time_of_another_day_has_its_date() -> None:
    """Today's times have none; a time that can't be read is no crash."""
    assert len(clock(NOW.isoformat(), NOW)) == len("12:00:00")
    assert len(clock((NOW - timedelta(days=2)).isoformat(), NOW)) == len("2026-11-22 12:00:00")
    assert clock("soon", NOW).startswith("19")
