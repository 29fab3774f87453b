from datetime import UTC, datetime, timedelta

from screen_parts import ROUTING, assignment_part, case_id, incident_part, make_row, unsure_row

from console.screen.casebook import KEEP_FINISHED, Casebook
from shared.board import Opening, Row

NOW = datetime(2026, 11, 24, 12, 0, 0, tzinfo=UTC)


def ago(seconds: float) -> datetime:
    """That long before now."""
    return NOW - timedelta(seconds=seconds)


def casebook_of(*rows: Row, department: str = "firefighters") -> Casebook:
    """A casebook of a board that was opened with these rows."""
    casebook = Casebook(department)
    casebook.open(Opening(1, list(rows)), NOW)
    return casebook


def numbers(casebook: Casebook, wanted: str = "") -> list[str]:
    """Numbers of the list's rows, from top to bottom."""
    return [row["incidents"][-1]["number"] for row in casebook.ordered(wanted, ROUTING)]


def test_the_newest_that_nobody_has_comes_first() -> None:
    """Then older ones that nobody has, then those that somebody has, then what is finished."""
    casebook = casebook_of(
        make_row(1, opened_at=ago(10), states={"firefighters": "on_scene"}),
        make_row(2, opened_at=ago(60)),
        make_row(3, opened_at=ago(30)),
        make_row(4, opened_at=ago(5), states={"firefighters": "acknowledged"}),
        make_row(5, opened_at=ago(1)),
    )
    casebook.change(make_row(5, version=2, opened_at=ago(1), states={"firefighters": "closed"}), NOW)
    assert numbers(casebook) == ["0003", "0002", "0004", "0001", "0005"]


def test_a_reviewer_sees_what_goes_out_first() -> None:
    """The next one to go out undecided comes first, then what has gone out, then samples."""
    casebook = casebook_of(
        make_row(1, verdict="no_emergency", situation=None, states={"review": "dispatched"}),
        make_row(2, verdict="unsure", unverified=True, states={"review": "dispatched"}),
        unsure_row(3, due_in_s=90),
        unsure_row(4, due_in_s=10),
        department="review",
    )
    assert numbers(casebook) == ["0004", "0003", "0002", "0001"]


def test_who_sits_down_is_not_rung_for_what_was_there() -> None:
    """Opening is silent, and nothing is new; what comes then rings once."""
    casebook = Casebook("firefighters")
    assert not casebook.open(Opening(1, [make_row(1)]), NOW)
    assert casebook.unseen == set()
    assert casebook.change(make_row(2), NOW)
    assert casebook.unseen == {case_id(2)}
    casebook.look(case_id(2))
    assert casebook.unseen == set()


def test_what_is_called_again_rings_again() -> None:
    """A repeat and an expired acknowledgement ring; an acknowledgement, a note or one more picture don't."""
    casebook = casebook_of(make_row(1, opened_at=NOW))
    again = assignment_part("firefighters", "dispatched", NOW, repeats=1)
    assert casebook.change(make_row(1, version=2, assignments=[again]), NOW)
    assert not casebook.change(make_row(1, version=3, assignments=[again], timeline=[]), NOW)
    two = [incident_part(9, NOW), incident_part(1, NOW)]
    assert not casebook.change(make_row(1, version=4, assignments=[again], incidents=two), NOW)
    assert case_id(1) in casebook.unseen
    assert not casebook.change(make_row(1, version=5, states={"firefighters": "acknowledged"}), NOW)
    expired = assignment_part("firefighters", "dispatched", NOW, state_at=NOW.isoformat())
    assert casebook.change(make_row(1, version=6, assignments=[expired]), NOW)


def test_others_are_not_rung_for_me() -> None:
    """What another department is called to does not ring here; on `all` everything does."""
    part = assignment_part("transit-police", "dispatched", NOW, repeats=1)
    own = assignment_part("firefighters", "acknowledged", NOW)
    for department, rings in (("firefighters", False), ("all", True)):
        casebook = casebook_of(make_row(1, states={"firefighters": "acknowledged"}), department=department)
        assert casebook.change(make_row(1, version=2, assignments=[own, part]), NOW) == rings


def test_a_sample_does_not_ring() -> None:
    """A check of what is sure to be nothing can wait."""
    casebook = casebook_of(department="review")
    sample = make_row(1, verdict="no_emergency", situation=None, states={"review": "dispatched"})
    assert not casebook.change(sample, NOW)
    assert casebook.change(unsure_row(2), NOW)


def test_an_old_row_changes_nothing() -> None:
    """A change that is repeated or late does not undo a later one."""
    casebook = casebook_of(make_row(1, version=5, states={"firefighters": "acknowledged"}))
    assert not casebook.change(make_row(1, version=4), NOW)
    assert not casebook.change(make_row(1, version=5), NOW)
    assert casebook.called() == set()


def test_what_is_finished_stays_a_while() -> None:
    """It can be reopened for a quarter of an hour, and the one that is selected for as long as it is."""
    casebook = casebook_of(make_row(1), make_row(2), make_row(3))
    for number in (1, 2):
        casebook.change(make_row(number, version=2, states={"firefighters": "closed"}), NOW)
    assert casebook.is_finished(case_id(1))
    assert (casebook.open_count(), len(numbers(casebook))) == (1, 3)
    assert not casebook.tidy(NOW + KEEP_FINISHED, selected="")
    assert casebook.tidy(NOW + KEEP_FINISHED * 2, selected=case_id(2))
    assert numbers(casebook) == ["0003", "0002"]
    casebook.change(make_row(2, version=3), NOW)
    assert not casebook.is_finished(case_id(2))


def test_what_went_into_another_case_is_finished() -> None:
    """A merged case is no work of its own any more."""
    casebook = casebook_of(make_row(1), make_row(2))
    casebook.change(make_row(1, version=2, merged_into=case_id(2)), NOW)
    assert casebook.is_finished(case_id(1))
    assert casebook.called() == {case_id(2)}


def test_what_was_finished_elsewhere_is_no_news() -> None:
    """A case that this console never saw open is not listed when it ends."""
    casebook = casebook_of()
    assert not casebook.change(make_row(1, states={"firefighters": "closed"}), NOW)
    assert numbers(casebook) == []


def test_opening_anew_drops_what_is_gone() -> None:
    """After a long absence what is open is shown, what is not goes, and only what is new rings."""
    casebook = casebook_of(make_row(1, opened_at=NOW), make_row(2, opened_at=NOW))
    assert not casebook.open(Opening(9, [make_row(2, version=7, opened_at=NOW)]), NOW)
    assert numbers(casebook) == ["0002"]
    assert casebook.open(Opening(9, [make_row(2, opened_at=NOW), make_row(3, opened_at=NOW)]), NOW)


def test_the_filter_wants_every_word() -> None:
    """Number, situation, label, note, department, state and holder are looked at, in any case."""
    casebook = casebook_of(
        make_row(1, incidents=[incident_part(1, NOW, label="North Bridge", note="from EXIF")]),
        make_row(2, situation="accident", states={"firefighters": "acknowledged"}, unverified=True),
    )
    for wanted, found in (
        ("", ["0001", "0002"]),
        ("bridge NORTH", ["0001"]),
        ("exif", ["0001"]),
        ("0002", ["0002"]),
        ("accident ana", ["0002"]),
        ("unverified", ["0002"]),
        ("transit dispatched", ["0001"]),
        ("bridge accident", []),
    ):
        assert sorted(numbers(casebook, wanted)) == found, wanted
