"""Moves: checked here for who asks, handed to the desk, and answered with what it made of them."""

import asyncio
import contextlib
from typing import Annotated, Literal

import anyio.to_thread
from fastapi import APIRouter, Response
from fastapi.responses import JSONResponse
from pydantic import BaseModel, ConfigDict, Field

from console.users import User
from console.web import reading
from console.web.access import may_ask
from console.web.api_cases import ID_PATTERN, CaseId
from console.web.errors import Problem, RefusedError, responses
from console.web.limits import MOVES
from console.web.parts import Parts
from console.web.visitors import PartsOf, Trusted
from shared.board import Outcome, Row
from shared.incidents import iso, utc_now
from shared.moves import NOTE_MAX_CHARACTERS, Action, Move, append, clean_note, new_move_id
from shared.routing import NORMAL, Routing

router = APIRouter(prefix="/api/cases", tags=["moves"])

WAIT_S = 3.0
_Id = Annotated[str, Field(pattern=f"^({ID_PATTERN[1:-1]})?$")]


class MoveRequest(BaseModel):
    """What is asked of the desk."""

    model_config = ConfigDict(extra="forbid")
    move_id: Annotated[
        str, Field(pattern=ID_PATTERN, description="Chosen by who may have to send the same move again.")
    ] = Field(default_factory=new_move_id)
    department: str = Field(max_length=64, description="In whose name: a department, or `review`.")
    action: Action
    note: str = Field(default="", max_length=NOTE_MAX_CHARACTERS)
    situation: str = Field(default="", max_length=64, description="For `correct` and `decide`.")
    to: str = Field(default="", max_length=64, description="The department of `add_department`.")
    other: _Id = Field(default="", description="The case to merge into; the incident to split or decide.")
    revision: int = Field(default=0, ge=0, le=2**31, description="The incident's, as it was seen; 0: any.")
    seen: int = Field(default=0, ge=0, le=2**53, description="The row's version, as it was seen; 0: unknown.")


class Waiting(BaseModel):
    """The move is with the desk, which has not answered yet; it will, and counts it once."""

    move_id: str
    waiting: Literal[True]
    message: str


@router.post(
    "/{case}/moves",
    response_model=Outcome,
    responses={
        **responses(403, 404, 413, 429),
        202: {"model": Waiting, "description": "The desk has not answered yet"},
        409: {"model": Outcome | Problem, "description": "The desk refuses it, and says why"},
    },
)
async def ask(case: CaseId, wanted: MoveRequest, session: Trusted, parts: PartsOf) -> Response:
    """Ask for a move. Sent again with the same `move_id` it counts once, and is answered as before."""
    parts.limits.spend(MOVES, session.user.name)
    move = await anyio.to_thread.run_sync(_checked, parts, session.user, case, wanted)
    outcome = move if isinstance(move, dict) else await _settled(parts, move)
    if outcome is None:
        assert isinstance(move, Move)
        message = "The move waits for the desk, which does not answer just now; it is not lost"
        return JSONResponse(
            Waiting(move_id=move.move_id, waiting=True, message=message).model_dump(), status_code=202
        )
    return JSONResponse(outcome, status_code=200 if outcome["accepted"] else 409)


async def _settled(parts: Parts, move: Move) -> Outcome | None:
    """What the desk makes of it, or None where it does not say so in time."""
    expected = parts.live.expect(move.move_id)  # before it is asked: the answer may be faster than we are
    try:
        await anyio.to_thread.run_sync(append, parts.broker, move)
        with contextlib.suppress(TimeoutError):  # the board may be away, and the record not
            await asyncio.wait_for(expected, WAIT_S)
    finally:
        expected.cancel()
    # The record says more than the board: whether it was this move that the desk answered.
    judged = await anyio.to_thread.run_sync(reading.outcome, parts.engine, move.move_id)
    return _outcome_of(move, *judged) if judged else None


def _outcome_of(move: Move, outcome: Outcome, asked: str) -> Outcome:
    """The outcome, if it is this move's.

    Args:
        outcome: what became of what had this id.
        asked: `Move.digest` of that.

    Raises:
        RefusedError: that was another move; 409.
    """
    if asked:
        same = asked == move.digest()
    else:  # the desk could make no move of it, and noted what it could read
        told = (outcome["by"], outcome["department"], outcome["action"], outcome["case"])
        same = told == (move.by, move.department, move.action.value, move.case)
    if not same:
        raise RefusedError(
            409,
            "move_id_taken",
            "Another move has this id, and this one was not done",
            remedy="send it again with a new move_id",
        )
    return outcome


def _checked(parts: Parts, user: User, case: str, wanted: MoveRequest) -> Move | Outcome:
    """The move, or what became of it where it was asked before.

    Raises:
        RefusedError: it is not this user's to ask for, makes no sense, or has the id of another one.
    """
    judged = reading.outcome(parts.engine, wanted.move_id)
    if judged is not None:
        return _outcome_of(_move(user, case, wanted), *judged)
    row = reading.case(parts.engine, user, case, whole=False)
    _check_theirs(user, row, wanted.department, wanted.action)
    move = _move(user, case, wanted)
    _check_words(parts.routing, move)
    _check_other(parts, user, move)
    return move


def _move(user: User, case: str, wanted: MoveRequest) -> Move:
    note = clean_note(wanted.note)
    return Move(case=case, by=user.name, at=iso(utc_now()), **wanted.model_dump() | {"note": note})


def _check_theirs(user: User, row: Row, department: str, action: Action) -> None:
    if not may_ask(user, row, department, action):
        raise RefusedError(
            403,
            "not_yours",
            "This is not yours to do",
            remedy="it takes an operator of a department that was sent this case; to decide, a reviewer "
            "where it was for review or is no emergency, or a supervisor",
        )


def _check_words(routing: Routing, move: Move) -> None:
    """What the desk would refuse anyway, told before it is asked."""
    situations = set(routing.situations) | ({NORMAL} if move.action is Action.DECIDE else set())
    if move.situation and move.situation not in situations:
        raise RefusedError(
            422, "unknown_word", "There is no such situation", remedy=f"choose from {', '.join(situations)}"
        )
    if move.to and move.to not in routing.departments:
        raise RefusedError(
            422,
            "unknown_word",
            "There is no such department",
            remedy=f"choose from {', '.join(routing.departments)}",
        )


def _check_other(parts: Parts, user: User, move: Move) -> None:
    """The other case or incident is there, and theirs too."""
    if not move.other:
        return
    if move.action is Action.MERGE:
        if move.other == move.case:
            raise RefusedError(422, "same_case", "A case can't be merged with itself")
        reading.case(parts.engine, user, move.other, whole=False)
        return
    record = reading.incident(parts.engine, user, move.other)
    if move.action is Action.DECIDE and record.case_id != move.case:
        # The desk decides the incident, whatever case it is in now: that one must be theirs to decide too.
        row = reading.case(parts.engine, user, record.case_id, whole=False)
        _check_theirs(user, row, move.department, move.action)
