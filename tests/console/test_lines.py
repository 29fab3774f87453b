import re

import pytest
from conftest import make_entries
from hypothesis import given
from hypothesis import strategies as st

from console.lines import assistance, plain, pretty
from shared.coordinates import Coordinates
from shared.dispatches import Dispatch
from shared.verdict import Verdict

RED = "\x1b[31;1mFREE BEER\x1b[0m"
REVERSED = "invoice\u202egpj.exe"


def dispatch(**chosen: object) -> Dispatch:
    """The first record that is sent of an incident."""
    return Dispatch.decode(make_entries(1, **chosen)[0][1])  # type: ignore[arg-type] # whatever the test chose


def changed(**data: object) -> Dispatch:
    """A record of which some fields are what no worker of ours would write."""
    sound = dispatch()
    return Dispatch(event_id=sound.event_id, department=sound.department, data={**sound.data, **data})


UNSURE = {"situation": "protest", "verdict": Verdict.UNSURE}


def test_the_plain_line_is_as_agreed() -> None:
    """The line that scripts rely on is DESIGN section 2's, to the letter."""
    assert plain(dispatch()) == (
        "ID: 0001     Coordinates: 33.8568, 151.2153     "
        "Units of Assistance: ['Protest => Police Force and Transit Police']"
    )


def test_each_department_sees_all_who_are_called() -> None:
    """The plain line names every unit, whichever department reads it."""
    lines = {plain(Dispatch.decode(event)) for _, event in make_entries(1, situation="accident")}
    assert lines == {
        "ID: 0001     Coordinates: 33.8568, 151.2153     "
        "Units of Assistance: ['Accident => Towing Unit, Ambulance and Transit Police']"
    }


@pytest.mark.parametrize(
    ("latitude_deg", "longitude_deg", "written"),
    [(-33.8568, -151.0, "-33.8568, -151"), (0.0, -0.0, "0, 0"), (1e-7, 12.34567891, "0.0000001, 12.3456789")],
)
def test_coordinates_are_written_plainly(latitude_deg: float, longitude_deg: float, written: str) -> None:
    """Signed decimal degrees without exponents or needless zeros."""
    place = Coordinates(latitude_deg=latitude_deg, longitude_deg=longitude_deg)
    assert f"Coordinates: {written}     " in plain(dispatch(coordinates=place))


def test_review_sees_what_the_model_guessed() -> None:
    """An unsure incident calls nobody yet; the two best guesses stand in place of units, with how sure."""
    assert assistance(dispatch(**UNSURE)) == ["Review => Unsure: Protest 0.62, Fire 0.20"]
    assert plain(dispatch(**UNSURE)).endswith(
        "Units of Assistance: ['Review => Unsure: Protest 0.62, Fire 0.20']"
    )


def test_review_sees_why_no_model_looked() -> None:
    """Where there are no scores, the reason stands there: in words, else as the word."""
    told = {"scores": {}, "reason": "corrupt", "detail": "the PNG is damaged"}
    assert assistance(dispatch(**UNSURE, decision=told)) == ["Review => the PNG is damaged"]
    assert assistance(dispatch(**UNSURE, decision=told | {"detail": ""})) == ["Review => corrupt"]


def test_the_pretty_line_says_all_at_a_glance() -> None:
    """Time, number, units, place, how sure, and the label, in one line."""
    text = pretty(dispatch(number="0042", label="cam 7", note="far from its GPS")).plain
    assert re.match(
        r"\d\d:\d\d:\d\d  0042  Protest => Police Force and Transit Police  at 33.8568, 151.2153", text
    )
    assert text.endswith("62% sure  cam 7  far from its GPS")


def test_what_needs_a_person_looks_different() -> None:
    """A dispatch and a question do not have the same colour, and a question claims no certainty."""
    styles = [{str(span.style) for span in pretty(each).spans} for each in (dispatch(), dispatch(**UNSURE))]
    assert "bold red" in styles[0]
    assert "bold yellow" in styles[1]
    assert "sure  " not in pretty(dispatch(**UNSURE)).plain.replace("Unsure", "")


def test_a_label_cannot_colour_the_terminal() -> None:
    """Escape codes and text direction in a stranger's file name are shown, and do nothing."""
    for label, shown in ((RED, r"\u001B[31;1mFREE BEER\u001B[0m"), (REVERSED, r"invoice\u202Egpj.exe")):
        text = pretty(dispatch(label=label)).plain
        assert shown in text
        assert label not in text


def test_markup_in_a_label_is_text() -> None:
    """What the terminal library takes for markup elsewhere is shown as it stands."""
    assert pretty(dispatch(label="[bold]gate[/bold] [link=x]7")).plain.endswith("[bold]gate[/bold] [link=x]7")


@given(st.text(), st.text())
def test_nothing_in_a_record_leaves_its_line(text: str, word: str) -> None:
    """Whatever text a record holds where a person reads it, the lines stay printable single lines."""
    record = changed(
        number=text, label=text, note=text, units_of_assistance=[text], scores={word: 0.5}, detail=text
    )
    review = changed(verdict="unsure", units_of_assistance=[], scores={word: 0.5}, number=text)
    blind = changed(verdict="unsure", units_of_assistance=[], scores={}, detail=text)
    for each in (record, review, blind):
        assert plain(each).isprintable()
        assert pretty(each).plain.isprintable()


def test_what_was_sent_to_somebody_is_no_review() -> None:
    """A record of an earlier version that names departments and no units is still somebody's to go to."""
    gone = changed(units_of_assistance=[], departments=["police-department", RED], situation=None)
    (said,) = assistance(gone)
    assert said.startswith("Unknown => Police Department, ")
    assert "\x1b" not in said
    assert assistance(changed(units_of_assistance=[], departments=["review"]))[0].startswith("Review => ")
