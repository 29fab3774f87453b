"""Who may see what, and ask for what. Pure functions on a user and a case; the desk judges the rest."""

import hashlib
import json
from collections.abc import Collection

from console.users import Role, User
from shared.board import Row
from shared.moves import CASE_ACTIONS, Action, AssignmentState, allowed
from shared.routing import ALL, REVIEW
from shared.verdict import Verdict

OPERATOR_CASE_ACTIONS = tuple(action for action in Action if action in CASE_ACTIONS - {Action.DECIDE})
REVIEW_ACTIONS = (Action.DECIDE, Action.NOTE)


def reviews(user: User) -> bool:
    """Whether they see and decide what the model is unsure of."""
    return user.has(Role.REVIEWER) or user.has(Role.SUPERVISOR)


def sees(user: User, departments: Collection[str], verdict: str) -> bool:
    """Whether a case is theirs to see.

    Args:
        user: who.
        departments: what it is assigned to, ``review`` included.
        verdict: of the case.
    """
    if user.has(Role.SUPERVISOR):
        return True
    if reviews(user) and (REVIEW in departments or verdict == Verdict.NO_EMERGENCY):
        return True
    return any(user.belongs_to(department) for department in departments if department != REVIEW)


def sees_row(user: User, row: Row) -> bool:
    """The same of a row."""
    return sees(user, [part["department"] for part in row["assignments"]], row["verdict"])


def watches(user: User) -> frozenset[str]:
    """The boards that a user's page shows: departments, ``review``, or ``all`` for every department's.

    ``all`` does not stand for ``review`` here.
    """
    if user.has(Role.SUPERVISOR):
        return frozenset({ALL, REVIEW})
    return frozenset(user.departments) | (frozenset({REVIEW}) if reviews(user) else frozenset())


def view(user: User) -> str:
    """Another short word for everybody who is shown something else: by name, roles and departments."""
    about = [user.name, sorted(user.roles), sorted(user.departments)]
    return hashlib.sha256(json.dumps(about).encode()).hexdigest()[:8]


def decides(user: User, row: Row) -> bool:
    """Whether they may say what a case's pictures show: a reviewer what was for review or is no emergency."""
    if user.has(Role.SUPERVISOR):
        return True
    return reviews(user) and (_was_for_review(row) or row["verdict"] == Verdict.NO_EMERGENCY)


def acts(user: User, department: str) -> bool:
    """Whether they may ask for moves in a department's name; of ``review``'s, whether they decide."""
    if department == REVIEW:
        return reviews(user)
    return (user.has(Role.OPERATOR) or user.has(Role.SUPERVISOR)) and user.belongs_to(department)


def may(user: User, row: Row) -> dict[str, list[str]]:
    """What a user may ask for now, by department of a case: what the desk would take, as things stand."""
    found: dict[str, list[str]] = {}
    for part in row["assignments"]:
        department = part["department"]
        if department != REVIEW and acts(user, department):
            moves = allowed(AssignmentState(part["state"]))
            found[department] = [action.value for action in (*moves, *OPERATOR_CASE_ACTIONS)]
    if decides(user, row):
        actions = REVIEW_ACTIONS if _was_for_review(row) else (Action.DECIDE,)
        found[REVIEW] = [action.value for action in actions]
    if row["merged_into"]:
        return {department: [Action.NOTE.value] for department in found}
    return found


def may_ask(user: User, row: Row, department: str, action: Action) -> bool:
    """Whether a move is this user's to ask for; the desk says whether it can be done now."""
    if not acts(user, department):
        return False
    if department == REVIEW:
        return action in REVIEW_ACTIONS and decides(user, row)
    addressed = any(part["department"] == department for part in row["assignments"])
    return addressed and action is not Action.DECIDE


def _was_for_review(row: Row) -> bool:
    """Whether it is to be reviewed, or was."""
    return any(part["department"] == REVIEW for part in row["assignments"])
