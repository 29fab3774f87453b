"""What tests of moves share: how a department is brought somewhere, and the record but for its moves."""

from typing import Any

from desk_parts import Desk

from shared.moves import Action, AssignmentState

S, A = AssignmentState, Action


WAY_TO = {
    S.DISPATCHED: [],
    S.ACKNOWLEDGED: [A.ACKNOWLEDGE],
    S.EN_ROUTE: [A.ACKNOWLEDGE, A.EN_ROUTE],
    S.ON_SCENE: [A.ACKNOWLEDGE, A.ON_SCENE],
    S.CLOSED: [A.ACKNOWLEDGE, A.CLOSE],
    S.FALSE_ALARM: [A.FALSE_ALARM],
}


def bring_to(desk: Desk, state: AssignmentState, case: str, department: str = "firefighters") -> None:
    """Have Ana move a department that far."""
    for action in WAY_TO[state]:
        assert desk.ask(action, department, case).accepted


def without_moves(desk: Desk) -> dict[str, Any]:
    """The record, but for the list of moves."""
    return {name: rows for name, rows in desk.everything().items() if name != "moves"}
