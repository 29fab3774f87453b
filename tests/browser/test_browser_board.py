"""The board, as dispatchers use it in a real browser."""

import re
from collections.abc import Callable
from urllib.parse import unquote

import pytest
from browser_parts import PASSWORD, Consoles, Person
from conftest import wait_until
from playwright.sync_api import Route, expect

pytest_plugins = ("browser_fixtures",)

People = Callable[..., Person]
NARROW = {"viewport": {"width": 390, "height": 844}, "is_mobile": True, "has_touch": True}


def test_login_says_what_is_wrong_and_lets_in_who_is_right(people: People) -> None:
    """A wrong password is named plainly and the page stays; the right one leads to where one wanted to go."""
    ana = people("ana")
    ana.expects("401")
    ana.page.goto("/history")
    expect(ana.page).to_have_url(re.compile("/login"))
    ana.page.get_by_label("Name").fill("ana")
    ana.page.get_by_label("Password", exact=True).fill("not the bridge")
    ana.page.get_by_role("button", name="Log in").click()
    expect(ana.page.get_by_role("alert")).to_have_text("Name or password is wrong.")
    ana.page.get_by_label("Password", exact=True).fill(PASSWORD)
    ana.page.get_by_role("button", name="Log in").click()
    expect(ana.page).to_have_url(f"{ana.url}/history")
    expect(ana.page.get_by_role("search")).to_be_visible()
    expect(ana.page.get_by_text("Live", exact=True)).to_be_visible()
    ana.page.get_by_role("button", name="Log out").click()
    expect(ana.page.get_by_role("button", name="Log in")).to_be_visible()
    ana.page.goto("/")
    expect(ana.page).to_have_url(re.compile("/login"))


@pytest.mark.parametrize(
    "wanted",
    [
        "/%09/127.0.0.1:1/x",
        "/%0A%5C127.0.0.1:1/x",
        "%0D//127.0.0.1:1/x",
        "//127.0.0.1:1/x",
        "http://127.0.0.1:1/x",
        "javascript:alert(1)",
        "//",
    ],
)
def test_logging_in_leads_nowhere_else(people: People, wanted: str) -> None:
    """A link to the login page can't take whoever logs in to another site, however it is written."""
    ana = people("ana")
    log_in_by_form(ana, wanted)
    expect(ana.page).to_have_url(f"{ana.url}/")
    expect(ana.page.get_by_text("Live", exact=True)).to_be_visible()


@pytest.mark.parametrize("wanted", ["/.//127.0.0.1:1/x", "/history?situation=fire%23x"])
def test_logging_in_leads_to_a_path_here(people: People, wanted: str) -> None:
    """With its query; a path that begins with two slashes is one of this server too."""
    ana = people("ana")
    ana.expects("404")
    log_in_by_form(ana, wanted)
    expect(ana.page).to_have_url(ana.url + unquote(wanted).removeprefix("/."))


def log_in_by_form(person: Person, wanted: str) -> None:
    """Log in on the page, as a link to it says where to go afterwards."""
    person.page.goto(f"/login?next={wanted}")
    person.page.get_by_label("Name").fill(person.name)
    person.page.get_by_label("Password", exact=True).fill(PASSWORD)
    person.page.get_by_role("button", name="Log in").click()


def test_a_photograph_appears_without_reload(people: People, consoles: Consoles) -> None:
    """A file dropped into the inbox is a row: picture, number, situation, how sure, place, units, age."""
    ana = people("ana").log_in()
    ana.page.evaluate("window.unloaded = true")
    place = consoles.photograph("fire", "west market")
    row = ana.row("west market")
    expect(row).to_be_visible()
    expect(row.get_by_role("heading")).to_contain_text("Fire")
    expect(row.get_by_role("heading")).to_contain_text(re.compile(r"9\d\s?%"))
    expect(row.get_by_role("link", name=re.compile(r"#0\d\d\d"))).to_be_visible()
    expect(row).to_contain_text(str(place))
    units = row.get_by_role("list", name="Units called").get_by_role("listitem")
    expect(units).to_have_text([re.compile("Firefighters"), re.compile("Transit Police")])
    expect(row.get_by_role("time")).to_have_text(re.compile(r"\d+\s?(s|min)"))
    ana.sees_picture(row.locator("img"))
    expect(ana.page).to_have_title(re.compile(r"^\(\d+\)"))
    assert ana.page.evaluate("window.unloaded"), "the page was not loaded again"


def test_an_acknowledgement_shows_on_every_console(people: People, consoles: Consoles) -> None:
    """Ana's shows to her colleague as done, and to the other department as read only, without reload."""
    ana, abel, ben = (people(name).log_in() for name in ("ana", "abel", "ben"))
    consoles.photograph("fire", "harbour")
    ana.row("harbour").get_by_role("button", name="Acknowledge").click()
    for each in (ana, abel, ben):
        unit = each.row("harbour").get_by_role("listitem").filter(has_text="Firefighters")
        expect(unit).to_contain_text("ana")
        expect(unit).to_contain_text("Acknowledged")
    expect(abel.row("harbour").get_by_role("button", name="Acknowledge")).to_have_count(0)
    # Ben's own department has not answered, and Ana's is not his to move.
    expect(ben.row("harbour").get_by_role("button", name="Acknowledge")).to_have_count(1)
    ben.open("harbour")
    expect(ben.page.get_by_text("Another department's: to read only")).to_have_count(1)
    expect(ben.button("Acknowledge")).to_have_count(1)
    expect(ben.button("En route")).to_have_count(0)


def test_of_two_who_acknowledge_at_once_one_wins(people: People, consoles: Consoles) -> None:
    """The other one is told who has it, and both boards say the same."""
    both = [people(name).log_in() for name in ("ana", "abel")]
    for each in both:
        each.expects("409")
    consoles.photograph("fire", "tower")
    buttons = [each.row("tower").get_by_role("button", name="Acknowledge") for each in both]
    for button in buttons:
        expect(button).to_be_visible()
    # Neither is heard before both have pressed.
    pressed: list[Route] = []

    def hold(route: Route) -> None:
        pressed.append(route)

    for each, button in zip(both, buttons, strict=True):
        each.page.route("**/moves", hold)
        button.click()
    wait_until(
        lambda: [each.page.title() for each in both] and len(pressed) == 2,  # a look lets the browser speak
        within_s=60,
        what="both have pressed",
    )
    for route in pressed:
        route.continue_()
    units = [each.row("tower").get_by_role("listitem").filter(has_text="Firefighters") for each in both]
    for unit in units:
        expect(unit).to_contain_text("Acknowledged")
    winner, loser = both if "ana" in units[0].inner_text() else reversed(both)
    expect(loser.page.get_by_text(re.compile(rf"^{winner.name} has it since \d\d:\d\d:\d\d"))).to_be_visible()
    expect(winner.page.get_by_text("has it since")).to_have_count(0)
    expect(units[both.index(loser)]).to_contain_text(winner.name)


def test_review_decides_with_one_key(people: People, consoles: Consoles) -> None:
    """A reviewer presses the key of a situation: its departments have the case, and it leaves the review."""
    rita, ana = people("rita").log_in("/?view=review"), people("ana").log_in()
    consoles.photograph("unsure", "old quay")
    question = rita.page.get_by_role("region", name="What does it show?")
    expect(question).to_contain_text("old quay")
    expect(question.get_by_text(re.compile(r"Goes out unverified in \d"))).to_be_visible()
    rita.sees_picture(question.get_by_role("img", name=re.compile("Photograph #")))
    expect(question.get_by_role("button", name=re.compile(r"Fire"))).to_contain_text(
        re.compile(r"(3\d|40)\s?%")
    )
    expect(ana.row("old quay")).to_have_count(0)
    seen_ms = rita.page.evaluate("performance.now()")
    key = question.get_by_role("button", name=re.compile(r"Fire")).locator("kbd").inner_text()
    # A key just after a picture came would be taken for one about the picture before it.
    rita.page.wait_for_function("(since_ms) => performance.now() - since_ms > 500", arg=seen_ms)
    rita.page.keyboard.press(key)
    expect(ana.row("old quay").get_by_role("heading")).to_contain_text("Fire")
    expect(ana.row("old quay").get_by_role("heading")).to_contain_text("rita")
    expect(rita.page.get_by_text("Nothing to decide.")).to_be_visible()


def test_review_takes_the_pictures_of_one_row_one_by_one(people: People, consoles: Consoles) -> None:
    """Unsure pictures of one place are one row: a key is about the one that is shown, then comes the next."""
    rita, ana = people("rita").log_in("/?view=review"), people("ana").log_in()
    place = consoles.photograph("unsure", "first gate")
    question = rita.page.get_by_role("region", name="What does it show?")
    expect(question).to_contain_text("first gate")
    consoles.photograph("unsure", "second gate", place=place)
    expect(question).to_contain_text("2 pictures")
    expect(question).to_contain_text("first gate")  # whatever joins: a key must not decide another one
    for label, name in (("first gate", "No emergency"), ("second gate", "Fire")):
        expect(question).to_contain_text(label)
        seen_ms = rita.page.evaluate("performance.now()")
        key = question.get_by_role("button", name=re.compile(name)).locator("kbd").inner_text()
        rita.page.wait_for_function("(since_ms) => performance.now() - since_ms > 500", arg=seen_ms)
        rita.page.keyboard.press(key)
    expect(ana.row("second gate").get_by_role("heading")).to_contain_text("Fire")
    expect(ana.row("second gate").get_by_role("heading")).to_contain_text("rita")
    expect(rita.page.get_by_text("Nothing to decide.")).to_be_visible()


def test_the_console_speaks_spanish(people: People, consoles: Consoles) -> None:
    """Who chooses Spanish reads it on every page, situations, departments and states included."""
    sol = people("sol")
    sol.page.goto("/login")
    sol.page.get_by_role("link", name="Español").click()
    expect(sol.page.get_by_role("button", name="Entrar")).to_be_visible()
    consoles.photograph("flood_risk", "puente")
    sol.log_in()
    row = sol.row("puente")
    expect(row.get_by_role("heading")).to_contain_text("Riesgo de inundación")
    expect(row.get_by_role("listitem").first).to_contain_text("En espera")
    row.get_by_role("button", name="Aceptar").click()
    expect(row).to_contain_text("Aceptado")
    expect(sol.page.locator("html")).to_have_attribute("lang", "es")
    sol.page.get_by_role("link", name="Historial").click()
    expect(sol.page.get_by_role("heading", level=1)).to_contain_text("caso")
    sol.page.get_by_role("button", name="EN", exact=True).click()
    expect(sol.page.get_by_role("link", name="History")).to_be_visible()


def test_a_narrow_screen_shows_and_moves_everything(people: People, consoles: Consoles) -> None:
    """At 390 pixels no page scrolls sideways, and a case can be taken from the list to its end by touch."""
    sol = people("sol", **NARROW)
    sol.page.goto("/login")
    sol.fits()
    sol.log_in()
    consoles.photograph("accident", "a label of some length, at the corner of the long street")
    row = sol.row("corner of the long street")
    expect(row).to_be_visible()
    sol.fits()
    row.get_by_role("button", name="Acknowledge").tap()
    expect(row).to_contain_text("Acknowledged")
    row.get_by_role("link", name="#").first.tap()
    expect(sol.page.get_by_role("heading", level=1)).to_contain_text("Accident")
    sol.fits()
    towing = sol.page.locator(".assignment").filter(has_text="Towing Unit")
    for action, state in (("En route", "En route"), ("On scene", "On scene"), ("Close", "Closed")):
        towing.get_by_role("button", name=action).tap()
        expect(towing.get_by_text(state, exact=True).first).to_be_visible()
    for path in ("/history", "/?view=review"):
        sol.page.goto(path)
        expect(
            sol.page.get_by_role("heading", level=1).or_(sol.page.get_by_text("Nothing to"))
        ).to_be_visible()
        sol.fits()


def test_a_case_can_be_worked_with_the_keyboard_alone(people: People, consoles: Consoles) -> None:
    """From the login to closing a case, with a note, no pointer is needed."""
    ana = people("ana")
    press, write = ana.page.keyboard.press, ana.page.keyboard.type
    ana.page.goto("/")
    expect(ana.page.get_by_label("Name")).to_be_focused()
    write("ana")
    press("Tab")
    write(PASSWORD)
    press("Enter")
    expect(ana.page.get_by_text("Live", exact=True)).to_be_visible()
    consoles.photograph("fire", "north gate")
    row = ana.row("north gate")
    expect(row).to_be_visible()
    press("g")
    expect(row).to_be_focused()
    for key, state in (("a", "Acknowledged"), ("e", "En route"), ("s", "On scene")):
        press(key)
        expect(row.get_by_role("listitem").filter(has_text="Firefighters")).to_contain_text(state)
    press("n")
    expect(ana.page.get_by_role("dialog").get_by_role("textbox")).to_be_focused()
    write("Two engines, nobody hurt")
    press("Control+Enter")
    expect(ana.page.get_by_role("dialog")).to_have_count(0)  # as a person sees, before the next key
    press("Enter")
    expect(ana.page.get_by_role("heading", level=1)).to_contain_text("Fire")
    expect(ana.page.get_by_role("list", name="Timeline")).to_contain_text("Two engines, nobody hurt")
    press("c")
    expect(ana.page.get_by_role("list", name="Timeline")).to_contain_text("ana closed it")
    press("Escape")
    expect(ana.page).to_have_url(f"{ana.url}/")
    expect(ana.page.get_by_role("region", name="Board")).to_contain_text("Just ended")
