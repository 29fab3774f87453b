"""Whether the console lives, and whether it can serve."""

import anyio.to_thread
from fastapi import APIRouter, Response
from fastapi.responses import JSONResponse
from pydantic import BaseModel
from redis.exceptions import RedisError
from sqlalchemy.exc import SQLAlchemyError

from console.records import check_record
from console.web.parts import Parts
from console.web.visitors import PartsOf
from shared.errors import AlmenaraError

router = APIRouter(tags=["health"])


class Health(BaseModel):
    """`ok`, or what is wrong."""

    status: str
    faults: list[str] = []


@router.get("/livez")
async def livez() -> Health:
    """Whether the process answers."""
    return Health(status="ok")


@router.get("/readyz", response_model=Health, responses={503: {"model": Health, "description": "Not ready"}})
async def readyz(parts: PartsOf) -> Response:
    """Whether the broker and the desk's record answer, and the board is read."""
    faults = await anyio.to_thread.run_sync(_faults, parts)
    if not faults and not parts.live.following:
        faults = ["the board is not read yet"]
    health = Health(status="not ready" if faults else "ok", faults=faults)
    return JSONResponse(health.model_dump(), status_code=503 if faults else 200)


def _faults(parts: Parts) -> list[str]:
    """In words that tell a stranger nothing; the log has the rest."""
    faults = []
    try:
        parts.broker.ping()
    except RedisError:
        faults.append("the broker does not answer")
    try:
        check_record(parts.engine)
    except (AlmenaraError, SQLAlchemyError):
        faults.append("the desk's record can't be read")
    return faults
