"""Is the worker alive, and can it take work? Open to everybody, and quick under any load."""

from fastapi import APIRouter, Request, Response

from .models import Models
from .wire import Health

router = APIRouter()


@router.get("/health", responses={503: {"model": Health}})
@router.get("/readyz", responses={503: {"model": Health}})
async def health(request: Request, response: Response) -> Health:
    """200 while a model serves and none has stalled, else 503."""
    models: Models = request.app.state.models
    state = models.health()
    response.status_code = 200 if state.status == "ok" else 503
    return state


@router.get("/livez")
async def livez() -> dict[str, str]:
    """200 as long as the process answers."""
    return {"status": "ok"}
