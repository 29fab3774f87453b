"""Open cases, one whole case, and what the pages need to know before them."""

from typing import Annotated, Any

from fastapi import APIRouter, Path, Response
from pydantic import BaseModel

from console.web import reading
from console.web.access import may
from console.web.errors import RefusedError, responses
from console.web.listeners import Listener
from console.web.visitors import PartsOf, Visitor
from shared.board import Row, TimelinePart
from shared.moves import NOTE_MAX_CHARACTERS, AssignmentState, allowed

router = APIRouter(prefix="/api", tags=["cases"])

ID_PATTERN = "^[0-9a-f]{32}$"
CaseId = Annotated[str, Path(pattern=ID_PATTERN, description="A case's id: its first incident's.")]


class SituationView(BaseModel):
    """One kind of emergency."""

    name: str
    departments: list[str]


class ClockView(BaseModel):
    """After how many seconds the desk does something by itself."""

    acknowledge_within_s: float
    fallback_after_s: float
    on_scene_within_s: float
    review_within_s: float


class Setup(BaseModel):
    """Words of the routing file, times and rules."""

    departments: dict[str, str]
    situations: dict[str, SituationView]
    fallback: dict[str, str]
    clock: ClockView
    allowed: dict[str, list[str]]
    tile_url: str
    tile_attribution: str
    note_max_characters: int


class OpenCases(BaseModel):
    """Everything open for a user, at one version of the desk's record."""

    version: int
    rows: list[Row]


class WholeCase(BaseModel):
    """A case with all its incidents, all that happened, and what the user may ask for now."""

    row: Row
    timeline: list[TimelinePart]
    may: dict[str, list[str]]


@router.get("/setup", responses=responses())
async def setup(_: Visitor, parts: PartsOf) -> Setup:
    """Departments, situations, the clock, and which moves each state allows."""
    routing, settings = parts.routing, parts.settings
    return Setup(
        departments=routing.departments,
        situations={
            word: SituationView(name=route.name, departments=list(route.departments))
            for word, route in routing.situations.items()
        },
        fallback=routing.fallback,
        clock=ClockView(
            acknowledge_within_s=settings.acknowledge_within_s,
            fallback_after_s=settings.fallback_after_s,
            on_scene_within_s=settings.on_scene_within_s,
            review_within_s=settings.review_within_s,
        ),
        allowed={state.value: [action.value for action in allowed(state)] for state in AssignmentState},
        tile_url=settings.tile_url,
        tile_attribution=settings.tile_attribution,
        note_max_characters=NOTE_MAX_CHARACTERS,
    )


@router.get("/cases", response_model=OpenCases, responses=responses())
async def open_cases(session: Visitor, parts: PartsOf) -> Response:
    """Everything open for this user: their departments', and for reviewers what waits for a decision."""
    if not parts.live.opened:
        raise RefusedError(503, "broker_away", "The board is not read yet", remedy="try again in a moment")
    # The rows are JSON already: written once, whoever they go to.
    return Response(parts.live.opening(Listener(session)), media_type="application/json")


@router.get("/cases/{case}", responses=responses(403, 404))
def whole_case(case: CaseId, session: Visitor, parts: PartsOf) -> WholeCase:
    """One case with every incident and all that happened to it."""
    row: Any = reading.case(parts.engine, session.user, case)
    return WholeCase(row=row, timeline=row["timeline"], may=may(session.user, row))
