"""What the clock does to a board that nobody answers, in a real browser and with short times."""

import re
from collections.abc import Callable

from browser_parts import Consoles, Person
from playwright.sync_api import expect

pytest_plugins = ("browser_fixtures",)

People = Callable[..., Person]
CLOCK = {"acknowledge_within_s": 2.0, "fallback_after_s": 4.0, "review_within_s": 3.0}


def test_what_nobody_acknowledges_is_called_again_and_falls_back(people: People, consoles: Consoles) -> None:
    """The row says so, and the department that stands in has it too, under whose name it reads."""
    ana, pia = people("ana").log_in(), people("pia").log_in()
    consoles.photograph("fire", "silo")
    row = ana.row("silo")
    expect(row.get_by_text("called again", exact=False).first).to_be_visible()
    expect(row).to_have_class(re.compile(r"\brepeated\b"))  # each call again marks it again
    expect(ana.page.get_by_role("log")).to_contain_text("Still unanswered: Fire")
    stands_in = pia.row("silo").get_by_role("listitem").filter(has_text="in place of Firefighters")
    expect(stands_in).to_contain_text("Police Department")
    pia.row("silo").get_by_role("button", name="Acknowledge").click()
    expect(row.get_by_role("listitem").filter(has_text="Police Department")).to_contain_text("pia")
    # Who stands in does not answer for the department itself.
    expect(row.get_by_role("button", name="Acknowledge")).to_be_visible()


def test_what_nobody_reviews_goes_out_marked_unverified(people: People, consoles: Consoles) -> None:
    """Its likely departments have it, marked; the reviewer can still decide, and the mark goes."""
    ana, rita = people("ana").log_in(), people("rita").log_in("/?view=review")
    consoles.photograph("unsure", "depot")
    row = ana.row("depot")
    expect(row.get_by_role("heading")).to_contain_text("UNVERIFIED")
    question = rita.page.get_by_role("region", name="What does it show?")
    expect(question).to_contain_text("Went out unverified")
    question.get_by_role("button", name=re.compile("Fire")).click()
    expect(row.get_by_role("heading")).not_to_contain_text("UNVERIFIED")
    expect(row.get_by_role("heading")).to_contain_text("rita")
