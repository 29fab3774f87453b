"""The page of a case, the history and the map, in a real browser."""

import re
from collections.abc import Callable
from pathlib import Path

from browser_parts import Consoles, Person
from playwright.sync_api import expect

from shared.coordinates import Coordinates

pytest_plugins = ("browser_fixtures",)

People = Callable[..., Person]
HOSTILE = "<img src=x onerror=window.pwned=1> \u202egnp\x1b[31m"
ADD_SCRIPT = """() => document.body.append(
  Object.assign(document.createElement("script"), { text: "window.ran = 1" }))"""


def test_the_case_page_tells_why_and_keeps_notes(people: People, consoles: Consoles) -> None:
    """It has the picture, heat over it on request, scores of all classes, a timeline; a note stays."""
    ana = people("ana").log_in()
    consoles.photograph("fire", "sawmill")
    ana.open("sawmill")
    picture = ana.page.get_by_role("img", name=re.compile("Photograph #"))
    ana.sees_picture(picture)
    ana.button("Why").click()
    expect(ana.button("Why")).to_have_attribute("aria-pressed", "true")
    heat = ana.page.locator("img[src*='/activation']")
    ana.sees_picture(heat)
    ana.button("Why").click()
    expect(heat).to_have_count(0)
    scores = ana.page.get_by_role("region", name="What the model sees").or_(ana.page.locator(".scores"))
    for name in ("Fire", "Flood Risk", "Protest", "Accident", "Altercation", "Robbery", "No emergency"):
        expect(scores.get_by_role("button", name=re.compile(rf"{name}.*\d\s?%")).first).to_be_visible()
    ana.page.get_by_role("textbox", name="Notes").fill("Gas bottles in the yard")
    ana.button("Add note").click()
    timeline = ana.page.get_by_role("list", name="Timeline")
    expect(timeline).to_contain_text("Gas bottles in the yard")
    expect(timeline).to_contain_text("Case opened")
    ana.page.reload()
    expect(timeline).to_contain_text("Gas bottles in the yard")


def test_a_corrected_situation_calls_who_must_go(people: People, consoles: Consoles) -> None:
    """Ana says that the fire is a robbery: the police have it at once, and the page says who said so."""
    ana, pia = people("ana").log_in(), people("pia").log_in()
    consoles.photograph("fire", "bank")
    ana.open("bank")
    ana.page.get_by_label("It shows something else").select_option(label="Robbery")
    ana.button("Correct").click()
    expect(ana.page.get_by_role("heading", level=1)).to_contain_text("Robbery")
    expect(ana.page.get_by_role("list", name="Timeline")).to_contain_text("ana corrected it")
    expect(pia.row("bank").get_by_role("heading")).to_contain_text("Robbery")
    expect(pia.row("bank").get_by_role("button", name="Acknowledge")).to_be_visible()


def test_repeats_are_one_row_until_somebody_splits_them(people: People, consoles: Consoles) -> None:
    """A second picture from next door is counted and kept, and does not ask to be acknowledged again."""
    ana = people("ana").log_in()
    place = consoles.photograph("fire", "theatre front")
    ana.row("theatre").get_by_role("button", name="Acknowledge").click()
    expect(ana.row("theatre")).to_contain_text("Acknowledged")
    beside = Coordinates(latitude_deg=place.latitude_deg + 0.0004, longitude_deg=place.longitude_deg)
    consoles.photograph("fire", "theatre back", place=beside)
    expect(ana.row("theatre").get_by_role("heading")).to_contain_text("2 pictures")
    expect(ana.row("theatre")).to_have_count(1)
    expect(ana.row("theatre")).to_contain_text("Acknowledged")
    ana.open("theatre")
    pictures = ana.page.get_by_role("list", name="All pictures of this case").get_by_role("button")
    expect(pictures).to_have_count(2)
    ana.page.get_by_role("button", name="is another emergency: split").click()
    expect(ana.row("theatre")).to_have_count(2)


def test_history_finds_a_case_and_exports_it(people: People, consoles: Consoles, tmp_path: Path) -> None:
    """A search by its words leads to it, and the CSV of that search has it alone."""
    ana = people("ana").log_in()
    place = consoles.photograph("fire", "lighthouse")
    expect(ana.row("lighthouse")).to_be_visible()
    ana.page.get_by_role("link", name="History").click()
    search = ana.page.get_by_role("search")
    search.get_by_label("Words").fill("lighthouse")
    search.get_by_role("button", name="Search").click()
    expect(ana.page.get_by_role("heading", level=1)).to_have_text("1 case")
    line = ana.page.get_by_role("row").filter(has_text="lighthouse")
    expect(line).to_contain_text(str(place))
    ana.sees_picture(line.locator("img"))
    with ana.page.expect_download() as download:
        ana.page.get_by_role("link", name="CSV").click()
    file = tmp_path / "history.csv"
    download.value.save_as(file)
    head, *lines = file.read_text(encoding="utf-8-sig").splitlines()
    assert "situation" in head
    assert len(lines) == 1
    assert "lighthouse" in lines[0]
    assert "fire" in lines[0].lower()
    line.get_by_role("link", name="#").click()
    expect(ana.page.get_by_role("heading", level=1)).to_contain_text("Fire")


def test_the_map_shows_and_chooses_a_case(people: People, consoles: Consoles) -> None:
    """A case is a marker on a map that needs no network; pressing it chooses its row."""
    ana = people("ana").log_in()
    consoles.photograph("fire", "island")
    expect(ana.row("island")).to_be_visible()
    ana.page.get_by_role("button", name="All open cases").click()
    number = ana.row("island").get_by_role("link", name="#").first.inner_text()
    marker = ana.page.get_by_role("region", name="Map").get_by_title(f"Fire {number}: Waiting")
    expect(marker).to_be_visible()
    marker.click()
    expect(ana.row("island")).to_have_attribute("aria-current", "true")


def test_hostile_words_are_shown_as_words(people: People, consoles: Consoles) -> None:
    """Markup and control characters in a file name and in a note are text everywhere, and run nowhere."""
    ana = people("ana").log_in()
    consoles.photograph("fire", HOSTILE)
    row = ana.row("onerror=window.pwned=1")
    expect(row).to_contain_text("<img src=x onerror=window.pwned=1>")
    assert "\u202e" not in row.inner_text()
    ana.open("onerror=window.pwned=1")
    ana.page.get_by_role("textbox", name="Notes").fill("<script>window.pwned=1</script>\u202e{{7*7}}")
    ana.button("Add note").click()
    timeline = ana.page.get_by_role("list", name="Timeline")
    expect(timeline).to_contain_text("<script>window.pwned=1</script>")
    assert "\u202e" not in timeline.inner_text()
    ana.page.get_by_role("link", name="History").click()
    expect(ana.page.get_by_role("row").filter(has_text="<img src=x onerror")).to_be_visible()
    assert ana.page.evaluate("window.pwned") is None


def test_inline_script_is_refused_by_the_policy_and_noticed(people: People) -> None:
    """What the other tests rely on: a script that got into a page does not run, and they would see that."""
    ana = people("ana").log_in()
    ana.expects("Content Security Policy")
    ana.expects("the policy was violated: script-src")
    ana.page.evaluate(ADD_SCRIPT)
    assert ana.page.evaluate("window.ran") is None
    assert any("the policy was violated" in trouble for trouble in ana.troubles)
