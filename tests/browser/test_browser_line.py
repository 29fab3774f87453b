"""The line to the server drops, and services are killed, while people look at the board."""

import re
import signal
from collections.abc import Callable

from browser_parts import PASSWORD, Consoles, Person
from playwright.sync_api import expect

pytest_plugins = ("browser_fixtures",)

People = Callable[..., Person]
CUT = "ERR_"


def test_what_came_while_the_line_was_down_is_there_once(people: People, consoles: Consoles) -> None:
    """The banner says for how long; then all three photographs are on the same page, none twice."""
    ana = people("ana").log_in()
    ana.expects(CUT)
    consoles.photograph("fire", "before")
    expect(ana.row("before")).to_be_visible()
    known = len(consoles.incidents())
    ana.page.evaluate("window.unloaded = true")
    assert consoles.stop("web") == 0
    banner = ana.page.get_by_role("alert").filter(has_text="The line to the server is down")
    expect(banner).to_be_visible()
    for number in range(3):
        consoles.photograph("fire", f"meanwhile {number}")
    consoles.wait_decided(known + 3, within_s=90)
    expect(banner).to_contain_text(re.compile(r"Down for\s*([2-9]\s?s|\d\d\s?s|\d+\s?min)"))
    expect(ana.page.get_by_text("No line", exact=True)).to_be_visible()
    consoles.start("web", "web")
    expect(banner).to_be_hidden()
    for number in range(3):
        expect(ana.row(f"meanwhile {number}")).to_have_count(1)
    expect(ana.row("before")).to_have_count(1)
    expect(ana.row("meanwhile")).to_have_count(3)
    assert ana.page.evaluate("window.unloaded"), "the page was not loaded again"


def test_a_page_whose_user_is_another_one_is_loaded_anew(people: People, consoles: Consoles) -> None:
    """Pia logs in beside Ana in one browser: once the line was cut, Ana's tab is Pia's, with her rows."""
    ana = people("ana").log_in()
    ana.expects(CUT)
    consoles.photograph("fire", "belfry")
    consoles.photograph("altercation", "arcade")
    expect(ana.row("belfry")).to_be_visible()
    answer = ana.context.request.post("/api/session", data={"name": "pia", "password": PASSWORD})
    assert answer.ok
    assert consoles.stop("web") == 0
    expect(ana.page.get_by_text("No line", exact=True)).to_be_visible()
    consoles.start("web", "web")
    expect(ana.row("arcade")).to_be_visible()
    expect(ana.row("belfry")).to_have_count(0)
    expect(ana.page.locator(".who")).to_have_text("pia")


def test_a_board_that_began_anew_is_shown_without_reload(people: People) -> None:
    """What opens counts, though rows had higher versions before all was lost; older single rows do not."""
    ana = people("ana").log_in()
    shown = ana.page.evaluate(
        """async () => {
          const { store } = await import("/static/js/store.js");
          const row = (version) => ({ case: "c", version, assignments: [] });
          const versions = [];
          const note = () => versions.push(store.rows.get("c").version);
          store.opened([row(9)]), note();
          store.take(row(8)), note();
          store.opened([row(2)]), note();
          store.take(row(3)), note();
          return versions;
        }"""
    )
    assert shown == [9, 9, 2, 3]


def test_a_line_that_went_silent_is_said_to_be_down(people: People, consoles: Consoles) -> None:
    """A server that hangs ends no connection; the page notices by itself, and catches up afterwards."""
    ana = people("ana").log_in()
    ana.expects(CUT)
    consoles.signal("web", signal.SIGSTOP)
    consoles.photograph("fire", "cellar")
    expect(ana.page.get_by_text("No line", exact=True)).to_be_visible()
    consoles.signal("web", signal.SIGCONT)
    expect(ana.row("cellar")).to_have_count(1)
    expect(ana.page.get_by_text("Live", exact=True)).to_be_visible()


def test_a_move_without_a_network_is_sent_later_and_counts_once(people: People, consoles: Consoles) -> None:
    """The row says that it is not sent yet; once the network is back, everybody sees it."""
    ana, abel = people("ana").log_in(), people("abel").log_in()
    ana.expects(CUT)
    consoles.photograph("fire", "tunnel")
    expect(ana.row("tunnel")).to_be_visible()
    ana.context.set_offline(True)
    ana.row("tunnel").get_by_role("button", name="Acknowledge").click()
    expect(ana.row("tunnel")).to_contain_text("Not sent yet")
    ana.context.set_offline(False)
    for each in (ana, abel):
        unit = each.row("tunnel").get_by_role("listitem").filter(has_text="Firefighters")
        expect(unit).to_contain_text("ana")
        expect(unit).to_contain_text("Acknowledged")
    abel.open("tunnel")
    timeline = abel.page.get_by_role("list", name="Timeline")
    expect(timeline.get_by_text("ana has it")).to_have_count(1)


def test_a_broker_that_is_away_is_said(people: People, consoles: Consoles) -> None:
    """What is open stays in sight, on a page that is opened meanwhile too; then it goes on by itself."""
    ana = people("ana").log_in()
    consoles.photograph("fire", "brewery")
    expect(ana.row("brewery")).to_be_visible()
    consoles.kill("broker")
    for _ in range(2):
        expect(ana.page.get_by_role("alert")).to_contain_text("The message broker is away")
        expect(ana.row("brewery")).to_have_count(1)
        ana.page.reload()
    consoles.photograph("fire", "tannery")
    consoles.start_broker()
    expect(ana.row("tannery")).to_have_count(1)
    expect(ana.page.get_by_text("The message broker is away")).to_have_count(0)


def test_killing_desk_and_web_loses_nothing(people: People, consoles: Consoles) -> None:
    """A move made while no desk runs is said to wait, and counts once it is back; rows stay as they were."""
    ana = people("ana").log_in()
    ana.expects(CUT)
    consoles.photograph("fire", "mill")
    consoles.photograph("fire", "weir")
    expect(ana.row("weir")).to_be_visible()
    ana.row("mill").get_by_role("button", name="Acknowledge").click()
    expect(ana.row("mill")).to_contain_text("Acknowledged")
    consoles.kill("desk")
    ana.row("weir").get_by_role("button", name="Acknowledge").click()
    expect(ana.row("weir")).to_contain_text("Waits for the desk")
    consoles.photograph("fire", "kiln")
    consoles.kill("web")
    expect(ana.page.get_by_text("No line", exact=True)).to_be_visible()
    consoles.start("web", "web")
    expect(ana.page.get_by_text("Live", exact=True)).to_be_visible()
    expect(ana.page.get_by_role("alert")).to_contain_text("The desk service is down")
    expect(ana.row("kiln")).to_have_count(0)
    consoles.start("desk", "desk")
    expect(ana.row("kiln")).to_be_visible()
    expect(ana.row("weir")).to_contain_text("Acknowledged")
    expect(ana.row("weir")).not_to_contain_text("Waits for the desk")
    rows = ana.page.get_by_role("article").count()
    ana.page.reload()
    expect(ana.page.get_by_role("article")).to_have_count(rows)
    for label in ("mill", "weir"):
        expect(ana.row(label).get_by_role("listitem").filter(has_text="Firefighters")).to_contain_text("ana")
    expect(ana.row("kiln")).to_have_count(1)
