"""Is the gateway alive, and can the system take work? Open to everybody."""

from typing import Literal

from fastapi import APIRouter, Request, Response
from pydantic import BaseModel

from ..deps import worker_of
from ..wire import Health

router = APIRouter(tags=["health"])


class SystemHealth(BaseModel):
    """The gateway's state, and the worker's as it says it."""

    gateway: Literal["ok"] = "ok"
    model: Health


@router.get("/health", responses={503: {"model": SystemHealth}})
@router.get("/readyz", responses={503: {"model": SystemHealth}})
async def health(request: Request, response: Response) -> SystemHealth:
    """200 when a model serves; 503 when the worker is unreachable or not ready."""
    state = await worker_of(request).health()
    response.status_code = 200 if state.status == "ok" else 503
    return SystemHealth(model=state)


@router.get("/livez")
async def livez() -> dict[str, str]:
    """200 as long as the process answers."""
    return {"status": "ok"}
